//! The nodes as processes: started, waited for, killed, started again, stopped.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use tokio::process::{Child, ChildStdin, Command};
use tokio::time::Instant;

use super::PATIENCE;
use super::folder::DevFolder;
use crate::cluster::Cluster;
use crate::failure::WithLines;

/// A node that was asked to stop may take this long: it hands leadership over and writes its marker.
const STOP_TIMEOUT: Duration = Duration::from_secs(15);
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// After this long a person is told what is awaited.
const SAY_AFTER: Duration = Duration::from_secs(3);
/// Lines of a node's log that are shown when it ends by itself.
const LOG_LINES: usize = 8;
/// A node that died while the cluster serves is started again after this long; twice as long each
/// time that it dies soon after.
const RESTART_AFTER: Duration = Duration::from_secs(1);
const RESTART_AFTER_MAX: Duration = Duration::from_mins(1);
/// One that ran this long has recovered.
const RUNS_WELL: Duration = Duration::from_mins(1);

/// The processes of a local cluster. None outlives this program: each stops when its standard input
/// ends, which it does when this program ends, in whatever way.
pub(crate) struct Nodes(BTreeMap<u16, Process>);

/// One node, running or not.
struct Process {
    node: u16,
    program: PathBuf,
    config: PathBuf,
    log: PathBuf,
    /// Its process id while it runs, for whoever wants to see what happens when it is killed.
    pid_file: PathBuf,
    address: String,
    probe: Cluster,
    child: Option<Child>,
    /// Kept apart: to wait for a child closes the input that it holds, which stops a node.
    stdin: Option<ChildStdin>,
}

impl Nodes {
    /// Starts nothing yet.
    pub(crate) fn new(folder: &DevFolder) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("cannot find this program's own file")?;
        let probe = folder.cluster(Duration::from_secs(2))?;
        let process = |node| Process {
            node,
            program: program.clone(),
            config: folder.path(format!("node-{node}.toml")),
            log: folder.path(format!("logs/node-{node}.log")),
            pid_file: folder.pid_file(node),
            address: folder.client_address(node),
            probe: probe.clone(),
            child: None,
            stdin: None,
        };
        Ok(Self(
            folder.nodes().map(|node| (node, process(node))).collect(),
        ))
    }

    /// Starts every node and waits until each answers.
    pub(crate) async fn start_all(&mut self) -> anyhow::Result<()> {
        for process in self.0.values_mut() {
            process.spawn()?;
        }
        for process in self.0.values_mut() {
            process.wait_until_it_answers().await?;
        }
        Ok(())
    }

    /// Starts one node and waits until it answers; returns how long that took.
    pub(crate) async fn start(&mut self, node: u16) -> anyhow::Result<Duration> {
        self.process(node)?.start().await
    }

    /// Ends a node with SIGKILL: no handler of it runs, nothing it has in memory is written.
    pub(crate) async fn kill(&mut self, node: u16) -> anyhow::Result<()> {
        let process = self.process(node)?;
        let mut child = process.child.take().context("that node does not run")?;
        child
            .kill()
            .await
            .with_context(|| format!("cannot kill node {node}"))?;
        process.remove_pid_file();
        Ok(())
    }

    /// Starts each node that ends again, for as long as this is waited for.
    ///
    /// # Errors
    /// When a process cannot be started at all.
    pub(crate) async fn keep_running(&mut self) -> anyhow::Result<Infallible> {
        let kept = self.0.values_mut().map(Process::keep_running);
        let (problem, ..) = futures::future::select_all(kept.map(Box::pin)).await;
        problem
    }

    /// Asks all to stop, waits, and kills what is left.
    pub(crate) async fn stop(&mut self) {
        for process in self.0.values_mut() {
            process.stdin = None;
        }
        let deadline = Instant::now() + STOP_TIMEOUT;
        for process in self.0.values_mut() {
            if let Some(mut child) = process.child.take() {
                let ended = tokio::time::timeout_at(deadline, child.wait()).await;
                if ended.is_err() {
                    eprintln!("node {} did not stop in time; killed", process.node);
                    let _ = child.kill().await;
                }
            }
            process.remove_pid_file();
        }
    }

    /// Number and term of the leader, by its own word.
    pub(crate) async fn leader(&self, cluster: &Cluster) -> anyhow::Result<(u16, u64)> {
        let status = cluster.leader().await?.status().await?;
        let node = u16::try_from(status.node_id).context("a node number of ours")?;
        Ok((node, status.term))
    }

    fn process(&mut self, node: u16) -> anyhow::Result<&mut Process> {
        self.0
            .get_mut(&node)
            .with_context(|| format!("there is no node {node}"))
    }
}

impl Process {
    async fn start(&mut self) -> anyhow::Result<Duration> {
        let started = Instant::now();
        self.spawn()?;
        self.wait_until_it_answers().await?;
        Ok(started.elapsed())
    }

    fn spawn(&mut self) -> anyhow::Result<()> {
        let log = open_log(&self.log)?;
        let mut child = Command::new(&self.program)
            .args(["node", "--exit-with-stdin", "--config"])
            .arg(&self.config)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log)
            // A Ctrl-C in the terminal is for us; we stop the nodes in our own order.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start node {}", self.node))?;
        let pid = child.id();
        self.stdin = child.stdin.take();
        self.child = Some(child);
        if let Some(pid) = pid {
            std::fs::write(&self.pid_file, format!("{pid}\n"))
                .with_context(|| format!("cannot write `{}`", self.pid_file.display()))?;
        }
        Ok(())
    }

    /// Starts it again whenever it ends; says so on standard error.
    async fn keep_running(&mut self) -> anyhow::Result<Infallible> {
        let node = self.node;
        let mut pause = RESTART_AFTER;
        loop {
            let running_since = Instant::now();
            let status = self.ended().await?;
            if running_since.elapsed() >= RUNS_WELL {
                pause = RESTART_AFTER;
            }
            eprintln!(
                "node {node} ended ({status}); it is started again in {} s",
                pause.as_secs()
            );
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(RESTART_AFTER_MAX);
            match self.start().await {
                Ok(took) => eprintln!(
                    "node {node} answers again after {}",
                    crate::output::Took(took)
                ),
                // One that ended again is seen above; one that lives may still come to answer.
                Err(problem) => crate::failure::say(&problem),
            }
        }
    }

    /// Waits for its end.
    async fn ended(&mut self) -> anyhow::Result<ExitStatus> {
        let child = self.child.as_mut().context("that node does not run")?;
        let status = child.wait().await?;
        self.remove_pid_file();
        Ok(status)
    }

    async fn wait_until_it_answers(&mut self) -> anyhow::Result<()> {
        let (started, mut said) = (Instant::now(), false);
        let (node, operator) = (self.node, self.probe.to(&self.address)?);
        loop {
            if operator.identity().await.is_ok() {
                return Ok(());
            }
            let child = self.child.as_mut().context("that node does not run")?;
            if let Some(status) = child.try_wait()? {
                self.remove_pid_file();
                return Err(WithLines {
                    message: format!("node {node} ended by itself ({status}); its log ends so"),
                    lines: log_end(&self.log),
                }
                .into());
            }
            if started.elapsed() > PATIENCE {
                anyhow::bail!(
                    "node {node} does not answer; its log is `{}`",
                    self.log.display()
                );
            }
            if started.elapsed() > SAY_AFTER && !said {
                eprintln!("waiting for node {node} to answer on {}", self.address);
                said = true;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Whoever reads a number that stands there must not hit somebody else's process.
    fn remove_pid_file(&self) {
        let _ = std::fs::remove_file(&self.pid_file);
    }
}

fn open_log(path: &Path) -> anyhow::Result<File> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .with_context(|| format!("cannot write `{}`", path.display()))
}

fn log_end(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let end = lines.get(lines.len().saturating_sub(LOG_LINES)..);
    end.unwrap_or_default()
        .iter()
        .map(ToString::to_string)
        .collect()
}
