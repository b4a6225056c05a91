#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test")]
use super::*;

/// RFC 8032 section 7.1, test 2.
const RFC_8032_KEY: &str = "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c";
const RFC_8032_SIGNATURE: &str = "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da\
    085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00";

#[test]
fn verifies_rfc_8032_and_refuses_a_signature_of_another_length_or_context() {
    let key = hex::decode(RFC_8032_KEY).unwrap();
    let signature = hex::decode(RFC_8032_SIGNATURE).unwrap();
    let key = PublicKey::from_bytes(Algorithm::Ed25519, &key).unwrap();
    assert_eq!(key.verify(&[0x72], &signature), Ok(()));
    assert!(key.verify(&[0x73], &signature).is_err());
    assert!(key.verify_with_context(&[0x72], b"x", &signature).is_err());
    assert!(
        key.verify(&[0x72], &[&signature[..], &[0]].concat())
            .is_err()
    );
    // s + L: the same point equation, a second spelling; malleable verifiers accept it.
    let order = hex::decode("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010");
    let mut malleable = signature.clone();
    let mut carry = 0_u16;
    for (byte, add) in malleable[32..].iter_mut().zip(order.unwrap()) {
        let sum = u16::from(*byte) + u16::from(add) + carry;
        *byte = u8::try_from(sum & 0xff).unwrap();
        carry = sum >> 8;
    }
    assert!(key.verify(&[0x72], &malleable).is_err());
}

#[test]
fn refuses_ed25519_keys_that_anybody_could_use_or_that_have_two_spellings() {
    // The eight points of small order, and two spellings of y = 1 that are not canonical.
    for hex_key in [
        "0100000000000000000000000000000000000000000000000000000000000000",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0000000000000000000000000000000000000000000000000000000000000080",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
        "0100000000000000000000000000000000000000000000000000000000000080",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        // A sound key, y = 3, in its second spelling y + p.
        "f0ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        // No point at all.
        "0200000000000000000000000000000000000000000000000000000000000000",
    ] {
        let bytes = hex::decode(hex_key).unwrap();
        let error = PublicKey::from_bytes(Algorithm::Ed25519, &bytes).unwrap_err();
        assert!(matches!(error, KeyError::Unusable { .. }), "{hex_key}");
    }
}

#[test]
fn keys_of_another_length_are_refused() {
    for algorithm in Algorithm::SUITE_1 {
        let len = algorithm.public_key_len();
        for len in [0, len - 1, len + 1] {
            let error = PublicKey::from_bytes(algorithm, &vec![1; len]).unwrap_err();
            assert!(matches!(error, KeyError::Length { got, .. } if got == len));
        }
        assert_eq!(Algorithm::from_name(algorithm.name()), Some(algorithm));
    }
}

#[cfg(feature = "sign")]
mod sign {
    use super::*;
    use crate::entry::{Attestation, Subject, Verdict};
    use crate::fixture::{ORIGIN, bytes_from, checkpoint, cosigner, log_keys};
    use crate::ids::TreeSize;
    use crate::tree::NodeHash;

    #[test]
    fn signing_is_hedged_where_the_family_can_and_verifies() {
        let keys = log_keys("a");
        let text = checkpoint(&keys, 5, NodeHash([7; 32])).text();
        let sign = |seed| keys.sign(text.as_bytes(), &mut bytes_from(seed)).unwrap();
        let (once, again, other) = (sign("x"), sign("x"), sign("y"));
        assert_eq!(once, again, "randomness comes from the caller alone");
        for (at, key) in keys.key_set().keys().iter().enumerate() {
            let hedged = key.kind().algorithm() != Algorithm::Ed25519;
            assert_eq!(once[at] != other[at], hedged);
            assert_eq!(once[at].blob.len(), key.kind().algorithm().signature_len());
            key.verify(&text, &other[at].blob).unwrap();
        }
    }

    #[test]
    fn key_files_read_back_as_they_were_written_and_in_no_other_spelling() {
        let (log, node) = (log_keys("a"), cosigner(7));
        let attest = AttestKey::generate(&mut bytes_from("attest")).unwrap();
        let text = log.to_secret_text();
        let read = SigningKeys::parse_secret_text(&text).ok().unwrap();
        assert_eq!(read.key_set(), log.key_set());
        let read = CosignerKey::parse_secret_text(&node.to_secret_text())
            .ok()
            .unwrap();
        assert_eq!(read.public(), node.public());
        let read = AttestKey::parse_secret_text(&attest.to_secret_text())
            .ok()
            .unwrap();
        assert_eq!(read.public_key(), attest.public_key());

        assert!(text.starts_with("candor-log-keys v1\norigin log.example/audit\nsuite 1\nsecret "));
        let refused = |text: &str| SigningKeys::parse_secret_text(text).err();
        for (from, to, line) in [
            ("v1", "v2", 1),
            ("origin ", "origin: ", 2),
            ("suite 1", "suite 2", 3),
            ("ed25519", "ml-dsa-65", 4),
            ("secret ml-dsa-65", "secret ml-dsa-44", 5),
        ] {
            let error = refused(&text.replacen(from, to, 1)).unwrap();
            let named = matches!(error, KeyFileError::Line { line: l, .. } if l == line);
            assert!(named, "{to}: {error}");
        }
        for other in [
            text.replace('\n', "\r\n"),
            format!("{}\n", text.as_str()),
            text.trim_end().to_owned(),
        ] {
            assert_eq!(refused(&other), Some(KeyFileError::NotCanonical));
        }
        let other_origin = text.replacen(ORIGIN, "log.example/a b", 1);
        assert!(matches!(
            refused(&other_origin),
            Some(KeyFileError::Keys(_))
        ));
    }

    #[test]
    fn a_damaged_slh_dsa_secret_is_refused_when_it_is_read() {
        let text = log_keys("a").to_secret_text();
        let secret = text.lines().nth(5).unwrap().rsplit(' ').next().unwrap();
        let bytes = crate::text::parse_base64(secret).unwrap();
        assert_eq!(bytes.len(), 64);
        for at in [0, 16, 32, 48, 63] {
            let mut bytes = bytes.clone();
            bytes[at] ^= 1;
            let damaged = text.replace(secret, &crate::text::base64(&bytes));
            let error = SigningKeys::parse_secret_text(&damaged).err();
            // A flip in SK.prf leaves a valid key: it decides nothing but the hedge.
            let want = KeyFileError::Secret {
                line: 6,
                algorithm: Algorithm::SlhDsaSha2128f,
            };
            assert_eq!(error, (at != 16).then_some(want), "byte {at}");
        }
    }

    #[test]
    fn attest_keys_sign_attestations_only() {
        let key = AttestKey::generate(&mut bytes_from("attest")).unwrap();
        let attestation = Attestation {
            result: Verdict::Proved,
            size: TreeSize(9),
            root: [7; 32],
            auditor: [0; 32],
            signature: [0; 64],
            request: [0; 32],
        };
        let statement = attestation.statement(ORIGIN, "acme", &Subject::Ledger);
        assert_eq!(
            statement,
            "candor.attest.v1\nlog.example/audit\nacme\nledger\n9\n\
             BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=\nproved\n"
        );
        let signature = key.sign(&statement).unwrap();
        key.public_key()
            .verify(statement.as_bytes(), &signature)
            .unwrap();
        for other in ["", "candor.attest.v10\n", "log.example/audit\n5\n"] {
            assert_eq!(key.sign(other), Err(SignError::NotAnAttestation));
        }
    }

    #[test]
    fn the_key_set_id_binds_origin_suite_and_every_key() {
        let (keys, others) = (log_keys("a"), log_keys("b"));
        let raw = |keys: &SigningKeys| {
            let keys = keys.key_set().keys().each_ref();
            keys.map(|key| key.public_key().as_bytes().to_vec())
        };
        let (ours, theirs) = (raw(&keys), raw(&others));
        let id = |origin: &str, raw: &[Vec<u8>; 3]| {
            let raw = raw.each_ref().map(Vec::as_slice);
            KeySet::from_raw(origin, SUITE_1, raw).unwrap().id()
        };
        assert_eq!(id(ORIGIN, &ours), keys.key_set().id());
        assert_ne!(id("log.example/audi", &ours), keys.key_set().id());
        for at in 0..3 {
            let mut mixed = ours.clone();
            mixed[at].clone_from(&theirs[at]);
            assert_ne!(id(ORIGIN, &mixed), keys.key_set().id());
        }
        let vkeys = keys.key_set().vkeys();
        let [x, y, z] = vkeys.each_ref().map(String::as_str);
        assert_eq!(
            KeySet::from_vkeys(ORIGIN, 1, [x, y, z]).as_ref(),
            Ok(keys.key_set())
        );
        let order = KeySet::from_vkeys(ORIGIN, 1, [x, z, y]).unwrap_err();
        assert!(matches!(order, KeySetError::Order { position: 2, .. }));
        let name = KeySet::from_vkeys("log.example", 1, [x, y, z]).unwrap_err();
        assert!(matches!(name, KeySetError::OtherName { position: 1, .. }));
        let suite = KeySet::from_vkeys(ORIGIN, 2, [x, y, z]).unwrap_err();
        assert_eq!(suite, KeySetError::UnknownSuite(2));
        for origin in ["", "a b", "a+b", "ä", &"a".repeat(ORIGIN_LEN_MAX + 1)] {
            assert!(
                KeySet::from_vkeys(origin, 1, [x, y, z]).is_err(),
                "{origin}"
            );
        }
    }
}
