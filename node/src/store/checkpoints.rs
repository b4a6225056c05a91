//! Checkpoint files: one signed note each, named by its size.
//!
//! Which are kept is a function of the Raft log and stands in the marker, with the CRC-32C of each
//! note: a changed byte is found without its signatures being checked, and without a second file.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, RwLock};

use candor_ledger::ids::TreeSize;

use super::dirty::Dirty;
use super::{StoreError, names, read_locked, write_locked};
use crate::env::{Disk, DiskFile, OpenMode};

/// The kept checkpoints; changed by apply, read by everybody.
#[derive(Default)]
pub(super) struct Checkpoints(RwLock<Index>);

#[derive(Default)]
struct Index {
    /// Size -> CRC-32C of the note.
    kept: BTreeMap<u64, u32>,
    /// Dropped, but their files are still named by the durable marker.
    dropped: BTreeSet<u64>,
}

impl Checkpoints {
    pub(super) fn new(kept: BTreeMap<u64, u32>) -> Self {
        let dropped = BTreeSet::new();
        Self(RwLock::new(Index { kept, dropped }))
    }

    /// Writes a note that is newer than all kept; the same note again is no change.
    pub(super) fn put<D: Disk>(
        &self,
        disk: &D,
        dirty: &Dirty<D>,
        size: TreeSize,
        note: &str,
    ) -> Result<(), StoreError> {
        let crc = crc32c::crc32c(note.as_bytes());
        let refused = |problem: String| StoreError::BadCheckpoint { size, problem };
        {
            let index = read_locked(&self.0);
            if index.kept.get(&size.0) == Some(&crc) {
                return Ok(());
            }
            if let Some(newest) = index.kept.last_key_value().map(|(size, _)| *size)
                && newest >= size.0
            {
                return Err(refused(format!("the newest is of size `{newest}`")));
            }
        }
        let path: Arc<str> = names::checkpoint(size.0).into();
        let file = Arc::new(disk.open(&path, OpenMode::Create)?);
        file.set_len(0)?;
        file.write_all_at(note.as_bytes(), 0)?;
        dirty.file(&path, &file);
        dirty.dir(names::CHECKPOINTS);
        write_locked(&self.0).kept.insert(size.0, crc);
        Ok(())
    }

    /// Stops keeping a checkpoint; its file goes once a durable marker does not name it.
    pub(super) fn drop_kept(&self, size: TreeSize) -> bool {
        let mut index = write_locked(&self.0);
        let was_kept = index.kept.remove(&size.0).is_some();
        if was_kept {
            index.dropped.insert(size.0);
        }
        was_kept
    }

    /// Unlinks dropped files that the marker just made durable does not name.
    pub(super) fn unlink_dropped<D: Disk>(
        &self,
        disk: &D,
        dirty: &Dirty<D>,
        named: &BTreeMap<u64, u32>,
    ) -> Result<(), StoreError> {
        let free = |size: &u64| !named.contains_key(size);
        let gone: Vec<u64> = read_locked(&self.0)
            .dropped
            .iter()
            .copied()
            .filter(free)
            .collect();
        for size in gone {
            disk.remove_file(&names::checkpoint(size))?;
            dirty.dir(names::CHECKPOINTS);
            write_locked(&self.0).dropped.remove(&size);
        }
        Ok(())
    }

    /// What a marker says about them.
    pub(super) fn kept(&self) -> BTreeMap<u64, u32> {
        read_locked(&self.0).kept.clone()
    }

    /// The smallest kept size that is at least `size`.
    pub(super) fn at_least(&self, size: u64) -> Option<TreeSize> {
        let index = read_locked(&self.0);
        index
            .kept
            .range(size..)
            .next()
            .map(|(size, _)| TreeSize(*size))
    }

    /// The newest kept size.
    pub(super) fn newest(&self) -> Option<TreeSize> {
        let index = read_locked(&self.0);
        index.kept.last_key_value().map(|(size, _)| TreeSize(*size))
    }

    /// Reads a kept note and compares it with its checksum; `None` when it is not kept.
    pub(super) fn read<D: Disk>(
        &self,
        disk: &D,
        size: TreeSize,
    ) -> Result<Option<String>, StoreError> {
        let Some(crc) = self.crc(size) else {
            return Ok(None);
        };
        let file = names::checkpoint(size.0);
        let bytes = disk.read(&file)?;
        // It may have been dropped and unlinked since we asked.
        let (Some(_), Some(bytes)) = (self.crc(size), bytes) else {
            return match self.crc(size) {
                None => Ok(None),
                Some(_) => Err(StoreError::damaged(
                    file,
                    size.0,
                    "a signed note",
                    "nothing",
                )),
            };
        };
        let found = crc32c::crc32c(&bytes);
        let note = String::from_utf8(bytes).ok().filter(|_| found == crc);
        let damaged = || {
            let expected = format!("a note with CRC-32C `{crc:08x}`");
            StoreError::damaged(file, size.0, expected, format!("`{found:08x}`"))
        };
        note.map(Some).ok_or_else(damaged)
    }

    fn crc(&self, size: TreeSize) -> Option<u32> {
        read_locked(&self.0).kept.get(&size.0).copied()
    }
}
