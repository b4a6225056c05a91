//! The marker lane: makes what apply has appended durable, behind it and beside it.
//!
//! A marker is written only for a log id at or below the write-ahead log's own fsynced watermark:
//! openraft may apply an entry before this node has it on disk. A failed write ends the process,
//! because nobody knows then what the disk holds; the next start finds out.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot, watch};

use crate::apply::Applier;
use crate::cluster::MarkerRequest;
use crate::consensus::Consensus;
use crate::env::{Env, Task};
use crate::fold::Fold;
use crate::identity::LogMark;
use crate::peers::Introductions;
use crate::snapshot::Shelf;
use crate::state::Cut;
use crate::store::{MarkerDraft, MarkerWriter, StoreError};
use crate::wal::{EXIT_DISK, Wal};

/// Least time between two markers: what a restart has to apply again, at most, and a little more.
const PAUSE: Duration = Duration::from_millis(500);
/// The watermark is looked at this often; one fsync of the log lies between two looks.
const WATERMARK_EVERY: Duration = Duration::from_millis(2);

/// What the lane owns.
pub struct Markers<E: Env> {
    /// The node's seams.
    pub env: E,
    /// Its watermark bounds every marker.
    pub wal: Wal<E::Disk>,
    /// The newest boundary that apply offers.
    pub offers: Offers,
    /// Who waits for a marker at an index, or wants the newest again.
    pub requests: mpsc::Receiver<MarkerRequest>,
    /// Writes the slots.
    pub writer: MarkerWriter<E::Disk>,
    /// Is kept up to each marker.
    pub state: Fold,
    /// What peers acknowledged.
    pub consensus: Consensus<Applier<E>>,
    /// Learns what is durable.
    pub shelf: Shelf,
    /// Remembers it.
    pub introductions: Arc<Introductions<E>>,
    /// Rises when the node drains; one last marker follows.
    pub stopping: watch::Receiver<bool>,
}

/// Starts the lane.
pub fn start<E: Env>(env: &E, markers: Markers<E>) -> Task {
    env.lane("marker", move || markers.run())
}

/// Boundaries on their way from apply to the lane. Only the newest draft counts; of the cuts none
/// may be left out.
#[derive(Clone, Default)]
pub struct Offers(Arc<Shared>);

#[derive(Default)]
struct Shared {
    /// Written by apply, emptied by the lane.
    newest: Mutex<Option<(MarkerDraft, Vec<Cut>)>>,
    offered: Notify,
    /// Apply would like to go on.
    hurry: Notify,
}

impl Offers {
    /// Offers a boundary; called by apply.
    pub fn offer(&self, draft: MarkerDraft, cut: Cut) {
        let mut newest = self.newest();
        let mut cuts = newest.take().map(|(_, cuts)| cuts).unwrap_or_default();
        cuts.push(cut);
        *newest = Some((draft, cuts));
        drop(newest);
        self.0.offered.notify_one();
    }

    /// Asks the lane not to rest before the next marker; called by apply.
    pub fn hurry(&self) {
        self.0.hurry.notify_one();
    }

    fn take(&self) -> Option<(MarkerDraft, Vec<Cut>)> {
        self.newest().take()
    }

    /// Offers again what could not be written; a newer draft counts more.
    fn put_back(&self, draft: MarkerDraft, mut cuts: Vec<Cut>) {
        let mut newest = self.newest();
        let (draft, newer) = newest.take().unwrap_or((draft, Vec::new()));
        cuts.extend(newer);
        *newest = Some((draft, cuts));
    }

    fn waiting(&self) -> bool {
        self.newest().is_some()
    }

    async fn offered(&self) {
        self.0.offered.notified().await;
    }

    fn newest(&self) -> MutexGuard<'_, Option<(MarkerDraft, Vec<Cut>)>> {
        self.0.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<E: Env> Markers<E> {
    async fn run(mut self) {
        let mut waiting: Vec<(u64, oneshot::Sender<u64>)> = Vec::new();
        loop {
            let stopping = *self.stopping.borrow_and_update();
            self.write_newest().await;
            let written = self.writer.newest().last_applied.map_or(0, |at| at.index);
            let (answered, still): (Vec<_>, Vec<_>) = waiting
                .into_iter()
                .partition(|(index, _)| *index <= written);
            waiting = still;
            for (_, reply) in answered {
                let _ = reply.send(written);
            }
            if stopping {
                self.state.end_keeping();
                return;
            }
            // Whatever is heard while resting is looked at before anything is waited for again: a
            // request may be about a marker that is written already, and no boundary follows it.
            if waiting.is_empty() {
                tokio::select! {
                    () = tokio::time::sleep(PAUSE) => {}
                    () = self.offers.0.hurry.notified() => {}
                    Some(request) = self.requests.recv() => {
                        waiting.extend(self.hear(request));
                        continue;
                    }
                    _ = self.stopping.changed() => continue,
                }
            }
            if !self.offers.waiting() {
                tokio::select! {
                    () = self.offers.offered() => {}
                    Some(request) = self.requests.recv() => waiting.extend(self.hear(request)),
                    _ = self.stopping.changed() => {}
                }
            }
        }
    }

    /// Who has to wait for a marker at an index; anything else is done at once.
    fn hear(&mut self, request: MarkerRequest) -> Option<(u64, oneshot::Sender<u64>)> {
        match request {
            MarkerRequest::At { index, reply } => Some((index, reply)),
            MarkerRequest::Again { reply } => {
                match self.writer.again() {
                    Ok(()) => _ = reply.send(()),
                    Err(problem) => self.put_off(&problem),
                }
                None
            }
        }
    }

    async fn write_newest(&mut self) {
        let Some((draft, cuts)) = self.offers.take() else {
            return;
        };
        let index = draft.last_applied().map_or(0, |at| at.index);
        while self
            .wal
            .durable_index()
            .is_none_or(|durable| durable < index)
        {
            tokio::time::sleep(WATERMARK_EVERY).await;
        }
        if let Err(problem) = self.writer.write(draft.clone()) {
            self.put_off(&problem);
            self.offers.put_back(draft, cuts);
            return tokio::time::sleep(PAUSE).await;
        }
        let (older, size) = (self.writer.purgeable(), self.writer.newest().size);
        self.shelf.durable(older, size);
        if let Err(problem) = self.note_peers() {
            tracing::warn!(%problem, "what peers acknowledged was not written");
        }
        let durable = self.writer.newest().size;
        for cut in &cuts {
            if let Err(problem) = self.state.keep(cut, durable) {
                tracing::error!(%problem, "the state's store has failed; the ledger is folded again");
            }
        }
    }

    /// While the end of a file is damaged there is no marker, as it would have the damage in it. The verifier is
    /// at it. Anything else ends the process.
    fn put_off(&self, problem: &StoreError) {
        if self.writer.has_stopped() || matches!(problem, StoreError::BadMarker { .. }) {
            let why = format!("the marker cannot be written: {problem}");
            self.env.exit(EXIT_DISK, &why)
        }
        tracing::error!(%problem, "no marker is written until this is healed");
    }

    /// Only what is committed: the tail that a peer acknowledged beyond it may still be replaced.
    fn note_peers(&self) -> Result<(), crate::identity::IdentityError> {
        let status = self.consensus.status();
        let Some(committed) = status.committed else {
            return Ok(());
        };
        let marks = status
            .peers
            .iter()
            .filter(|(id, _)| **id != status.node)
            .filter_map(|(id, peer)| {
                let at = peer.matched?.min(committed);
                Some((
                    *id,
                    LogMark {
                        term: at.term,
                        index: at.index,
                    },
                ))
            });
        self.introductions.note_acknowledged(marks)
    }
}
