//! One cluster: its nodes as processes, its faces for clients and operators, its files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use candor_client::operator::is_settled;
use candor_client::operator::messages::{GetStatusResponse, SettledNode};
use candor_client::{Client, ClientBuilder, Operator};
use candor_ledger::entry::{ClusterId, Entry};
use candor_ledger::signature::SigningKeys;
use tempfile::TempDir;
use tokio::time::Instant;

use super::found::{found, node_of};
use super::layout::{Place, fill_random, write_node, write_tokens};
use super::ports::Ports;
use super::processes::{Freezer, Processes, log_end};
use super::setup::{Principal, Setup};
use super::{PATIENCE, Same, folders, http};
use crate::recorded::lines_of;

/// What is waited for is looked at this often.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(50);
/// One question to a node that may be down.
const LOOK_TIMEOUT: Duration = Duration::from_secs(2);
/// One request of an operator; below the longest deadline that nodes accept, 60 s.
const OPERATOR_TIMEOUT: Duration = Duration::from_secs(30);

/// A running cluster in a temporary folder. Nodes are numbered from 1.
///
/// Dropping it kills every node and deletes the folder; in a test that fails, the ends of the nodes'
/// logs are shown and the folder stays.
pub struct Cluster {
    // Fields are dropped in this order: no process writes into a folder that is being deleted.
    processes: Processes,
    places: BTreeMap<u64, Place>,
    ports: Ports,
    principals: Vec<Principal>,
    sections: String,
    keys: SigningKeys,
    /// Trust policy text; empty before founding.
    policy: String,
    folders_in: PathBuf,
    root: TempDir,
}

impl Cluster {
    /// Writes all files and starts nothing.
    ///
    /// # Errors
    /// The disk's word.
    pub(super) fn make(setup: Setup) -> anyhow::Result<Self> {
        let below = setup.below.unwrap_or_else(std::env::temp_dir);
        let root = tempfile::Builder::new()
            .prefix("candor-")
            .tempdir_in(below)?;
        let mut name = [0; 4];
        fill_random(&mut name);
        // Two clusters must not share an origin: a client that knew one would call the other a liar.
        let origin = format!("jepsen.test/{:08x}", u32::from_be_bytes(name));
        let keys = SigningKeys::generate(&origin, &mut fill_random)?;
        write_tokens(root.path(), &setup.principals)?;
        let mut cluster = Self {
            processes: Processes::new(setup.program, setup.network),
            places: BTreeMap::new(),
            ports: Ports::default(),
            principals: setup.principals,
            sections: setup.sections,
            keys,
            policy: String::new(),
            folders_in: setup.folders_in.unwrap_or_else(|| root.path().to_owned()),
            root,
        };
        for _ in 0..setup.nodes {
            cluster.make_node()?;
        }
        Ok(cluster)
    }

    /// Writes the files of one more node, which is no member and does not run; returns its number.
    ///
    /// # Errors
    /// The disk's word.
    pub fn make_node(&mut self) -> anyhow::Result<u64> {
        let id = self.places.keys().last().map_or(1, |last| last + 1);
        let (root, folders_in) = (self.root.path(), &self.folders_in);
        let (ports, sections) = (&mut self.ports, &self.sections);
        let host = self.processes.host(id)?;
        let place = write_node(root, folders_in, id, &host, &self.keys, ports, sections)?;
        self.places.insert(id, place);
        Ok(id)
    }

    /// See [`Setup::found`].
    pub(super) async fn found(&mut self) -> anyhow::Result<()> {
        let operators = self
            .nodes()
            .map(|node| self.operator(node))
            .collect::<Result<Vec<_>, _>>()?;
        let mut id = [0; 16];
        fill_random(&mut id);
        found(&operators, self.keys.key_set(), ClusterId(id)).await?;
        let deadline = Instant::now() + PATIENCE;
        for operator in &operators {
            while operator.status().await?.sealed_size == 0 {
                ensure!(Instant::now() < deadline, "no first checkpoint came");
                tokio::time::sleep(LOOK_EVERY).await;
            }
        }
        let first = operators.first().context("a cluster needs a node")?;
        self.policy = first.policy().await?;
        Ok(())
    }

    /// All nodes that were made, running or not.
    pub fn nodes(&self) -> impl Iterator<Item = u64> + use<> {
        let nodes: Vec<u64> = self.places.keys().copied().collect();
        nodes.into_iter()
    }

    /// The cluster's folder; tests may put copies of nodes' folders there.
    pub fn root(&self) -> &Path {
        self.root.path()
    }

    /// Has the cluster's folder stay when the cluster is dropped; returns it.
    pub fn keep_folder(&mut self) -> &Path {
        self.root.disable_cleanup(true);
        self.root.path()
    }

    /// A node's own folder.
    ///
    /// # Panics
    /// When there is no such node.
    pub fn folder(&self, node: u64) -> PathBuf {
        self.place(node).folder.clone()
    }

    /// Where clients reach a node, `host:port`.
    ///
    /// # Panics
    /// When there is no such node.
    pub fn client_address(&self, node: u64) -> &str {
        &self.place(node).client_address
    }

    /// What a node's HTTP port answers to a GET, head and body.
    ///
    /// # Errors
    /// When nothing answers.
    pub fn http_get(&self, node: u64, path: &str) -> anyhow::Result<String> {
        Ok(http::get(self.http_address(node), path, PATIENCE)?)
    }

    /// Where a node serves tiles, `host:port`.
    ///
    /// # Panics
    /// When there is no such node.
    pub fn http_address(&self, node: u64) -> &str {
        &self.place(node).http_address
    }

    /// All that a node has logged, over all of its lives.
    ///
    /// # Panics
    /// When there is no such node.
    pub fn log_text(&self, node: u64) -> String {
        std::fs::read_to_string(&self.place(node).log).unwrap_or_default()
    }

    /// The trust policy: what clients and auditors are given.
    pub fn policy(&self) -> &str {
        &self.policy
    }

    /// A principal by its actor.
    ///
    /// # Errors
    /// When there is none.
    pub fn principal(&self, actor: &str) -> anyhow::Result<&Principal> {
        let mut principals = self.principals.iter();
        let found = principals.find(|principal| principal.actor == actor);
        found.with_context(|| format!("no principal has the actor `{actor}`"))
    }

    /// Starts a node and waits until it answers.
    ///
    /// # Errors
    /// When it ends first, with what it said; or does not answer.
    pub async fn start(&mut self, node: u64) -> anyhow::Result<()> {
        self.start_within(node, PATIENCE).await
    }

    /// The same for a node whose ledger takes longer to check than those of tests.
    ///
    /// # Errors
    /// As [`Cluster::start`].
    pub async fn start_within(&mut self, node: u64, patience: Duration) -> anyhow::Result<()> {
        self.spawn(node)?;
        self.answers(node, patience).await
    }

    /// Starts a node and waits for nothing.
    ///
    /// # Errors
    /// When it runs already, or cannot be started.
    pub fn spawn(&mut self, node: u64) -> anyhow::Result<()> {
        let place = self.place(node).clone();
        self.processes.spawn(node, &place)
    }

    /// The process of a node, if it runs.
    pub fn pid(&self, node: u64) -> Option<u32> {
        self.processes.pid(node)
    }

    /// Starts every node that does not run, and waits until all answer.
    ///
    /// # Errors
    /// As [`Cluster::start`].
    pub async fn start_all(&mut self) -> anyhow::Result<()> {
        for node in self.nodes() {
            if !self.processes.is_running(node) {
                self.spawn(node)?;
            }
        }
        for node in self.nodes() {
            self.answers(node, PATIENCE).await?;
        }
        Ok(())
    }

    /// Ends a node with SIGKILL: no handler of it runs, nothing it has in memory is written.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill(&mut self, node: u64) -> anyhow::Result<()> {
        self.processes.kill(&[node])
    }

    /// Ends every running node with SIGKILL, all before the first one is waited for.
    ///
    /// # Errors
    /// The system's word.
    pub fn kill_all(&mut self) -> anyhow::Result<()> {
        let nodes = self.processes.running();
        self.processes.kill(&nodes)
    }

    /// Has a node stand still where it is.
    ///
    /// # Errors
    /// When it does not run.
    pub fn pause(&self, node: u64) -> anyhow::Result<()> {
        self.processes.signal(node, "-STOP")
    }

    /// Has a node go on that stands still.
    ///
    /// # Errors
    /// When it does not run.
    pub fn resume(&self, node: u64) -> anyhow::Result<()> {
        self.processes.signal(node, "-CONT")
    }

    /// What stops every node that runs now where it is.
    ///
    /// # Errors
    /// The system's word.
    pub fn freezer(&self) -> anyhow::Result<Freezer> {
        self.processes.freezer()
    }

    /// Has a node drain, hand leadership over and end.
    ///
    /// # Errors
    /// When it ends in another way.
    pub async fn stop(&mut self, node: u64) -> anyhow::Result<()> {
        self.processes.stop(&[node]).await
    }

    /// Stops every running node, all at once.
    ///
    /// # Errors
    /// As [`Cluster::stop`].
    pub async fn stop_all(&mut self) -> anyhow::Result<()> {
        let nodes = self.processes.running();
        self.processes.stop(&nodes).await
    }

    /// Waits until a node ends by itself; returns its exit code and the end of its log.
    ///
    /// # Errors
    /// When it goes on.
    pub async fn ends(&mut self, node: u64) -> anyhow::Result<(Option<i32>, String)> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(ended) = self.ended(node)? {
                return Ok(ended);
            }
            ensure!(Instant::now() < deadline, "node {node} still runs");
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// The same of a node that may have ended; `None` while it runs.
    ///
    /// # Errors
    /// When it was not started.
    pub fn ended(&mut self, node: u64) -> anyhow::Result<Option<(Option<i32>, String)>> {
        let status = self.processes.ended(node)?;
        Ok(status.map(|status| (status.code(), log_end(&self.place(node).log))))
    }

    /// A client of this principal with all nodes as endpoints, in order.
    ///
    /// # Errors
    /// When there is no such principal.
    pub fn client(&self, actor: &str) -> anyhow::Result<Client> {
        Ok(self.client_builder(actor, 1)?.build()?)
    }

    /// Settings of such a client, which asks this node first and the others after it.
    ///
    /// # Errors
    /// When there is no such principal.
    pub fn client_builder(&self, actor: &str, first: u64) -> anyhow::Result<ClientBuilder> {
        let principal = self.principal(actor)?;
        let builder = Client::builder()
            .tenant(&principal.tenant)
            .token(&principal.token)
            .policy(&self.policy)
            .misbehaviour_dir(self.root.path());
        let order = self.nodes().filter(|node| *node >= first);
        let order = order.chain(self.nodes().filter(|node| *node < first));
        Ok(order.fold(builder, |builder, node| {
            builder.endpoint(format!("http://{}", self.client_address(node)))
        }))
    }

    /// A node as its operator reaches it.
    ///
    /// # Errors
    /// None that a test could cause.
    pub fn operator(&self, node: u64) -> anyhow::Result<Operator> {
        self.operator_within(node, OPERATOR_TIMEOUT)
    }

    /// What a node says of itself and the cluster.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn status(&self, node: u64) -> anyhow::Result<GetStatusResponse> {
        Ok(self.operator_within(node, LOOK_TIMEOUT)?.status().await?)
    }

    /// The node that leads by its own word, waiting out an election.
    ///
    /// # Errors
    /// When there is none.
    pub async fn leader(&self) -> anyhow::Result<u64> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            // Two may believe it for a moment: the greater term is right.
            let mut leader = None;
            for node in self.processes.running() {
                if let Ok(status) = self.status(node).await
                    && status.leader_id == Some(node)
                {
                    leader = leader.max(Some((status.term, node)));
                }
            }
            if let Some((_, node)) = leader {
                return Ok(node);
            }
            ensure!(Instant::now() < deadline, "nobody leads");
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Adds a node that was made and runs: the ledger names it, it catches up, it votes.
    ///
    /// # Errors
    /// When the cluster refuses, or the node does not catch up.
    pub async fn add(&self, node: u64) -> anyhow::Result<()> {
        self.admit(node).await?;
        self.promote(node).await
    }

    /// The first half of [`Cluster::add`]: the ledger names it, and it begins to catch up.
    ///
    /// # Errors
    /// When the cluster refuses.
    pub async fn admit(&self, node: u64) -> anyhow::Result<()> {
        let joining = self.operator(node)?;
        let identity = node_of(joining.identity().await?)?;
        let leader = self.operator(self.leader().await?)?;
        let told = leader.identity().await?;
        let stored = joining.prepare_genesis(told.genesis.to_vec()).await?;
        ensure!(stored == told.genesis_digest, "another genesis was stored");
        leader.add_node(identity).await?;
        Ok(())
    }

    /// The second half: once it has caught up it votes.
    ///
    /// # Errors
    /// When it does not catch up.
    pub async fn promote(&self, node: u64) -> anyhow::Result<()> {
        let leader = self.operator(self.leader().await?)?;
        let deadline = Instant::now() + PATIENCE;
        while let Err(problem) = leader.promote_node(node).await {
            ensure!(
                Instant::now() < deadline,
                "node {node} is no voter: {problem}"
            );
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    /// Brings all members to one place: markers at one index, one size, one head. All must run.
    ///
    /// # Errors
    /// When they do not get there.
    pub async fn settle(&self) -> anyhow::Result<Vec<SettledNode>> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let leader = self.operator(self.leader().await?)?;
            let last = match leader.settle().await {
                Ok(nodes) if is_settled(&nodes) => return Ok(nodes),
                Ok(nodes) => format!("{nodes:?}"),
                Err(problem) => problem.to_string(),
            };
            if Instant::now() > deadline {
                bail!("the nodes did not settle: {last}");
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Compares all nodes' `ledger/` folders byte by byte. It holds once they are settled.
    ///
    /// # Errors
    /// Names the first file that differs.
    pub fn same_ledgers(&self) -> anyhow::Result<Same> {
        let ledgers: Vec<_> = self
            .nodes()
            .map(|node| self.folder(node).join("ledger"))
            .collect();
        folders::same(&ledgers)
    }

    /// All entries in a node's files, in order. What is not settled may be cut off.
    ///
    /// # Errors
    /// When a file cannot be read or holds something else.
    pub fn entries(&self, node: u64) -> anyhow::Result<Vec<Entry>> {
        let lines = self.lines(node)?;
        let parse = |(seq, line): (usize, &Vec<u8>)| {
            Entry::parse(line).with_context(|| format!("line {seq}"))
        };
        lines.iter().enumerate().map(parse).collect()
    }

    /// The bytes of these entries: lines without their LF.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn lines(&self, node: u64) -> anyhow::Result<Vec<Vec<u8>>> {
        let folder = self.folder(node).join("ledger/entries");
        let mut found = Vec::new();
        for name in folders::files_below(&folder)? {
            if name.extension().is_some_and(|found| found == "jsonl") {
                let bytes = std::fs::read(folder.join(&name))?;
                found.extend(lines_of(&bytes).map(<[u8]>::to_vec));
            }
        }
        Ok(found)
    }

    /// Shows the ends of the nodes' logs and lets the cluster's folder stay, for whoever looks into it.
    pub fn keep(&mut self) {
        for (node, place) in &self.places {
            eprintln!("--- end of node {node}'s log\n{}", log_end(&place.log));
        }
        self.root.disable_cleanup(true);
        eprintln!(
            "--- the cluster's folder stays: {}",
            self.root.path().display()
        );
    }

    fn place(&self, node: u64) -> &Place {
        let place = self.places.get(&node);
        place.unwrap_or_else(|| panic!("there is no node {node}"))
    }

    fn operator_within(&self, node: u64, timeout: Duration) -> anyhow::Result<Operator> {
        let uri = format!("http://{}", self.client_address(node));
        let token = &self.principal("operator")?.token;
        Ok(Operator::new(&uri, Some(token), timeout)?)
    }

    async fn answers(&mut self, node: u64, patience: Duration) -> anyhow::Result<()> {
        let operator = self.operator_within(node, LOOK_TIMEOUT)?;
        let deadline = Instant::now() + patience;
        while operator.identity().await.is_err() {
            let ended = self.processes.ended(node)?;
            let log = || log_end(&self.place(node).log);
            if let Some(status) = ended {
                bail!("node {node} ended by itself ({status}):\n{}", log());
            }
            if Instant::now() > deadline {
                bail!("node {node} does not answer:\n{}", log());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.keep();
        }
    }
}
