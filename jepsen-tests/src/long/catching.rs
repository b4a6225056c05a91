//! A node catches up by verified files: watched from its start to the tip, its leaders killed on the way.

use std::time::Duration;

use anyhow::{bail, ensure};
use candor_client::operator::messages::{CatchUp, GetStatusResponse};
use tokio::time::Instant;

use super::Run;
use super::lies::LIARS;
use super::samples::folder_bytes;

const LOOK_EVERY: Duration = Duration::from_millis(100);
/// The first leader dies when this share of the entries is here and every lie was told.
const FIRST_KILL_PERCENT: u64 = 20;
/// The next one, so much later; if the one before is back, or this share is here.
const APART_PERCENT: u64 = 20;
const LAST_KILL_PERCENT: u64 = 80;
/// Behind this share a fetch is no more "in the middle".
const TOO_LATE_PERCENT: u64 = 95;

/// What a node did that caught up.
#[derive(Clone, Debug, Default)]
pub struct CaughtUp {
    /// The node.
    pub node: u64,
    /// Entries it had before.
    pub base: u64,
    /// Entries it fetched up to; the Raft log had the rest.
    pub total: u64,
    /// Entries it had when it served at the tip.
    pub size: u64,
    /// Bytes of entries and notes that it fetched.
    pub fetched_bytes: u64,
    /// Bytes of the entries and notes that it has beyond what it had.
    pub needed_bytes: u64,
    /// From its start until all was fetched and checked.
    pub fetched: Duration,
    /// From its start until the ledger had grown to the snapshot and the node was up with it.
    pub installed: Duration,
    /// From its start until it served at the tip.
    pub ready: Duration,
    /// Times it left a source for what that sent.
    pub refused: u64,
    /// Leaders that were killed meanwhile.
    pub kills: Vec<Kill>,
    /// Where each offer of a leader found it.
    pub begun_at: Vec<u64>,
}

/// A leader that was killed.
#[derive(Clone, Copy, Debug)]
pub struct Kill {
    /// Who.
    pub leader: u64,
    /// Entries that the fetching node had, by its own word.
    pub done: u64,
    /// Entries it needed.
    pub total: u64,
}

/// What is looked for in the log.
const OFFERED: &str = "a snapshot is offered; fetching";
const INSTALLED: &str = "a snapshot is installed";

impl Run<'_> {
    /// Watches a node that was just started, until it serves at the tip.
    pub(super) async fn catches_up(
        &mut self,
        node: u64,
        base: u64,
        kills: usize,
    ) -> anyhow::Result<CaughtUp> {
        let began = Instant::now();
        let already = self.cluster.log_text(node).len();
        let own = self.folders(node);
        let mut caught = CaughtUp {
            node,
            base,
            ..CaughtUp::default()
        };
        let (mut tip, mut said) = (None, Instant::now());
        loop {
            ensure!(
                began.elapsed() < self.strain.patience,
                "node {node} does not catch up: {caught:?}"
            );
            self.breathe()?;
            let status = self.cluster.status(node).await.ok();
            if let Some(at) = status.as_ref().and_then(|status| status.catch_up.as_ref()) {
                caught.note(at, began);
                self.kill_leaders(&mut caught, at, kills).await?;
                if said.elapsed() > Duration::from_secs(5) {
                    said = Instant::now();
                    println!(
                        "  node {node}: {} of {} entries, {} refused, {:.0?}",
                        at.entries_done,
                        at.entries_total,
                        at.refused,
                        began.elapsed()
                    );
                }
            } else if let Some(status) = &status
                && caught.fetched > Duration::ZERO
            {
                if caught.installed == Duration::ZERO {
                    caught.installed = began.elapsed();
                    println!(
                        "  node {node} is up with the snapshot after {:.0?}",
                        caught.installed
                    );
                }
                if tip.is_some_and(|tip| status.ledger_size >= tip) && self.is_ready(node) {
                    caught.size = status.ledger_size;
                    break;
                }
            }
            tip = self.tip(status.as_ref()).await.or(tip);
            tokio::time::sleep(LOOK_EVERY).await;
        }
        caught.ready = began.elapsed();
        caught.needed_bytes = self.folders(node).saturating_sub(own);
        let text = self.cluster.log_text(node);
        caught.judge(text.get(already..).unwrap_or_default(), kills)?;
        Ok(caught)
    }

    /// Kills the leader while the fetch is in the middle, and starts it again at once.
    async fn kill_leaders(
        &mut self,
        caught: &mut CaughtUp,
        at: &CatchUp,
        kills: usize,
    ) -> anyhow::Result<()> {
        let percent = percent(at, caught.base);
        let due = match caught.kills.last() {
            _ if caught.kills.len() >= kills => false,
            None => {
                let told = at.refused >= u64::try_from(LIARS.len())?;
                told && percent >= FIRST_KILL_PERCENT
            }
            Some(last) => {
                let since = (at.entries_done - last.done) * 100 / last.total.max(1);
                let back = self.cluster.status(last.leader).await;
                let back = back.is_ok_and(|status| status.leader_id.is_some());
                since >= APART_PERCENT && (back || percent >= LAST_KILL_PERCENT)
            }
        };
        if !due || percent >= TOO_LATE_PERCENT {
            return Ok(());
        }
        let leader = self.cluster.leader().await?;
        let Ok(status) = self.cluster.status(caught.node).await else {
            return Ok(());
        };
        let Some(at) = status.catch_up.filter(|at| !at.installing) else {
            return Ok(());
        };
        self.cluster.kill(leader)?;
        self.cluster.spawn(leader)?;
        let (done, total) = (at.entries_done, at.entries_total);
        println!(
            "  node {leader}, the leader, killed and started again: node {} has {done} of {total}",
            caught.node
        );
        caught.kills.push(Kill {
            leader,
            done,
            total,
        });
        Ok(())
    }

    fn is_ready(&self, node: u64) -> bool {
        let answer = self.cluster.http_get(node, "/readyz");
        answer.is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
    }

    /// How long the leader's ledger is.
    async fn tip(&self, seen: Option<&GetStatusResponse>) -> Option<u64> {
        let leader = seen?.leader_id?;
        let status = self.cluster.status(leader).await.ok()?;
        Some(status.ledger_size)
    }

    /// Bytes of a node's entries and notes.
    fn folders(&self, node: u64) -> u64 {
        let ledger = self.cluster.folder(node).join("ledger");
        let lines = std::fs::read_dir(ledger.join("entries"));
        let lines = lines.into_iter().flatten().flatten();
        let lines = lines.filter(|file| {
            let path = file.path();
            path.extension().is_some_and(|kind| kind == "jsonl")
        });
        let lines: u64 = lines
            .filter_map(|file| Some(file.metadata().ok()?.len()))
            .sum();
        lines + folder_bytes(&ledger.join("checkpoints"))
    }
}

impl CaughtUp {
    fn note(&mut self, at: &CatchUp, began: Instant) {
        self.total = at.entries_total;
        self.fetched_bytes = at.bytes;
        self.refused = at.refused;
        // Again and again, while notes are fetched and until it goes away to install.
        if at.installing || at.entries_done == at.entries_total {
            self.fetched = began.elapsed();
        }
    }

    /// The figures against what was promised.
    fn judge(&mut self, log: &str, kills: usize) -> anyhow::Result<()> {
        let node = self.node;
        let offers = log.lines().filter(|line| line.contains(OFFERED));
        let from = |line: &str| {
            let at = line.split("from=").nth(1)?;
            at.split_whitespace().next()?.parse().ok()
        };
        self.begun_at = offers.filter_map(from).collect();
        ensure!(
            log.contains(INSTALLED),
            "node {node} installed nothing: {self:?}"
        );
        ensure!(
            self.kills.len() == kills,
            "only {} leaders could be killed in the middle of the fetch of node {node}: {self:?}",
            self.kills.len()
        );
        let again = self.begun_at.iter().skip(1);
        if let Some(from) = again.min()
            && self.kills.first().is_some_and(|kill| *from < kill.done)
        {
            bail!("node {node} began again at {from}: {self:?}");
        }
        // Nothing was fetched twice: a page for each lie and each leader, and what the others dropped.
        let most = self.needed_bytes + self.needed_bytes / 50 + (8 << 20);
        ensure!(
            self.fetched_bytes <= most,
            "node {node} fetched more than it needed: {self:?}"
        );
        Ok(())
    }
}

fn percent(at: &CatchUp, base: u64) -> u64 {
    let needed = at.entries_total.saturating_sub(base).max(1);
    at.entries_done.saturating_sub(base) * 100 / needed
}
