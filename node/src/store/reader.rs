//! Reading a ledger while it grows.

use std::ops::Range;
use std::sync::Arc;

use candor_ledger::digest::ChainHash;
use candor_ledger::ids::{Seq, TreeSize};
use candor_ledger::tree::{
    Frontier, NodeHash, Nodes, PathError, consistency_path, inclusion_path, leaf_hash, root_at,
};
use tokio::sync::watch;

use super::entries::NotRead;
use super::{Damage, Shared, StoreError, bytes_of, read_locked};
use crate::env::Disk;

/// A view of everything that has been appended entirely; clones are cheap.
///
/// Whatever comes from the disk is compared with what stands beside it: an entry with its leaf in
/// the tree, a node with its children, a checkpoint with its checksum, a value with its hash. So a
/// changed byte is an error that names file and place, never an answer.
pub struct LedgerReader<D: Disk>(pub(super) Arc<Shared<D>>);

impl<D: Disk> Clone for LedgerReader<D> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

/// The end of a ledger at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tip {
    /// How many entries there are.
    pub size: TreeSize,
    /// The chain head.
    pub head: ChainHash,
    /// The root of the tree.
    pub root: NodeHash,
}

impl<D: Disk> LedgerReader<D> {
    pub(super) fn new(shared: Arc<Shared<D>>) -> Self {
        Self(shared)
    }

    /// Size, chain head and root, all of the same moment.
    pub fn tip(&self) -> Tip {
        let published = read_locked(&self.0.published);
        Tip {
            size: TreeSize(published.size),
            head: published.head,
            root: published.root,
        }
    }

    /// How many entries there are.
    pub fn size(&self) -> TreeSize {
        self.tip().size
    }

    /// The chain head.
    pub fn head(&self) -> ChainHash {
        self.tip().head
    }

    /// The chain head when the ledger had `size` entries.
    ///
    /// # Errors
    /// [`StoreError::Beyond`] above the present size; damage.
    pub fn head_at(&self, size: TreeSize) -> Result<ChainHash, StoreError> {
        let tip = self.tip();
        match size.last() {
            _ if size == tip.size => Ok(tip.head),
            None => Ok(ChainHash::EMPTY),
            Some(last) => Ok(ChainHash::of(&self.entry(last)?)),
        }
    }

    /// The bytes of one entry, without LF.
    ///
    /// # Errors
    /// [`StoreError::Beyond`] when there is none yet; damage.
    pub fn entry(&self, seq: Seq) -> Result<Vec<u8>, StoreError> {
        let end = seq.size_including().map_or(seq, |size| Seq(size.0));
        let mut found = self.entries(seq..end, 0)?;
        Ok(found
            .pop()
            .expect("invariant: a range that is not empty has at least one entry"))
    }

    /// Entries of a range, in order: at least one unless the range is empty, then as many as take
    /// `bytes_max` bytes at most. The caller asks again for the rest.
    ///
    /// # Errors
    /// [`StoreError::Beyond`] when the range ends above the present size; damage.
    pub fn entries(&self, range: Range<Seq>, bytes_max: u64) -> Result<Vec<Vec<u8>>, StoreError> {
        self.noted(self.read_entries(range, bytes_max))
    }

    /// The root when the ledger had `size` entries.
    ///
    /// # Errors
    /// [`StoreError::Beyond`] above the present size; damage.
    pub fn root_at(&self, size: TreeSize) -> Result<NodeHash, StoreError> {
        self.0.within(size.0)?;
        self.noted(root_at(&*self.0, size))
    }

    /// The right edge of the tree of `size` entries, from which it can be grown.
    ///
    /// # Errors
    /// [`StoreError::Beyond`] above the present size; damage.
    pub fn frontier(&self, size: TreeSize) -> Result<Frontier, StoreError> {
        self.0.within(size.0)?;
        let complete = (0..u64::BITS)
            .rev()
            .filter(|level| size.0 >> level & 1 == 1);
        let nodes = complete.map(|level| {
            let index = (size.0 >> level) - 1;
            let level = u8::try_from(level).expect("invariant: a u64 has 64 bits");
            self.0.node(level, index)
        });
        let nodes: Result<Vec<NodeHash>, StoreError> = nodes.collect();
        let frontier = Frontier::from_nodes(size, self.noted(nodes)?);
        Ok(frontier.expect("invariant: one node for each bit of a size that is here"))
    }

    /// The inclusion path of an entry in the tree of `size` entries.
    ///
    /// # Errors
    /// [`StoreError::Beyond`] when the entry is not in that tree, or the size above the present
    /// one; damage.
    pub fn inclusion(&self, seq: Seq, size: TreeSize) -> Result<Vec<NodeHash>, StoreError> {
        self.0.within(size.0)?;
        self.noted(inclusion_path(&*self.0, seq, size).map_err(path_error))
    }

    /// The consistency path between two sizes.
    ///
    /// # Errors
    /// [`StoreError::NoPath`] when `old` is above `new`, or 0 while `new` is not;
    /// [`StoreError::Beyond`]; damage.
    pub fn consistency(&self, old: TreeSize, new: TreeSize) -> Result<Vec<NodeHash>, StoreError> {
        self.0.within(new.0)?;
        self.noted(consistency_path(&*self.0, old, new).map_err(path_error))
    }

    /// The kept signed note of exactly this size.
    ///
    /// # Errors
    /// Damage.
    pub fn checkpoint(&self, size: TreeSize) -> Result<Option<String>, StoreError> {
        self.noted(self.0.checkpoints.read(&self.0.disk, size))
    }

    /// The newest kept signed note and its size.
    ///
    /// # Errors
    /// Damage.
    pub fn latest_checkpoint(&self) -> Result<Option<(TreeSize, String)>, StoreError> {
        self.note_of(|| self.0.checkpoints.newest())
    }

    /// The smallest kept signed note that covers an entry, and its size.
    ///
    /// # Errors
    /// Damage.
    pub fn first_checkpoint_covering(
        &self,
        seq: Seq,
    ) -> Result<Option<(TreeSize, String)>, StoreError> {
        let Some(size) = seq.size_including() else {
            return Ok(None);
        };
        self.note_of(|| self.0.checkpoints.at_least(size.0))
    }

    /// The sizes of all kept checkpoints, ascending.
    pub fn checkpoints(&self) -> Vec<TreeSize> {
        let kept = self.0.checkpoints.kept().by_size;
        kept.into_keys().map(TreeSize).collect()
    }

    /// A value by its SHA3-256; `None` when it is not here.
    ///
    /// # Errors
    /// [`StoreError::ValueDamaged`] when its bytes do not hash to that name any more; it is
    /// missing from then on, until it is put anew.
    pub fn value(&self, tenant: &str, hash: &[u8; 32]) -> Result<Option<Vec<u8>>, StoreError> {
        self.noted(self.0.values.read(&self.0.disk, tenant, hash))
    }

    /// Whether a value is here, without reading it.
    pub fn has_value(&self, tenant: &str, hash: &[u8; 32]) -> bool {
        self.0.values.has(tenant, hash)
    }

    /// What any reader has found damaged since the start, as it grows.
    pub fn damages(&self) -> watch::Receiver<Vec<Damage>> {
        self.0.register.watch()
    }

    fn read_entries(&self, range: Range<Seq>, bytes_max: u64) -> Result<Vec<Vec<u8>>, StoreError> {
        self.0.within(range.end.0)?;
        let (mut from, until) = (range.start.0, range.end.0);
        let (mut found, mut bytes) = (Vec::new(), 0_u64);
        while from < until {
            let left = bytes_max.saturating_sub(bytes);
            let run = self.0.run(from, until, left)?;
            let first = run.first().map_or(0, |entry| bytes_of(entry) + 1);
            if !found.is_empty() && first > left {
                break;
            }
            for entry in run {
                (from, bytes) = (from + 1, bytes + bytes_of(&entry) + 1);
                found.push(entry);
            }
            if bytes >= bytes_max {
                break;
            }
        }
        Ok(found)
    }

    /// Every way out of here passes this place: damage is never known to one caller alone.
    pub(super) fn noted<T>(&self, read: Result<T, StoreError>) -> Result<T, StoreError> {
        read.inspect_err(|error| self.0.register.note(error))
    }

    /// Reads the note of the size that `choose` names; again when it was dropped in between.
    fn note_of(
        &self,
        choose: impl Fn() -> Option<TreeSize>,
    ) -> Result<Option<(TreeSize, String)>, StoreError> {
        while let Some(size) = choose() {
            if let Some(note) = self.checkpoint(size)? {
                return Ok(Some((size, note)));
            }
        }
        Ok(None)
    }
}

impl<D: Disk> Shared<D> {
    pub(super) fn within(&self, asked: u64) -> Result<(), StoreError> {
        let size = TreeSize(read_locked(&self.published).size);
        if asked > size.0 {
            return Err(StoreError::Beyond { asked, size });
        }
        Ok(())
    }

    /// Entries of one file, each compared with its leaf.
    pub(super) fn run(
        &self,
        from: u64,
        until: u64,
        bytes_max: u64,
    ) -> Result<Vec<Vec<u8>>, StoreError> {
        let entries = self.unchecked_run(from, until, bytes_max)?;
        let leaves = self.leaves(from, entries.len())?;
        for ((seq, entry), stored) in (from..).zip(&entries).zip(leaves) {
            let leaf = leaf_hash(entry);
            if leaf != stored {
                return Err(self.blame_entry(seq, &leaf, &stored));
            }
        }
        Ok(entries)
    }

    pub(super) fn unchecked_run(
        &self,
        from: u64,
        until: u64,
        bytes_max: u64,
    ) -> Result<Vec<Vec<u8>>, StoreError> {
        let run = self.entries.run(from, until, bytes_max);
        run.map_err(|error| match error {
            NotRead::Store(error) => error,
            NotRead::NoLine(seq) => self.blame_line(seq),
        })
    }

    fn leaves(&self, from: u64, count: usize) -> Result<Vec<NodeHash>, StoreError> {
        // What is in memory is a suffix: with the first leaf all are there.
        if let Some(leaves) = self.recent_leaves(from, count) {
            return Ok(leaves);
        }
        self.tree.stored(0, from, count)
    }

    fn recent_leaves(&self, from: u64, count: usize) -> Option<Vec<NodeHash>> {
        let published = read_locked(&self.published);
        let leaves = (from..)
            .take(count)
            .map(|seq| published.recent.node(0, seq));
        leaves.collect()
    }
}

impl<D: Disk> Nodes for Shared<D> {
    type Error = StoreError;

    /// From memory as it was computed, or from the disk if it agrees with what it stands over.
    fn node(&self, level: u8, index: u64) -> Result<NodeHash, StoreError> {
        let recent = read_locked(&self.published).recent.node(level, index);
        if let Some(node) = recent {
            return Ok(node);
        }
        let stored = self.tree.stored_one(level, index)?;
        if self.recomputed(level, index)? == stored {
            return Ok(stored);
        }
        Err(self.blame_node(level, index))
    }
}

pub(super) fn path_error(error: PathError<StoreError>) -> StoreError {
    match error {
        PathError::IndexOutsideTree { index, size } => StoreError::Beyond {
            asked: index.0,
            size,
        },
        PathError::NoPath { old, new } => StoreError::NoPath { old, new },
        PathError::Nodes(error) => error,
    }
}
