//! The signature verification cases of NIST's ACVP for FIPS 204 and FIPS 205, pure mode.
//!
//! Ours have an empty context, theirs mostly have not; the verifier beneath is the same.
#![cfg(feature = "outside-vectors")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "test"
)]

mod common;

use candor_ledger::signature::{Algorithm, PublicKey};
use serde_json::Value;

#[test]
fn ml_dsa_65_cases_are_judged_as_nist_says() {
    let judged = judge(Algorithm::MlDsa65, "signatures/ml-dsa-65-sigver.json", 8);
    assert_eq!(judged, (2, 6), "accepted and refused");
}

#[test]
fn slh_dsa_sha2_128f_cases_are_judged_as_nist_says() {
    let file = "signatures/slh-dsa-sha2-128f-sigver.json";
    let judged = judge(Algorithm::SlhDsaSha2128f, file, 7);
    assert_eq!(judged, (1, 6), "accepted and refused");
}

/// Runs every case, compares with its `testPassed`, and counts verdicts. What is accepted must be
/// refused with one bit changed anywhere, and under another context.
fn judge(algorithm: Algorithm, file: &str, expected: usize) -> (usize, usize) {
    let cases = common::outside_cases(file, expected);
    let (mut accepted, mut refused) = (0, 0);
    for case in &cases {
        let [message, context, signature] =
            ["message", "context", "signature"].map(|key| bytes(&case[key]));
        let key = PublicKey::from_bytes(algorithm, &bytes(&case["pk"])).unwrap();
        let good = key
            .verify_with_context(&message, &context, &signature)
            .is_ok();
        assert_eq!(
            good,
            case["testPassed"].as_bool().unwrap(),
            "case {}",
            case["tcId"]
        );
        if good {
            refuses_changes(&key, &message, &context, &signature);
        }
        *(if good { &mut accepted } else { &mut refused }) += 1;
    }
    assert_eq!(accepted + refused, cases.len(), "every case ran");
    (accepted, refused)
}

fn refuses_changes(key: &PublicKey, message: &[u8], context: &[u8], signature: &[u8]) {
    for at in (0..signature.len()).step_by(97) {
        let mut changed = signature.to_vec();
        changed[at] ^= 1 << (at % 8);
        let verdict = key.verify_with_context(message, context, &changed);
        assert!(verdict.is_err(), "byte {at} changed");
    }
    assert!(
        key.verify_with_context(message, &context[1..], signature)
            .is_err()
    );
    assert!(key.verify_with_context(message, &[], signature).is_err());
    assert!(
        key.verify_with_context(&message[1..], context, signature)
            .is_err()
    );
    assert!(
        key.verify_with_context(message, &[1; 256], signature)
            .is_err()
    );
}

fn bytes(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().unwrap()).unwrap()
}
