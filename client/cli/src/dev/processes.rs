//! The nodes as processes: started, waited for, killed, started again, stopped.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::process::{Child, Command};
use tokio::time::Instant;

use super::PATIENCE;
use super::folder::DevFolder;
use crate::cluster::Cluster;

/// A node that was asked to stop may take this long: it hands leadership over and writes its marker.
const STOP_TIMEOUT: Duration = Duration::from_secs(15);
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// After this long a person is told what is awaited.
const SAY_AFTER: Duration = Duration::from_secs(3);
/// Lines of a node's log that are shown when it ends by itself.
const LOG_LINES: usize = 8;

/// The processes of a local cluster. None outlives this program: each stops when its standard input
/// ends, which it does when this program ends, in whatever way.
pub(crate) struct Nodes {
    program: PathBuf,
    /// Number, configuration and log file of each.
    places: BTreeMap<u16, Place>,
    running: BTreeMap<u16, Child>,
    probe: Cluster,
}

#[derive(Clone, Debug)]
struct Place {
    config: PathBuf,
    log: PathBuf,
    address: String,
}

impl Nodes {
    /// Starts nothing yet.
    pub(crate) fn new(folder: &DevFolder) -> anyhow::Result<Self> {
        let place = |node| Place {
            config: folder.path(format!("node-{node}.toml")),
            log: folder.path(format!("logs/node-{node}.log")),
            address: folder.client_address(node),
        };
        Ok(Self {
            program: std::env::current_exe().context("cannot find this program's own file")?,
            places: folder.nodes().map(|node| (node, place(node))).collect(),
            running: BTreeMap::new(),
            probe: folder.cluster(Duration::from_secs(2))?,
        })
    }

    /// Starts every node and waits until each answers.
    pub(crate) async fn start_all(&mut self) -> anyhow::Result<()> {
        let numbers: Vec<u16> = self.places.keys().copied().collect();
        for node in &numbers {
            self.spawn(*node)?;
        }
        for node in &numbers {
            self.wait_until_it_answers(*node).await?;
        }
        Ok(())
    }

    /// Starts one node and waits until it answers; returns how long that took.
    pub(crate) async fn start(&mut self, node: u16) -> anyhow::Result<Duration> {
        let started = Instant::now();
        self.spawn(node)?;
        self.wait_until_it_answers(node).await?;
        Ok(started.elapsed())
    }

    /// Ends a node with SIGKILL: no handler of it runs, nothing it has in memory is written.
    pub(crate) async fn kill(&mut self, node: u16) -> anyhow::Result<()> {
        let mut child = self
            .running
            .remove(&node)
            .context("that node does not run")?;
        child
            .kill()
            .await
            .with_context(|| format!("cannot kill node {node}"))
    }

    /// Asks all to stop, waits, and kills what is left.
    pub(crate) async fn stop(&mut self) {
        for child in self.running.values_mut() {
            drop(child.stdin.take());
        }
        let deadline = Instant::now() + STOP_TIMEOUT;
        for (node, child) in &mut self.running {
            if tokio::time::timeout_at(deadline, child.wait())
                .await
                .is_err()
            {
                eprintln!("node {node} did not stop in time; killed");
                let _ = child.kill().await;
            }
        }
        self.running.clear();
    }

    fn place(&self, node: u16) -> anyhow::Result<&Place> {
        self.places
            .get(&node)
            .with_context(|| format!("there is no node {node}"))
    }

    fn spawn(&mut self, node: u16) -> anyhow::Result<()> {
        let place = self.place(node)?;
        let log = open_log(place)?;
        let child = Command::new(&self.program)
            .args(["node", "--exit-with-stdin", "--config"])
            .arg(&place.config)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log)
            // A Ctrl-C in the terminal is for us; we stop the nodes in our own order.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start node {node}"))?;
        self.running.insert(node, child);
        Ok(())
    }

    async fn wait_until_it_answers(&mut self, node: u16) -> anyhow::Result<()> {
        let (started, mut said) = (Instant::now(), false);
        let place = self.place(node)?.clone();
        let operator = self.probe.to(&place.address)?;
        loop {
            if operator.identity().await.is_ok() {
                return Ok(());
            }
            let child = self
                .running
                .get_mut(&node)
                .context("that node does not run")?;
            if let Some(status) = child.try_wait()? {
                bail!(
                    "node {node} ended by itself ({status}):\n{}",
                    log_end(&place)
                );
            }
            if started.elapsed() > PATIENCE {
                bail!(
                    "node {node} does not answer; its log is `{}`",
                    place.log.display()
                );
            }
            if started.elapsed() > SAY_AFTER && !said {
                eprintln!("waiting for node {node} to answer on {}", place.address);
                said = true;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Number and term of the leader, by its own word.
    pub(crate) async fn leader(&self, cluster: &Cluster) -> anyhow::Result<(u16, u64)> {
        let status = cluster.leader().await?.status().await?;
        let node = u16::try_from(status.node_id).context("a node number of ours")?;
        Ok((node, status.term))
    }
}

fn open_log(place: &Place) -> anyhow::Result<File> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(&place.log)
        .with_context(|| format!("cannot write `{}`", place.log.display()))
}

fn log_end(place: &Place) -> String {
    let text = std::fs::read_to_string(&place.log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines
        .get(lines.len().saturating_sub(LOG_LINES)..)
        .unwrap_or_default()
        .join("\n")
}
