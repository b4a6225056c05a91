#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test")]
use super::*;
use crate::fixture::{bytes_from, checkpoint, log_keys, members, note_by};
use crate::note::NoteParseError;
use crate::policy::Refusal;
use crate::proof::PROOF_PATH_MAX;
use crate::tree::{MemoryNodes, NodeHash, inclusion_path};

fn entry(seq: u64) -> Vec<u8> {
    format!("{{\"op\":\"cache.write\",\"seq\":{seq},\"v\":1}}").into_bytes()
}

/// A receipt for one of eleven entries, and a policy that accepts its checkpoint.
fn receipt(index: u64) -> (Receipt, Policy) {
    let keys = log_keys("a");
    let mut nodes = MemoryNodes::new();
    for seq in 0..11 {
        nodes.push(leaf_hash(&entry(seq)));
    }
    let checkpoint = checkpoint(&keys, 11, nodes.root());
    let proof = TlogProof {
        index: Seq(index),
        path: inclusion_path(&nodes, Seq(index), TreeSize(11)).unwrap(),
        note: note_by(&keys, &[1, 2], &checkpoint),
    };
    let entry = entry(index);
    let policy = Policy::for_cluster(keys.key_set(), &members(&[1, 2, 3])).unwrap();
    (Receipt { entry, proof }, policy)
}

#[test]
fn a_receipt_shows_its_entry_under_the_policy() {
    for index in [0, 4, 10] {
        let (receipt, policy) = receipt(index);
        let bytes = receipt.encode();
        let read = Receipt::parse(&bytes).unwrap();
        assert_eq!(read, receipt);
        assert_eq!(read.encode(), bytes);
        let verified = read.verify(&policy).unwrap();
        assert_eq!(
            (verified.index, verified.checkpoint.size),
            (Seq(index), TreeSize(11))
        );
        assert_eq!(verified.verdict.vouched.len(), 2);
    }
}

#[test]
fn any_change_of_entry_index_or_path_is_refused() {
    let (good, policy) = receipt(4);
    let refused = |change: &dyn Fn(&mut Receipt)| {
        let mut changed = good.clone();
        change(&mut changed);
        let error = changed.verify(&policy).unwrap_err();
        assert!(matches!(error, ReceiptError::Inclusion { .. }), "{error}");
    };
    let mut random = bytes_from("receipt bits");
    for at in 0..good.entry.len() {
        let mut bit = [0];
        random(&mut bit);
        refused(&|r| r.entry[at] ^= 1 << (bit[0] % 8));
    }
    for index in [3, 5, 11, u64::MAX] {
        refused(&|r| r.proof.index = Seq(index));
    }
    for at in 0..good.proof.path.len() {
        refused(&|r| r.proof.path[at].0[at] ^= 1);
        refused(&|r| {
            r.proof.path.remove(at);
        });
    }
    refused(&|r| r.proof.path.swap(0, 1));
    refused(&|r| r.proof.path.push(NodeHash([0; 32])));
    refused(&|r| r.entry.push(b' '));
}

#[test]
fn a_checkpoint_that_the_policy_refuses_carries_no_receipt() {
    let (mut receipt, policy) = receipt(4);
    receipt.proof.note.signatures.truncate(4);
    match receipt.verify(&policy).unwrap_err() {
        ReceiptError::Policy(verdict) => {
            assert!(matches!(
                verdict.refusals.as_slice(),
                [Refusal::Quorum { .. }]
            ));
        }
        other @ ReceiptError::Inclusion { .. } => panic!("{other}"),
    }
    let (mut receipt, policy) = receipt_of_other_log();
    assert!(matches!(
        receipt.verify(&policy),
        Err(ReceiptError::Policy(_))
    ));
    receipt.proof.note.signatures.clear();
    assert!(matches!(
        receipt.verify(&policy),
        Err(ReceiptError::Policy(_))
    ));
}

fn receipt_of_other_log() -> (Receipt, Policy) {
    let (receipt, _) = receipt(4);
    let other = log_keys("b");
    (
        receipt,
        Policy::for_cluster(other.key_set(), &members(&[1])).unwrap(),
    )
}

#[test]
fn refuses_every_other_spelling_of_a_proof() {
    let (receipt, _) = receipt(4);
    let text = String::from_utf8(receipt.encode()).unwrap();
    let path = text.lines().nth(3).unwrap().to_owned();
    let line = |from: &str, to: &str| {
        let changed = text.replacen(from, to, 1);
        assert_ne!(changed, text);
        match Receipt::parse(changed.as_bytes()).unwrap_err() {
            ReceiptParseError::Proof(ProofParseError::Line { line, .. }) => line,
            other => panic!("{other}"),
        }
    };
    assert_eq!(line("proof@v1", "proof@v2"), 1);
    assert_eq!(line("proof@v1\n", "proof@v1\nextra AQI=\n"), 2);
    assert_eq!(line("index 4", "index 04"), 2);
    assert_eq!(line("index 4", "index  4"), 2);
    assert_eq!(line("index 4", "Index 4"), 2);
    assert_eq!(line("index 4\n", "index 4\r\n"), 2);
    assert_eq!(line(&path, &path[4..]), 3);
    assert_eq!(line(&path, &format!("{path} ")), 3);
    assert_eq!(line(&path, &format!("{path}\r")), 3);
    let hashes = format!("{path}\n").repeat(PROOF_PATH_MAX);
    assert_eq!(line(&format!("{path}\n"), &hashes), 3 + PROOF_PATH_MAX);
    // A cut anywhere before the last line feed.
    for end in [0, 10, 60, 80, 300, 5_000, text.len() - 1] {
        assert!(
            Receipt::parse(&text.as_bytes()[..end]).is_err(),
            "cut at {end}"
        );
    }
    let crlf = text.replace('\n', "\r\n");
    assert!(Receipt::parse(crlf.as_bytes()).is_err());
    let empty = format!("\n{}", text.split_once('\n').unwrap().1);
    assert_eq!(
        Receipt::parse(empty.as_bytes()),
        Err(ReceiptParseError::Entry)
    );
    let signature = text.replacen("\u{2014} ", "- ", 1);
    assert!(matches!(
        Receipt::parse(signature.as_bytes()),
        Err(ReceiptParseError::Proof(ProofParseError::Note(
            NoteParseError::Line { line: 9, .. }
        )))
    ));
}

#[test]
fn limits_hold_at_their_values() {
    let (mut receipt, _) = receipt(4);
    receipt.entry = vec![b'x'; ENTRY_LEN_MAX];
    assert!(Receipt::parse(&receipt.encode()).is_ok());
    receipt.entry.push(b'x');
    assert_eq!(
        Receipt::parse(&receipt.encode()),
        Err(ReceiptParseError::Entry)
    );
    let long = [b"x\n".as_slice(), &vec![b'y'; PROOF_LEN_MAX + 1]].concat();
    let len = PROOF_LEN_MAX + 1;
    let error = ReceiptParseError::Proof(ProofParseError::TooLong { len });
    assert_eq!(Receipt::parse(&long), Err(error));
}
