//! Whole ledgers rewritten by their own cluster.

use candor_ledger::canonical;
use candor_ledger::digest::ChainHash;
use candor_ledger::fold::FoldError;
use candor_ledger::ids::Seq;
use candor_ledger::time::Micros;
use serde_json::{Value, json};

use super::{Scene, TTL_MS};
use crate::support::{exact_of, get, model, replay, set};

/// Every entry of a ledger is changed in turn where the rules leave no choice, and the ledger
/// chained anew behind it, as its own cluster could: a replay names the entry.
#[test]
fn a_replay_names_the_entry_that_a_rewritten_ledger_lies_about() {
    let mut scene = Scene::new();
    let fingerprint = scene.active.fingerprint();
    scene.world.ask(get(fingerprint));
    scene.world.ask(set(scene.active.clone(), "B", TTL_MS));
    scene.world.tick();
    scene
        .world
        .ask(set(exact_of("new", &model("checkpoint-9")), "N", 1));
    scene.world.ask(get(scene.gone.fingerprint()));
    scene.world.command(&[], true);
    let (world, mut lies) = (&scene.world, 0);
    for (at, line) in world.lines.iter().enumerate() {
        let honest: Value = serde_json::from_slice(line).unwrap();
        for lie in lies_about(&honest) {
            let changed = rewritten(&world.lines, at, &lie);
            let error = replay(&changed).expect_err(&lie.to_string());
            let seq = Seq(u64::try_from(at).unwrap());
            assert!(
                matches!(error, FoldError::Broken { seq: found, .. } if found == seq),
                "{error}: {lie}"
            );
            lies += 1;
        }
    }
    assert!(lies > 60, "{lies}");
}

/// Changes of single fields that no command could have made.
fn lies_about(entry: &Value) -> Vec<Value> {
    let mut lies = Vec::new();
    let mut lie = |change: &dyn Fn(&mut Value)| {
        let mut changed = entry.clone();
        change(&mut changed);
        if changed != *entry {
            lies.push(changed);
        }
    };
    let other_hash = json!(format!("sha3-256:{}", "5a".repeat(32)));
    lie(&|e| e["n"] = json!(e["n"].as_u64().unwrap() + 1));
    lie(&|e| e["seq"] = json!(e["seq"].as_u64().unwrap() + 1));
    lie(&|e| {
        let by_log = e["actor"] == "log";
        e["actor"] = json!(if by_log { "service-a" } else { "log" });
    });
    if entry["seq"] != 0 {
        let earlier = Micros::parse(entry["time"].as_str().unwrap()).unwrap().0 - TTL_MS * 10_000;
        lie(&|e| e["time"] = json!(Micros(earlier).to_string()));
    }
    for key in ["version", "write_seq", "prev_seal"] {
        if entry["body"][key].is_number() {
            lie(&|e| e["body"][key] = json!(e["body"][key].as_u64().unwrap() + 1));
        }
    }
    for key in ["output_hash", "held", "keyset"] {
        if entry["body"][key].is_string() {
            lie(&|e| e["body"][key] = other_hash.clone());
        }
    }
    lies
}

/// The ledger with another entry at one place, and every `prev` behind it made to fit.
fn rewritten(lines: &[Vec<u8>], at: usize, lie: &Value) -> Vec<Vec<u8>> {
    let mut rewritten = lines[..at].to_vec();
    for (place, line) in lines.iter().enumerate().skip(at) {
        let mut entry: Value = serde_json::from_slice(line).unwrap();
        if place == at {
            entry = lie.clone();
        }
        if let Some(before) = rewritten.last() {
            entry["prev"] = json!(ChainHash::of(before).to_string());
        }
        let canonical = canonical::parse(entry.to_string().as_bytes()).unwrap();
        rewritten.push(canonical.to_bytes());
    }
    rewritten
}
