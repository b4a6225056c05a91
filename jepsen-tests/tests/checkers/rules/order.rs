//! Findings about what was answered before what.

use candor_jepsen::history::{Event, Found, Miss};
use serde_json::json;

use super::{LONG_MS, Rule, last, rule};
use crate::changes::{last_answer, last_at, number, told, told_then};
use crate::story::{Stored, Story};
use crate::world::output;

pub(super) fn all() -> Vec<Rule> {
    vec![
        rule(
            "What is unknown took effect before it was asked for",
            &[("ledger_order", "was answered before")],
            || {
                told_then(
                    |story| {
                        story.ask_in_vain(2, &story.set("k4", "E", LONG_MS), true);
                        story.ask(1, &story.get("k2"));
                    },
                    |run| last_at(run, 4),
                )
            },
        ),
        rule(
            "A renewal says that it was repeated, and was made before it was asked for",
            &[("ledger_order", "was answered before")],
            || {
                told_then(
                    |story| {
                        story.ask(0, &story.set("k4", "E", LONG_MS));
                        story.ask(1, &story.get("k2"));
                    },
                    |run| {
                        last_at(run, 4);
                        last_answer(run, |answer| {
                            answer.replayed = true;
                            answer.size = None;
                        });
                    },
                )
            },
        ),
        rule(
            "A client's answers go back, and say that they were repeated",
            &[
                ("ledger_order", "was answered before"),
                ("session", "it stands at"),
            ],
            || {
                told_then(
                    |story| {
                        story.ask(0, &story.get("k2"));
                        story.ask(0, &story.get("k2"));
                        story.swap_last_two_answers();
                    },
                    |run| last_answer(run, |answer| answer.replayed = true),
                )
            },
        ),
        rule(
            "A value was served under a checkpoint that does not cover its write",
            &[("cache_validity", "is not covered by the checkpoint")],
            || told(|story| drop(story.ask(1, &story.get("k4")))),
        ),
        rule(
            "A revoked output was served after a long revocation that was answered later, and a reinstatement between",
            &[
                ("cache_validity", "it was revoked"),
                ("ledger_order", "it says"),
                ("wgl", "no order"),
            ],
            served_after_the_second_revocation,
        ),
        rule(
            "A result was called expired early, long after another was reinstated",
            &[("ledger_order", "it says"), ("ttl", "at the earliest")],
            || {
                let mut run = told(|story| {
                    story.ask(0, &story.revoke("k4", "E"));
                    story.ask(0, &story.reinstate("k4", "E"));
                    story.ask(0, &story.set("k4", "E", LONG_MS));
                    story.ask(1, &story.get("k4"));
                });
                missed_instead(&mut run);
                run
            },
        ),
    ]
}

/// Two revocations, the first answered after the second, and a reinstatement between them.
fn served_after_the_second_revocation() -> Stored {
    let mut story = Story::whole();
    story.ask(2, &story.revoke("k4", "E"));
    story.ask(0, &story.reinstate("k4", "E"));
    story.ask(0, &story.revoke("k4", "E"));
    story.seal();
    story.ask(1, &story.get("k4"));
    let mut run = story.stored();
    // The answer to the first revocation comes after that to the second, before the lookup is asked for.
    let events = &mut run.history.events;
    let first = events.len() - 8;
    let late = events.remove(first + 1);
    let at = events.len() - 2;
    let time_ns = events[at - 1].time_ns;
    events.insert(at, Event { time_ns, ..late });
    number(&mut run);
    let write_seq = run.chains[&1]
        .iter()
        .rposition(|line| line.contains("cache.write\""))
        .unwrap();
    hit_instead_of_the_last_miss(&mut run, u64::try_from(write_seq).unwrap());
    run
}

fn hit_instead_of_the_last_miss(run: &mut Stored, write_seq: u64) {
    let digest = format!("sha3-256:{}", output("E"));
    run.rewrite(|entries| {
        let last = entries.last_mut().unwrap();
        last["op"] = json!("cache.read_hit");
        last["body"] = json!({"output_hash": digest, "version": 1, "write_seq": write_seq});
    });
    last_answer(run, |answer| {
        answer.found = Found::Hit {
            output: output("E"),
            version: 1,
            write_seq,
        };
    });
}

/// The last lookup is told that the result has expired, by all nodes.
fn missed_instead(run: &mut Stored) {
    last(run, |entry| {
        entry["op"] = json!("cache.read_miss");
        entry["body"] = json!({"reason": "expired"});
    });
    let expired = Miss::Expired;
    last_answer(run, |answer| answer.found = Found::Missed(expired));
}
