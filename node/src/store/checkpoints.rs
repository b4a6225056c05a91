//! Checkpoint files: one signed note each, named by its size.
//!
//! Which are kept is a function of the Raft log and stands in the marker, with the CRC-32C of each
//! note: a changed byte is found without its signatures being checked, and without a second file.
//! What thinning asks of a note stands beside it, so that nobody has to read them all at a start.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, RwLock};

use candor_ledger::checkpoint::Checkpoint;
use candor_ledger::ids::TreeSize;
use candor_ledger::time::Micros;

use super::dirty::Dirty;
use super::thinning::{ThinAges, Thinner};
use super::{StoreError, names, read_locked, write_locked};
use crate::env::{Disk, DiskFile, OpenMode};

/// The kept checkpoints; changed by apply, read by everybody.
#[derive(Default)]
pub(super) struct Checkpoints(RwLock<Index>);

/// What is known of a kept note without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// CRC-32C of its bytes.
    pub crc: u32,
    /// Time of its seal.
    pub sealed: Micros,
    /// The next one taken was signed with other keys.
    pub last_of_keys: bool,
}

/// The kept notes of a ledger, as its marker has them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeptNotes {
    /// By size.
    pub by_size: BTreeMap<u64, Kept>,
    /// Id of the key set that the newest is signed by; zeros before the first.
    pub keyset: [u8; 32],
}

#[derive(Default)]
struct Index {
    kept: KeptNotes,
    /// Dropped, but their files are still named by the durable marker.
    dropped: BTreeSet<u64>,
}

impl Checkpoints {
    pub(super) fn new(kept: KeptNotes) -> Self {
        let dropped = BTreeSet::new();
        Self(RwLock::new(Index { kept, dropped }))
    }

    /// Writes a note that is newer than all kept; the same note again is no change.
    pub(super) fn put<D: Disk>(
        &self,
        disk: &D,
        dirty: &Dirty<D>,
        checkpoint: &Checkpoint,
        note: &str,
    ) -> Result<(), StoreError> {
        let crc = crc32c::crc32c(note.as_bytes());
        let size = checkpoint.size;
        let refused = |problem: String| StoreError::BadCheckpoint { size, problem };
        if self.crc(size) == Some(crc) {
            return Ok(());
        }
        if let Some((newest, kept)) = read_locked(&self.0).kept.by_size.last_key_value()
            && (*newest >= size.0 || kept.sealed > checkpoint.sealed)
        {
            let sealed = kept.sealed;
            return Err(refused(format!(
                "the newest is of size `{newest}`, sealed at `{sealed}`"
            )));
        }
        let path: Arc<str> = names::checkpoint(size.0).into();
        let file = Arc::new(disk.open(&path, OpenMode::Create)?);
        file.set_len(0)?;
        file.write_all_at(note.as_bytes(), 0)?;
        dirty.file(&path, &file);
        dirty.dir(names::CHECKPOINTS);
        write_locked(&self.0).kept.push(checkpoint, crc);
        Ok(())
    }

    /// Stops keeping a checkpoint; its file goes once a durable marker does not name it.
    pub(super) fn drop_kept(&self, size: TreeSize) -> bool {
        let mut index = write_locked(&self.0);
        index.drop_kept(size.0)
    }

    /// Drops what the time of the newest makes superfluous, and says how many those are.
    pub(super) fn thin(&self, thinner: &mut Thinner, ages: ThinAges) -> usize {
        let mut index = write_locked(&self.0);
        let superfluous = thinner.superfluous(&index.kept.by_size, ages);
        for size in &superfluous {
            index.drop_kept(*size);
        }
        superfluous.len()
    }

    /// Unlinks dropped files that the marker just made durable does not name.
    pub(super) fn unlink_dropped<D: Disk>(
        &self,
        disk: &D,
        dirty: &Dirty<D>,
        named: &KeptNotes,
    ) -> Result<(), StoreError> {
        let free = |size: &u64| !named.by_size.contains_key(size);
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
    pub(super) fn kept(&self) -> KeptNotes {
        read_locked(&self.0).kept.clone()
    }

    /// The smallest kept size that is at least `size`.
    pub(super) fn at_least(&self, size: u64) -> Option<TreeSize> {
        let index = read_locked(&self.0);
        index
            .kept
            .by_size
            .range(size..)
            .next()
            .map(|(size, _)| TreeSize(*size))
    }

    /// The newest kept size.
    pub(super) fn newest(&self) -> Option<TreeSize> {
        let index = read_locked(&self.0);
        let newest = index.kept.by_size.last_key_value();
        newest.map(|(size, _)| TreeSize(*size))
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

    pub(super) fn crc(&self, size: TreeSize) -> Option<u32> {
        let index = read_locked(&self.0);
        index.kept.by_size.get(&size.0).map(|kept| kept.crc)
    }
}

impl KeptNotes {
    /// Adds a note that is newer than all here.
    fn push(&mut self, checkpoint: &Checkpoint, crc: u32) {
        if let Some(mut newest) = self.by_size.last_entry() {
            newest.get_mut().last_of_keys = self.keyset != checkpoint.keyset;
        }
        self.keyset = checkpoint.keyset;
        let kept = Kept {
            crc,
            sealed: checkpoint.sealed,
            last_of_keys: false,
        };
        self.by_size.insert(checkpoint.size.0, kept);
    }
}

impl Index {
    fn drop_kept(&mut self, size: u64) -> bool {
        let was_kept = self.kept.by_size.remove(&size).is_some();
        if was_kept {
            self.dropped.insert(size);
        }
        was_kept
    }
}
