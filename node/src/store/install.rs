//! Growing a ledger that was just opened to a sealed size, from entries that came from elsewhere.
//!
//! Nothing of it counts before the marker at the end is durable: a start that finds the old marker cuts
//! everything away again, so a crash leaves the ledger as it was or as it should be.

use std::collections::BTreeMap;

use bytes::Bytes;
use candor_ledger::checkpoint::Checkpoint;
use candor_ledger::digest::ChainHash;
use candor_ledger::ids::TreeSize;
use candor_ledger::note::Note;
use candor_ledger::tree::NodeHash;

use super::{Opened, StoreError};
use crate::consensus::LogPos;
use crate::env::Disk;

/// Entries appended at once.
const RUN_ENTRIES: usize = 1_024;

/// Entries after which what was written is synced: bounds the files held open for the marker, and
/// spreads the disk's work.
const SYNC_ENTRIES: u64 = 1 << 20;

/// Where the ledger shall stand.
#[derive(Clone, Debug)]
pub struct Target<'a> {
    /// The log id whose outcome it is.
    pub at: LogPos,
    /// Raft membership there.
    pub membership: Bytes,
    /// Entries.
    pub size: TreeSize,
    /// Root at that size, from a checkpoint that was verified.
    pub root: NodeHash,
    /// Chain head at that size, from the same.
    pub head: ChainHash,
    /// Size of the newest checkpoint taken by then.
    pub sealed: TreeSize,
    /// The checkpoints kept by then, each with the CRC-32C of its note.
    pub kept: &'a BTreeMap<u64, u32>,
}

/// Why a ledger was not grown; a start from the old marker finds it as it was.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// The entries are not those that were sealed.
    #[error("what was fetched is not what was sealed: {0}")]
    Differs(String),
    /// The ledger's own files, or the disk.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl<D: Disk> Opened<D> {
    /// Appends entries from the present size on, exchanges the kept checkpoints, and makes both
    /// durable in one marker.
    ///
    /// A note that `note` does not have is not kept: a later command of the Raft log has dropped it
    /// on every node that was asked, and drops nothing here.
    ///
    /// # Errors
    /// [`InstallError`]; this handle is of no more use then.
    pub fn grow_to(
        mut self,
        target: &Target<'_>,
        entries: &mut dyn Iterator<Item = std::io::Result<Vec<u8>>>,
        note: &dyn Fn(TreeSize) -> std::io::Result<Option<String>>,
    ) -> Result<Self, InstallError> {
        self.append_until(target.size, entries)?;
        let tip = self.ledger.reader().tip();
        if (tip.size, tip.root, tip.head) != (target.size, target.root, target.head) {
            let found = format!("at size `{}` there are root `{:?}`", tip.size, tip.root);
            return Err(InstallError::Differs(found));
        }
        let own = self.ledger.kept_checkpoints();
        for size in own.keys().filter(|size| !target.kept.contains_key(size)) {
            self.ledger.drop_checkpoint(TreeSize(*size));
        }
        let newest = own.last_key_value().map_or(0, |(size, _)| *size);
        for size in target.kept.keys().filter(|size| **size > newest) {
            let size = TreeSize(*size);
            if let Some(note) = note(size).map_err(StoreError::from)? {
                let checkpoint = checkpoint_of(&note, size).ok_or_else(|| {
                    InstallError::Differs(format!("the note of size `{size}` is none"))
                })?;
                self.ledger.put_checkpoint(&checkpoint, &note)?;
            }
        }
        let membership = Some(target.membership.clone());
        let draft = self
            .ledger
            .draft_marker(Some(target.at), membership, target.sealed);
        self.marker = self.markers.write(draft)?.clone();
        Ok(self)
    }

    fn append_until(
        &mut self,
        size: TreeSize,
        entries: &mut dyn Iterator<Item = std::io::Result<Vec<u8>>>,
    ) -> Result<(), InstallError> {
        let mut synced = self.ledger.size().0;
        while self.ledger.size() < size {
            let left = size.0 - self.ledger.size().0;
            let left = usize::try_from(left).unwrap_or(usize::MAX).min(RUN_ENTRIES);
            let run: std::io::Result<Vec<Vec<u8>>> = Iterator::take(&mut *entries, left).collect();
            let run = run.map_err(StoreError::from)?;
            if run.is_empty() {
                let found = format!("the entries end at `{}`", self.ledger.size());
                return Err(InstallError::Differs(found));
            }
            let grown = self.ledger.append(&run)?.0;
            if grown - synced >= SYNC_ENTRIES {
                let shared = &self.ledger.shared;
                let taken = shared.dirty.take();
                taken.sync(&shared.disk).map_err(StoreError::from)?;
                synced = grown;
            }
        }
        Ok(())
    }
}

fn checkpoint_of(note: &str, size: TreeSize) -> Option<Checkpoint> {
    let note = Note::parse(note.as_bytes()).ok()?;
    let checkpoint = Checkpoint::parse(&note.text).ok()?;
    (checkpoint.size == size).then_some(checkpoint)
}
