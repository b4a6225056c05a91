//! A cluster under load for long, and what its nodes take up meanwhile.

use std::time::Duration;

use anyhow::ensure;
use candor_client::Client;
use tokio::time::Instant;

use super::load::{Counts, Load, Pace};
use super::samples::{Samples, Spread};
use crate::real::Cluster;

/// The write-ahead log's files end at this length.
const SEGMENT_BYTES: u64 = 64 << 20;
/// What a node may write between two looks at the length of its log, half a second.
const LOOK_BYTES: u64 = 4 << 20;

const SAMPLE_EVERY: Duration = Duration::from_secs(5);
const SAY_EVERY: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Load for long.
#[derive(Clone, Debug)]
pub struct Strain {
    /// It lasts at least this long ..
    pub duration: Duration,
    /// .. and until the ledger has so many entries.
    pub entries: u64,
    /// Workers at once.
    pub workers: u64,
    /// How hard they work.
    pub pace: Pace,
    /// `raft.purge_bytes` of every node.
    pub purge_bytes: u64,
    /// Whatever is waited for takes less.
    pub patience: Duration,
}

impl Strain {
    /// What the Raft log of a node may take on disk: two purge sizes, a segment, and what is written
    /// between two looks of the purger.
    pub fn log_bound(&self) -> u64 {
        2 * self.purge_bytes + SEGMENT_BYTES + LOOK_BYTES
    }
}

/// One run.
pub(super) struct Run<'a> {
    pub(super) cluster: &'a mut Cluster,
    pub(super) strain: &'a Strain,
    /// Leads at first; how far the ledger is goes by its word.
    pub(super) first: u64,
    pub(super) load: Load,
    pub(super) samples: Samples,
}

impl<'a> Run<'a> {
    /// Starts the load.
    pub(super) async fn begin(
        cluster: &'a mut Cluster,
        strain: &'a Strain,
        clients: &[Client],
        first: u64,
    ) -> anyhow::Result<Self> {
        let load = Load::start(clients, strain.workers, strain.pace).await?;
        Ok(Self {
            cluster,
            strain,
            first,
            load,
            samples: Samples::new(SAMPLE_EVERY),
        })
    }

    /// Lets the load work for so long and until there are so many entries.
    pub(super) async fn grow(&mut self, duration: Duration, entries: u64) -> anyhow::Result<()> {
        let deadline = Instant::now() + self.strain.patience + duration;
        let mut said = Instant::now();
        loop {
            self.breathe()?;
            let status = self.cluster.status(self.first).await;
            let size = status.map_or(0, |status| status.ledger_size);
            if size >= entries && self.samples.elapsed() >= duration {
                return Ok(());
            }
            if said.elapsed() >= SAY_EVERY {
                said = Instant::now();
                self.say(size);
            }
            ensure!(Instant::now() < deadline, "only {size} entries came");
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// What has to be done now and then.
    pub(super) fn breathe(&mut self) -> anyhow::Result<()> {
        self.samples.look(self.cluster);
        self.load.check()
    }

    fn say(&self, size: u64) {
        let Counts {
            gets,
            misses,
            sets,
            unanswered,
        } = self.load.counts();
        let nodes: String = self
            .cluster
            .nodes()
            .filter_map(|node| {
                let last = self.samples.last(node)?;
                let [log, rss] = [last.log_bytes, last.rss_bytes].map(|bytes| bytes >> 20);
                Some(format!("; node {node}: log {log}, memory {rss}"))
            })
            .collect();
        println!(
            "{:>5} s: {size} entries; {gets} hits, {misses} misses, {sets} sets, {unanswered} unanswered{nodes} MiB",
            self.samples.elapsed().as_secs()
        );
    }

    /// Raft log on disk and memory of each node, from a number of looks on.
    pub(super) fn spreads(
        &self,
        from: usize,
        of: impl Fn(u64) -> bool,
    ) -> Vec<(u64, Spread, Spread)> {
        let nodes = self.cluster.nodes().filter(|node| of(*node));
        let spread = |node| {
            (
                node,
                self.samples.log(node, from),
                self.samples.rss(node, from),
            )
        };
        nodes.map(spread).collect()
    }

    /// The log stayed below its bound, was purged, and holds nothing up to an index; returns how often
    /// the first node found that it may be purged.
    pub(super) async fn check_log(
        &self,
        nodes: &[(u64, Spread, Spread)],
        away: u64,
    ) -> anyhow::Result<usize> {
        let bound = self.strain.log_bound();
        for (node, log, _) in nodes {
            ensure!(
                log.max <= bound,
                "the log of node {node} took {} bytes; the bound is {bound}",
                log.max
            );
            let purged = self.cluster.status(*node).await?.purged_index;
            ensure!(
                purged > away,
                "node {node} has purged to {purged}, below the absent node's {away}: a longer run or \
                 a smaller purge size is needed"
            );
        }
        let log = self.cluster.log_text(self.first);
        Ok(log.matches("the raft log may be purged").count())
    }
}
