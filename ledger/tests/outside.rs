//! The proof cases of transparency-dev/merkle, most of them mutated so that they must be refused.
#![cfg(feature = "outside-vectors")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "test"
)]

mod common;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use candor_ledger::ids::{Seq, TreeSize};
use candor_ledger::tree::{NodeHash, verify_consistency, verify_inclusion};
use serde_json::Value;

#[test]
fn inclusion_proofs_are_judged_as_their_authors_say() {
    let judged = judge("rfc6962/inclusion.json", 49, |case| {
        let size = TreeSize(case["treeSize"].as_u64().unwrap());
        let index = Seq(case["leafIdx"].as_u64().unwrap());
        let (leaf, root) = (hash(&case["leafHash"])?, hash(&case["root"])?);
        let path = path(&case["proof"])?;
        verify_inclusion(&leaf, index, size, &path, &root).ok()
    });
    assert_eq!(judged, (3, 46), "accepted and refused");
}

#[test]
fn consistency_proofs_are_judged_as_their_authors_say() {
    let judged = judge("rfc6962/consistency.json", 49, |case| {
        let old = TreeSize(case["size1"].as_u64().unwrap());
        let new = TreeSize(case["size2"].as_u64().unwrap());
        let (old_root, new_root) = (hash(&case["root1"])?, hash(&case["root2"])?);
        let path = path(&case["proof"])?;
        verify_consistency(old, &old_root, new, &new_root, &path).ok()
    });
    assert_eq!(judged, (4, 45), "accepted and refused");
}

/// Runs every case of a file, compares with its `wantErr`, and counts verdicts.
fn judge(file: &str, expected: usize, verify: fn(&Value) -> Option<()>) -> (usize, usize) {
    let cases = common::outside_cases(file, expected);
    let (mut accepted, mut refused) = (0, 0);
    for case in &cases {
        let good = verify(case).is_some();
        assert_eq!(good, !case["wantErr"].as_bool().unwrap(), "{case:#}");
        *(if good { &mut accepted } else { &mut refused }) += 1;
    }
    assert_eq!(accepted + refused, cases.len(), "every case ran");
    (accepted, refused)
}

/// A hash; `None` where a mutation left other than 32 bytes, which nothing here can hold.
fn hash(text: &Value) -> Option<NodeHash> {
    let bytes = BASE64_STANDARD.decode(text.as_str().unwrap()).unwrap();
    bytes.try_into().ok().map(NodeHash)
}

fn path(list: &Value) -> Option<Vec<NodeHash>> {
    let hashes = list.as_array().map_or(&[][..], Vec::as_slice);
    hashes.iter().map(hash).collect()
}
