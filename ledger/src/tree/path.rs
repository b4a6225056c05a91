//! Roots of earlier sizes and the paths of proofs, read from complete nodes.

use super::{NodeHash, Nodes, empty_root, node_hash};
use crate::ids::{Seq, TreeSize};

/// The root of the tree when it had `size` entries.
///
/// Cost: one read for each bit set in `size`.
///
/// # Errors
/// When a node cannot be read, as where the tree is smaller.
pub fn root_at<N: Nodes + ?Sized>(nodes: &N, size: TreeSize) -> Result<NodeHash, N::Error> {
    range_root(nodes, 0, size.0)
}

/// The inclusion path (RFC 6962 section 2.1.1) of an entry in the tree of `size` entries, from the
/// leaf upwards.
///
/// Cost: at most 2 log2(size) reads. The path of the only entry of a tree is empty.
///
/// # Errors
/// When the tree does not hold the entry or a node cannot be read.
pub fn inclusion_path<N: Nodes + ?Sized>(
    nodes: &N,
    index: Seq,
    size: TreeSize,
) -> Result<Vec<NodeHash>, PathError<N::Error>> {
    if !size.covers(index) {
        return Err(PathError::IndexOutsideTree { index, size });
    }
    let mut path = Vec::new();
    let (mut start, mut end) = (0, size.0);
    while end - start > 1 {
        let middle = start + split(end - start);
        if index.0 < middle {
            path.push(range_root(nodes, middle, end)?);
            end = middle;
        } else {
            path.push(range_root(nodes, start, middle)?);
            start = middle;
        }
    }
    path.reverse();
    Ok(path)
}

/// The consistency path (RFC 6962 section 2.1.2) between the trees of `old` and `new` entries,
/// from the bottom upwards.
///
/// Cost: at most 2 log2(new) reads. The path between equal sizes is empty.
///
/// # Errors
/// When `old` is above `new`, or 0 while `new` is not (every tree extends the empty one, and the
/// RFC defines no proof of it); when a node cannot be read.
pub fn consistency_path<N: Nodes + ?Sized>(
    nodes: &N,
    old: TreeSize,
    new: TreeSize,
) -> Result<Vec<NodeHash>, PathError<N::Error>> {
    if old > new || (old.0 == 0 && new.0 > 0) {
        return Err(PathError::NoPath { old, new });
    }
    let mut path = Vec::new();
    let (mut start, mut end) = (0, new.0);
    while old.0 < end {
        let middle = start + split(end - start);
        if old.0 <= middle {
            path.push(range_root(nodes, middle, end)?);
            end = middle;
        } else {
            path.push(range_root(nodes, start, middle)?);
            start = middle;
        }
    }
    // From 0 the rest is the old tree itself, whose root the verifier has.
    if start > 0 {
        path.push(range_root(nodes, start, end)?);
    }
    path.reverse();
    Ok(path)
}

/// Why a path could not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError<E> {
    /// The caller asked for an entry outside the tree.
    #[error("entry `{index}` is not in a tree of size `{size}`")]
    IndexOutsideTree {
        /// The position asked for.
        index: Seq,
        /// The size of the tree.
        size: TreeSize,
    },
    /// The caller asked for a path between sizes that have none.
    #[error("no consistency path leads from size `{old}` to size `{new}`")]
    NoPath {
        /// The size that is to be the older one.
        old: TreeSize,
        /// The size that is to be the newer one.
        new: TreeSize,
    },
    /// A node could not be read.
    #[error(transparent)]
    Nodes(#[from] E),
}

/// The greatest power of two below `width`, which is above 1.
fn split(width: u64) -> u64 {
    1 << (width - 1).ilog2()
}

/// The root of the entries from `start` up to `end`, as a subtree of a tree that is split as the
/// RFC says: `start` is then a multiple of a power of two not below the width, so that every bit
/// of the width stands for one complete node.
fn range_root<N: Nodes + ?Sized>(nodes: &N, start: u64, end: u64) -> Result<NodeHash, N::Error> {
    let mut root = None;
    let (mut end, mut width) = (end, end - start);
    while width > 0 {
        let level = width.trailing_zeros();
        let in_u8 = u8::try_from(level).expect("invariant: a u64 has 64 bits");
        let left = nodes.node(in_u8, (end >> level) - 1)?;
        root = root.map_or(Some(left), |right| Some(node_hash(&left, &right)));
        (end, width) = (end - (1 << level), width & (width - 1));
    }
    Ok(root.unwrap_or_else(empty_root))
}
