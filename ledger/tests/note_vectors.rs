//! Keys, checkpoint, policy and receipt that an independent script made from fixed seeds.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test")]

use candor_ledger::checkpoint::{Checkpoint, CosignerPublic, NoteError, verify_note};
use candor_ledger::ids::{NodeId, Seq, TreeSize};
use candor_ledger::note::{KeyKind, Note, VerifierKey, key_id};
use candor_ledger::policy::{Policy, Refusal};
use candor_ledger::receipt::Receipt;
use candor_ledger::signature::{Algorithm, KeySet, PublicKey, SUITE_1};
use serde_json::Value;

fn vectors() -> Value {
    serde_json::from_str(include_str!("vectors/note.json")).unwrap()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn bytes(value: &Value) -> Vec<u8> {
    hex::decode(text(value)).unwrap()
}

fn key_set(vectors: &Value) -> KeySet {
    let raw: Vec<_> = vectors["public_keys"]
        .as_array()
        .unwrap()
        .iter()
        .map(bytes)
        .collect();
    KeySet::from_raw(
        text(&vectors["origin"]),
        SUITE_1,
        [&raw[0], &raw[1], &raw[2]],
    )
    .unwrap()
}

fn members(vectors: &Value) -> Vec<CosignerPublic> {
    let member = |node: &Value| {
        let id = NodeId(node["node"].as_u64().unwrap());
        let key = bytes(&node["public_key"]).try_into().unwrap();
        CosignerPublic::new(text(&vectors["origin"]), id, key)
    };
    vectors["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .map(member)
        .collect()
}

#[test]
fn key_ids_vkeys_and_the_key_set_id_follow_from_the_keys() {
    let vectors = vectors();
    let keys = key_set(&vectors);
    assert_eq!(hex::encode(keys.id()), text(&vectors["keyset"]));
    for (at, vkey) in keys.vkeys().iter().enumerate() {
        assert_eq!(vkey, text(&vectors["vkeys"][at]));
        let parsed = VerifierKey::parse(vkey).unwrap();
        assert_eq!(parsed, keys.keys()[at]);
        let kind = KeyKind::Log(Algorithm::SUITE_1[at]);
        assert_eq!(parsed.kind(), kind);
        let raw = bytes(&vectors["public_keys"][at]);
        let id = key_id(keys.origin(), kind.note_type(), &raw);
        assert_eq!(hex::encode(id), text(&vectors["key_ids"][at]));
    }
    for (member, node) in members(&vectors)
        .iter()
        .zip(vectors["nodes"].as_array().unwrap())
    {
        let key = VerifierKey::for_cosigner(&member.name, &member.key).unwrap();
        assert_eq!(key.to_string(), text(&node["vkey"]));
    }
}

#[test]
fn the_note_verifies_and_says_what_the_script_put_into_it() {
    let vectors = vectors();
    let encoded = text(&vectors["note"]);
    let note = Note::parse(encoded.as_bytes()).unwrap();
    assert_eq!(note.encode(), encoded);
    let (keys, members) = (key_set(&vectors), members(&vectors));
    let verified = verify_note(&note, &keys, &members).unwrap();
    let checkpoint = &verified.checkpoint;
    assert_eq!(checkpoint.text(), text(&vectors["text"]));
    assert_eq!(
        Checkpoint::parse(text(&vectors["text"])).as_ref(),
        Ok(checkpoint)
    );
    assert_eq!(checkpoint.origin, text(&vectors["origin"]));
    assert_eq!(checkpoint.size, TreeSize(vectors["size"].as_u64().unwrap()));
    assert_eq!(hex::encode(checkpoint.root.0), text(&vectors["root"]));
    assert_eq!(hex::encode(checkpoint.chain.0), text(&vectors["chain"]));
    assert_eq!(hex::encode(checkpoint.keyset), text(&vectors["keyset"]));
    assert_eq!(checkpoint.sealed.to_string(), text(&vectors["sealed"]));
    let times: Vec<_> = verified
        .cosign_times
        .iter()
        .map(|(n, t)| (n.0, *t))
        .collect();
    let wanted = vectors["cosign_times"].as_array().unwrap();
    assert_eq!(times.len(), wanted.len());
    for (time, wanted) in times.iter().zip(wanted) {
        assert_eq!(
            (Some(time.0), Some(time.1)),
            (wanted[0].as_u64(), wanted[1].as_u64())
        );
    }
    for line in 0..note.signatures.len() {
        let mut forged = note.clone();
        *forged.signatures[line].blob.last_mut().unwrap() ^= 0x80;
        let error = verify_note(&forged, &keys, &members).unwrap_err();
        assert!(matches!(error, NoteError::BadSignature { .. }));
    }
}

#[test]
fn policy_and_receipt_of_the_script_hold() {
    let vectors = vectors();
    let policy = Policy::parse(text(&vectors["policy"])).unwrap();
    assert_eq!(policy.to_text(), text(&vectors["policy"]));
    assert_eq!(policy.required_nodes(), 2);
    let encoded = text(&vectors["receipt"]);
    let receipt = Receipt::parse(encoded.as_bytes()).unwrap();
    assert_eq!(receipt.encode(), encoded.as_bytes());
    let verified = receipt.verify(&policy).unwrap();
    assert_eq!(verified.index, Seq(vectors["index"].as_u64().unwrap()));
    let vouched: Vec<_> = verified.verdict.vouched.iter().map(|v| v.node.0).collect();
    assert_eq!(vouched, [1, 3]);
    assert_eq!(verified.verdict.witnessed.len(), 1);
    assert!(verified.verdict.caveats.is_empty());
    assert_eq!(receipt.note().encode(), text(&vectors["witnessed_note"]));
    // The same checkpoint without its witness.
    let note = Note::parse(text(&vectors["note"]).as_bytes()).unwrap();
    let refused = policy.check(&note).refusals;
    assert!(matches!(refused.as_slice(), [Refusal::Quorum { missing, .. }] if *missing == ["w"]));
}

#[test]
fn the_attestation_of_the_script_verifies() {
    let attest = &vectors()["attest"];
    let key = PublicKey::from_bytes(Algorithm::Ed25519, &bytes(&attest["public_key"])).unwrap();
    let (statement, signature) = (text(&attest["statement"]), bytes(&attest["signature"]));
    key.verify(statement.as_bytes(), &signature).unwrap();
    let other = statement.replace("proved", "refuted");
    assert!(key.verify(other.as_bytes(), &signature).is_err());
}

/// Checks Rust's secret half against the script's.
#[cfg(feature = "sign")]
mod sign {
    use candor_ledger::entry::{Attestation, Subject, Verdict};
    use candor_ledger::signature::{AttestKey, CosignerKey, SigningKeys};

    use super::*;

    #[test]
    fn secret_files_of_the_script_give_its_public_keys() {
        let vectors = vectors();
        let secrets = text(&vectors["secrets"]);
        let keys = SigningKeys::parse_secret_text(secrets).ok().unwrap();
        assert_eq!(keys.key_set(), &key_set(&vectors));
        assert_eq!(keys.to_secret_text().as_str(), secrets);
        for (member, node) in members(&vectors)
            .iter()
            .zip(vectors["nodes"].as_array().unwrap())
        {
            let key = CosignerKey::parse_secret_text(text(&node["secret"]))
                .ok()
                .unwrap();
            assert_eq!(key.public(), member);
            assert_eq!(key.to_secret_text().as_str(), text(&node["secret"]));
        }
    }

    #[test]
    fn signatures_without_randomness_are_byte_for_byte_those_of_the_script() {
        let vectors = vectors();
        let note = Note::parse(text(&vectors["note"]).as_bytes()).unwrap();
        let keys = SigningKeys::parse_secret_text(text(&vectors["secrets"]))
            .ok()
            .unwrap();
        // The deterministic variants: 32 zero bytes for ML-DSA, PK.seed for SLH-DSA.
        let pk_seed = keys.key_set().keys()[2].public_key().as_bytes()[..16].to_vec();
        let mut fill = |target: &mut [u8]| match target.len() {
            16 => target.copy_from_slice(&pk_seed),
            _ => target.fill(0),
        };
        let lines = keys.sign(note.text.as_bytes(), &mut fill).unwrap();
        assert_eq!(lines, note.signatures[..3]);
        for (at, time) in vectors["cosign_times"]
            .as_array()
            .unwrap()
            .iter()
            .enumerate()
        {
            let member = usize::try_from(time[0].as_u64().unwrap()).unwrap() - 1;
            let secret = text(&vectors["nodes"][member]["secret"]);
            let key = CosignerKey::parse_secret_text(secret).ok().unwrap();
            let line = key.sign(note.text.as_bytes(), time[1].as_u64().unwrap());
            assert_eq!(line.unwrap(), note.signatures[3 + at]);
        }
        let attest = &vectors["attest"];
        let key = AttestKey::parse_secret_text(text(&attest["secret"]))
            .ok()
            .unwrap();
        assert_eq!(key.public_key().as_bytes(), bytes(&attest["public_key"]));
        let attestation = Attestation {
            result: Verdict::Proved,
            size: TreeSize(vectors["size"].as_u64().unwrap()),
            root: bytes(&vectors["root"]).try_into().unwrap(),
            auditor: bytes(&attest["public_key"]).try_into().unwrap(),
            signature: bytes(&attest["signature"]).try_into().unwrap(),
            request: [0; 32],
        };
        let origin = text(&vectors["origin"]);
        let statement = attestation.statement(origin, "acme", &Subject::Ledger);
        assert_eq!(statement, text(&attest["statement"]));
        assert_eq!(
            key.sign(&statement).unwrap().to_vec(),
            bytes(&attest["signature"])
        );
    }
}
