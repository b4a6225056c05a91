//! Each finding of each checker by itself: a run with one thing changed, so that the checker has this to say
//! and nothing else. Without the finding the checker would call the run right.

mod order;
mod requests;
mod run;
mod signed;

use candor_jepsen::check::{self, Run, Verdict};
use serde_json::{Value, json};

use crate::changes::{answers, base, changed, last_entry, told, told_then};
use crate::story::{Stored, Story};

/// Results outlive the story.
const LONG_MS: u64 = 3_600_000;

struct Rule {
    says: &'static str,
    /// Who finds something, and what all its findings say.
    found: &'static [(&'static str, &'static str)],
    make: fn() -> Stored,
}

const fn rule(
    says: &'static str,
    found: &'static [(&'static str, &'static str)],
    make: fn() -> Stored,
) -> Rule {
    Rule { says, found, make }
}

#[test]
fn each_finding_is_what_one_change_alone_brings_about() {
    let folder = tempfile::tempdir().unwrap();
    let mut rules = in_the_ledger();
    rules.extend(requests::all());
    rules.extend(order::all());
    rules.extend(signed::all());
    rules.extend(run::all());
    let mut problems = Vec::new();
    for (at, Rule { says, found, make }) in rules.iter().enumerate() {
        let path = folder.path().join(at.to_string());
        make().write(&path);
        for judgement in check::judge(&Run::read(&path).unwrap()) {
            let wanted = found.iter().find(|(name, _)| *name == judgement.checker);
            let is_right = match wanted {
                Some((_, text)) => {
                    let says = |finding: &String| finding.contains(text);
                    judgement.verdict != Verdict::True && judgement.findings.iter().all(says)
                }
                // Signatures are 28 KB, so nothing here is signed.
                None if judgement.checker == "signatures" => judgement.verdict == Verdict::Unknown,
                None => judgement.verdict == Verdict::True,
            };
            if !is_right {
                problems.push(format!("{says}: want {wanted:?}, got {judgement:?}"));
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    println!("{} changes", rules.len());
}

/// The entry that the last answer rests on.
fn last(run: &mut Stored, change: fn(&mut Value)) {
    run.rewrite(|entries| change(entries.last_mut().unwrap()));
}

/// A result whose deadline the log notices by itself.
fn expired_by_the_log(story: &mut Story) {
    story.ask(0, &story.revoke("k2", "A"));
    story.ask(0, &story.set("k2", "S", 200));
    story.wait(1_500);
    story.tick();
}

fn in_the_ledger() -> Vec<Rule> {
    vec![
        rule(
            "An entry in the middle of the chain is about nothing",
            &[
                ("chain", "no tenant or no subject"),
                ("exactly_once", "its id stands for something else"),
                ("ledger_order", "it answers another question"),
            ],
            || last_entry("subject", json!(5)),
        ),
        rule(
            "A second genesis",
            &[("chain", "a genesis elsewhere")],
            || {
                changed(|run| {
                    run.rewrite(|entries| {
                        let mut genesis = entries[0].clone();
                        genesis["time"] = entries.last().unwrap()["time"].clone();
                        entries.push(genesis);
                    });
                })
            },
        ),
        rule(
            "What came before in the lifecycle is named by a word",
            &[("chain", "is not event")],
            || last_entry("subject_prev", json!("none")),
        ),
        rule(
            "The log named another write when it let a result expire",
            &[("ledger_order", "it names another write")],
            || {
                told_then(expired_by_the_log, |run| {
                    last(run, |entry| entry["body"]["write_seq"] = json!(2));
                })
            },
        ),
        rule(
            "The log let a result expire twice",
            &[("ledger_order", "it expires what is EXPIRED")],
            || {
                told_then(expired_by_the_log, |run| {
                    run.rewrite(|entries| entries.push(entries.last().unwrap().clone()));
                })
            },
        ),
        rule("The log did what it should", &[], || {
            told(expired_by_the_log)
        }),
        rule(
            "An entry of a kind that there is not",
            &[
                ("exactly_once", "nobody asked for it"),
                ("ledger_order", "is not understood"),
            ],
            || changed(|run| run.rewrite(|entries| strange(entries, "cache.strange"))),
        ),
        rule(
            "An operation on models",
            &[
                ("exactly_once", "nobody asked for it"),
                ("ledger_order", "with models or without a lookup"),
            ],
            || changed(|run| run.rewrite(|entries| strange(entries, "model.supersede"))),
        ),
        rule(
            "No node holds anything",
            &[
                ("chain", "holds no entry"),
                ("checkpoints", ""),
                ("exactly_once", "there was nothing to judge"),
                ("ledger_order", "there is no such entry: lost"),
                ("receipts", "is not in the ledger any more"),
                ("set_full", "is lost on nodes"),
            ],
            || changed(|run| run.chains.get_mut(&1).unwrap().clear()),
        ),
    ]
}

/// A copy of the last entry as another request's, of another kind.
fn strange(entries: &mut Vec<Value>, op: &str) {
    let mut entry = entries.last().unwrap().clone();
    let id = entry["request_id"].as_str().unwrap().replace("-8", "-9");
    entry["request_id"] = json!(id);
    entry["op"] = json!(op);
    entries.push(entry);
}

/// A folder that is no run is an error, never an empty run.
#[test]
fn what_is_no_run_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run");
    let mut run = base();
    run.write(&path);
    let problem = |name: &str, text: Option<&str>| {
        let file = path.join(name);
        let before = std::fs::read(&file).ok();
        match text {
            Some(text) => std::fs::write(&file, text).unwrap(),
            None => std::fs::remove_file(&file).unwrap(),
        }
        let error = Run::read(&path).map(|_| ()).unwrap_err().to_string();
        match before {
            Some(before) => std::fs::write(&file, before).unwrap(),
            None => std::fs::remove_file(&file).unwrap(),
        }
        error
    };
    answers(&mut run).next().unwrap().seq += 1;
    let other = run.history.to_jsonl();
    for (name, text, says) in [
        ("run.json", None, "is missing"),
        ("run.json", Some("{}"), "missing field"),
        ("chain-1.jsonl", None, "is missing"),
        ("history.edn", None, "there is no history"),
        ("history.edn", Some("{:index 0}\n"), "line 1"),
        ("history.jsonl", Some(&*other), "differ"),
        ("receipts.jsonl", Some("{}\n"), "line 1"),
    ] {
        let error = problem(name, text);
        assert!(error.contains(says), "{name}: {error}");
    }
    assert!(Run::read(&path).is_ok());
}
