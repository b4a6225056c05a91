//! What the nodes take up, looked at again and again.

use std::fs;
use std::time::Duration;

use tokio::time::Instant;

use crate::real::Cluster;

/// Looks at all nodes that run.
#[derive(Debug)]
pub(super) struct Samples {
    began: Instant,
    due: Instant,
    every: Duration,
    taken: Vec<Sample>,
}

/// One node at one moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    /// The node.
    pub(super) node: u64,
    /// Bytes of its Raft log's files.
    pub(super) log_bytes: u64,
    /// Resident memory.
    pub(super) rss_bytes: u64,
}

/// Least, middle and most of what was seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spread {
    /// Least.
    pub min: u64,
    /// Middle.
    pub median: u64,
    /// Most.
    pub max: u64,
}

impl Samples {
    /// Looks this often, when it is given the chance.
    pub(super) fn new(every: Duration) -> Self {
        let now = Instant::now();
        Self {
            began: now,
            due: now,
            every,
            taken: Vec::new(),
        }
    }

    /// Since the first look.
    pub(super) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// How many looks at a node there were.
    pub(super) fn count(&self) -> usize {
        self.taken.len()
    }

    /// Takes a look if one is due.
    pub(super) fn look(&mut self, cluster: &Cluster) {
        let now = Instant::now();
        if now < self.due {
            return;
        }
        self.due = now + self.every;
        let seen = cluster.nodes().filter_map(|node| sample(cluster, node));
        self.taken.extend(seen);
    }

    /// What the log of a node took, from a number of looks on.
    pub(super) fn log(&self, node: u64, from: usize) -> Spread {
        self.spread(node, from, |sample| sample.log_bytes)
    }

    /// What the memory of a node took, from a number of looks on.
    pub(super) fn rss(&self, node: u64, from: usize) -> Spread {
        self.spread(node, from, |sample| sample.rss_bytes)
    }

    /// The last look at a node.
    pub(super) fn last(&self, node: u64) -> Option<Sample> {
        let mut newest = self.taken.iter().rev();
        newest.find(|sample| sample.node == node).copied()
    }

    fn spread(&self, node: u64, from: usize, of: impl Fn(&Sample) -> u64) -> Spread {
        let taken = self.taken.get(from..).unwrap_or_default().iter();
        let mut all: Vec<u64> = taken.filter(|one| one.node == node).map(of).collect();
        all.sort_unstable();
        let at = |index: usize| all.get(index).copied().unwrap_or_default();
        Spread {
            min: at(0),
            median: at(all.len() / 2),
            max: at(all.len().saturating_sub(1)),
        }
    }
}

/// Bytes of the files in a folder; one that is deleted meanwhile counts nothing.
pub(super) fn folder_bytes(folder: &std::path::Path) -> u64 {
    let Ok(found) = fs::read_dir(folder) else {
        return 0;
    };
    let sizes = found.filter_map(|file| Some(file.ok()?.metadata().ok()?.len()));
    sizes.sum()
}

fn sample(cluster: &Cluster, node: u64) -> Option<Sample> {
    let pid = cluster.pid(node)?;
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib: u64 = line?.split_whitespace().next()?.parse().ok()?;
    Some(Sample {
        node,
        log_bytes: folder_bytes(&cluster.folder(node).join("raft")),
        rss_bytes: kib * 1_024,
    })
}
