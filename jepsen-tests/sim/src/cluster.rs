//! What stands outside the nodes: who founds the cluster, asks it, watches it, and settles it at the end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, bail};
use candor_client::operator::is_settled;
use candor_client::{Client, Operator, Surroundings};
use candor_jepsen::real::found;
use candor_jepsen::recorded::{Ask, Clients, Leaders, Recorder, TIMEOUT, TRY_TIMEOUT, shown};
use candor_ledger::entry::ClusterId;
use candor_ledger::signature::KeySet;
use candor_node::principal::{Right, token_line};
use hyper_util::rt::TokioIo;
use rand::Rng as _;
use rand::rngs::Xoshiro256PlusPlus as Rng;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tonic::transport::{Channel, Endpoint, Uri};

use crate::clock::Clock;
use crate::damage::Verified;
use crate::host::{address, connect, lock};
use crate::membership::{Membership, carry_out};
use crate::streams::stream;
use crate::swarm::Swarm;

/// The host of all that is outside the nodes, as a number among theirs and as a name.
pub(crate) const CLIENTS: u64 = 0;
pub(crate) const NAME: &str = "clients";
/// Where each node listens.
pub(crate) const CLIENT_PORT: u16 = 7401;
pub(crate) const PEER_PORT: u16 = 7402;
pub(crate) const HTTP_PORT: u16 = 7403;

/// Who asks.
pub(crate) const ACTOR: &str = "service-a";
const TENANT: &str = "acme";
const TOKEN: &str = "a token of service-a, which only has to be long";
const OPERATOR_TOKEN: &str = "a token of the operator, which only has to be long";

const LOOK_EVERY: Duration = Duration::from_millis(200);
const LOOK_TIMEOUT: Duration = Duration::from_secs(1);
const OPERATOR_TIMEOUT: Duration = Duration::from_secs(10);
/// What lives for a moment has expired by then, by an entry of its own.
const LAST_EXPIRY: Duration = Duration::from_secs(6);
/// Once nothing is broken any more, all nodes are equal within this.
const SETTLED_WITHIN: Duration = Duration::from_mins(1);

/// What both the driver and the outside know.
#[derive(Default)]
pub(crate) struct Progress {
    /// The cluster is founded, and clients ask.
    pub(crate) founded: AtomicBool,
    /// Clients may end.
    pub(crate) enough: AtomicBool,
    /// The trust policy's text.
    pub(crate) policy: Mutex<String>,
    pub(crate) membership: Membership,
    pub(crate) seen: Seen,
}

/// What the nodes said of themselves.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) leaders: Leaders,
    state: Mutex<SeenState>,
}

#[derive(Default)]
struct SeenState {
    /// How often a node's process has ended.
    ends: BTreeMap<u64, u64>,
    /// Nodes whose present process has answered.
    serving: BTreeSet<u64>,
    /// The greatest term that a node has named.
    terms: BTreeMap<u64, u64>,
    /// Nodes whose files were damaged, with what they first said behind it, and what they say now.
    watched: BTreeMap<u64, Option<(Verified, Verified)>>,
    /// What can never be.
    wrong: Option<String>,
}

impl Seen {
    /// A node's process has ended.
    pub(crate) fn gone(&self, node: u64) {
        let mut state = self.state();
        *state.ends.entry(node).or_default() += 1;
        state.serving.remove(&node);
    }

    /// Nodes whose present process has answered.
    pub(crate) fn serving(&self) -> Vec<u64> {
        self.state().serving.iter().copied().collect()
    }

    /// A node's files were damaged.
    pub(crate) fn watch(&self, node: u64) {
        self.state().watched.insert(node, None);
    }

    /// Whether a node says that it has healed since; said once.
    pub(crate) fn is_healed(&self, node: u64) -> bool {
        let mut state = self.state();
        let said = state.watched.get(&node).copied().flatten();
        let healed = said.is_some_and(|(first, last)| last.heals(first));
        if healed {
            state.watched.remove(&node);
        }
        healed
    }

    fn is_watched(&self, node: u64) -> bool {
        self.state().watched.contains_key(&node)
    }

    fn verified(&self, node: u64, now: Verified) {
        if let Some(said) = self.state().watched.get_mut(&node) {
            let (first, _) = said.get_or_insert((now, now));
            *said = Some((*first, now));
        }
    }

    /// What was seen that can never be.
    pub(crate) fn wrong(&self) -> Option<String> {
        self.state().wrong.clone()
    }

    fn ends(&self, node: u64) -> u64 {
        self.state().ends.get(&node).copied().unwrap_or_default()
    }

    /// A node answered a question that was sent when its process had ended so often.
    fn answered(&self, node: u64, ends: u64, term: u64, leads: bool) {
        let mut state = self.state();
        if state.ends.get(&node).copied().unwrap_or_default() == ends {
            state.serving.insert(node);
        }
        let known = state.terms.entry(node).or_default();
        let before = *known;
        *known = before.max(term);
        if term < before {
            let wrong = format!("node {node} went back from term {before} to term {term}");
            state.wrong.get_or_insert(wrong);
        }
        if leads {
            self.leaders.saw(term, node);
        }
    }

    fn state(&self) -> MutexGuard<'_, SeenState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All that the outside needs.
pub(crate) struct Outside {
    pub(crate) swarm: Swarm,
    pub(crate) clock: Clock,
    pub(crate) keys: KeySet,
    pub(crate) recorder: Arc<Recorder>,
    pub(crate) progress: Arc<Progress>,
}

/// The token file of every node.
pub(crate) fn tokens() -> String {
    use Right::{Audit, AuditAll, Operate, Read, Write};
    token_line(TOKEN, TENANT, ACTOR, &[Read, Write, Audit])
        + &token_line(OPERATOR_TOKEN, "ops", "operator", &[Operate, AuditAll])
}

impl Outside {
    /// From the founding to settled nodes; the driver breaks things meanwhile.
    ///
    /// # Errors
    /// What the cluster did not do that it must do when nothing is broken.
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let nodes: Vec<u64> = (1..=self.swarm.nodes).collect();
        let policy = self.found(&nodes).await.context("founding")?;
        let mut looks = JoinSet::new();
        let mut looked_at = BTreeSet::new();
        let membership = &self.progress.membership;
        membership.found(&nodes);
        let clients = Clients::start(&self.recorder, self.ask(&nodes, &policy)?);
        *lock(&self.progress.policy) = policy;
        self.progress.founded.store(true, Ordering::SeqCst);

        while !self.progress.enough.load(Ordering::SeqCst) || membership.next().is_some() {
            for node in membership.members() {
                if looked_at.insert(node) {
                    looks.spawn(self.look(node)?.run());
                }
            }
            if let Some(order) = membership.next() {
                let operator = |node| self.operator(node, OPERATOR_TIMEOUT);
                if let Err(problem) = carry_out(membership, order, operator).await {
                    tracing::info!(?order, %problem, "not yet");
                }
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        clients.finish().await?;
        tokio::time::sleep(LAST_EXPIRY).await;
        let members: Vec<u64> = membership.members().into_iter().collect();
        self.settle(&members).await?;
        looks.shutdown().await;
        Ok(())
    }

    async fn found(&self, nodes: &[u64]) -> anyhow::Result<String> {
        let operators = nodes
            .iter()
            .map(|node| self.operator(*node, OPERATOR_TIMEOUT));
        let operators = operators.collect::<anyhow::Result<Vec<_>>>()?;
        for operator in &operators {
            while operator.identity().await.is_err() {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        }
        let mut id = [0; 16];
        stream(self.swarm.seed, "cluster id").fill_bytes(&mut id);
        found(&operators, &self.keys, ClusterId(id)).await?;
        for operator in &operators {
            while operator.status().await?.sealed_size == 0 {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        }
        let first = operators.first().context("a cluster needs a node")?;
        Ok(first.policy().await?)
    }

    async fn settle(&self, nodes: &[u64]) -> anyhow::Result<()> {
        let until = self.clock.now() + SETTLED_WITHIN;
        let mut last = String::new();
        while self.clock.now() < until {
            for node in nodes {
                match self.operator(*node, OPERATOR_TIMEOUT)?.settle().await {
                    Ok(all) if is_settled(&all) => return Ok(()),
                    Ok(all) => last = format!("{all:?}"),
                    Err(problem) => last = problem.to_string(),
                }
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        bail!("the nodes did not settle: {last}")
    }

    fn ask(&self, nodes: &[u64], policy: &str) -> anyhow::Result<Ask> {
        let client = |(number, first): (u64, &u64)| {
            let settings = Client::builder()
                .tenant(TENANT)
                .token(TOKEN)
                .policy(policy)
                .surroundings(self.surroundings(&format!("client {number}")))
                .timeout(TIMEOUT)
                .attempt_timeout(TRY_TIMEOUT)
                .retries_max(1_000_000);
            let order = nodes.iter().filter(|node| *node >= first);
            let order = order.chain(nodes.iter().filter(|node| *node < first));
            let settings = order.fold(settings, |settings, node| settings.endpoint(uri(*node)));
            anyhow::Ok((*first, settings.build()?))
        };
        let each = (0..self.swarm.clients).zip(nodes.iter().cycle());
        Ok(Ask {
            tenant: TENANT.to_owned(),
            clients: each.map(client).collect::<Result<_, _>>()?,
            pause: self.swarm.pause,
            seed: self.swarm.seed,
        })
    }

    fn operator(&self, node: u64, timeout: Duration) -> anyhow::Result<Operator> {
        let around = self.surroundings(&format!("operator of {node}"));
        Ok(Operator::within(
            around,
            &uri(node),
            Some(OPERATOR_TOKEN),
            timeout,
        )?)
    }

    fn surroundings(&self, whose: &str) -> Surroundings {
        let clock = self.clock.clone();
        let rng: Mutex<Rng> = Mutex::new(stream(self.swarm.seed, whose));
        Surroundings::real()
            .with_wall(move || clock.wall())
            .with_random(move |bytes| lock(&rng).fill_bytes(bytes))
            .with_dial(dial)
    }

    fn look(&self, node: u64) -> anyhow::Result<Look> {
        Ok(Look {
            node,
            operator: self.operator(node, LOOK_TIMEOUT)?,
            recorder: Arc::clone(&self.recorder),
            progress: Arc::clone(&self.progress),
        })
    }
}

/// One node as it is looked at.
struct Look {
    node: u64,
    operator: Operator,
    recorder: Arc<Recorder>,
    progress: Arc<Progress>,
}

impl Look {
    async fn run(self) {
        let seen = &self.progress.seen;
        loop {
            let ends = seen.ends(self.node);
            if let Ok(status) = self.operator.status().await {
                let leads = status.leader_id == Some(self.node);
                seen.answered(self.node, ends, status.term, leads);
                if seen.is_watched(self.node)
                    && let Ok(Ok(metrics)) = timeout(LOOK_TIMEOUT, self.get("/metrics")).await
                {
                    let verified = Verified::read(&metrics, &status);
                    seen.verified(self.node, verified);
                }
            }
            let note = timeout(LOOK_TIMEOUT, self.note()).await;
            if let Ok(Ok(note)) = note {
                self.recorder.saw(self.node, note);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn note(&self) -> anyhow::Result<String> {
        shown::note_of(&self.get(shown::PATH).await?)
    }

    async fn get(&self, path: &str) -> anyhow::Result<String> {
        let mut stream = connect(&address(self.node, HTTP_PORT)).await?;
        stream.write_all(shown::question(path).as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    }
}

fn uri(node: u64) -> String {
    format!("http://{}", address(node, CLIENT_PORT))
}

fn dial(endpoint: &Endpoint) -> Channel {
    endpoint.connect_with_connector_lazy(tower::service_fn(|uri: Uri| async move {
        let to = uri.authority().map_or("", |authority| authority.as_str());
        connect(to).await.map(TokioIo::new)
    }))
}
