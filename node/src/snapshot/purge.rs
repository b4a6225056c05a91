//! Purging the Raft log: what a snapshot stands for need not be replayed.

use std::time::Duration;

use tokio::sync::watch;

use super::{FILE, Shelf};
use crate::apply::Applier;
use crate::config::RaftSection;
use crate::consensus::Consensus;
use crate::env::{Env, Task};
use crate::wal::Wal;

/// The log is looked at this often.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// What the lane owns.
pub struct Purger<E: Env> {
    /// The node's seams.
    pub env: E,
    /// Raft, which alone drops entries.
    pub consensus: Consensus<Applier<E>>,
    /// Tells how long the log is.
    pub wal: Wal<E::Disk>,
    /// The snapshots it may be purged up to.
    pub shelf: Shelf,
    /// `purge_bytes` and `hold_bytes`.
    pub limits: RaftSection,
    /// Ends it.
    pub stopping: watch::Receiver<bool>,
}

/// Starts the lane.
pub fn start<E: Env>(env: &E, purger: Purger<E>) -> Task {
    env.lane("purge", move || purger.run())
}

/// When to purge, and up to where: each time the log has grown by so many bytes, up to the snapshot
/// that was the newest the time before. So a member that was away for less than that takes the rest
/// from the log, and what lies on disk is between one and two times that, and a segment.
#[derive(Debug)]
pub struct Pace {
    every: u64,
    at: u64,
    before: Option<u64>,
}

impl Pace {
    /// A log that holds `kept` bytes at the start.
    pub fn new(every: u64, kept: u64) -> Self {
        // What earlier starts left is old enough.
        let before = (kept >= every.saturating_mul(2)).then_some(u64::MAX);
        let at = every.saturating_sub(kept);
        Self { every, at, before }
    }

    /// The index up to which to purge, now that `written` bytes were written since the start and the
    /// newest snapshot stands at `newest`.
    pub fn due(&mut self, written: u64, newest: u64) -> Option<u64> {
        if written < self.at {
            return None;
        }
        self.at = written.saturating_add(self.every);
        let upto = self.before.replace(newest);
        upto.map(|upto| upto.min(newest))
    }
}

impl<E: Env> Purger<E> {
    async fn run(mut self) {
        let kept = self.wal.kept_bytes().unwrap_or_default();
        let mut pace = Pace::new(self.limits.purge_bytes, kept);
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                _ = self.stopping.changed() => {}
            }
            if *self.stopping.borrow() {
                return;
            }
            let Some(newest) = self.shelf.newest_manifest() else {
                continue;
            };
            let written = self.wal.counters().bytes;
            let damaged = self.wal.left().filter(|left| *left <= newest.at.index);
            let due = pace
                .due(written, newest.at.index)
                .map(|upto| self.spared(upto));
            let Some(upto) = damaged.max(due) else {
                continue;
            };
            // A start whose log begins behind an index needs a snapshot at or above it.
            if let Err(problem) = newest.store(self.env.disk(), FILE) {
                tracing::error!(%problem, "the snapshot's manifest cannot be written; nothing is purged");
                continue;
            }
            if self.consensus.purge(upto).await.is_err() {
                return;
            }
            tracing::info!(upto, size = %newest.size, "the raft log may be purged");
            self.remove_damaged().await;
        }
    }

    /// Removes damaged segments that hold nothing but what was purged: Raft does not purge twice.
    async fn remove_damaged(&self) {
        let purged = self.consensus.status().purged.map(|at| at.index);
        if let Some(left) = self.wal.left().filter(|left| Some(*left) <= purged) {
            // An error is a log that was closed: the node ends.
            let _ = self.wal.purge(left).await;
        }
    }

    /// Less, while a member receives a snapshot and will need what follows it; but not for ever.
    fn spared(&self, upto: u64) -> u64 {
        let Some(held) = self.shelf.held().filter(|held| *held < upto) else {
            return upto;
        };
        if self.wal.kept_bytes().unwrap_or_default() > self.limits.hold_bytes {
            tracing::warn!(
                held,
                "the raft log is too long to wait for a member any more"
            );
            return upto;
        }
        held
    }
}
