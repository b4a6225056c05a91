//! The Merkle tree of RFC 6962 section 2.1 with SHA-256, as public C2SP verifiers compute it.
//!
//! ```text
//! leaf(entry)       = SHA-256(0x00 || entry)
//! node(left, right) = SHA-256(0x01 || left || right)
//! root(0 entries)   = SHA-256("")
//! root(n entries)   = node(root(first k), root(other n - k)), k the greatest power of two below n
//! ```
//!
//! A *complete* node stands over 2^level entries and never changes once its last entry is there:
//! node (level, index) covers the entries from `index << level` up to `(index + 1) << level`. Only
//! complete nodes are ever stored ([`Nodes`]); the few on the right edge are computed. Whoever
//! appends needs no more than the [`Frontier`], the roots of the complete trees that the size is
//! the sum of.
//!
//! A proof that verifies here says that SHA-256 commits the root to the entry, or to the older
//! root. Who vouches for the root is not a question of this module.

use core::fmt;

use base64::prelude::{BASE64_STANDARD, Engine as _};

use crate::digest::sha256_parts;
use crate::ids::TreeSize;

mod path;
mod verify;

pub use path::{PathError, consistency_path, inclusion_path, root_at};
pub use verify::{ProofError, verify_consistency, verify_inclusion};

/// Hash of a leaf or an inner node of the tree; the root is one too.
///
/// Text form: canonical base64, as in checkpoints and proofs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeHash(pub [u8; 32]);

/// The hash of an entry's bytes, without the line feed that ends it in files.
pub fn leaf_hash(entry: &[u8]) -> NodeHash {
    NodeHash(sha256_parts(&[&[0], entry]))
}

/// The hash over two subtrees.
pub fn node_hash(left: &NodeHash, right: &NodeHash) -> NodeHash {
    NodeHash(sha256_parts(&[&[1], &left.0, &right.0]))
}

/// The root of a tree without entries.
pub fn empty_root() -> NodeHash {
    NodeHash(sha256_parts(&[]))
}

/// What an appender remembers of a tree: its size and, from the left, the roots of the complete
/// subtrees that make it up, the largest first.
///
/// At most 64 hashes; appending costs one hash on average and as many as there are levels at most.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    nodes: Vec<NodeHash>,
}

/// A frontier read from elsewhere that cannot be one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrontierError {
    /// One complete subtree for each bit of the size, no more and no fewer.
    #[error("a tree of size `{size}` has `{expected}` frontier nodes, not `{found}`")]
    NodeCount {
        /// The size given.
        size: TreeSize,
        /// How many bits of it are set.
        expected: usize,
        /// How many nodes were given.
        found: usize,
    },
    /// The size is above [`Frontier::SIZE_MAX`].
    #[error("a ledger of `{0}` entries is larger than sequence numbers reach")]
    SizeTooLarge(TreeSize),
}

impl Frontier {
    /// The largest size: 2^53 entries, for the last one's `seq` is the greatest JSON integer.
    pub const SIZE_MAX: TreeSize = TreeSize(1 << 53);

    /// The frontier of an empty tree.
    pub fn new() -> Self {
        Self::default()
    }

    /// A frontier written down earlier.
    ///
    /// # Errors
    /// When the number of nodes is not that of the size's complete subtrees, or the size is above
    /// [`Frontier::SIZE_MAX`]. Whether the hashes are right shows in the root alone.
    pub fn from_nodes(size: TreeSize, nodes: Vec<NodeHash>) -> Result<Self, FrontierError> {
        if size > Self::SIZE_MAX {
            return Err(FrontierError::SizeTooLarge(size));
        }
        let expected = usize::try_from(size.0.count_ones()).expect("invariant: 64 is a usize");
        if nodes.len() != expected {
            let found = nodes.len();
            return Err(FrontierError::NodeCount {
                size,
                expected,
                found,
            });
        }
        Ok(Self {
            size: size.0,
            nodes,
        })
    }

    /// How many entries the tree has.
    pub fn size(&self) -> TreeSize {
        TreeSize(self.size)
    }

    /// The complete subtrees' roots, the largest first.
    pub fn nodes(&self) -> &[NodeHash] {
        &self.nodes
    }

    /// Appends an entry by its leaf hash.
    pub fn push(&mut self, leaf: NodeHash) {
        self.push_with(leaf, &mut |_, _, _| ());
    }

    /// Appends an entry and reports every node that became complete with it: its level, its index
    /// in the level and its hash, the leaf (level 0) first, then upwards.
    ///
    /// The reports of one level come in the order of its indices, so that each level can be kept
    /// as an append-only list.
    pub fn push_with(&mut self, leaf: NodeHash, report: &mut impl FnMut(u8, u64, NodeHash)) {
        let (mut level, mut index, mut hash) = (0, self.size, leaf);
        report(level, index, hash);
        // An odd index is the right child of a node that is complete now.
        while index & 1 == 1 {
            let left = self
                .nodes
                .pop()
                .expect("invariant: the frontier has a node for each bit of the size");
            (level, index, hash) = (level + 1, index >> 1, node_hash(&left, &hash));
            report(level, index, hash);
        }
        self.nodes.push(hash);
        self.size = self
            .size
            .checked_add(1)
            .expect("invariant: a frontier starts at 2^53 at most and grows by one");
    }

    /// The root of the tree.
    pub fn root(&self) -> NodeHash {
        let from_the_right = self.nodes.iter().rev().copied();
        from_the_right
            .reduce(|right, left| node_hash(&left, &right))
            .unwrap_or_else(empty_root)
    }
}

/// Where the hashes of complete nodes are kept.
pub trait Nodes {
    /// Why a node could not be read.
    type Error;

    /// The node over the entries from `index << level` up to `(index + 1) << level`.
    ///
    /// Only complete nodes within the size asked for are requested.
    ///
    /// # Errors
    /// When the node is not there or cannot be read.
    fn node(&self, level: u8, index: u64) -> Result<NodeHash, Self::Error>;
}

/// All complete nodes of a tree in memory, 64 bytes an entry: for tests and for an auditor whose
/// ledger fits.
#[derive(Clone, Debug, Default)]
pub struct MemoryNodes {
    frontier: Frontier,
    levels: Vec<Vec<NodeHash>>,
}

/// The tree has no such complete node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no complete node `{index}` on level `{level}`")]
pub struct NoSuchNode {
    /// The level asked for; leaves are level 0.
    pub level: u8,
    /// The index in that level.
    pub index: u64,
}

impl MemoryNodes {
    /// An empty tree.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends an entry by its leaf hash.
    pub fn push(&mut self, leaf: NodeHash) {
        let levels = &mut self.levels;
        self.frontier.push_with(leaf, &mut |level, _, hash| {
            let level = usize::from(level);
            if level == levels.len() {
                levels.push(Vec::new());
            }
            levels
                .get_mut(level)
                .expect("invariant: a node's children became complete before it")
                .push(hash);
        });
    }

    /// How many entries the tree has.
    pub fn size(&self) -> TreeSize {
        self.frontier.size()
    }

    /// The root of the tree.
    pub fn root(&self) -> NodeHash {
        self.frontier.root()
    }
}

impl Nodes for MemoryNodes {
    type Error = NoSuchNode;

    fn node(&self, level: u8, index: u64) -> Result<NodeHash, NoSuchNode> {
        let nodes = self.levels.get(usize::from(level));
        let node = usize::try_from(index)
            .ok()
            .and_then(|index| nodes?.get(index));
        node.copied().ok_or(NoSuchNode { level, index })
    }
}

impl fmt::Display for NodeHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE64_STANDARD.encode(self.0))
    }
}

impl fmt::Debug for NodeHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests;
