//! States of the disk that end by themselves: nearly full ([`Room`]) and slow ([`Pace`]).
//!
//! ```text
//! free >= reserve              enough     everything
//! below the reserve            low        nothing new is proposed, leadership is handed over once; what
//!                                         stands is still sealed, others' entries are still stored
//! below a quarter              exhausted  besides, no entries are taken from a leader: votes, heartbeats
//!                                         and reads that need no entry go on
//!
//! writes of the Raft log       prompt     everything
//! three of eight are slow      slow       leadership is handed over once
//! one does not end             stalled    besides, nothing new is proposed
//! ```
//!
//! So the disk does not run full by this node's own doing, and the quarter is left for what a stop
//! and a start write. What fills it all the same ends the process, as every failed write does: the
//! Raft log calls nothing durable that is not, and a start cuts away what was half written.
//!
//! A disk that stalls fails nothing, so without the last state clients would learn of it by their
//! deadlines, each not knowing whether its operation took effect. What was proposed before stays
//! unknown until the write ends, and is acknowledged then, or not at all.

mod pace;
mod room;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::cluster::Cluster;
use crate::config::LimitsSection;
use crate::consensus::Leadership;
use crate::env::{Disk, Env};
use crate::guard::hand_over;
use crate::metrics::Metrics;
use crate::wal::Wal;

pub use pace::Pace;
pub use room::Room;

/// The disk is looked at this often: at 500 MB/s it fills by less than half of the default reserve.
const LOOK_EVERY: Duration = Duration::from_millis(500);
const HAND_OVER: Duration = Duration::from_secs(3);
/// Where all disks are full or slow, leadership would go round and round.
const HAND_OVER_AGAIN: Duration = Duration::from_mins(1);

/// What was seen last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Storage {
    /// How much the disk still takes.
    pub room: Room,
    /// Bytes free when that began.
    pub free: u64,
    /// How fast it takes it.
    pub pace: Pace,
}

impl Storage {
    /// Whether a leader with this disk begins anything new.
    pub fn takes_more(&self) -> bool {
        self.room == Room::Enough && self.pace < Pace::Stalled
    }

    fn is_fit_to_lead(&self) -> bool {
        self.room == Room::Enough && self.pace == Pace::Prompt
    }
}

/// Asks the disk, says what follows, and lets a leader hand over; ends when the node drains.
pub async fn watch_storage<E: Env>(
    cluster: Arc<Cluster<E>>,
    wal: Wal<E::Disk>,
    metrics: Arc<Metrics>,
    limits: LimitsSection,
    storage: watch::Sender<Storage>,
    mut stopping: watch::Receiver<bool>,
) {
    let mut handed_over: Option<Instant> = None;
    let mut leadership = cluster.consensus.leadership();
    while !*stopping.borrow() {
        let before = *storage.borrow();
        let now = Storage {
            pace: pace(&cluster.env, &wal, &metrics, &limits),
            ..room(&cluster.env, &metrics, before, limits.disk_reserve_bytes)
        };
        if now != before {
            say(before, now, &limits);
            storage.send_replace(now);
        }
        let leads = matches!(*leadership.borrow_and_update(), Leadership::Leader { .. });
        let clock = cluster.env.monotonic();
        let again = |at: Instant| clock.saturating_duration_since(at) >= HAND_OVER_AGAIN;
        if now.is_fit_to_lead() {
            handed_over = handed_over.filter(|at| !again(*at));
        } else if leads && handed_over.is_none() {
            handed_over = hand_over(&cluster, HAND_OVER).await.then_some(clock);
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            _ = leadership.changed() => {}
            _ = stopping.changed() => {}
        }
    }
}

fn room<E: Env>(env: &E, metrics: &Metrics, before: Storage, reserve: u64) -> Storage {
    let free = match env.disk().free_bytes() {
        Ok(free) => free,
        Err(problem) => {
            tracing::warn!(%problem, "the disk does not say what is free");
            return before;
        }
    };
    metrics.disk_free.set(free);
    match before.room.next(free, reserve) {
        room if room == before.room => before,
        room => Storage {
            room,
            free,
            ..before
        },
    }
}

fn pace<E: Env>(env: &E, wal: &Wal<E::Disk>, metrics: &Metrics, limits: &LimitsSection) -> Pace {
    let (writes, now) = (wal.write_times(), env.monotonic());
    let longest = writes.longest(now).as_micros();
    metrics
        .log_write_longest
        .set(u64::try_from(longest).unwrap_or(u64::MAX));
    let [slow, stalled] =
        [limits.slow_write_ms, limits.stalled_write_ms].map(Duration::from_millis);
    Pace::of(&writes, now, slow, stalled)
}

fn say(before: Storage, now: Storage, limits: &LimitsSection) {
    let (free, reserve) = (now.free, limits.disk_reserve_bytes);
    match now.room {
        room if room == before.room => {}
        Room::Enough => tracing::info!(free, "there is room on the disk again"),
        room => tracing::error!(free, reserve, ?room, "the disk is nearly full"),
    }
    match now.pace {
        pace if pace == before.pace => {}
        Pace::Prompt => tracing::info!("the disk writes promptly again"),
        Pace::Slow => tracing::warn!(slow_ms = limits.slow_write_ms, "the disk is slow"),
        Pace::Stalled => {
            tracing::error!(stalled_ms = limits.stalled_write_ms, "a write does not end");
        }
    }
}
