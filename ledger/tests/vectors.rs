//! Our formats against vectors made by the independent scripts beside them.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test")]

use base64::prelude::{BASE64_STANDARD, Engine as _};
use candor_ledger::canonical;
use candor_ledger::digest::sha256_parts;
use candor_ledger::fingerprint::{
    ExactFields, Fingerprint, FingerprintFields, Pattern, ResultOnlyFields,
};
use candor_ledger::ids::{Seq, TreeSize};
use candor_ledger::tree::{self, Frontier, MemoryNodes, NodeHash};
use serde_json::Value;

#[test]
fn fingerprints_are_those_of_the_vectors() {
    let vectors = read(include_str!("vectors/fingerprint.json"));
    let cases = list(&vectors["cases"], 100);
    for case in cases {
        let name = text(&case["name"]);
        let given = fields_of(text(&case["pattern"]), &case["given"]);
        let canonical = fields_of(text(&case["pattern"]), &case["canonical"]);
        assert_eq!(given.clone().normalise().unwrap(), canonical, "{name}");
        assert_eq!(given.validate().is_ok(), given == canonical, "{name}");
        canonical.validate().unwrap();
        let preimage = canonical.preimage();
        if let Some(expected) = case["preimage"].as_str() {
            assert_eq!(hex::encode(&preimage), expected, "{name}");
        }
        let sha256 = hex::encode(sha256_parts(&[&preimage]));
        assert_eq!(sha256, text(&case["preimage_sha256"]), "{name}");
        let expected = text(&case["fingerprint"]);
        assert_eq!(canonical.fingerprint().to_string(), expected, "{name}");
        assert_eq!(Fingerprint::parse(expected), Ok(canonical.fingerprint()));
    }
    for pattern in ["exact", "semantic", "result-only"] {
        let of_pattern = cases.iter().filter(|case| case["pattern"] == pattern);
        assert!(of_pattern.count() >= 20, "{pattern}");
    }
}

#[test]
fn neither_sdk_nor_server_takes_the_fields_that_the_vectors_refuse() {
    let vectors = read(include_str!("vectors/fingerprint.json"));
    for case in list(&vectors["refused"], 100) {
        let name = text(&case["name"]);
        let fields = fields_of(text(&case["pattern"]), &case["given"]);
        let by_server = fields.validate().unwrap_err();
        let by_sdk = fields.normalise().unwrap_err();
        assert_eq!(by_server.field, text(&case["field"]), "{name}: {by_server}");
        assert_eq!(by_sdk.field, text(&case["field"]), "{name}: {by_sdk}");
    }
}

#[test]
fn canonical_json_is_that_of_the_vectors() {
    let vectors = read(include_str!("vectors/canonical.json"));
    for case in list(&vectors["good"], 100) {
        let (given, canonical) = (text(&case["text"]), text(&case["canonical"]));
        let value = canonical::parse(given.as_bytes()).unwrap();
        assert_eq!(value.to_text(), canonical);
        assert_eq!(canonical::parse_canonical(canonical.as_bytes()), Ok(value));
        let strict = canonical::parse_canonical(given.as_bytes());
        assert_eq!(strict.is_ok(), given == canonical, "{given}");
    }
    for case in list(&vectors["refused"], 50) {
        let bytes = hex::decode(text(&case["bytes"])).unwrap();
        assert!(canonical::parse(&bytes).is_err(), "{}", case["name"]);
    }
}

#[test]
fn trees_are_those_of_the_vectors() {
    let vectors = read(include_str!("vectors/tree.json"));
    let (leaves, roots) = (hashes(&vectors["leaves"]), hashes(&vectors["roots"]));
    assert_eq!((leaves.len(), roots.len()), (64, 65));
    let (mut nodes, mut frontier) = (MemoryNodes::new(), Frontier::new());
    for (index, leaf) in leaves.iter().enumerate() {
        assert_eq!(frontier.root(), roots[index], "size {index}");
        assert_eq!(tree::leaf_hash(format!("entry {index}").as_bytes()), *leaf);
        nodes.push(*leaf);
        frontier.push(*leaf);
    }
    assert_eq!(nodes.root(), roots[64]);
    let root = |size: TreeSize| roots[usize::try_from(size.0).unwrap()];
    for case in list(&vectors["inclusion"], 50) {
        let (index, size) = (Seq(number(&case["index"])), TreeSize(number(&case["size"])));
        let path = hashes(&case["path"]);
        assert_eq!(tree::inclusion_path(&nodes, index, size), Ok(path.clone()));
        let leaf = leaves[usize::try_from(index.0).unwrap()];
        tree::verify_inclusion(&leaf, index, size, &path, &root(size)).unwrap();
    }
    for case in list(&vectors["consistency"], 50) {
        let (old, new) = (
            TreeSize(number(&case["old"])),
            TreeSize(number(&case["new"])),
        );
        let path = hashes(&case["path"]);
        assert_eq!(tree::consistency_path(&nodes, old, new), Ok(path.clone()));
        tree::verify_consistency(old, &root(old), new, &root(new), &path).unwrap();
    }
}

fn fields_of(pattern: &str, fields: &Value) -> FingerprintFields {
    let field = |name: &str| text(&fields[name]).to_owned();
    let exact = || ExactFields {
        model_name: field("model_name"),
        model_version: field("model_version"),
        prompt_hash: field("prompt_hash"),
        temperature: field("temperature"),
        top_p: field("top_p"),
        system_prompt_hash: field("system_prompt_hash"),
        hardware_class: field("hardware_class"),
        parameters: field("parameters"),
    };
    match Pattern::parse(pattern).unwrap() {
        Pattern::Exact => FingerprintFields::Exact(exact()),
        Pattern::Semantic => FingerprintFields::Semantic(exact()),
        Pattern::ResultOnly => FingerprintFields::ResultOnly(ResultOnlyFields {
            model_version: field("model_version"),
            computation_type: field("computation_type"),
            parameters: field("parameters"),
            hardware_class: field("hardware_class"),
        }),
    }
}

fn read(file: &str) -> Value {
    serde_json::from_str(file).unwrap()
}

fn list(value: &Value, at_least: usize) -> &[Value] {
    let cases = value.as_array().unwrap();
    assert!(cases.len() >= at_least, "{} cases only", cases.len());
    cases
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap()
}

fn hashes(value: &Value) -> Vec<NodeHash> {
    let decode = |hash: &Value| BASE64_STANDARD.decode(text(hash)).unwrap();
    let hashes = value.as_array().unwrap().iter().map(decode);
    hashes
        .map(|hash| NodeHash(hash.try_into().unwrap()))
        .collect()
}
