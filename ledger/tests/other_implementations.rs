//! What we sign, judged by implementations that share no code with those we sign with.
#![cfg(feature = "sign")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test")]

use std::collections::BTreeMap;

use candor_ledger::checkpoint::{Checkpoint, assemble_note};
use candor_ledger::digest::{ChainHash, sha3_256_parts};
use candor_ledger::ids::{NodeId, TreeSize};
use candor_ledger::note::Note;
use candor_ledger::signature::{CosignerKey, SigningKeys};
use candor_ledger::time::Micros;
use candor_ledger::tree::NodeHash;

const ORIGIN: &str = "other.example/log";

fn bytes_from(seed: u64) -> impl FnMut(&mut [u8]) + use<> {
    let mut block = 0_u64;
    move |target: &mut [u8]| {
        for chunk in target.chunks_mut(32) {
            let bytes = sha3_256_parts(&[&seed.to_be_bytes(), &block.to_be_bytes()]);
            chunk.copy_from_slice(&bytes[..chunk.len()]);
            block += 1;
        }
    }
}

/// A note of this seed: other keys, another text and other randomness for each.
fn signed(seed: u64) -> (SigningKeys, Note) {
    let mut fill = bytes_from(seed);
    let keys = SigningKeys::generate(ORIGIN, &mut fill).unwrap();
    let cosigner = CosignerKey::generate(ORIGIN, NodeId(1), &mut fill).unwrap();
    let mut root = [0; 32];
    fill(&mut root);
    let checkpoint = Checkpoint {
        origin: ORIGIN.to_owned(),
        size: TreeSize(seed + 1),
        root: NodeHash(root),
        chain: ChainHash::of(&root),
        keyset: keys.key_set().id(),
        sealed: Micros(seed * 1_000_003),
    };
    let text = checkpoint.text();
    let lines = keys.sign(text.as_bytes(), &mut fill).unwrap();
    let node_line = cosigner.sign(text.as_bytes(), seed).unwrap();
    let node_lines = BTreeMap::from([(NodeId(1), node_line)]);
    (keys, assemble_note(&text, &lines, &node_lines))
}

fn raw_key(keys: &SigningKeys, at: usize) -> Vec<u8> {
    keys.key_set().keys()[at].public_key().as_bytes().to_vec()
}

#[test]
fn signed_note_reads_our_notes_and_verifies_their_ed25519_line() {
    use signed_note::{StandardVerifier, VerifierList};
    for seed in 0..4 {
        let (keys, note) = signed(seed);
        let encoded = note.encode();
        let theirs = signed_note::Note::from_bytes(encoded.as_bytes()).unwrap();
        assert_eq!(theirs.to_bytes(), encoded.as_bytes());
        assert_eq!(theirs.text(), note.text.as_bytes());
        let [vkey, ..] = keys.key_set().vkeys();
        let verifier = StandardVerifier::new(&vkey).unwrap();
        let known = VerifierList::new(vec![Box::new(verifier)]);
        let (good, unknown) = theirs.verify(&known).unwrap();
        assert_eq!((good.len(), unknown.len()), (1, 3));
        assert_eq!(good[0].signature(), note.signatures[0].blob);
        let other = encoded.replacen("\ncandor 1\n", "\ncandor 2\n", 1);
        let theirs = signed_note::Note::from_bytes(other.as_bytes()).unwrap();
        assert!(theirs.verify(&known).is_err());
    }
}

#[test]
fn fips204_verifies_our_ml_dsa_signatures() {
    use fips204::ml_dsa_65::PublicKey;
    use fips204::traits::{SerDes as _, Verifier as _};
    for seed in 0..16 {
        let (keys, note) = signed(seed);
        let key = PublicKey::try_from_bytes(raw_key(&keys, 1).try_into().unwrap()).unwrap();
        let mut signature: [u8; 3_309] = note.signatures[1].blob.clone().try_into().unwrap();
        assert!(
            key.verify(note.text.as_bytes(), &signature, &[]),
            "seed {seed}"
        );
        assert!(
            !key.verify(note.text.as_bytes(), &signature, b"x"),
            "seed {seed}"
        );
        signature[usize::try_from(seed).unwrap() * 200] ^= 1;
        assert!(
            !key.verify(note.text.as_bytes(), &signature, &[]),
            "seed {seed}"
        );
    }
}

#[test]
fn fips205_verifies_our_slh_dsa_signatures() {
    use fips205::slh_dsa_sha2_128f::PublicKey;
    use fips205::traits::{SerDes as _, Verifier as _};
    for seed in 0..4 {
        let (keys, note) = signed(seed);
        let key = PublicKey::try_from_bytes(raw_key(&keys, 2).try_into().unwrap()).unwrap();
        let mut signature: [u8; 17_088] = note.signatures[2].blob.clone().try_into().unwrap();
        assert!(
            key.verify(note.text.as_bytes(), &signature, &[]),
            "seed {seed}"
        );
        assert!(
            !key.verify(note.text.as_bytes(), &signature, b"x"),
            "seed {seed}"
        );
        signature[usize::try_from(seed).unwrap() * 4_000] ^= 1;
        assert!(
            !key.verify(note.text.as_bytes(), &signature, &[]),
            "seed {seed}"
        );
    }
}
