//! What each pattern leaves behind: the similar prompt on the trail, the hidden input nowhere.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD, Engine as _};
use candor_client::{Parameters, ResultOnlyFields, SemanticFields, TenantKey, Verified};
use candor_jepsen::real::{Cluster, Setup};
use candor_jepsen::workload::{TTL, fields};
use candor_ledger::digest::{sha3_256, sha256_parts};
use candor_ledger::entry::{Body, SemanticMatch};
use candor_proto::cache_v1;

use super::raw::{Raw, code, new_id};

/// Inputs of which nothing may be found in any file of any node.
const HIDDEN: [&str; 4] = [
    "transfer 4,711.00 EUR to account DE02120300000000202051",
    "What does my tumour marker of 38 mean?",
    "You are a careful oncologist.",
    "patient Jane Roe, born 1961-07-08",
];

/// Results without a named input and results under a tenant's key: with either, the input leaves no
/// trace that somebody who guesses it could recognise, in log, ledger, values or state of any node.
#[tokio::test(flavor = "multi_thread")]
async fn a_hidden_input_leaves_nothing_on_any_node_that_a_guess_could_be_held_against() {
    let mut cluster = Setup::new(env!("CARGO_BIN_EXE_candor-jepsen"))
        .found()
        .await
        .unwrap();
    let plain = cluster.client("service-a").unwrap();

    // The input, HIDDEN[0], is not even told to the SDK.
    let score = ResultOnlyFields {
        model_version: "fraud-7".to_owned(),
        computation_type: "fraud-score".to_owned(),
        parameters: Parameters::new().with("threshold_policy", "2026-11"),
        hardware_class: "cpu".to_owned(),
    };
    let first = plain.set_attested(&score, "0.02", TTL).await.unwrap();
    let second = plain.set_attested(&score, "0.97", TTL).await.unwrap();
    assert_eq!((first.version, second.version), (1, 2), "each is a record");
    let refused = plain.get_verified::<String>(&score).await.unwrap_err();
    assert_eq!(refused.code(), "INVALID_FIELD");
    let raw = Raw::new(&cluster, "service-a", 1);
    let refused = raw.look_up(&new_id(), first.fingerprint, None).await;
    assert_eq!(code(&refused.unwrap_err()), "INVALID_FIELD");
    let trail = plain
        .auditlog(&first.fingerprint.to_string())
        .await
        .unwrap();
    assert_eq!(trail.entries.len(), 2);

    let key = TenantKey::generate(plain.tenant(), &mut |bytes| rand::fill(bytes)).unwrap();
    let keyed = cluster.client_builder("service-a", 1).unwrap();
    let keyed = keyed.tenant_key(key).build().unwrap();
    let mut asked = fields(HIDDEN[1]);
    asked.system_prompt_hash = hex::encode(sha3_256(HIDDEN[2].as_bytes()));
    let context = Parameters::new().with_digest_of("context", HIDDEN[3].as_bytes());
    let asked = asked.with_parameters(context);
    let output = "It is slightly raised, which is common and mostly harmless.";
    keyed.set_attested(&asked, output, TTL).await.unwrap();
    let read: Option<Verified<String>> = keyed.get_verified(&asked).await.unwrap();
    assert_eq!(read.unwrap().value(), output);

    // The same scan finds what is not hidden.
    let shown = "What is the capital of France?";
    plain
        .set_attested(&fields(shown), "Paris, of course.", TTL)
        .await
        .unwrap();
    cluster.settle().await.unwrap();
    cluster.stop_all().await.unwrap();
    let hidden = HIDDEN.into_iter().chain([output]);
    let needles: Vec<_> = hidden.map(|input| (input, functions_of(input))).collect();
    let [prompt, value] = [shown, "Paris, of course."].map(functions_of);
    let files = files_of(&cluster);
    let (mut seen_prompt, mut seen_value) = (BTreeSet::new(), BTreeSet::new());
    for node in cluster.nodes() {
        for (input, needles) in &needles {
            let log = cluster.log_text(node);
            assert!(
                !holds(log.as_bytes(), needles),
                "node {node} logs `{input}`"
            );
        }
    }
    for (node, path) in &files {
        let bytes = std::fs::read(path).unwrap();
        for (input, needles) in &needles {
            assert!(
                !holds(&bytes, needles),
                "`{input}` is in {}",
                path.display()
            );
        }
        if holds(&bytes, &prompt) {
            seen_prompt.insert(*node);
        }
        if holds(&bytes, &value) {
            seen_value.insert(*node);
        }
    }
    let all: BTreeSet<u64> = cluster.nodes().collect();
    assert_eq!((seen_prompt, seen_value), (all.clone(), all));
    println!(
        "{} files of {} nodes searched",
        files.len(),
        cluster.nodes().count()
    );
}

/// A semantic answer says on the trail which prompt was asked, which answered, and how similar they
/// are; without that it is refused before it becomes an entry.
#[tokio::test(flavor = "multi_thread")]
async fn a_semantic_answer_names_both_prompts_and_their_similarity_or_is_refused() {
    let cluster = Setup::new(env!("CARGO_BIN_EXE_candor-jepsen"))
        .found()
        .await
        .unwrap();
    let client = cluster.client("service-a").unwrap();
    let similar = |original: &str, similarity: &str| -> SemanticFields {
        fields("Capital of France?")
            .with_parameters(Parameters::new())
            .semantic(hex::encode(sha3_256(original.as_bytes())), similarity)
    };
    let first = similar("What is France's capital?", "0.970");
    let set = client.set_attested(&first, "Paris", TTL).await.unwrap();
    let second = similar("capital france", "0.91");
    let read: Option<String> = client.get_verified(&second).await.unwrap();
    assert_eq!(read.as_deref(), Some("Paris"));

    let raw = Raw::new(&cluster, "service-a", 2);
    let wire = |original: &str, similarity: &str| {
        Some(cache_v1::SemanticMatch {
            original_prompt_hash: original.to_owned(),
            similarity: similarity.to_owned(),
        })
    };
    let digest = "ab".repeat(32);
    for lacking in [
        None,
        wire("", "0.9"),
        wire(&digest, ""),
        wire(&digest, "close"),
    ] {
        let refused = raw
            .look_up(&new_id(), set.fingerprint, lacking.clone())
            .await;
        assert_eq!(code(&refused.unwrap_err()), "INVALID_FIELD", "{lacking:?}");
    }

    let trail = client.auditlog(&set.fingerprint.to_string()).await.unwrap();
    let recorded = trail.entries.iter().map(|event| match &event.entry.body {
        Body::Write(write) => ("write", write.semantic.clone()),
        Body::ReadHit(hit) => ("hit", hit.semantic.clone()),
        other => panic!("{other:?}"),
    });
    let matched = |original: &str, similarity: &str| -> Option<SemanticMatch> {
        candor_client::Fields::semantic_match(&similar(original, similarity)).unwrap()
    };
    let expected = [
        ("write", matched("What is France's capital?", "0.97")),
        ("hit", matched("capital france", "0.91")),
    ];
    assert_eq!(recorded.collect::<Vec<_>>(), expected);
}

fn functions_of(input: &str) -> Vec<Vec<u8>> {
    let input = input.as_bytes();
    let mut found = vec![input.to_vec(), BASE64_STANDARD.encode(input).into_bytes()];
    for digest in [sha3_256(input), sha256_parts(&[input])] {
        found.push(digest.to_vec());
        found.push(hex::encode(digest).into_bytes());
        found.push(BASE64_STANDARD.encode(digest).into_bytes());
        found.push(BASE64_URL_SAFE_NO_PAD.encode(digest).into_bytes());
    }
    found
}

fn holds(hay: &[u8], needles: &[Vec<u8>]) -> bool {
    needles
        .iter()
        .any(|needle| memchr::memmem::find(hay, needle).is_some())
}

fn files_of(cluster: &Cluster) -> Vec<(u64, PathBuf)> {
    fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
        for file in std::fs::read_dir(folder).unwrap() {
            let path = file.unwrap().path();
            if path.is_dir() {
                collect(&path, found);
            } else {
                found.push(path);
            }
        }
    }
    let of_node = |node: u64| {
        let mut found = Vec::new();
        collect(&cluster.folder(node), &mut found);
        found.into_iter().map(move |path| (node, path))
    };
    cluster.nodes().flat_map(of_node).collect()
}
