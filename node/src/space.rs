//! A disk that is nearly full, as a state of the node that ends by itself.
//!
//! ```text
//! free >= reserve       enough     everything
//! below the reserve     low        nothing new is proposed, leadership is handed over once; what
//!                                  stands is still sealed, others' entries are still stored
//! below a quarter       exhausted  besides, no entries are taken from a leader: votes, heartbeats
//!                                  and reads that need no entry go on
//! ```
//!
//! So the disk does not run full by this node's own doing, and the quarter is left for what a stop
//! and a start write. What fills it all the same ends the process, as every failed write does: the
//! Raft log calls nothing durable that is not, and a start cuts away what was half written.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::cluster::Cluster;
use crate::consensus::Leadership;
use crate::env::{Disk, Env};
use crate::guard::hand_over;
use crate::metrics::Metrics;

/// The disk is asked this often: at 500 MB/s it fills by less than half of the default reserve.
const LOOK_EVERY: Duration = Duration::from_millis(500);
const HAND_OVER: Duration = Duration::from_secs(3);
/// Of the reserve, what a stop and a start may need.
const EXHAUSTED_SHARE: u64 = 4;
/// Above the reserve by this share of it, a state is left again: not at every freed byte.
const LEAVING_SHARE: u64 = 8;

/// How much the disk still takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Room {
    /// At least the reserve.
    #[default]
    Enough,
    /// Less than the reserve.
    Low,
    /// Less than a quarter of it.
    Exhausted,
}

/// What was seen last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Space {
    /// What follows from it.
    pub room: Room,
    /// Bytes free when that began.
    pub free: u64,
}

impl Room {
    /// The room that so many free bytes leave; a state is left later than it is entered.
    fn next(self, free: u64, reserve: u64) -> Self {
        let of = |free: u64| match free {
            free if free < reserve / EXHAUSTED_SHARE => Self::Exhausted,
            free if free < reserve => Self::Low,
            _ => Self::Enough,
        };
        let entered = of(free);
        // The other way round with less: would it still be left?
        let left = of(free.saturating_sub(reserve / LEAVING_SHARE));
        entered.max(left.min(self))
    }
}

/// Asks the disk, says what follows, and lets a leader hand over when it runs low; ends when the node
/// drains.
pub async fn watch_space<E: Env>(
    cluster: Arc<Cluster<E>>,
    metrics: Arc<Metrics>,
    reserve: u64,
    space: watch::Sender<Space>,
    mut stopping: watch::Receiver<bool>,
) {
    let mut handed_over = false;
    let mut leadership = cluster.consensus.leadership();
    while !*stopping.borrow() {
        match cluster.env.disk().free_bytes() {
            Ok(free) => {
                metrics.disk_free.set(free);
                look(&space, free, reserve);
            }
            Err(problem) => tracing::warn!(%problem, "the disk does not say what is free"),
        }
        let low = space.borrow().room > Room::Enough;
        let leads = matches!(*leadership.borrow_and_update(), Leadership::Leader { .. });
        // Once: where all disks are full, leadership would go round and round.
        if low && leads && !handed_over {
            hand_over(&cluster, HAND_OVER).await;
            handed_over = true;
        }
        handed_over &= low;
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            _ = leadership.changed() => {}
            _ = stopping.changed() => {}
        }
    }
}

fn look(space: &watch::Sender<Space>, free: u64, reserve: u64) {
    let before = space.borrow().room;
    let room = before.next(free, reserve);
    if room == before {
        return;
    }
    match room {
        Room::Enough => tracing::info!(free, "there is room on the disk again"),
        Room::Low | Room::Exhausted => {
            tracing::error!(free, reserve, ?room, "the disk is nearly full");
        }
    }
    space.send_replace(Space { room, free });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_begins_at_its_mark_and_ends_an_eighth_of_the_reserve_above() {
        let story = [
            (1_000, Room::Enough),
            (800, Room::Enough),
            (799, Room::Low),
            (899, Room::Low),
            (900, Room::Enough),
            (200, Room::Low),
            (199, Room::Exhausted),
            (299, Room::Exhausted),
            (300, Room::Low),
            (0, Room::Exhausted),
            (5_000, Room::Enough),
        ];
        let mut room = Room::Enough;
        for (free, want) in story {
            room = room.next(free, 800);
            assert_eq!(room, want, "{free} bytes free");
        }
    }
}
