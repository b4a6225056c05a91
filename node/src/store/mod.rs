//! The ledger on disk, the values beside it, and the marker that says what of them is durable.
//!
//! ```text
//! ledger/entries/000000000000.jsonl      entries, one a line           (entries.rs)
//! ledger/entries/000000000000.offsets    where each line ends
//! ledger/tree/00-000000000000            complete nodes of one level   (tree.rs)
//! ledger/checkpoints/0000000000000042    signed notes                  (checkpoints.rs)
//! values/<tenant>/00000000.pack          values of one tenant          (values.rs)
//! marker.0, marker.1                     what is durable               (marker.rs)
//! repair                                 a repair that is under way    (redo.rs)
//! ```
//!
//! Three handles share one ledger. [`Ledger`] writes and belongs to apply. [`LedgerReader`] reads
//! only what has been appended entirely, in any number of tasks. [`MarkerWriter`] makes durable
//! what a [`MarkerDraft`] counts while apply goes on: all files are append-only, so syncing more
//! than was counted does no harm.
//!
//! Nothing is durable until a marker that counts it has been written. A start cuts everything to
//! the marker, and the Raft log is applied again from there; the same commands make the same
//! bytes. Files under `ledger/` depend on the entries and kept checkpoints alone, so nodes with
//! equal markers have equal folders.
//!
//! Calls block on the disk and are short: appends and reads go to the page cache. Only
//! [`MarkerWriter::write`] waits for the device.

mod checkpoints;
pub(crate) mod codec;
mod damage;
mod dirty;
mod entries;
mod error;
mod install;
mod marker;
mod marker_writer;
mod names;
mod open_files;
mod reader;
mod recover;
mod redo;
mod register;
mod repair;
mod tails;
mod thinning;
mod tiles;
mod tree;
mod values;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytes::Bytes;

use candor_ledger::checkpoint::Checkpoint;
use candor_ledger::digest::ChainHash;
use candor_ledger::ids::{Seq, TreeSize};
use candor_ledger::tree::NodeHash;

use crate::consensus::LogPos;
use crate::env::Disk;

pub use self::checkpoints::{Kept, KeptNotes};
pub use self::entries::{ENTRIES_PER_FILE, ENTRY_BYTES_MAX};
pub use self::error::StoreError;
pub use self::install::{InstallError, Target};
pub use self::marker::Marker;
pub use self::marker_writer::{MarkerDraft, MarkerWriter};
pub use self::reader::{LedgerReader, Tip};
pub use self::register::{Damage, DamageKind, ledger_damage};
pub use self::repair::{Repaired, Repairer, Stretch, Walk};
pub use self::thinning::ThinAges;
pub use self::values::{HashedValue, PACK_BYTES_MAX};

use self::checkpoints::Checkpoints;
use self::dirty::Dirty;
use self::entries::{EntryFiles, EntryWriter};
use self::register::Register;
use self::thinning::Thinner;
use self::tree::{RecentNodes, TreeFiles, TreeWriter};
use self::values::{PackWriter, Values};

/// Numbers that decide how bytes are spread over files. Nodes of one origin must agree on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Entries in one file of entries, and nodes in one file of the tree.
    pub entries_per_file: u64,
    /// Length from which on a pack gets no further frame.
    pub pack_bytes_max: u64,
}

impl Default for Layout {
    fn default() -> Self {
        Self {
            entries_per_file: ENTRIES_PER_FILE,
            pack_bytes_max: PACK_BYTES_MAX,
        }
    }
}

/// The writing half of a ledger: owned by apply, one at a time.
pub struct Ledger<D: Disk> {
    shared: Arc<Shared<D>>,
    entries: EntryWriter<D>,
    tree: TreeWriter<D>,
    thinner: Thinner,
    /// A write has failed: the files may hold part of it, which only a restart cuts away.
    stopped: bool,
}

/// What [`Ledger::open`] found.
pub struct Opened<D: Disk> {
    /// The ledger at exactly the marker's size.
    pub ledger: Ledger<D>,
    /// Writes the next markers.
    pub markers: MarkerWriter<D>,
    /// The marker that everything was cut to.
    pub marker: Marker,
    /// Why the other slot of the marker could not be read; the older generation was used then.
    pub slot_lost: Option<String>,
    /// Files that were written to: a repair had been cut off, or a last block is not as the marker has
    /// it, because the power went while a later write to that block was under way, or it went bad.
    pub restored: Vec<String>,
    /// Packs that could not be indexed to their end; the values behind the damage are missing
    /// here until a peer sends them.
    pub values_damaged: Vec<StoreError>,
}

/// What the three handles share.
struct Shared<D: Disk> {
    disk: D,
    /// What readers may see; written by apply at the end of each append.
    published: RwLock<Published>,
    entries: EntryFiles<D>,
    tree: TreeFiles<D>,
    checkpoints: Checkpoints,
    values: Values,
    /// The ends of the packs: apply writes values there, and so does whoever fetches missing ones.
    packs: Mutex<PackWriter<D>>,
    dirty: Dirty<D>,
    register: Register,
    /// Held while a file is repaired in place, and while a marker is written.
    repairing: Mutex<()>,
}

struct Published {
    size: u64,
    head: ChainHash,
    root: NodeHash,
    recent: RecentNodes,
}

impl<D: Disk> Ledger<D> {
    /// Opens the ledger in a node's folder, cut to its newest readable marker.
    ///
    /// A folder without marker and entries becomes an empty ledger with a durable marker. Checked
    /// are all lengths, the last entry against the chain head and the tree's frontier against the
    /// root; the rest is checked when it is read.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] names the first file that holds less than the marker says, or
    /// something else; nothing has been changed then. [`StoreError::MarkerLost`] when no slot is
    /// readable, or both are gone while there are entries.
    pub fn open(disk: D) -> Result<Opened<D>, StoreError> {
        Self::open_with(disk, Layout::default())
    }

    /// As [`Ledger::open`], with files of other sizes.
    pub fn open_with(disk: D, layout: Layout) -> Result<Opened<D>, StoreError> {
        recover::open(disk, layout)
    }

    /// Appends entries, each without its LF, and returns the new size.
    ///
    /// Readers see all of them or none. Nothing is durable yet.
    ///
    /// # Errors
    /// [`StoreError::BadEntry`] before anything is written; after any other error this ledger
    /// takes no more writes, and the node must restart.
    pub fn append<B: AsRef<[u8]>>(&mut self, entries: &[B]) -> Result<TreeSize, StoreError> {
        let size = self.size();
        for (seq, entry) in (size.0..).zip(entries) {
            entries::check(Seq(seq), entry.as_ref())?;
        }
        let Some(last) = entries.last() else {
            return Ok(size);
        };
        let head = ChainHash::of(last.as_ref());
        self.write(|ledger| {
            ledger.entries.append(&ledger.shared.dirty, entries)?;
            let grown = ledger.tree.append(&ledger.shared.dirty, entries)?;
            let mut published = write_locked(&ledger.shared.published);
            published.size += u64_of(entries.len());
            published.head = head;
            published.root = ledger.tree.root();
            published.recent.extend(grown);
            Ok(TreeSize(published.size))
        })
    }

    /// Keeps the signed note of a checkpoint, whose text it carries; the same note again is no
    /// change.
    ///
    /// # Errors
    /// [`StoreError::BadCheckpoint`] when it differs from the one kept or is not newer than all.
    pub fn put_checkpoint(
        &mut self,
        checkpoint: &Checkpoint,
        note: &str,
    ) -> Result<(), StoreError> {
        let appended = self.size();
        if checkpoint.size > appended {
            let asked = checkpoint.size.0;
            return Err(StoreError::Beyond {
                asked,
                size: appended,
            });
        }
        self.write(|ledger| {
            let Shared {
                disk,
                dirty,
                checkpoints,
                ..
            } = &*ledger.shared;
            checkpoints.put(disk, dirty, checkpoint, note)
        })
    }

    /// Stops keeping what the newest checkpoint makes superfluous (`thinning.rs`), and says how
    /// many those are. Their files are removed once a durable marker does not name them any more.
    pub fn thin_checkpoints(&mut self, ages: ThinAges) -> usize {
        self.shared.checkpoints.thin(&mut self.thinner, ages)
    }

    /// Stops keeping the note of a size, and says whether it was kept. Its file is removed once a
    /// durable marker does not name it any more.
    pub fn drop_checkpoint(&mut self, size: TreeSize) -> bool {
        self.shared.checkpoints.drop_kept(size)
    }

    /// Stores a value under its SHA3-256; `false` when it was there already.
    ///
    /// Cost: one write.
    ///
    /// # Errors
    /// [`StoreError::BadValue`] for a tenant without a name.
    pub fn put_value(&mut self, tenant: &str, value: HashedValue<'_>) -> Result<bool, StoreError> {
        self.write(|ledger| ledger.shared.put_value(tenant, value))
    }

    /// Counts what stands here now, after the outcome of log id `last_applied` and before that of
    /// the next; [`MarkerWriter::write`] makes it durable.
    ///
    /// Cost: copies the list of kept checkpoints and packs.
    pub fn draft_marker(
        &self,
        last_applied: Option<LogPos>,
        membership: Option<Bytes>,
        sealed: TreeSize,
    ) -> MarkerDraft {
        let published = read_locked(&self.shared.published);
        let marker = Marker {
            generation: 0,
            size: TreeSize(published.size),
            head: published.head,
            root: published.root,
            last_applied,
            membership,
            sealed,
            checkpoints: self.shared.checkpoints.kept(),
            packs: self.shared.values.lengths(),
            tails: Vec::new(),
        };
        MarkerDraft {
            marker,
            lines_end: self.entries.end(),
        }
    }

    /// How many entries there are.
    pub fn size(&self) -> TreeSize {
        TreeSize(read_locked(&self.shared.published).size)
    }

    /// The kept checkpoints, each with the CRC-32C of its note.
    pub fn kept_checkpoints(&self) -> std::collections::BTreeMap<u64, u32> {
        let kept = self.shared.checkpoints.kept().by_size.into_iter();
        kept.map(|(size, kept)| (size, kept.crc)).collect()
    }

    /// A handle that writes beside this one what was damaged or never came.
    pub fn repairer(&self) -> Repairer<D> {
        Repairer::new(Arc::clone(&self.shared))
    }

    /// A reader of this ledger.
    pub fn reader(&self) -> LedgerReader<D> {
        LedgerReader::new(Arc::clone(&self.shared))
    }

    /// Runs a write; an error of the system leaves the files in an unknown state.
    fn write<T>(
        &mut self,
        write: impl FnOnce(&mut Self) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        if self.stopped {
            return Err(StoreError::Stopped);
        }
        let done = write(self);
        self.stopped = matches!(done, Err(StoreError::Io(_)));
        done
    }
}

impl<D: Disk> Shared<D> {
    /// Stores a value under its hash; `false` when it was there already.
    fn put_value(&self, tenant: &str, value: HashedValue<'_>) -> Result<bool, StoreError> {
        locked(&self.packs).put(&self.values, &self.dirty, tenant, value)
    }
}

fn bytes_of(bytes: &[u8]) -> u64 {
    u64_of(bytes.len())
}

fn u64_of(count: usize) -> u64 {
    u64::try_from(count).expect("invariant: a usize is 64 bits")
}

/// A lock is poisoned only by a panic between two assignments; each leaves the content valid.
fn locked<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read_locked<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write_locked<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
