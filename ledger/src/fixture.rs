//! Fixed keys, checkpoints and notes for the tests of this crate.

use std::collections::BTreeMap;

use ed25519_dalek::{Signer as _, SigningKey};

use crate::checkpoint::{Checkpoint, CosignerPublic, assemble_note};
use crate::digest::{ChainHash, sha3_256_parts};
use crate::ids::{NodeId, TreeSize};
use crate::note::{Note, NoteSignature, VerifierKey, cosigned_message};
use crate::signature::{CosignerKey, SigningKeys};
use crate::time::Micros;
use crate::tree::NodeHash;

pub(crate) const ORIGIN: &str = "log.example/audit";

/// When the fixture's checkpoints were sealed, in seconds.
pub(crate) const SEALED_S: u64 = 1_747_216_861;

/// The same bytes for the same seed, on every machine.
pub(crate) fn bytes_from(seed: &str) -> impl FnMut(&mut [u8]) + use<> {
    let (seed, mut block) = (seed.to_owned(), 0_u64);
    move |target: &mut [u8]| {
        for chunk in target.chunks_mut(32) {
            let bytes = sha3_256_parts(&[seed.as_bytes(), &block.to_be_bytes()]);
            chunk.copy_from_slice(bytes.get(..chunk.len()).expect("invariant: at most 32"));
            block += 1;
        }
    }
}

pub(crate) fn log_keys(seed: &str) -> SigningKeys {
    SigningKeys::generate(ORIGIN, &mut bytes_from(seed)).expect("invariant: a good origin")
}

pub(crate) fn cosigner(node: u64) -> CosignerKey {
    let fill = &mut bytes_from(&format!("node {node}"));
    CosignerKey::generate(ORIGIN, NodeId(node), fill).expect("invariant: a good origin")
}

pub(crate) fn members(nodes: &[u64]) -> Vec<CosignerPublic> {
    nodes
        .iter()
        .map(|n| cosigner(*n).public().clone())
        .collect()
}

pub(crate) fn checkpoint(keys: &SigningKeys, size: u64, root: NodeHash) -> Checkpoint {
    Checkpoint {
        origin: ORIGIN.to_owned(),
        size: TreeSize(size),
        root,
        chain: ChainHash::of(b"the seal"),
        keyset: keys.key_set().id(),
        sealed: Micros(SEALED_S * 1_000_000 + 250_000),
    }
}

/// A note with the three log lines and a cosignature of each node, made at the time of the seal.
pub(crate) fn note_by(keys: &SigningKeys, nodes: &[u64], checkpoint: &Checkpoint) -> Note {
    let text = checkpoint.text();
    let log_lines = keys
        .sign(text.as_bytes(), &mut bytes_from("hedge"))
        .expect("invariant: its own checkpoint");
    let cosign = |node: &u64| {
        let line = cosigner(*node).sign(text.as_bytes(), SEALED_S);
        (
            NodeId(*node),
            line.expect("invariant: a checkpoint of its log"),
        )
    };
    let node_lines: BTreeMap<_, _> = nodes.iter().map(cosign).collect();
    assemble_note(&text, &log_lines, &node_lines)
}

/// A good note over five entries, vouched for by nodes 1 and 2.
pub(crate) fn good_note(keys: &SigningKeys) -> Note {
    note_by(keys, &[1, 2], &checkpoint(keys, 5, NodeHash([7; 32])))
}

/// Somebody outside the log, who cosigns whatever is put before it.
pub(crate) struct Witness(SigningKey, String);

pub(crate) fn witness(name: &str) -> Witness {
    let mut seed = [0; 32];
    bytes_from(name)(&mut seed);
    Witness(SigningKey::from_bytes(&seed), name.to_owned())
}

impl Witness {
    pub(crate) fn key(&self) -> VerifierKey {
        let key = self.0.verifying_key().to_bytes();
        VerifierKey::for_cosigner(&self.1, &key).expect("invariant: a good key")
    }

    pub(crate) fn sign(&self, text: &str, time_unix_s: u64) -> NoteSignature {
        let signature = self.0.sign(cosigned_message(text, time_unix_s).as_bytes());
        NoteSignature {
            name: self.1.clone(),
            key_id: self.key().key_id(),
            blob: [&time_unix_s.to_be_bytes()[..], &signature.to_bytes()].concat(),
        }
    }
}
