//! Writing the marker beside apply.

use std::sync::Arc;

use candor_ledger::ids::TreeSize;
use candor_ledger::planted;

use super::marker::{self, Marker};
use super::{Shared, StoreError, locked, tails};
use crate::consensus::LogPos;
use crate::env::Disk;

/// What stood in a ledger at one boundary between two entries of the Raft log, not yet durable.
#[derive(Clone, Debug)]
pub struct MarkerDraft {
    pub(super) marker: Marker,
    /// Where the last line of the last file of entries ends; what the offsets should say, and cannot be
    /// believed to.
    pub(super) lines_end: u64,
}

impl MarkerDraft {
    /// How many entries it counts.
    pub fn size(&self) -> TreeSize {
        self.marker.size
    }

    /// The log id whose outcome it counts last. It must be on this node's own disk, in the Raft
    /// log, before the draft is written.
    pub fn last_applied(&self) -> Option<LogPos> {
        self.marker.last_applied
    }
}

/// Makes markers durable; owned by one background lane.
pub struct MarkerWriter<D: Disk> {
    shared: Arc<Shared<D>>,
    newest: Marker,
    /// Of the newest, as in a draft.
    lines_end: u64,
    /// Last applied log id of the other slot; `None` where that slot is not readable.
    older_applied: Option<LogPos>,
    stopped: bool,
}

impl<D: Disk> MarkerWriter<D> {
    pub(super) fn new(
        shared: Arc<Shared<D>>,
        newest: Marker,
        lines_end: u64,
        older_applied: Option<LogPos>,
    ) -> Self {
        Self {
            shared,
            newest,
            lines_end,
            older_applied,
            stopped: false,
        }
    }

    /// Makes everything durable that the draft counts, then the marker itself, then removes the
    /// checkpoints that it names no more.
    ///
    /// Returns after fsync of values, entries, offsets, tree, checkpoints and their directories,
    /// and of the slot. A crash at any point leaves the earlier marker or this one.
    ///
    /// # Errors
    /// [`StoreError::BadMarker`] for a draft older than the newest marker. [`StoreError::Damaged`] or an
    /// unreadable file before anything was written: the draft may be tried again. After an error behind which
    /// [`MarkerWriter::has_stopped`] it is unknown what is durable: the process must end.
    pub fn write(&mut self, draft: MarkerDraft) -> Result<&Marker, StoreError> {
        if self.stopped {
            return Err(StoreError::Stopped);
        }
        let mut next = draft.marker;
        if next.size < self.newest.size || next.last_applied < self.newest.last_applied {
            return Err(StoreError::BadMarker {
                offered: next.size,
                durable: self.newest.size,
            });
        }
        next.generation = self.newest.generation + 1;
        let Shared {
            disk,
            dirty,
            checkpoints,
            repairing,
            ..
        } = &*self.shared;
        let _no_repair = locked(repairing);
        next.tails = tails::of(&self.shared, next.size.0, draft.lines_end)?;
        self.stopped = true;
        if !planted!("marker-before-files") {
            dirty.take().sync(disk)?;
        }
        marker::write(disk, &next)?;
        // A crash here leaves files that the marker does not name; the next start removes them.
        checkpoints.unlink_dropped(disk, dirty, &next.checkpoints)?;
        self.stopped = false;
        self.older_applied = self.newest.last_applied;
        self.newest = next;
        self.lines_end = draft.lines_end;
        Ok(&self.newest)
    }

    /// Writes the newest marker into both slots again, one after the other, with the last blocks as the
    /// files have them by now: they may have been repaired.
    ///
    /// # Errors
    /// As [`MarkerWriter::write`].
    pub fn again(&mut self) -> Result<(), StoreError> {
        if self.stopped {
            return Err(StoreError::Stopped);
        }
        let _no_repair = locked(&self.shared.repairing);
        let tails = tails::of(&self.shared, self.newest.size.0, self.lines_end)?;
        self.stopped = true;
        for _ in 0..2 {
            let mut next = self.newest.clone();
            next.generation += 1;
            next.tails.clone_from(&tails);
            marker::write(&self.shared.disk, &next)?;
            self.older_applied = self.newest.last_applied;
            self.newest = next;
        }
        self.stopped = false;
        Ok(())
    }

    /// Whether a write has failed, and it is unknown what is durable.
    pub fn has_stopped(&self) -> bool {
        self.stopped
    }

    /// The newest durable marker.
    pub fn newest(&self) -> &Marker {
        &self.newest
    }

    /// Up to where the Raft log may be purged: the log id of the OLDER slot, so that a start which
    /// can read only that one still finds the log it needs.
    pub fn purgeable(&self) -> Option<LogPos> {
        if planted!("purge-early") {
            return self.newest.last_applied;
        }
        self.older_applied
    }
}
