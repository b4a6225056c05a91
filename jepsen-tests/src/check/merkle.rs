//! RFC 6962 section 2.1, a second time: the product's own tree is what is on trial.

use candor_ledger::digest::sha256_parts;

pub(super) type Hash = [u8; 32];

pub(super) fn leaf(entry: &[u8]) -> Hash {
    sha256_parts(&[&[0], entry])
}

fn inner(left: &Hash, right: &Hash) -> Hash {
    sha256_parts(&[&[1], left, right])
}

/// Roots of a growing tree.
#[derive(Default)]
pub(super) struct Tree {
    /// Roots of complete subtrees from the left, greatest first, each with its number of leaves.
    complete: Vec<(u64, Hash)>,
}

impl Tree {
    pub(super) fn push(&mut self, leaf: Hash) {
        let (mut width, mut hash) = (1, leaf);
        while let Some((_, left)) = self.complete.pop_if(|(left_width, _)| *left_width == width) {
            hash = inner(&left, &hash);
            width *= 2;
        }
        self.complete.push((width, hash));
    }

    /// `None` of no leaves: nothing signs that.
    pub(super) fn root(&self) -> Option<Hash> {
        let (_, last) = self.complete.last()?;
        let left = self.complete.iter().rev().skip(1);
        Some(left.fold(*last, |right, (_, left)| inner(left, &right)))
    }
}

/// The root that an inclusion path leads to (RFC 9162 section 2.1.3.2); `None` when its length is not
/// that of this place.
pub(super) fn root_of_path(leaf: Hash, index: u64, size: u64, path: &[Hash]) -> Option<Hash> {
    let mut last = size.checked_sub(1)?;
    let (mut at, mut hash) = (index, leaf);
    if index > last {
        return None;
    }
    for sibling in path {
        if last == 0 {
            return None;
        }
        if at % 2 == 1 || at == last {
            hash = inner(sibling, &hash);
            while at % 2 == 0 && at != 0 {
                (at, last) = (at / 2, last / 2);
            }
        } else {
            hash = inner(&hash, sibling);
        }
        (at, last) = (at / 2, last / 2);
    }
    (last == 0).then_some(hash)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test")]
    use candor_ledger::ids::{Seq, TreeSize};
    use candor_ledger::tree::{MemoryNodes, inclusion_path, leaf_hash, root_at};

    use super::*;

    #[test]
    fn roots_and_paths_are_those_of_the_products_tree() {
        let (mut tree, mut nodes) = (Tree::default(), MemoryNodes::new());
        let entry = |at: u64| at.to_be_bytes();
        for size in 1..=70 {
            tree.push(leaf(&entry(size - 1)));
            nodes.push(leaf_hash(&entry(size - 1)));
            let root = tree.root();
            assert_eq!(
                root,
                Some(root_at(&nodes, TreeSize(size)).unwrap().0),
                "{size}"
            );
            for index in 0..size {
                let path = inclusion_path(&nodes, Seq(index), TreeSize(size)).unwrap();
                let path: Vec<Hash> = path.into_iter().map(|hash| hash.0).collect();
                let of = |path: &[Hash]| root_of_path(leaf(&entry(index)), index, size, path);
                assert_eq!(of(&path), root, "{index} of {size}");
                assert_ne!(of(&[&path[..], &[[7; 32]]].concat()), root, "longer");
                assert!(path.is_empty() || of(&path[1..]) != root, "shorter");
            }
        }
    }
}
