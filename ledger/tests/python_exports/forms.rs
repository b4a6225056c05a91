//! Lines that nearly have the form of an entry: which of them are entries, and which could be one
//! day's.
//!
//! None is committed, so a line in form ends as `range-not-committed`, any other as what it is.

use std::collections::BTreeMap;

use candor_ledger::export::ENTRIES_FILE;
use serde_json::{Map, Value, json};

use crate::sample::Sample;
use crate::{Case, pack, random};

const ROUNDS: usize = 300;
const SEQ: u64 = 9;

/// Entries of all operations but `ledger.rules`, each with one change.
pub(crate) fn mutated(sample: &Sample, seed: &str) -> Vec<Case> {
    let lines = lines_of_the_first_story();
    let one_entry = pack(sample, SEQ, SEQ, None);
    let case = |change: String, entry: &Value| {
        let mut line = serde_json_canonicalizer::to_vec(entry).unwrap();
        line.push(b'\n');
        let mut folder = one_entry.clone();
        folder.insert(ENTRIES_FILE, line);
        let name = format!("{change} in {entry}");
        Case { name, folder }
    };
    let by_chance = (0..ROUNDS).map(|round| {
        let number = |end: usize, of: &str| random(end, &format!("{seed} {of} {round}"));
        let mut entry = lines[number(lines.len(), "form")].clone();
        entry["seq"] = json!(SEQ);
        let change = mutate(&mut entry, &number);
        case(change, &entry)
    });
    let other_kinds = named_of_another_kind(&lines).into_iter();
    let other_kinds = other_kinds.map(|(key, entry)| case(format!("another kind: {key}"), &entry));
    by_chance.chain(other_kinds).collect()
}

/// Everywhere a subject is named in a body, in each form that this takes, one of the other kind.
fn named_of_another_kind(lines: &[Value]) -> Vec<(String, Value)> {
    let fingerprint = "fingerprint:sha3-256:".to_owned() + &"a".repeat(64);
    let mut found = BTreeMap::new();
    for line in lines {
        for key in ["model", "successor"] {
            let Some(named) = line["body"][key].as_str() else {
                continue;
            };
            let mut entry = line.clone();
            entry["seq"] = json!(SEQ);
            entry["body"][key] = match named.strip_prefix("model:") {
                Some(_) => json!(fingerprint),
                None => json!("model:gpt-4-0613/checkpoint-1"),
            };
            let form = format!("{key} of {} {}", line["op"], line["body"]["reason"]);
            found.insert(form, entry);
        }
    }
    found.into_iter().collect()
}

fn lines_of_the_first_story() -> Vec<Value> {
    let vectors: Value = serde_json::from_str(include_str!("../vectors/fold.json")).unwrap();
    let commands = vectors["stories"][0]["commands"].as_array().unwrap();
    let lines = commands
        .iter()
        .flat_map(|command| command["expected"]["entries"].as_array().unwrap());
    lines
        .map(|line| serde_json::from_str(line.as_str().unwrap()).unwrap())
        .collect()
}

/// Changes a value of the entry, of its body, or of what lies in that; and says which, and how.
fn mutate(entry: &mut Value, number: &dyn Fn(usize, &str) -> usize) -> String {
    let (mut at, mut path) = (entry, String::new());
    loop {
        let (keys, is_list) = match &*at {
            Value::Object(object) => (object.keys().cloned().collect::<Vec<_>>(), false),
            Value::Array(list) => ((0..list.len()).map(|at| at.to_string()).collect(), true),
            _ => break,
        };
        let key = &keys[number(keys.len(), &format!("key of {path}"))];
        path = format!("{path}/{key}");
        let how = number(12, &format!("how {path}"));
        if let (0 | 1, Value::Object(object)) = (how, &mut *at) {
            return shrink_or_grow(object, key, how) + &path;
        }
        at = if is_list {
            &mut at[key.parse::<usize>().unwrap()]
        } else {
            &mut at[key.as_str()]
        };
        if how < 4 {
            break;
        }
    }
    let value = other(at, number);
    let change = format!("{at} became {value}: {path}");
    *at = value;
    change
}

fn shrink_or_grow(object: &mut Map<String, Value>, key: &str, how: usize) -> String {
    if how == 0 {
        object.remove(key);
        return "left out: ".to_owned();
    }
    object.insert("zz".to_owned(), json!(1));
    "one more beside: ".to_owned()
}

fn other(value: &Value, number: &dyn Fn(usize, &str) -> usize) -> Value {
    let any = [
        json!(null),
        json!(true),
        json!(0),
        json!(2),
        json!(-1),
        json!(9_007_199_254_740_991_u64),
        json!(""),
        json!("x"),
        json!("two words"),
        json!("cache.revoke"),
        json!("superseded"),
        json!("-0"),
        json!("1.50"),
        json!("0.25"),
        json!("1234567890.123456789"),
        json!("model:a/b%2Fc"),
        json!("model:a%2f/b"),
        json!("decision:x%"),
        json!("1970-01-01T00:00:00.000000Z"),
        json!("2024-02-30T00:00:00.000000Z"),
        json!("2024-02-29T23:59:60.000000Z"),
        json!("x".repeat(201)),
        json!("sha3-256:".to_owned() + &"a".repeat(64)),
        json!("sha-256:".to_owned() + &"a".repeat(64)),
        json!("sha3-256:".to_owned() + &"A".repeat(64)),
        json!("fingerprint:sha3-256:".to_owned() + &"a".repeat(64)),
        json!([]),
        json!({}),
        json!([1]),
        json!({"a": 1}),
    ];
    let how = number(any.len() * 2, "other");
    match value.as_str() {
        Some(text) if how >= any.len() && text.is_ascii() && !text.is_empty() => {
            json!(respelled(text, how % 5, number(text.len(), "character")))
        }
        _ => any[how % any.len()].clone(),
    }
}

fn respelled(text: &str, how: usize, at: usize) -> String {
    match how {
        0 => text[..text.len() - 1].to_owned(),
        1 => text.to_owned() + "0",
        2 => text.to_uppercase(),
        3 => text[..at].to_owned() + "/" + &text[at + 1..],
        _ => text[..at].to_owned() + "\u{e9}" + &text[at + 1..],
    }
}
