//! A stored run of a cluster, and copies of it with one thing damaged: `jepsen-tests/stored/`.

use std::path::{Path, PathBuf};

use candor_jepsen::check::{self, Run, Verdict};
use serde_json::{Value, json};

use crate::orders;

/// What is done to a copy, and by whom that must be found: checker, and a part of what it says.
struct Damage {
    what: &'static str,
    done: fn(&Path),
    found: &'static [(&'static str, &'static str)],
    /// Whether an order of the answers is possible after it.
    orders: bool,
}

const DAMAGES: [Damage; 5] = [
    Damage {
        what: "an acknowledged set is in no ledger any more, nor is what followed",
        done: lose,
        found: &[
            (
                "set_full",
                "set acme/cc4949f7 7dfa817b -> written v2 is lost on nodes [1, 2, 3]",
            ),
            ("ledger_order", "there is no such entry: lost"),
            ("receipts", "entry 168 is not in the ledger any more"),
            (
                "checkpoints",
                "of size 170 is of more entries than any node holds",
            ),
        ],
        orders: true,
    },
    Damage {
        what: "a lookup was served another result's value",
        done: serve_another,
        found: &[
            (
                "cache_validity",
                "get acme/682ef582 -> hit cbbeeb1b v1: nobody had recorded this output",
            ),
            (
                "ledger_order",
                "-> hit cbbeeb1b v1: it says hit 9c5087a4 v1",
            ),
            (
                "wgl",
                "key `acme/682ef582`: no order of its 22 operations is possible",
            ),
        ],
        orders: false,
    },
    Damage {
        what: "a node showed the checkpoint of another history",
        done: fork,
        found: &[
            (
                "checkpoints",
                "the checkpoint of size 63 has not the root of the ledger there",
            ),
            (
                "checkpoints",
                "two texts of size 63, one from the receipt of [110]: forked",
            ),
            ("signatures", "the note of size 63: line 9 of the note"),
        ],
        orders: true,
    },
    Damage {
        what: "a lookup was answered from before a supersession that had been acknowledged",
        done: answer_from_the_past,
        found: &[
            (
                "cache_validity",
                "hit 2e8ec2a4 v2: its key was superseded, answered at 8073.000 ms",
            ),
            (
                "ledger_order",
                "stands at 129, though [222] was answered before with 155",
            ),
            ("session", "it stands at 132, the one before at Some(155)"),
            (
                "wgl",
                "key `acme/13d84021`: no order of its 20 operations is possible",
            ),
        ],
        orders: false,
    },
    Damage {
        what: "a set that took effect is told to have failed for sure",
        done: deny,
        found: &[(
            "exactly_once",
            "entry Some(165), `cache.write`: nobody asked for it",
        )],
        orders: true,
    },
];

#[test]
fn a_stored_run_is_right_and_each_damaged_copy_of_it_wrong_for_its_own_reason() {
    let good = Run::read(&stored()).unwrap();
    for judgement in check::judge(&good) {
        let (checker, findings) = (judgement.checker, &judgement.findings);
        assert_eq!(judgement.verdict, Verdict::True, "{checker}: {findings:?}");
    }
    assert_eq!(orders::agree(&good.history, "the stored run"), (true, true));

    for Damage {
        what,
        done,
        found,
        orders,
    } in DAMAGES
    {
        let folder = tempfile::tempdir().unwrap();
        for entry in std::fs::read_dir(stored()).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
        }
        done(folder.path());
        let run = Run::read(folder.path()).unwrap();
        let judgements = check::judge(&run);
        for judgement in &judgements {
            let (checker, findings) = (judgement.checker, &judgement.findings);
            let due = found.iter().filter(|(by, _)| *by == checker);
            for (_, part) in due.clone() {
                let says = findings.iter().any(|finding| finding.contains(part));
                assert!(
                    says,
                    "{what}: {checker} does not say `{part}`: {findings:?}"
                );
            }
            let expected = [Verdict::True, Verdict::False][usize::from(due.count() > 0)];
            assert_eq!(
                judgement.verdict, expected,
                "{what}: {checker}: {findings:?}"
            );
        }
        let (product, _) = orders::agree(&run.history, what);
        assert_eq!(product, orders, "{what}");
    }
}

fn stored() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("stored/sim-2")
}

/// Rewrites a file of lines.
fn edit(file: &Path, change: impl FnOnce(&mut Vec<String>)) {
    let text = std::fs::read_to_string(file).unwrap();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    change(&mut lines);
    std::fs::write(file, lines.join("\n") + "\n").unwrap();
}

/// Rewrites the events with these indexes.
fn edit_events<const N: usize>(
    folder: &Path,
    indexes: [u64; N],
    change: impl FnOnce([&mut Value; N]),
) {
    edit(&folder.join("history.jsonl"), |lines| {
        let place = |index: u64| usize::try_from(index).unwrap();
        let mut events = indexes.map(|index| {
            let event: Value = serde_json::from_str(&lines[place(index)]).unwrap();
            assert_eq!(event["index"], json!(index));
            event
        });
        change(events.each_mut());
        for (index, event) in indexes.into_iter().zip(events) {
            lines[place(index)] = event.to_string();
        }
    });
}

fn lose(folder: &Path) {
    for node in 1..=3 {
        let chain = folder.join(format!("chain-{node}.jsonl"));
        edit(&chain, |lines| lines.truncate(165));
    }
}

fn serve_another(folder: &Path) {
    edit_events(folder, [302, 305], |[one, other]| {
        one["value"]["output"] = other["value"]["output"].clone();
    });
}

fn fork(folder: &Path) {
    edit(&folder.join("checkpoints.jsonl"), |lines| {
        let mut seen: Value = serde_json::from_str(&lines[2]).unwrap();
        let note = seen["note"].as_str().unwrap();
        let mut parts: Vec<String> = note.split('\n').map(str::to_owned).collect();
        let first = if parts[2].starts_with('A') { "B" } else { "A" };
        parts[2].replace_range(..1, first);
        seen["note"] = json!(parts.join("\n"));
        lines[2] = seen.to_string();
    });
}

fn answer_from_the_past(folder: &Path) {
    edit_events(folder, [243, 294], |[before, later]| {
        std::mem::swap(&mut before["value"], &mut later["value"]);
    });
}

fn deny(folder: &Path) {
    edit_events(folder, [312], |[answer]| {
        answer["type"] = json!("fail");
        answer["error"] = json!("INVALID_FIELD");
        answer["value"] = json!({});
    });
}
