//! Node processes: started, asked to stop, killed. None outlives its owner: dropping it kills them,
//! and each ends by itself when its standard input does, which is when this process ends, in
//! whatever way.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use tokio::time::Instant;

use super::PATIENCE;
use super::cluster::LOOK_EVERY;
use super::layout::Place;
use super::network::Network;

/// Lines of a node's log that are shown when something went wrong.
const LOG_LINES: usize = 40;

/// Stops node processes where they are, all at one moment.
#[derive(Debug)]
pub struct Freezer {
    pids: Vec<u32>,
    shell: Child,
}

#[derive(Debug)]
pub(super) struct Processes {
    program: PathBuf,
    network: Option<Arc<Network>>,
    running: BTreeMap<u64, Child>,
}

impl Processes {
    pub(super) fn new(program: PathBuf, network: Option<Arc<Network>>) -> Self {
        Self {
            program,
            network,
            running: BTreeMap::new(),
        }
    }

    /// Where a node listens.
    pub(super) fn host(&self, node: u64) -> anyhow::Result<String> {
        let Some(network) = &self.network else {
            return Ok("127.0.0.1".to_owned());
        };
        ensure!(
            node <= network.nodes(),
            "the network has no place for node {node}"
        );
        Ok(network.address(node))
    }

    pub(super) fn is_running(&self, node: u64) -> bool {
        self.running.contains_key(&node)
    }

    pub(super) fn running(&self) -> Vec<u64> {
        self.running.keys().copied().collect()
    }

    pub(super) fn pid(&self, node: u64) -> Option<u32> {
        self.running.get(&node).map(Child::id)
    }

    pub(super) fn spawn(&mut self, node: u64, place: &Place) -> anyhow::Result<()> {
        ensure!(!self.is_running(node), "node {node} runs already");
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&place.log)
            .with_context(|| format!("cannot write `{}`", place.log.display()))?;
        let mut command = match &self.network {
            None => Command::new(&self.program),
            Some(network) => {
                let mut command = network.command(node);
                command.arg(&self.program);
                command
            }
        };
        let child = command
            .args(["node", "--exit-with-stdin", "--config"])
            .arg(&place.config)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log)
            // A Ctrl-C in the terminal is for us: our end ends the nodes.
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot run `{}`", self.program.display()))?;
        self.running.insert(node, child);
        Ok(())
    }

    /// SIGKILL to all of these, and only then the wait for their ends.
    pub(super) fn kill(&mut self, nodes: &[u64]) -> anyhow::Result<()> {
        for node in nodes {
            let child = self.running.get_mut(node);
            let child = child.with_context(|| format!("node {node} does not run"))?;
            child
                .kill()
                .with_context(|| format!("cannot kill node {node}"))?;
        }
        for node in nodes {
            if let Some(mut child) = self.running.remove(node) {
                child.wait()?;
            }
        }
        Ok(())
    }

    /// Sends a signal to one process.
    pub(super) fn signal(&self, node: u64, signal: &str) -> anyhow::Result<()> {
        let pid = self.pid(node);
        let pid = pid.with_context(|| format!("node {node} does not run"))?;
        let sent = Command::new("kill")
            .args([signal, &pid.to_string()])
            .status();
        ensure!(
            sent.context("cannot run `kill`")?.success(),
            "`kill {signal}` failed for node {node}"
        );
        Ok(())
    }

    /// Ready to stop all that run now.
    pub(super) fn freezer(&self) -> anyhow::Result<Freezer> {
        let pids: Vec<u32> = self.running.values().map(Child::id).collect();
        // Waits for a word, so that no program has to be started at the moment itself.
        let shell = Command::new("sh")
            .args(["-c", "read word && kill -STOP \"$@\"", "freezer"])
            .args(pids.iter().map(u32::to_string))
            .stdin(Stdio::piped())
            .process_group(0)
            .spawn()
            .context("cannot run `sh`")?;
        Ok(Freezer { pids, shell })
    }

    /// Asks these to stop, and waits for their clean ends.
    pub(super) async fn stop(&mut self, nodes: &[u64]) -> anyhow::Result<()> {
        for node in nodes {
            let child = self.running.get_mut(node);
            let child = child.with_context(|| format!("node {node} does not run"))?;
            drop(child.stdin.take());
        }
        let deadline = Instant::now() + PATIENCE;
        for node in nodes {
            let status = loop {
                if let Some(status) = self.ended(*node)? {
                    break status;
                }
                if Instant::now() > deadline {
                    self.kill(&[*node])?;
                    bail!("node {node} did not stop within {PATIENCE:?}; killed");
                }
                tokio::time::sleep(LOOK_EVERY).await;
            };
            ensure!(status.success(), "node {node} stopped with {status}");
        }
        Ok(())
    }

    /// How a node ended, if it did; then it no longer counts as running.
    pub(super) fn ended(&mut self, node: u64) -> anyhow::Result<Option<ExitStatus>> {
        let child = self.running.get_mut(&node);
        let child = child.with_context(|| format!("node {node} does not run"))?;
        let status = child.try_wait()?;
        if status.is_some() {
            self.running.remove(&node);
        }
        Ok(status)
    }
}

impl Freezer {
    /// SIGSTOP to all, and only then the wait until all of their threads have stopped: from then on
    /// none writes, syncs or answers.
    ///
    /// # Errors
    /// The system's word.
    pub fn freeze(mut self) -> anyhow::Result<()> {
        let mut stdin = self.shell.stdin.take().context("a shell listens")?;
        stdin.write_all(b"now\n")?;
        ensure!(self.shell.wait()?.success(), "`kill -STOP` failed");
        let deadline = Instant::now() + PATIENCE;
        for pid in &self.pids {
            while !is_frozen(*pid)? {
                ensure!(Instant::now() < deadline, "process {pid} does not stop");
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        Ok(())
    }
}

impl Drop for Freezer {
    fn drop(&mut self) {
        // It ends with its input, and stops nothing.
        drop(self.shell.stdin.take());
        let _ = self.shell.wait();
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        for child in self.running.values_mut() {
            let _ = child.kill();
        }
        for child in self.running.values_mut() {
            let _ = child.wait();
        }
    }
}

/// Whether each thread of a process is stopped, and none still in a call to the kernel.
fn is_frozen(pid: u32) -> anyhow::Result<bool> {
    for thread in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread may end meanwhile.
        let Ok(stat) = std::fs::read_to_string(thread?.path().join("stat")) else {
            continue;
        };
        let state = stat
            .rsplit(") ")
            .next()
            .and_then(|rest| rest.chars().next());
        if !matches!(state, Some('T' | 't' | 'Z' | 'X')) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The last lines of a log.
pub(super) fn log_end(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let from = lines.len().saturating_sub(LOG_LINES);
    lines.get(from..).unwrap_or_default().join("\n")
}
