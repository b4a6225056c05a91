//! Snapshots by verified files: how the Raft log gets an end, and how a node that needs what is gone
//! gets the ledger nevertheless.
//!
//! A snapshot is (j, s): s a sealed size, j the log id of the closing command that made it. Its
//! manifest ([`manifest`]) travels through Raft; entries and notes are asked of any peer, checked and
//! put aside ([`fetch`], [`incoming`]); then the upper half of the node starts again, grows its ledger
//! to s, writes its own marker at (j, s) and begins its Raft log behind j ([`install`]). State never
//! travels: it is folded.
//!
//! ```text
//! apply:  seal at j ........ checkpoint s            -> Shelf::sealed
//! lane:   ........ two markers at or above j         -> Shelf::durable: (j, s) may be offered
//! purge:  the log has grown: `snapshot` file, then openraft purges up to an older j   (purge.rs)
//! ```
//!
//! What is kept of checkpoints at j is a function of the Raft log, so it stands in the manifest. A
//! note of that list which peers have dropped since is not fetched and not kept: only a command behind
//! j can have dropped it, the receiver applies that command too, and it never asks for more than that
//! the list be thinned: an element that would go goes whether others are there or not.

pub mod fetch;
pub mod incoming;
pub mod install;
pub mod manifest;
pub mod purge;
pub mod roster;
pub mod values;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use candor_ledger::ids::TreeSize;
use tokio::sync::watch;
use tokio::time::Instant;

pub use self::manifest::Manifest;
use crate::consensus::{LogPos, Receiving, Snapshot, Snapshots};
use crate::env::Disk;

/// The snapshot that the start of the Raft log rests on.
const FILE: &str = "snapshot";

/// How long a leader is waited for that shall hear of an install before this node goes away for it: it
/// asks twice a second.
const TOLD_WITHIN: Duration = Duration::from_secs(5);

/// How long the log is kept for a member that has just installed: it takes the rest from the log.
const GRACE: Duration = Duration::from_mins(1);

/// The node's snapshots: those it can offer, the one it is offered, and who is being sent one.
#[derive(Clone)]
pub struct Shelf(Arc<Inner>);

struct Inner {
    state: Mutex<State>,
    offer: watch::Sender<Option<Arc<Offer>>>,
    progress: watch::Sender<Progress>,
    /// Somebody was answered that this node installs.
    told: watch::Sender<bool>,
    /// Entries under the newest durable marker.
    marked: watch::Sender<TreeSize>,
}

#[derive(Default)]
struct State {
    newest: Option<Arc<Manifest>>,
    /// Sealed, and above the older of the two markers: the oldest such and the newest.
    waiting: VecDeque<Manifest>,
    sends: BTreeMap<u64, Sent>,
}

/// A snapshot on its way to a member.
#[derive(Clone, Copy, Debug)]
struct Sent {
    at: LogPos,
    ended: Option<Instant>,
}

/// What a leader offered to this node.
#[derive(Clone, Debug)]
pub struct Offer {
    /// The leader.
    pub from: u64,
    /// What it offered.
    pub manifest: Manifest,
}

/// How far this node is with receiving a snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// What it does.
    pub stage: Stage,
    /// Entries it has.
    pub done: u64,
    /// Entries it needs.
    pub total: u64,
    /// Notes of kept checkpoints it has; they follow the entries.
    pub notes: u64,
    /// Bytes of entries and notes fetched since the process started.
    pub bytes: u64,
    /// The peer asked last.
    pub source: Option<u64>,
    /// Wall clock at which this began, in microseconds.
    pub since: Option<u64>,
    /// Sources that were refused since the process started.
    pub refused: u64,
}

/// A stage of receiving.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stage {
    /// Nothing is received.
    #[default]
    Idle,
    /// Entries and notes are fetched and checked.
    Fetching,
    /// All is here; the node starts again with it.
    Installing,
}

impl Shelf {
    /// The shelf of a node that has applied up to `applied`, with the snapshot its folder holds.
    ///
    /// # Errors
    /// The disk's.
    pub fn load<D: Disk>(
        disk: &D,
        applied: Option<LogPos>,
        size: TreeSize,
    ) -> std::io::Result<Self> {
        let found = Manifest::load(disk, FILE)?;
        let newest = found
            .filter(|found| Some(found.at) <= applied)
            .map(Arc::new);
        let state = State {
            newest,
            ..State::default()
        };
        Ok(Self(Arc::new(Inner {
            state: Mutex::new(state),
            offer: watch::channel(None).0,
            progress: watch::channel(Progress::default()).0,
            told: watch::channel(false).0,
            marked: watch::channel(size).0,
        })))
    }

    /// A checkpoint was taken of a size whose closing command was applied before: called by apply.
    pub fn sealed(&self, manifest: Manifest) {
        let mut state = self.state();
        // The oldest waits for the markers; of the others only the newest is of use.
        state.waiting.truncate(1);
        state.waiting.push_back(manifest);
    }

    /// Both markers stand at or above `older`, the newest over `size` entries: called by their lane.
    pub fn durable(&self, older: Option<LogPos>, size: TreeSize) {
        let mut state = self.state();
        while let Some(first) = state.waiting.pop_front() {
            if Some(first.at) > older {
                state.waiting.push_front(first);
                break;
            }
            state.newest = Some(Arc::new(first));
        }
        drop(state);
        self.0.marked.send_replace(size);
    }

    /// The newest snapshot that a restart would find reached, whichever marker it reads.
    pub fn newest_manifest(&self) -> Option<Arc<Manifest>> {
        self.state().newest.clone()
    }

    /// The index behind which the log is needed by members that receive a snapshot, if any does.
    pub fn held(&self) -> Option<u64> {
        let mut state = self.state();
        let live = |sent: &Sent| sent.ended.is_none_or(|ended| ended.elapsed() < GRACE);
        state.sends.retain(|_, sent| live(sent));
        state.sends.values().map(|sent| sent.at.index).min()
    }

    /// How far this node is with receiving a snapshot.
    pub fn progress(&self) -> Progress {
        self.0.progress.borrow().clone()
    }

    /// Resolves when all is fetched, and the node shall start again to install it.
    ///
    /// The leader is told first. One that is not takes the silence of an install, which folds the whole
    /// ledger, for that of a node that died while it fetched: after [`SNAPSHOT_STALL_MAX`] it lets
    /// the log go that this node needs next, and offers a new snapshot to install.
    ///
    /// [`SNAPSHOT_STALL_MAX`]: crate::consensus::SNAPSHOT_STALL_MAX
    pub async fn ready(&self) {
        let mut progress = self.0.progress.subscribe();
        let ready = progress.wait_for(|now| now.stage == Stage::Installing);
        // The senders are in here: they cannot be gone.
        let _ = ready.await;
        let mut told = self.0.told.subscribe();
        let _ = tokio::time::timeout(TOLD_WITHIN, told.wait_for(|told| *told)).await;
    }

    /// A later one of the same ledger takes the place of an earlier: what was fetched counts for both.
    fn take_offer(&self, from: u64, manifest: Manifest) {
        self.0.offer.send_if_modified(|held| {
            let newer = held
                .as_ref()
                .is_none_or(|held| held.manifest.at < manifest.at);
            if newer {
                *held = Some(Arc::new(Offer { from, manifest }));
            }
            newer
        });
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Snapshots for Shelf {
    fn newest(&self) -> Option<Snapshot> {
        let newest = self.newest_manifest()?;
        Some(Snapshot {
            at: newest.at,
            membership: newest.membership.clone(),
            manifest: Bytes::from(newest.encode()),
        })
    }

    fn offered(&self, from: u64, at: LogPos, manifest: Option<Bytes>) -> Receiving {
        if let Some(manifest) = manifest {
            let found = Manifest::decode(&manifest).filter(|manifest| manifest.at == at);
            if let Some(manifest) = found {
                self.take_offer(from, manifest);
            } else {
                tracing::warn!(from, %at, "the offer of a snapshot is malformed; ignored");
            }
        }
        let known = self.0.offer.borrow().as_ref().map(|held| held.manifest.at);
        let progress = self.0.progress.borrow();
        match progress.stage {
            Stage::Installing => {
                self.0.told.send_replace(true);
                Receiving::Installing
            }
            _ if known < Some(at) => Receiving::Unknown,
            // Each note is asked for and verified by itself: tens of thousands take minutes, in which a
            // leader must see that something moves.
            _ => Receiving::Fetching {
                done: progress.done.saturating_add(progress.notes),
                total: progress.total,
            },
        }
    }

    fn sent(&self, to: u64, at: LogPos, receiving: Option<Receiving>) {
        let mut state = self.state();
        match receiving {
            Some(_) => {
                state.sends.insert(to, Sent { at, ended: None });
            }
            None => {
                if let Some(sent) = state.sends.get_mut(&to) {
                    sent.ended = Some(Instant::now());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
