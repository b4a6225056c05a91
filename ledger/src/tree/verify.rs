//! The two checks of RFC 9162 section 2.1: all that an auditor must believe about the tree.

use super::{NodeHash, empty_root, node_hash};
use crate::ids::{Seq, TreeSize};

/// Checks that the entry with this leaf hash is number `index` of the `size` entries under `root`
/// (RFC 9162 section 2.1.3.2).
///
/// # Errors
/// For every other path, however close; none is too long, too short or too strange to be refused.
pub fn verify_inclusion(
    leaf: &NodeHash,
    index: Seq,
    size: TreeSize,
    path: &[NodeHash],
    root: &NodeHash,
) -> Result<(), ProofError> {
    let climb = match size.last() {
        Some(last) if index <= last => Climb::new(index, last),
        _ => return Err(ProofError::IndexOutsideTree { index, size }),
    };
    check_length(path, climb.clone().count())?;
    let computed = path
        .iter()
        .zip(climb)
        .fold(*leaf, |hash, (sibling, side)| side.join(sibling, &hash));
    match_root(*root, computed)
}

/// Checks that the first `old` of the `new` entries under `new_root` are those under `old_root`
/// (RFC 9162 section 2.1.4.2).
///
/// Equal sizes need equal roots and an empty path. From size 0 nothing is ever proved: whoever
/// has seen no checkpoint has nothing to compare.
///
/// # Errors
/// For every other path.
pub fn verify_consistency(
    old: TreeSize,
    old_root: &NodeHash,
    new: TreeSize,
    new_root: &NodeHash,
    path: &[NodeHash],
) -> Result<(), ProofError> {
    if old > new {
        return Err(ProofError::Shrinks { old, new });
    }
    if old == new {
        return verify_same(old, *old_root, *new_root, path);
    }
    let (Some(old_last), Some(new_last)) = (old.last(), new.last()) else {
        return Err(ProofError::FromEmpty { new });
    };
    let climb = Climb::new(old_last, new_last).above_shared_right_edge();
    // The climb starts at the last complete subtree of the old tree. A power of two is all of
    // the old tree, and the verifier has its root; otherwise the path starts with it.
    let seeds = usize::from(!old.0.is_power_of_two());
    check_length(path, climb.clone().count() + seeds)?;
    let start = path.iter().take(seeds).next().unwrap_or(old_root);
    let siblings = path.iter().skip(seeds);
    let (mut older, mut newer) = (*start, *start);
    for (sibling, side) in siblings.zip(climb) {
        newer = side.join(sibling, &newer);
        // What lies to the right came after the old tree.
        if side == Side::Left {
            older = side.join(sibling, &older);
        }
    }
    match_old_root(*old_root, older)?;
    match_root(*new_root, newer)
}

/// Why a proof was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// Nothing is proved from the empty tree to another.
    #[error("nothing can be compared with an empty ledger, and size `{new}` is not empty")]
    FromEmpty {
        /// The newer size.
        new: TreeSize,
    },
    /// The position is not below the size.
    #[error("entry `{index}` is not in a tree of size `{size}`")]
    IndexOutsideTree {
        /// The position claimed.
        index: Seq,
        /// The size of the tree.
        size: TreeSize,
    },
    /// The older tree is not a prefix of the newer one, or its root is not the one known.
    #[error("the path leads to old root `{computed}`, not to `{expected}`")]
    OldRootMismatch {
        /// The older root given.
        expected: NodeHash,
        /// What the path leads to.
        computed: NodeHash,
    },
    /// The path has too many or too few hashes.
    #[error("the path has `{found}` hashes where `{expected}` belong")]
    PathLength {
        /// How many the sizes demand.
        expected: usize,
        /// How many there are.
        found: usize,
    },
    /// The path does not lead to the root given.
    #[error("the path leads to root `{computed}`, not to `{expected}`")]
    RootMismatch {
        /// The root given.
        expected: NodeHash,
        /// What the path leads to.
        computed: NodeHash,
    },
    /// The newer size is below the older one.
    #[error("size `{new}` is below the earlier size `{old}`")]
    Shrinks {
        /// The size that is to be the older one.
        old: TreeSize,
        /// The size that is to be the newer one.
        new: TreeSize,
    },
}

fn verify_same(
    size: TreeSize,
    old_root: NodeHash,
    new_root: NodeHash,
    path: &[NodeHash],
) -> Result<(), ProofError> {
    check_length(path, 0)?;
    let same = if size.0 == 0 { empty_root() } else { old_root };
    match_old_root(old_root, same)?;
    match_root(new_root, same)
}

fn check_length(path: &[NodeHash], expected: usize) -> Result<(), ProofError> {
    match path.len() {
        found if found == expected => Ok(()),
        found => Err(ProofError::PathLength { expected, found }),
    }
}

fn match_root(expected: NodeHash, computed: NodeHash) -> Result<(), ProofError> {
    if expected == computed {
        Ok(())
    } else {
        Err(ProofError::RootMismatch { expected, computed })
    }
}

fn match_old_root(expected: NodeHash, computed: NodeHash) -> Result<(), ProofError> {
    if expected == computed {
        Ok(())
    } else {
        Err(ProofError::OldRootMismatch { expected, computed })
    }
}

/// The way from a node up to the root: on which side each sibling stands that it meets.
///
/// `at` is the node's index in its level and `last` that of the level's last node, complete or
/// not (`fn` and `sn` of RFC 9162); both are 0 at the root.
#[derive(Clone)]
struct Climb {
    at: u64,
    last: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Left,
    Right,
}

impl Climb {
    fn new(at: Seq, last: Seq) -> Self {
        Self {
            at: at.0,
            last: last.0,
        }
    }

    /// Starts over at the highest node whose last entry is that of this one: every right child is
    /// the end of its parent.
    fn above_shared_right_edge(self) -> Self {
        let levels = self.at.trailing_ones();
        self.up(levels)
    }

    /// More than 63 levels up there is nothing but the root.
    fn up(&self, levels: u32) -> Self {
        Self {
            at: self.at.checked_shr(levels).unwrap_or(0),
            last: self.last.checked_shr(levels).unwrap_or(0),
        }
    }
}

impl Iterator for Climb {
    type Item = Side;

    fn next(&mut self) -> Option<Side> {
        if self.last == 0 {
            return None;
        }
        if self.at & 1 == 0 && self.at < self.last {
            *self = self.up(1);
            return Some(Side::Right);
        }
        // The last node of a level, if a left child, has no sibling: it is its own parent, as
        // often as it takes to become a right child.
        *self = self.up(self.at.trailing_zeros() + 1);
        Some(Side::Left)
    }
}

impl Side {
    fn join(self, sibling: &NodeHash, hash: &NodeHash) -> NodeHash {
        match self {
            Self::Left => node_hash(sibling, hash),
            Self::Right => node_hash(hash, sibling),
        }
    }
}
