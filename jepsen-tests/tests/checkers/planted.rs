//! How the corpus is made: one run that is right, and one thing changed at a time.
//!
//! `CANDOR_CORPUS=write cargo test -p candor-jepsen --test checkers the_corpus` writes it anew, after a change
//! of a format or of the story. What must be said of each case is written here by hand, never by a checker.

use std::collections::BTreeMap;

use candor_jepsen::check::{self, Run, Verdict};
use candor_jepsen::history::{Found, Miss};
use serde_json::json;

use crate::changes::{
    again, asked_later, base, changed, conflict_overwrote, error, expires_at_the_end,
    failure_was_served, found, hit_of_another_write, is_first_hit, last_answer, last_entry,
    lookup_under_the_id_of_a_set, missed_before_expiry, never_came_back, of_size, receipt_outlived,
    renamed, sent_twice_and_done_twice, served_after_supersession, served_instead,
    session_went_back, set_output, signature_missing, signed, speaks_after_info, swapped_lookups,
    third_note, told, told_then, unknown_as_failure, unknown_as_success, unknown_on_some_nodes,
    with_other_root,
};
use crate::corpus;
use crate::random::{self, Shape};
use crate::story::Stored;

struct Plant {
    name: &'static str,
    says: &'static str,
    wrong: &'static [&'static str],
    unknown: &'static [&'static str],
    make: fn() -> Stored,
}

/// Most cases are not signed, and so are never good as a whole.
const UNSIGNED: &[&str] = &["signatures"];

const fn plant(
    name: &'static str,
    says: &'static str,
    wrong: &'static [&'static str],
    make: fn() -> Stored,
) -> Plant {
    Plant {
        name,
        says,
        wrong,
        unknown: UNSIGNED,
        make,
    }
}

fn plants() -> Vec<Plant> {
    let mut all = good();
    all.extend(in_the_ledger());
    all.extend(in_what_was_served());
    all.extend(in_the_history());
    all.extend(in_what_was_signed());
    all.extend(in_the_run());
    all.extend(single_rules());
    all
}

fn good() -> Vec<Plant> {
    vec![
        plant("valid", "Nothing is wrong", &[], base),
        Plant {
            unknown: &[],
            ..plant(
                "valid_signed",
                "Nothing is wrong, and all is signed",
                &[],
                signed,
            )
        },
        plant(
            "valid_sent_twice",
            "A set was sent twice under one id, and took effect once",
            &[],
            || told(|story| story.ask_twice(0, &story.set("k2", "A", 60_000))),
        ),
        plant(
            "valid_two_nodes",
            "Two nodes hold the same, and both forms of the history are there",
            &[],
            || {
                changed(|run| {
                    run.second_node();
                })
            },
        ),
    ]
}

#[expect(clippy::too_many_lines, reason = "a list")]
fn in_the_ledger() -> Vec<Plant> {
    vec![
        plant(
            "lost",
            "The last set was answered, and its entry is gone",
            &["ledger_order", "set_full"],
            || changed(|run| run.rewrite(|entries| drop(entries.pop()))),
        ),
        plant(
            "lost_on_one_node",
            "One node never got the last entry",
            &["chain", "set_full"],
            || changed(|run| drop(run.second_node().pop())),
        ),
        plant(
            "unknown_on_some_nodes",
            "A set of unknown outcome is on one node and not on the other",
            &["chain", "set_full"],
            unknown_on_some_nodes,
        ),
        plant(
            "duplicated",
            "A set took effect twice under one id",
            &["exactly_once"],
            || changed(|run| run.rewrite(|entries| again(entries, "cache.write"))),
        ),
        plant(
            "duplicated_with_two_answers",
            "One id was answered with two entries",
            &["exactly_once"],
            || told(sent_twice_and_done_twice),
        ),
        plant(
            "phantom",
            "A lookup is in the ledger that nobody made",
            &["exactly_once"],
            || changed(|run| run.rewrite(|entries| renamed(entries, "cache.read_miss"))),
        ),
        plant(
            "forked",
            "Two nodes hold two ledgers of one length",
            &["chain"],
            || {
                changed(|run| {
                    let chain = run.second_node();
                    let last = chain.last_mut().unwrap();
                    *last = last.replace("text/plain", "text/plane");
                })
            },
        ),
        plant(
            "damaged",
            "A byte of one entry is another one, so the next does not link to it",
            &["chain"],
            || {
                changed(|run| {
                    let chain = run.second_node();
                    chain[4] = chain[4]
                        .replace("\"cpu\"", "\"cpv\"")
                        .replace("nonce\":\"", "nonce\":\"_");
                })
            },
        ),
        plant(
            "gap",
            "An entry in the middle is gone, and nothing was linked anew",
            &["chain", "checkpoints", "ledger_order", "set_full"],
            || changed(|run| drop(run.chains.get_mut(&1).unwrap().remove(5))),
        ),
        plant(
            "time_went_back",
            "An entry is older than the one before it",
            &["chain", "ledger_order"],
            || {
                changed(|run| {
                    run.rewrite(|entries| {
                        let last = entries.last_mut().unwrap();
                        last["time"] = json!("2026-05-14T09:00:00.000000Z");
                    });
                })
            },
        ),
        plant(
            "expired_too_early",
            "The log let a result expire whose deadline was an hour away",
            &["ledger_order"],
            || changed(|run| run.rewrite(expires_at_the_end)),
        ),
    ]
}

fn in_what_was_served() -> Vec<Plant> {
    vec![
        plant(
            "stale_read",
            "A lookup was answered with what was so long before it was asked",
            &["cache_validity", "ledger_order", "wgl"],
            || changed(|run| asked_later(run, is_first_hit)),
        ),
        plant(
            "order_of_lookups",
            "Two lookups stand in the ledger the other way round than they were answered: no client could tell",
            &["ledger_order"],
            || told(swapped_lookups),
        ),
        plant(
            "wrong_value",
            "A lookup was answered with an output that nobody recorded",
            &["cache_validity", "ledger_order", "wgl"],
            || changed(|run| found(run, is_first_hit, |found| set_output(found, "X"))),
        ),
        plant(
            "wrong_version",
            "A lookup was answered with a version that there was not",
            &["ledger_order", "wgl"],
            || {
                changed(|run| {
                    found(run, is_first_hit, |found| {
                        if let Found::Hit { version, .. } = found {
                            *version += 1;
                        }
                    });
                })
            },
        ),
        plant(
            "served_after_revoke",
            "A revoked output was served, and all nodes say that it was right",
            &["cache_validity", "ledger_order", "wgl"],
            || served_instead(&Miss::Revoked, "A", 1),
        ),
        plant(
            "served_after_expiry",
            "An output was served after its deadline, and all nodes say that it was right",
            &["ledger_order", "ttl"],
            || served_instead(&Miss::Expired, "C", 1),
        ),
        plant(
            "served_after_supersession",
            "An output was served after its key was superseded, and all nodes say that it was right",
            &["cache_validity", "ledger_order", "wgl"],
            served_after_supersession,
        ),
        plant(
            "missed_before_expiry",
            "A result was called expired an hour before its deadline",
            &["ledger_order", "ttl"],
            missed_before_expiry,
        ),
        plant(
            "conflict_overwrote",
            "A set of other bytes was refused with a conflict, and served from then on",
            &["cache_validity", "ledger_order", "wgl"],
            conflict_overwrote,
        ),
    ]
}

fn in_the_history() -> Vec<Plant> {
    vec![
        plant(
            "unknown_as_success",
            "A set whose outcome nobody knew is called a success",
            &["ledger_order", "set_full"],
            || told_then(|_| {}, unknown_as_success),
        ),
        plant(
            "unknown_as_failure",
            "A set that timed out is called a failure, and took effect",
            &["exactly_once"],
            || changed(unknown_as_failure),
        ),
        plant(
            "failure_was_served",
            "A set is called a failure, and its output was served",
            &["cache_validity", "exactly_once", "wgl"],
            failure_was_served,
        ),
        plant(
            "session_went_back",
            "A client was shown a checkpoint smaller than one before",
            &["session"],
            || changed(session_went_back),
        ),
        plant(
            "unproven",
            "An answer came without a good proof",
            &["alarms"],
            || changed(|run| error(run, "UNPROVEN")),
        ),
        Plant {
            unknown: &[
                "alarms",
                "cache_validity",
                "exactly_once",
                "ledger_order",
                "receipts",
                "session",
                "set_full",
                "signatures",
                "ttl",
                "wgl",
            ],
            ..plant(
                "speaks_after_info",
                "A process asks again after `:info`: so what it asked before may come after",
                &["coverage", "liveness", "well_formed"],
                || changed(speaks_after_info),
            )
        },
        Plant {
            unknown: &["signatures", "wgl"],
            ..plant(
                "search_given_up",
                "The search for an order may try one state",
                &[],
                || changed(|run| run.plan["states_max"] = json!(1)),
            )
        },
    ]
}

fn in_what_was_signed() -> Vec<Plant> {
    vec![
        plant(
            "two_roots",
            "Two checkpoints of one size have two roots",
            &["checkpoints"],
            || {
                changed(|run| {
                    let other = with_other_root(&run.checkpoints[1]);
                    run.checkpoints.push(other);
                })
            },
        ),
        plant(
            "checkpoint_of_another_history",
            "Every checkpoint that was shown of a size is of another ledger",
            &["checkpoints"],
            || changed(|run| run.checkpoints[2] = with_other_root(&run.checkpoints[2])),
        ),
        plant(
            "checkpoint_ahead",
            "A checkpoint is of more entries than any node holds",
            &["checkpoints"],
            || changed(|run| run.checkpoints.push(of_size(&run.checkpoints[1], 900))),
        ),
        plant(
            "checkpoint_without_seal",
            "A checkpoint does not end with a seal",
            &["checkpoints"],
            || changed(|run| run.checkpoints.push(of_size(&run.checkpoints[1], 3))),
        ),
        plant(
            "receipt_broken",
            "The path of a receipt leads nowhere",
            &["receipts"],
            || {
                changed(|run| {
                    run.receipts[0].1 = run.receipts[0].1.replacen("index 2", "index 3", 1);
                })
            },
        ),
        plant(
            "receipt_outlived",
            "An entry was written anew, with all hashes above it, after its receipt was given",
            &["checkpoints", "receipts"],
            receipt_outlived,
        ),
        Plant {
            unknown: &[],
            ..plant(
                "signature_missing",
                "One of three signatures of a checkpoint is gone",
                &["signatures"],
                signature_missing,
            )
        },
    ]
}

fn in_the_run() -> Vec<Plant> {
    vec![
        plant(
            "never_came_back",
            "A call never ended",
            &["liveness"],
            || changed(never_came_back),
        ),
        plant(
            "never_recovered",
            "After the last fault no change was answered in time",
            &["liveness"],
            || changed(|run| run.plan["recovery_ms"] = json!(1)),
        ),
        plant(
            "fault_never_happened",
            "A fault was planned that the run did not see",
            &["coverage"],
            || changed(|run| run.plan["demands"]["ok_during"]["partition"] = json!(1)),
        ),
        plant(
            "too_little",
            "Fewer answers than planned",
            &["coverage"],
            || changed(|run| run.plan["demands"]["ok"] = json!(10_000)),
        ),
    ]
}

/// What one rule alone finds; most other cases break several.
#[expect(clippy::too_many_lines, reason = "a list")]
fn single_rules() -> Vec<Plant> {
    vec![
        plant(
            "seq_of_another_place",
            "An entry names another place",
            &["chain"],
            || last_entry("seq", json!(3)),
        ),
        plant(
            "link_to_nothing",
            "The last entry links to no entry",
            &["chain"],
            || last_entry("prev", json!(format!("sha3-256:{}", "1".repeat(64)))),
        ),
        plant(
            "hole_in_a_lifecycle",
            "An event of a key is counted that is not there",
            &["chain"],
            || last_entry("n", json!(7)),
        ),
        plant(
            "change_and_lookup",
            "A lookup has the id of a set",
            &["exactly_once"],
            || changed(|run| run.rewrite(lookup_under_the_id_of_a_set)),
        ),
        plant(
            "hit_of_another_write",
            "A hit rests on a write before the newest",
            &["ledger_order"],
            hit_of_another_write,
        ),
        plant(
            "time_of_another_entry",
            "An answer tells another time than its entry",
            &["ledger_order"],
            || {
                changed(|run| {
                    last_answer(run, |answer| {
                        answer.time_us = answer.time_us.map(|us| us + 1);
                    });
                })
            },
        ),
        plant(
            "time_of_a_session",
            "An answer tells a time before the last",
            &["ledger_order", "session"],
            || changed(|run| last_answer(run, |answer| answer.time_us = Some(1))),
        ),
        plant(
            "order_of_a_session",
            "A client's two lookups stand the other way round",
            &["ledger_order", "session"],
            || {
                told(|story| {
                    story.ask(0, &story.get("k2"));
                    story.ask(0, &story.get("k2"));
                    story.swap_last_two_answers();
                })
            },
        ),
        plant(
            "checkpoint_of_another_head",
            "A checkpoint has another chain head",
            &["checkpoints"],
            || {
                third_note(|note| {
                    let head = note.lines().nth(4).unwrap().to_owned();
                    note.replace(
                        &head,
                        "chain sha3-256 AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
                    )
                })
            },
        ),
        plant(
            "checkpoint_of_another_time",
            "A checkpoint was sealed at another time",
            &["checkpoints"],
            || third_note(|note| note.replace("sealed 2026", "sealed 2027")),
        ),
        plant(
            "checkpoint_of_another_log",
            "A checkpoint is another log's",
            &["checkpoints"],
            || third_note(|note| note.replace("log.example/acme", "log.example/other")),
        ),
        plant(
            "checkpoint_unreadable",
            "What was shown is no checkpoint",
            &["checkpoints"],
            || changed(|run| run.checkpoints.push("no checkpoint".to_owned())),
        ),
        plant(
            "receipt_unreadable",
            "What was given is no receipt",
            &["receipts"],
            || changed(|run| run.receipts.push((0, "no receipt".to_owned()))),
        ),
        plant(
            "receipt_of_another_path",
            "A hash of a receipt's path is another",
            &["receipts"],
            || {
                changed(|run| {
                    let path = run.receipts[0].1.lines().nth(3).unwrap().to_owned();
                    let other = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
                    run.receipts[0].1 = run.receipts[0].1.replacen(&path, other, 1);
                })
            },
        ),
        plant(
            "too_few_lookups",
            "Fewer lookups than planned",
            &["coverage"],
            || changed(|run| run.plan["demands"]["ok_of"]["get"] = json!(100)),
        ),
        plant(
            "too_few_during_a_fault",
            "Too little happened while the fault lasted",
            &["coverage"],
            || changed(|run| run.plan["demands"]["ok_during"]["kill"] = json!(100)),
        ),
    ]
}

#[test]
fn the_corpus_is_what_these_stories_tell() {
    let writes = std::env::var("CANDOR_CORPUS").is_ok_and(|word| word == "write");
    let mut names = Vec::new();
    for plant in plants() {
        let folder = corpus::folder().join(plant.name);
        let run = (plant.make)();
        let mut files = run.files();
        if plant.name == "valid_two_nodes" {
            files.insert("history.jsonl".to_owned(), run.history.to_jsonl());
        }
        let expect = json!({"says": plant.says, "false": plant.wrong, "unknown": plant.unknown});
        files.insert("expect.json".to_owned(), format!("{expect:#}\n"));
        if writes {
            std::fs::create_dir_all(&folder).unwrap();
            for (name, text) in &files {
                std::fs::write(folder.join(name), text).unwrap();
            }
        }
        assert!(
            kept(&folder) == files,
            "`{}` differs: CANDOR_CORPUS=write",
            plant.name
        );
        names.push(plant.name.to_owned());
    }
    names.sort();
    let mut there: Vec<String> = corpus::cases().into_iter().map(|case| case.name).collect();
    there.sort();
    assert_eq!(names, there);
}

fn kept(folder: &std::path::Path) -> BTreeMap<String, String> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, std::fs::read_to_string(&path).unwrap())
        })
        .collect()
}

/// The checkers' model, held against the product's own rules.
#[test]
fn random_runs_of_a_right_cluster_are_called_right() {
    let seed = candor_jepsen::workload::seed();
    let folder = tempfile::tempdir().unwrap();
    for run in 0..60 {
        let shape = Shape {
            threads: 1 + run % 6,
            keys: 1 + run % 4,
            operations: 150,
            unknown_one_in: [0, 25, 10][usize::try_from(run % 3).unwrap()],
        };
        let made = random::run(seed.wrapping_add(run), shape);
        let mut stored = base();
        stored.plan["concurrency"] = json!(shape.threads);
        stored.plan["demands"] = json!({"ok": 50, "ok_of": {}, "ok_during": {}});
        stored.history = made.history;
        stored.chains = BTreeMap::from([(1, made.world.lines)]);
        let path = folder.path().join(run.to_string());
        stored.write(&path);
        let judgements = check::judge(&Run::read(&path).unwrap());
        // No receipts were taken, and the checkpoints are of another run.
        for judgement in judgements {
            let is_about_it =
                !["checkpoints", "receipts", "signatures"].contains(&judgement.checker);
            let good = judgement.verdict == Verdict::True;
            assert!(
                good || !is_about_it,
                "run {run} of seed {seed}: {judgement:?}"
            );
        }
    }
}
