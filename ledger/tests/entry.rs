//! The one spelling of an entry, over at least one entry of every operation.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "test"
)]

use std::collections::BTreeMap;

use candor_ledger::canonical::{self, JsonError};
use candor_ledger::entry::{
    Body, ENTRY_LEN_MAX, Entry, EntryError, MEDIA_TYPE_LEN_MAX, Op, REASON_LEN_MAX,
};
use candor_ledger::fingerprint::NAME_LEN_MAX;
use serde_json::{Value, json};

/// Keys that may be missing from a body; each may also be there.
const OPTIONAL: [&str; 10] = [
    "as_of_time",
    "decision",
    "former",
    "input_tokens",
    "latency_ms",
    "model_checksum",
    "observed_model_version",
    "output_tokens",
    "person",
    "trace_id",
];

#[test]
fn every_entry_of_the_vectors_reads_and_writes_back() {
    for line in lines() {
        let entry = Entry::parse(line.as_bytes()).unwrap();
        assert_eq!(String::from_utf8(entry.encode()).unwrap(), line);
        let word = entry.op().as_str();
        assert_eq!(Op::parse(word), Some(entry.op()));
        assert!(line.contains(&format!(r#""op":"{word}""#)));
    }
    assert_eq!(
        samples().len(),
        Op::ALL.len(),
        "one sample of every operation"
    );
    assert!(Op::ALL.is_sorted_by_key(|op| op.as_str()));
}

#[test]
fn a_key_too_few_is_malformed_and_a_key_too_many_is_not_understood() {
    for (op, sample) in samples() {
        for path in objects_in(&sample) {
            let keys: Vec<_> = at(&sample, &path)
                .as_object()
                .unwrap()
                .keys()
                .cloned()
                .collect();
            for key in keys {
                let mut fewer = sample.clone();
                at_mut(&mut fewer, &path)
                    .as_object_mut()
                    .unwrap()
                    .remove(&key);
                match parse(&fewer) {
                    Err(EntryError::Malformed { .. }) => {}
                    Ok(_) if OPTIONAL.contains(&key.as_str()) => {}
                    other => panic!("{op} without {path}{key}: {other:?}"),
                }
            }
            let mut more = sample.clone();
            at_mut(&mut more, &path)["newer"] = json!(1);
            let error = parse(&more).unwrap_err();
            assert!(
                matches!(&error, EntryError::NotUnderstood { found, .. } if found == "newer"),
                "{op}{path}: {error}"
            );
        }
    }
}

#[test]
fn a_value_of_another_kind_is_malformed_wherever_it_stands() {
    for (op, sample) in samples() {
        for path in objects_in(&sample) {
            let keys: Vec<_> = at(&sample, &path)
                .as_object()
                .unwrap()
                .keys()
                .cloned()
                .collect();
            for key in keys {
                for wrong in [json!(true), json!(-1), json!([[]]), json!("\u{0}")] {
                    let mut changed = sample.clone();
                    at_mut(&mut changed, &path)[&key] = wrong.clone();
                    let error = parse(&changed);
                    let words = [
                        "op", "action", "asked", "pattern", "reason", "result", "state",
                    ];
                    let free = key == "reason" || key == "cause";
                    match error {
                        Err(EntryError::Malformed { .. }) => {}
                        Err(EntryError::NotUnderstood { .. }) if words.contains(&key.as_str()) => {}
                        // A reason or cause is any text.
                        Ok(_) if free && wrong.is_string() => {}
                        other => panic!("{op}: {path}{key} = {wrong}: {other:?}"),
                    }
                }
            }
        }
    }
}

#[test]
fn what_a_newer_version_might_have_written_could_not_be_checked() {
    let samples = samples();
    let read_miss = &samples["cache.read_miss"];
    let unknown = |sample: &str, path: &str, key: &str, value: Value| {
        let mut changed = samples[sample].clone();
        at_mut(&mut changed, path)[key] = value.clone();
        let error = parse(&changed).unwrap_err();
        assert!(
            matches!(error, EntryError::NotUnderstood { .. }),
            "{value}: {error}"
        );
        assert!(error.to_string().starts_with("could not check"), "{error}");
    };
    unknown("cache.read_miss", "", "v", json!(2));
    unknown("cache.read_miss", "", "op", json!("cache.forget"));
    unknown("cache.read_miss", "/body", "reason", json!("moved"));
    unknown("cache.write", "/body", "pattern", json!("fuzzy"));
    unknown("cache.refused", "/body", "reason", json!("quota"));
    unknown("cache.refused", "/body", "state", json!("frozen"));
    unknown("cache.refused", "/body", "asked", json!("cache.forget"));
    unknown("cache.verify", "/body", "result", json!("likely"));
    unknown("ledger.genesis", "/body", "suite", json!(2));
    unknown("ledger.member", "/body", "action", json!("pause"));
    // The version is looked at before anything that depends on it.
    let newer = json!({"v": 2, "anything": read_miss});
    assert!(matches!(
        parse(&newer),
        Err(EntryError::NotUnderstood { .. })
    ));
}

#[test]
fn every_other_spelling_of_an_entry_is_refused() {
    let line = lines()
        .into_iter()
        .find(|line| line.contains("read_hit"))
        .unwrap();
    let spelled = [
        format!("{line}\n"),
        format!(" {line}"),
        line.replacen(',', ", ", 1),
        line.replacen("cache.", "cache\\u002e", 1),
        line.replacen("\"v\":1", "\"v\":1,\"v\":1", 1),
        line.replacen("\"v\":1", "\"v\":1.0", 1),
    ];
    for spelled in spelled {
        let error = Entry::parse(spelled.as_bytes()).unwrap_err();
        assert!(matches!(error, EntryError::Json(_)), "{spelled}: {error}");
    }
    let moved = format!("{{\"v\":1,{}", &line[1..].replace(",\"v\":1", ""));
    let error = Entry::parse(moved.as_bytes()).unwrap_err();
    assert!(matches!(
        error,
        EntryError::Json(JsonError::NotCanonical { .. })
    ));

    let sample = samples()["cache.read_hit"].clone();
    let text = |key: &str| at(&sample, "")[key].as_str().unwrap().to_owned();
    let hash = sample["body"]["output_hash"].as_str().unwrap().to_owned();
    for (path, key, value) in [
        ("", "prev", text("prev").to_uppercase()),
        ("", "prev", text("prev").replace("sha3-256:", "")),
        ("", "prev", text("prev").replace("sha3-256:", "sha-256:")),
        ("", "time", text("time").replace('T', " ")),
        ("", "time", text("time").replace("000Z", "Z")),
        ("", "subject", text("subject").replace("fingerprint:", "")),
        ("", "request_id", text("request_id").to_uppercase() + "A"),
        ("", "request_id", text("request_id").replace('-', "")),
        ("", "nonce", text("nonce") + "=="),
        (
            "",
            "nonce",
            text("nonce").replace(|_| true, "A")[..21].to_owned() + "B",
        ),
        ("", "tenant", "a b".to_owned()),
        ("", "actor", String::new()),
        (
            "/body",
            "output_hash",
            hash.replace("sha3-256:", "sha-256:"),
        ),
    ] {
        let mut changed = sample.clone();
        at_mut(&mut changed, path)[key] = json!(value);
        let error = parse(&changed).unwrap_err();
        assert!(
            matches!(error, EntryError::Malformed { .. }),
            "{value}: {error}"
        );
    }
}

#[test]
fn the_limits_of_an_entry_hold() {
    let samples = samples();
    let with = |sample: &str, path: &str, key: &str, value: String| {
        let mut changed = samples[sample].clone();
        at_mut(&mut changed, path)[key] = json!(value);
        parse(&changed).is_ok()
    };
    for (sample, path, key, len_max) in [
        ("cache.revoke", "/body", "reason", REASON_LEN_MAX),
        ("cache.write", "/body", "media_type", MEDIA_TYPE_LEN_MAX),
        ("cache.write", "/body", "trace_id", NAME_LEN_MAX),
        ("cache.write", "", "tenant", NAME_LEN_MAX),
        ("cache.write", "", "actor", NAME_LEN_MAX),
    ] {
        assert!(with(sample, path, key, "x".repeat(len_max)), "{key}");
        assert!(!with(sample, path, key, "x".repeat(len_max + 1)), "{key}");
    }
    let long = vec![b' '; ENTRY_LEN_MAX + 1];
    let len = long.len();
    assert_eq!(Entry::parse(&long), Err(EntryError::TooLong { len }));
    let full = Entry::parse(&long[1..]).unwrap_err();
    assert!(matches!(full, EntryError::Json(_)));
}

#[test]
fn the_members_of_a_genesis_are_read_alone_too() {
    let sample = samples()["ledger.genesis"].clone();
    let Body::Genesis(genesis) = parse(&sample).unwrap().body else {
        panic!("a genesis")
    };
    let object = genesis.to_object();
    assert_eq!(
        candor_ledger::entry::Genesis::from_object(object).unwrap(),
        *genesis
    );
    let former = json!({"origin": "old", "size": 7, "root": "A".repeat(43) + "=", "cause": "lost"});
    let mut follows = sample;
    follows["body"]["former"] = former;
    let Body::Genesis(follows) = parse(&follows).unwrap().body else {
        panic!("a genesis")
    };
    assert_eq!(follows.former.unwrap().size.0, 7);
}

/// The whole entries of the vectors, and the one operation that no command can make yet.
fn lines() -> Vec<String> {
    let vectors: Value = serde_json::from_str(include_str!("vectors/fold.json")).unwrap();
    let commands = vectors["stories"][0]["commands"].as_array().unwrap().iter();
    let entries = commands.flat_map(|command| command["expected"]["entries"].as_array().unwrap());
    let mut lines: Vec<_> = entries
        .map(|line| line.as_str().unwrap().to_owned())
        .collect();
    let seal = lines
        .iter()
        .find(|line| line.contains("ledger.seal"))
        .unwrap();
    let mut rules: Value = serde_json::from_str(seal).unwrap();
    (rules["op"], rules["body"]) = (json!("ledger.rules"), json!({"rules": 2}));
    lines.push(canonical_text(&rules));
    lines
}

/// Of every operation the entry with the longest body.
fn samples() -> BTreeMap<String, Value> {
    let mut samples: BTreeMap<String, Value> = BTreeMap::new();
    for line in lines() {
        let entry: Value = serde_json::from_str(&line).unwrap();
        let op = entry["op"].as_str().unwrap().to_owned();
        let held = samples
            .get(&op)
            .map_or(0, |held| held["body"].to_string().len());
        if entry["body"].to_string().len() > held {
            samples.insert(op, entry);
        }
    }
    samples
}

/// Paths of the objects of an entry, as JSON pointers.
fn objects_in(entry: &Value) -> Vec<String> {
    let mut paths = vec![String::new()];
    let mut next = 0;
    while next < paths.len() {
        let path = paths[next].clone();
        for (key, value) in at(entry, &path).as_object().unwrap() {
            if value.is_object() {
                paths.push(format!("{path}/{key}"));
            }
            if value[0].is_object() {
                paths.push(format!("{path}/{key}/0"));
            }
        }
        next += 1;
    }
    paths
}

fn at<'a>(entry: &'a Value, path: &str) -> &'a Value {
    entry.pointer(path).unwrap()
}

fn at_mut<'a>(entry: &'a mut Value, path: &str) -> &'a mut Value {
    entry.pointer_mut(path).unwrap()
}

fn parse(entry: &Value) -> Result<Entry, EntryError> {
    Entry::parse(canonical_text(entry).as_bytes())
}

fn canonical_text(entry: &Value) -> String {
    canonical::parse(entry.to_string().as_bytes())
        .unwrap()
        .to_text()
}
