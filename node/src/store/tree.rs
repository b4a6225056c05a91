//! Tree files: the complete nodes of each level, 32 bytes each, in the order they became complete.
//!
//! ```text
//! ledger/tree/<level, 2 digits>-<index of the first node, 12 digits>    NodeHash || NodeHash || ...
//! ```
//!
//! A file holds as many nodes as a file of entries holds entries, so the leaves of one lie in one.
//! At size `s` level `l` has `s >> l` nodes, and a file exists from its first node on.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;

use candor_ledger::tree::{Frontier, NodeHash, leaf_hash};

use super::dirty::Dirty;
use super::open_files::OpenFiles;
use super::{StoreError, names, u64_of};
use crate::env::{Disk, DiskFile, OpenMode};

/// Bytes of one node.
const NODE_LEN: usize = 32;
pub(super) const NODE_BYTES: u64 = 32;

/// Levels with at least one node at the largest size, 2^53.
const LEVELS_MAX: u8 = 54;

/// Files held open for readers: the last of each level, and as many again.
const OPEN_FILES_MAX: usize = 64;

/// Nodes of each level that stay in memory: a path of one of the newest 4,096 entries is then read
/// without the disk. At most 4,096 x 32 bytes x 42 full levels = 5.5 MiB at 2^53 entries.
const RECENT_NODES: usize = 4_096;

/// How many levels have a node at this size.
pub(super) fn levels(size: u64) -> u8 {
    u8::try_from(u64::BITS - size.leading_zeros()).expect("invariant: a u64 has 64 bits")
}

/// One file of nodes at some size of the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TreeFile {
    pub(super) level: u8,
    /// Index of its first node.
    pub(super) first: u64,
    /// Nodes in it.
    pub(super) count: u64,
    /// It takes no more.
    pub(super) whole: bool,
}

impl TreeFile {
    pub(super) fn name(&self) -> String {
        names::nodes(self.level, self.first)
    }

    pub(super) fn bytes(&self) -> u64 {
        self.count * NODE_BYTES
    }
}

/// All files of nodes at this size, level by level.
pub(super) fn files(size: u64, per_file: u64) -> impl Iterator<Item = TreeFile> {
    let step = usize::try_from(per_file).unwrap_or(usize::MAX);
    (0..levels(size)).flat_map(move |level| {
        let nodes = size >> level;
        (0..nodes).step_by(step).map(move |first| TreeFile {
            level,
            first,
            count: per_file.min(nodes - first),
            whole: nodes - first >= per_file,
        })
    })
}

/// Nodes that became complete with one append, by level: the index of the first, then all.
pub(super) type Grown = BTreeMap<u8, (u64, Vec<NodeHash>)>;

/// The right edge of the tree; owned by apply.
pub(super) struct TreeWriter<D: Disk> {
    disk: D,
    per_file: u64,
    frontier: Frontier,
    /// The file that each level goes on in.
    current: BTreeMap<u8, Current<D::File>>,
}

struct Current<F> {
    first: u64,
    path: Arc<str>,
    file: Arc<F>,
}

impl<D: Disk> TreeWriter<D> {
    pub(super) fn new(disk: D, per_file: u64, frontier: Frontier) -> Self {
        Self {
            disk,
            per_file,
            frontier,
            current: BTreeMap::new(),
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
            self.append_level(dirty, *level, *first, nodes)?;
        }
        Ok(grown)
    }

    /// Appends neighbours of one level, to as many files as they reach into.
    fn append_level(
        &mut self,
        dirty: &Dirty<D>,
        level: u8,
        first: u64,
        nodes: &[NodeHash],
    ) -> Result<(), StoreError> {
        let (mut index, mut rest) = (first, nodes);
        while !rest.is_empty() {
            let at = index % self.per_file;
            let room = usize::try_from(self.per_file - at).unwrap_or(usize::MAX);
            let (run, later) = rest.split_at(room.min(rest.len()));
            let bytes: Vec<u8> = run.iter().flat_map(|node| node.0).collect();
            let current = self.file(dirty, level, index - at)?;
            current.file.write_all_at(&bytes, at * NODE_BYTES)?;
            dirty.file(&current.path, &current.file);
            index += u64_of(run.len());
            rest = later;
        }
        Ok(())
    }

    fn file(
        &mut self,
        dirty: &Dirty<D>,
        level: u8,
        first: u64,
    ) -> Result<&Current<D::File>, StoreError> {
        let current = self.current.get(&level);
        if current.is_none_or(|current| current.first != first) {
            let path: Arc<str> = names::nodes(level, first).into();
            let file = Arc::new(self.disk.open(&path, OpenMode::Create)?);
            dirty.dir(names::TREE);
            self.current.insert(level, Current { first, path, file });
        }
        Ok(self
            .current
            .get(&level)
            .expect("invariant: the branch above has opened it"))
    }
}

/// Reads tree files; shared by all readers.
pub(super) struct TreeFiles<D: Disk> {
    disk: D,
    per_file: u64,
    /// By level and index of the first node.
    open: OpenFiles<(u8, u64), D::File>,
}

impl<D: Disk> TreeFiles<D> {
    pub(super) fn new(disk: D, per_file: u64) -> Self {
        Self {
            disk,
            per_file,
            open: OpenFiles::new(OPEN_FILES_MAX),
        }
    }

    pub(super) fn per_file(&self) -> u64 {
        self.per_file
    }

    /// One node as the file has it.
    pub(super) fn stored_one(&self, level: u8, index: u64) -> Result<NodeHash, StoreError> {
        let nodes = self.stored(level, index, 1)?;
        Ok(*nodes
            .first()
            .expect("invariant: one node was asked for and read"))
    }

    /// Neighbouring nodes as their files have them.
    pub(super) fn stored(
        &self,
        level: u8,
        first: u64,
        count: usize,
    ) -> Result<Vec<NodeHash>, StoreError> {
        let mut nodes = vec![[0; NODE_LEN]; count];
        let (mut index, mut rest) = (first, nodes.as_mut_slice());
        while !rest.is_empty() {
            let at = index % self.per_file;
            let room = usize::try_from(self.per_file - at).unwrap_or(usize::MAX);
            let (run, later) = rest.split_at_mut(room.min(rest.len()));
            let bytes = run.as_flattened_mut();
            let read = self.file(level, index)?.read_at(bytes, at * NODE_BYTES)?;
            if read < bytes.len() {
                let index = index + u64_of(read / NODE_LEN);
                return Err(self.damaged(level, index, "a node", "the end of the file"));
            }
            index += u64_of(run.len());
            rest = later;
        }
        Ok(nodes.into_iter().map(NodeHash).collect())
    }

    /// A node that is not what it should be; named by the first entry it covers.
    pub(super) fn damaged(
        &self,
        level: u8,
        index: u64,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> StoreError {
        let file = names::nodes(level, self.first_of(index));
        StoreError::damaged(file, index << level, expected, found)
    }

    /// The first node of the file that holds the one at `index`.
    fn first_of(&self, index: u64) -> u64 {
        index - index % self.per_file
    }

    fn file(&self, level: u8, index: u64) -> Result<Arc<D::File>, StoreError> {
        let first = self.first_of(index);
        let open = || self.disk.open(&names::nodes(level, first), OpenMode::Read);
        let opened = self.open.file((level, first), open);
        opened.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => self.damaged(level, first, "this file", "nothing"),
            _ => error.into(),
        })
    }
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
