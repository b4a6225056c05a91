//! Tree files: the complete nodes of each level, 32 bytes each, in the order they became complete.
//!
//! ```text
//! ledger/tree/<level, 2 digits>    NodeHash || NodeHash || ...
//! ```
//!
//! At size `s` level `l` has `s >> l` nodes, and a file exists from its first node on.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::{Arc, RwLock};

use candor_ledger::tree::{Frontier, NodeHash, leaf_hash};

use super::dirty::Dirty;
use super::{StoreError, names, read_locked, u64_of, write_locked};
use crate::env::{Disk, DiskFile, OpenMode};

/// Bytes of one node.
const NODE_LEN: usize = 32;
pub(super) const NODE_BYTES: u64 = 32;

/// Levels with at least one node at the largest size, 2^53.
const LEVELS_MAX: u8 = 54;

/// Nodes of each level that stay in memory: a path of one of the newest 4,096 entries is then read
/// without the disk. At most 4,096 x 32 bytes x 42 full levels = 5.5 MiB at 2^53 entries.
const RECENT_NODES: usize = 4_096;

/// How many levels have a node at this size.
pub(super) fn levels(size: u64) -> u8 {
    u8::try_from(u64::BITS - size.leading_zeros()).expect("invariant: a u64 has 64 bits")
}

/// Nodes that became complete with one append, by level: the index of the first, then all.
pub(super) type Grown = BTreeMap<u8, (u64, Vec<NodeHash>)>;

/// The right edge of the tree; owned by apply.
pub(super) struct TreeWriter<D: Disk> {
    disk: D,
    frontier: Frontier,
    files: BTreeMap<u8, (Arc<str>, Arc<D::File>)>,
}

impl<D: Disk> TreeWriter<D> {
    pub(super) fn new(disk: D, frontier: Frontier) -> Self {
        Self {
            disk,
            frontier,
            files: BTreeMap::new(),
        }
    }

    pub(super) fn root(&self) -> NodeHash {
        self.frontier.root()
    }

    /// Appends the leaves of entries and every node that they complete.
    pub(super) fn append<B: AsRef<[u8]>>(
        &mut self,
        dirty: &Dirty<D>,
        entries: &[B],
    ) -> Result<Grown, StoreError> {
        let mut grown = Grown::new();
        for entry in entries {
            let leaf = leaf_hash(entry.as_ref());
            self.frontier.push_with(leaf, &mut |level, index, hash| {
                let (_, nodes) = grown.entry(level).or_insert_with(|| (index, Vec::new()));
                nodes.push(hash);
            });
        }
        for (level, (first, nodes)) in &grown {
            let bytes: Vec<u8> = nodes.iter().flat_map(|node| node.0).collect();
            let (path, file) = self.file(dirty, *level)?;
            file.write_all_at(&bytes, first * NODE_BYTES)?;
            dirty.file(path, file);
        }
        Ok(grown)
    }

    fn file(
        &mut self,
        dirty: &Dirty<D>,
        level: u8,
    ) -> Result<&(Arc<str>, Arc<D::File>), StoreError> {
        if !self.files.contains_key(&level) {
            let path = names::level(level);
            let file = self.disk.open(&path, OpenMode::Create)?;
            dirty.dir(names::TREE);
            self.files.insert(level, (path.into(), Arc::new(file)));
        }
        Ok(self
            .files
            .get(&level)
            .expect("invariant: the branch above has opened it"))
    }
}

/// Reads tree files; shared by all readers.
pub(super) struct TreeFiles<D: Disk> {
    disk: D,
    open: RwLock<BTreeMap<u8, Arc<D::File>>>,
}

impl<D: Disk> TreeFiles<D> {
    pub(super) fn new(disk: D) -> Self {
        Self {
            disk,
            open: RwLock::default(),
        }
    }

    /// One node as the file has it.
    pub(super) fn stored_one(&self, level: u8, index: u64) -> Result<NodeHash, StoreError> {
        let nodes = self.stored(level, index, 1)?;
        Ok(*nodes
            .first()
            .expect("invariant: one node was asked for and read"))
    }

    /// Neighbouring nodes as the file has them.
    pub(super) fn stored(
        &self,
        level: u8,
        first: u64,
        count: usize,
    ) -> Result<Vec<NodeHash>, StoreError> {
        let mut nodes = vec![[0; NODE_LEN]; count];
        let bytes = nodes.as_flattened_mut();
        let read = self.file(level)?.read_at(bytes, first * NODE_BYTES)?;
        if read == bytes.len() {
            return Ok(nodes.into_iter().map(NodeHash).collect());
        }
        let index = first + u64_of(read / NODE_LEN);
        Err(damaged(level, index, "a node", "the end of the file"))
    }

    fn file(&self, level: u8) -> Result<Arc<D::File>, StoreError> {
        if let Some(file) = read_locked(&self.open).get(&level) {
            return Ok(Arc::clone(file));
        }
        let opened = self.disk.open(&names::level(level), OpenMode::Read);
        let file = opened.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => damaged(level, 0, "this file", "nothing"),
            _ => error.into(),
        })?;
        let file = Arc::new(file);
        write_locked(&self.open).insert(level, Arc::clone(&file));
        Ok(file)
    }
}

/// A node that is not what it should be; named by the first entry it covers.
pub(super) fn damaged(
    level: u8,
    index: u64,
    expected: impl Into<String>,
    found: impl Into<String>,
) -> StoreError {
    StoreError::damaged(names::level(level), index << level, expected, found)
}

/// The newest nodes of every level, as they were computed.
#[derive(Default)]
pub(super) struct RecentNodes(BTreeMap<u8, Recent>);

#[derive(Default)]
struct Recent {
    first: u64,
    nodes: VecDeque<NodeHash>,
}

impl RecentNodes {
    pub(super) fn extend(&mut self, grown: Grown) {
        for (level, (first, nodes)) in grown {
            let recent = self.0.entry(level).or_default();
            if recent.nodes.is_empty() {
                recent.first = first;
            }
            recent.nodes.extend(nodes);
            let spare = recent.nodes.len().saturating_sub(RECENT_NODES);
            recent.nodes.drain(..spare);
            recent.first += u64_of(spare);
        }
    }

    pub(super) fn node(&self, level: u8, index: u64) -> Option<NodeHash> {
        let recent = self.0.get(&level)?;
        let at = usize::try_from(index.checked_sub(recent.first)?).ok()?;
        recent.nodes.get(at).copied()
    }
}

const _: () = assert!(1_u64 << (LEVELS_MAX - 1) == Frontier::SIZE_MAX.0);
