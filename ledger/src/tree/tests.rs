#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test")]
use core::convert::Infallible;
use std::collections::BTreeMap;

use ct_merkle::mem_backed_tree::MemoryBackedTree;
use ct_merkle::{ConsistencyProof, InclusionProof, RootHash};
use proptest::prelude::*;
use sha2::Sha256;

use super::*;
use crate::ids::Seq;

/// Every size, index and pair of sizes up to here is tried.
const SIZES: u64 = 300;

fn entry(index: u64) -> Vec<u8> {
    format!("entry {index}").into_bytes()
}

fn tree_of(size: u64) -> MemoryNodes {
    let mut nodes = MemoryNodes::new();
    (0..size).for_each(|index| nodes.push(leaf_hash(&entry(index))));
    nodes
}

/// The definitions of RFC 6962 section 2.1, recursive as they stand there, over the entries from
/// `start` up to `end`; what was computed once is remembered.
#[derive(Default)]
struct Definition {
    known: BTreeMap<(u64, u64), NodeHash>,
}

impl Definition {
    fn mth(&mut self, start: u64, end: u64) -> NodeHash {
        if let Some(hash) = self.known.get(&(start, end)) {
            return *hash;
        }
        let hash = match end - start {
            0 => NodeHash(sha256_parts(&[])),
            1 => NodeHash(sha256_parts(&[&[0], &entry(start)])),
            n => {
                let middle = start + Self::k(n);
                let (left, right) = (self.mth(start, middle), self.mth(middle, end));
                NodeHash(sha256_parts(&[&[1], &left.0, &right.0]))
            }
        };
        self.known.insert((start, end), hash);
        hash
    }

    fn path(&mut self, m: u64, start: u64, end: u64) -> Vec<NodeHash> {
        let n = end - start;
        if n == 1 {
            return Vec::new();
        }
        let (k, middle) = (Self::k(n), start + Self::k(n));
        if m < k {
            let mut path = self.path(m, start, middle);
            path.push(self.mth(middle, end));
            path
        } else {
            let mut path = self.path(m - k, middle, end);
            path.push(self.mth(start, middle));
            path
        }
    }

    fn proof(&mut self, m: u64, n: u64) -> Vec<NodeHash> {
        self.subproof(m, 0, n, true)
    }

    fn subproof(&mut self, m: u64, start: u64, end: u64, all_known: bool) -> Vec<NodeHash> {
        let n = end - start;
        if m == n {
            return if all_known {
                Vec::new()
            } else {
                vec![self.mth(start, end)]
            };
        }
        let (k, middle) = (Self::k(n), start + Self::k(n));
        if m <= k {
            let mut proof = self.subproof(m, start, middle, all_known);
            proof.push(self.mth(middle, end));
            proof
        } else {
            let mut proof = self.subproof(m - k, middle, end, false);
            proof.push(self.mth(start, middle));
            proof
        }
    }

    fn k(n: u64) -> u64 {
        let mut k = 1;
        while k * 2 < n {
            k *= 2;
        }
        k
    }
}

#[test]
fn every_root_and_path_up_to_the_bound_is_that_of_the_definition() {
    let mut definition = Definition::default();
    let nodes = tree_of(SIZES);
    let mut frontier = Frontier::new();
    for size in 0..=SIZES {
        let (size, root) = (TreeSize(size), definition.mth(0, size));
        assert_eq!(root_at(&nodes, size), Ok(root), "size {size}");
        assert_eq!(frontier.root(), root, "size {size}");
        let again = Frontier::from_nodes(size, frontier.nodes().to_vec()).unwrap();
        assert_eq!(again, frontier);
        for index in (0..size.0).map(Seq) {
            let path = inclusion_path(&nodes, index, size).unwrap();
            assert_eq!(
                path,
                definition.path(index.0, 0, size.0),
                "{index} of {size}"
            );
            let leaf = leaf_hash(&entry(index.0));
            assert_eq!(verify_inclusion(&leaf, index, size, &path, &root), Ok(()));
        }
        for old in (1..=size.0).map(TreeSize) {
            let path = consistency_path(&nodes, old, size).unwrap();
            assert_eq!(path, definition.proof(old.0, size.0), "{old} to {size}");
            let old_root = definition.mth(0, old.0);
            let verdict = verify_consistency(old, &old_root, size, &root, &path);
            assert_eq!(verdict, Ok(()), "{old} to {size}");
        }
        frontier.push(leaf_hash(&entry(size.0)));
    }
}

#[test]
fn a_proof_holds_for_one_position_and_one_size_alone() {
    const TRIED: u64 = 40;
    let nodes = tree_of(TRIED);
    let roots: Vec<NodeHash> = (0..=TRIED)
        .map(|size| root_at(&nodes, TreeSize(size)).unwrap())
        .collect();
    let leaf = |index: u64| leaf_hash(&entry(index));
    let root = |size: u64| {
        roots
            .get(usize::try_from(size).unwrap())
            .unwrap_or(&roots[0])
    };
    for size in 1..=TRIED {
        for index in 0..size {
            let path = inclusion_path(&nodes, Seq(index), TreeSize(size)).unwrap();
            for other in (0..TRIED + 2).filter(|other| *other != index) {
                let verdict =
                    verify_inclusion(&leaf(index), Seq(other), TreeSize(size), &path, root(size));
                assert!(verdict.is_err(), "{index} shown as {other} of {size}");
            }
            for other in (0..TRIED + 2).filter(|other| *other != size) {
                let verdict = verify_inclusion(
                    &leaf(index),
                    Seq(index),
                    TreeSize(other),
                    &path,
                    root(other),
                );
                assert!(verdict.is_err(), "{index} of {size} shown as of {other}");
            }
        }
        for old in 1..size {
            let path = consistency_path(&nodes, TreeSize(old), TreeSize(size)).unwrap();
            let verify = |a: u64, b: u64| {
                verify_consistency(TreeSize(a), root(a), TreeSize(b), root(b), &path)
            };
            for other in (0..TRIED + 2).filter(|other| *other != old && *other != size) {
                assert!(
                    verify(other, size).is_err(),
                    "{old} to {size} as from {other}"
                );
                assert!(verify(old, other).is_err(), "{old} to {size} as to {other}");
            }
            assert!(verify(size, old).is_err(), "backwards");
            let swapped =
                verify_consistency(TreeSize(old), root(size), TreeSize(size), root(old), &path);
            assert!(swapped.is_err(), "roots swapped");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_flipped_bit_is_refused(
        size in 2_u64..2_000,
        at in any::<prop::sample::Index>(),
        hash in any::<prop::sample::Index>(),
        bit in 0_usize..256,
    ) {
        let nodes = tree_of(size);
        let index = u64::try_from(at.index(usize::try_from(size).unwrap())).unwrap();
        let root = nodes.root();
        let flip = |hash: &mut NodeHash| hash.0[bit / 8] ^= 1 << (bit % 8);
        let size = TreeSize(size);
        let leaf = leaf_hash(&entry(index));
        let path = inclusion_path(&nodes, Seq(index), size).unwrap();
        let verify = |leaf, path: &[NodeHash], root| {
            verify_inclusion(&leaf, Seq(index), size, path, &root)
        };
        prop_assert_eq!(verify(leaf, &path, root), Ok(()));
        let mut bad = path.clone();
        flip(&mut bad[hash.index(path.len())]);
        prop_assert!(verify(leaf, &bad, root).is_err());
        let (mut bad_leaf, mut bad_root) = (leaf, root);
        flip(&mut bad_leaf);
        flip(&mut bad_root);
        prop_assert!(verify(bad_leaf, &path, root).is_err());
        prop_assert!(verify(leaf, &path, bad_root).is_err());

        let old = TreeSize(index + 1);
        let old_root = root_at(&nodes, old).unwrap();
        let path = consistency_path(&nodes, old, size).unwrap();
        for at in 0..path.len() {
            let mut bad = path.clone();
            flip(&mut bad[at]);
            prop_assert!(verify_consistency(old, &old_root, size, &root, &bad).is_err());
        }
        let mut bad_old = old_root;
        flip(&mut bad_old);
        prop_assert!(verify_consistency(old, &bad_old, size, &root, &path).is_err());
        prop_assert!(verify_consistency(old, &old_root, size, &bad_root, &path).is_err());
    }
}

/// A tree of any size in which all entries are equal, so that a level has one hash.
struct Uniform {
    levels: Vec<NodeHash>,
}

impl Uniform {
    fn new() -> Self {
        let above = |hash: &NodeHash| Some(node_hash(hash, hash));
        let levels = std::iter::successors(Some(leaf_hash(b"")), above);
        Self {
            levels: levels.take(64).collect(),
        }
    }
}

impl Nodes for Uniform {
    type Error = Infallible;

    fn node(&self, level: u8, _index: u64) -> Result<NodeHash, Infallible> {
        Ok(self.levels[usize::from(level)])
    }
}

#[test]
fn sizes_up_to_the_last_u64_neither_overflow_nor_panic() {
    let nodes = Uniform::new();
    let leaf = leaf_hash(b"");
    let near = |number: u64| [number.wrapping_sub(1), number, number.wrapping_add(1)];
    let numbers: Vec<u64> = [0, 2, 1 << 32, 1 << 53, 1 << 62, 1 << 63, u64::MAX]
        .into_iter()
        .flat_map(near)
        .collect();
    let root = |size| root_at(&nodes, TreeSize(size)).unwrap();
    for &size in &numbers {
        for &other in &numbers {
            let (index, tree) = (Seq(other), TreeSize(size));
            match inclusion_path(&nodes, index, tree) {
                Ok(mut path) => {
                    assert!(path.len() <= 64);
                    let verify =
                        |path: &[NodeHash]| verify_inclusion(&leaf, index, tree, path, &root(size));
                    assert_eq!(verify(&path), Ok(()), "{index} of {size}");
                    path.push(leaf);
                    assert!(verify(&path).is_err(), "too long");
                }
                Err(error) => assert_eq!(error, PathError::IndexOutsideTree { index, size: tree }),
            }
            assert!(verify_inclusion(&leaf, index, tree, &[leaf; 65], &leaf).is_err());
            let old = TreeSize(other);
            match consistency_path(&nodes, old, tree) {
                Ok(mut path) => {
                    assert!(path.len() <= 65);
                    let verify = |path: &[NodeHash]| {
                        verify_consistency(old, &root(other), tree, &root(size), path)
                    };
                    assert_eq!(verify(&path), Ok(()), "{old} to {size}");
                    path.push(leaf);
                    assert!(verify(&path).is_err(), "too long");
                }
                Err(error) => assert_eq!(error, PathError::NoPath { old, new: tree }),
            }
        }
    }
}

#[test]
fn reading_touches_few_nodes_and_complete_ones_only() {
    struct Counted<'a>(&'a MemoryNodes, core::cell::Cell<u64>);
    impl Nodes for Counted<'_> {
        type Error = NoSuchNode;

        fn node(&self, level: u8, index: u64) -> Result<NodeHash, NoSuchNode> {
            self.1.set(self.1.get() + 1);
            self.0.node(level, index)
        }
    }
    for size in 1..=SIZES {
        // A tree of exactly this size has no node beyond it to read by mistake.
        let tree = tree_of(size);
        let most = 2 * u64::from(size.ilog2() + 1);
        for at in 1..=size {
            let nodes = Counted(&tree, 0.into());
            inclusion_path(&nodes, Seq(at - 1), TreeSize(size)).unwrap();
            assert!(nodes.1.replace(0) <= most, "inclusion of {at} in {size}");
            consistency_path(&nodes, TreeSize(at), TreeSize(size)).unwrap();
            assert!(nodes.1.get() <= most, "consistency of {at} with {size}");
        }
    }
    let missing = root_at(&tree_of(4), TreeSize(5)).unwrap_err();
    assert_eq!(missing, NoSuchNode { level: 0, index: 4 });
}

#[test]
fn refusals_name_what_is_wrong() {
    let nodes = tree_of(6);
    let (leaf, root) = (leaf_hash(&entry(2)), nodes.root());
    let path = inclusion_path(&nodes, Seq(2), TreeSize(6)).unwrap();
    let at = |index, path: &[NodeHash]| {
        verify_inclusion(&leaf, Seq(index), TreeSize(6), path, &root).unwrap_err()
    };
    let (index, size) = (Seq(6), TreeSize(6));
    assert_eq!(at(6, &path), ProofError::IndexOutsideTree { index, size });
    let length = |expected, found| ProofError::PathLength { expected, found };
    assert_eq!(at(2, &path[1..]), length(3, 2));
    assert!(matches!(at(3, &path), ProofError::RootMismatch { expected, .. } if expected == root));

    let old_root = root_at(&nodes, TreeSize(3)).unwrap();
    let path = consistency_path(&nodes, TreeSize(3), TreeSize(6)).unwrap();
    let from = |old: u64, old_root, new: u64, path: &[NodeHash]| {
        verify_consistency(TreeSize(old), &old_root, TreeSize(new), &root, path)
    };
    assert_eq!(from(3, old_root, 6, &path), Ok(()));
    assert_eq!(from(3, old_root, 6, &[]), Err(length(4, 0)));
    let (old, new) = (TreeSize(7), TreeSize(6));
    assert_eq!(
        from(7, old_root, 6, &path),
        Err(ProofError::Shrinks { old, new })
    );
    assert_eq!(
        from(0, empty_root(), 6, &[]),
        Err(ProofError::FromEmpty { new })
    );
    let old_mismatch = from(3, leaf, 6, &path).unwrap_err();
    assert!(
        matches!(old_mismatch, ProofError::OldRootMismatch { expected, .. } if expected == leaf)
    );
    assert_eq!(from(6, root, 6, &[]), Ok(()));
    assert_eq!(from(6, root, 6, &[leaf]), Err(length(0, 1)));
    let empty = verify_consistency(TreeSize(0), &leaf, TreeSize(0), &leaf, &[]);
    assert!(empty.is_err(), "the empty tree has one root");

    let count = Frontier::from_nodes(TreeSize(6), vec![leaf]).unwrap_err();
    let (size, expected, found) = (TreeSize(6), 2, 1);
    assert_eq!(
        count,
        FrontierError::NodeCount {
            size,
            expected,
            found
        }
    );
    let huge = Frontier::from_nodes(TreeSize(u64::MAX), vec![leaf; 64]).unwrap_err();
    assert_eq!(huge, FrontierError::SizeTooLarge(TreeSize(u64::MAX)));
}

#[test]
fn agrees_with_an_independent_implementation() {
    type Root = RootHash<Sha256>;
    let theirs_of = |hash: &NodeHash| sha2::digest::Output::<Sha256>::from(hash.0);
    let mut theirs = MemoryBackedTree::<Sha256, Vec<u8>>::new();
    let mut their_roots: Vec<Root> = vec![theirs.root()];
    for index in 0..100 {
        theirs.push(entry(index));
        their_roots.push(theirs.root());
        let size = TreeSize(index + 1);
        let ours = tree_of(size.0);
        let (root, their_root) = (ours.root(), theirs.root());
        assert_eq!(root.0[..], their_root.as_bytes()[..], "size {size}");
        for at in 0..size.0 {
            let path = inclusion_path(&ours, Seq(at), size).unwrap();
            let theirs = theirs.prove_inclusion(usize::try_from(at).unwrap());
            assert_eq!(theirs.as_bytes(), bytes(&path), "{at} of {size}");
            let digests: Vec<_> = path.iter().map(theirs_of).collect();
            let proof = InclusionProof::from_digests(&digests);
            their_root.verify_inclusion(&entry(at), at, &proof).unwrap();
        }
        for old in 1..size.0 {
            let path = consistency_path(&ours, TreeSize(old), size).unwrap();
            let theirs = theirs.prove_consistency(usize::try_from(size.0 - old).unwrap());
            assert_eq!(theirs.as_bytes(), bytes(&path), "{old} to {size}");
            let digests: Vec<_> = path.iter().map(theirs_of).collect();
            let proof = ConsistencyProof::from_digests(&digests);
            let old_root = &their_roots[usize::try_from(old).unwrap()];
            their_root.verify_consistency(old_root, &proof).unwrap();
        }
    }
}

fn bytes(path: &[NodeHash]) -> Vec<u8> {
    path.iter().flat_map(|hash| hash.0).collect()
}
