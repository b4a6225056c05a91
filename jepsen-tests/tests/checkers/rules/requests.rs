//! Findings about who asked for an entry, and what.

use candor_jepsen::history::{Asked, What};
use serde_json::{Value, json};

use super::{LONG_MS, Rule, last, rule};
use crate::changes::{changed, last_answer, number, told, told_then};
use crate::story::{Stored, Story};
use crate::world::output;

pub(super) fn all() -> Vec<Rule> {
    let mut all = about_actors();
    all.extend(about_questions());
    all.extend(about_ids());
    all
}

fn about_actors() -> Vec<Rule> {
    vec![
        rule(
            "The log wrote a result by itself",
            &[("exactly_once", "the log does not do that by itself")],
            || changed(|run| last(run, |entry| entry["actor"] = json!("log"))),
        ),
        rule(
            "Somebody wrote a result who took no part",
            &[("exactly_once", "took no part in the run")],
            || changed(|run| last(run, |entry| entry["actor"] = json!("stranger"))),
        ),
        rule(
            "An entry has no id",
            &[
                ("exactly_once", "has no id"),
                ("ledger_order", "it is another request's"),
                ("set_full", "is lost on nodes"),
            ],
            || changed(|run| last(run, |entry| entry["request_id"] = Value::Null)),
        ),
        rule(
            "Nobody asked for an entry but for its proof",
            &[("exactly_once", "nobody asked for it")],
            || {
                let mut story = Story::whole();
                let seq = story.ask(0, &story.get("k2")).seq;
                story.seal();
                story.ask(1, &Asked::Receipt { seq });
                let mut run = story.stored();
                let events = &mut run.history.events;
                let at = events.len() - 4;
                events.drain(at..at + 2);
                number(&mut run);
                run
            },
        ),
    ]
}

fn about_questions() -> Vec<Rule> {
    vec![
        rule(
            "Another output was asked to be recorded than is",
            &[
                ("exactly_once", "its id stands for something else"),
                ("ledger_order", "it answers another question"),
            ],
            || {
                changed(|run| {
                    last_asked(run, |asked| {
                        if let Asked::Set { output: asked, .. } = asked {
                            *asked = output("other");
                        }
                    });
                })
            },
        ),
        rule(
            "A result was asked to be held for another time than it is",
            &[
                ("exactly_once", "its id stands for something else"),
                ("ledger_order", "it answers another question"),
            ],
            || {
                changed(|run| {
                    last_asked(run, |asked| {
                        if let Asked::Set { ttl_ms, .. } = asked {
                            *ttl_ms += 1;
                        }
                    });
                })
            },
        ),
    ]
}

#[expect(clippy::too_many_lines, reason = "a list")]
fn about_ids() -> Vec<Rule> {
    vec![
        rule(
            "One id was answered with two entries",
            &[
                ("exactly_once", "one request, two entries"),
                ("ledger_order", "it is another request's"),
            ],
            || {
                told_then(
                    |story| {
                        story.ask(1, &story.get("k1"));
                        story.ask_twice(0, &story.set("k4", "E", LONG_MS));
                    },
                    |run| last_answer(run, |answer| answer.seq -= 1),
                )
            },
        ),
        rule(
            "An answer names the entry of another request",
            &[
                ("ledger_order", "it is another request's"),
                ("set_full", "is lost on nodes"),
            ],
            || {
                changed(|run| {
                    last_answer(run, |answer| {
                        answer.request = Some("019e2600-0000-7000-8000-0000000000ff".to_owned());
                    });
                })
            },
        ),
        rule(
            "Under the id of a change that is unknown stands something else",
            &[("exactly_once", "its id stands for something else")],
            || {
                told_then(
                    |story| story.ask_in_vain(1, &story.set("k4", "E", LONG_MS), true),
                    |run| last(run, |entry| entry["body"]["ttl_ms"] = json!(1_000)),
                )
            },
        ),
        rule(
            "Under the id of a lookup that is unknown stand two questions",
            &[("exactly_once", "stands for several questions")],
            || {
                told_then(
                    |story| {
                        story.ask(0, &story.get("k2"));
                        story.ask_in_vain(1, &story.get("k2"), true);
                    },
                    |run| {
                        run.rewrite(|entries| {
                            let mut other = entries.last().unwrap().clone();
                            let digest = other["subject"].as_str().unwrap().replace('a', "b");
                            other["subject"] = json!(digest);
                            other["op"] = json!("cache.read_miss");
                            other["body"] = json!({"reason": "absent"});
                            entries.push(other);
                        });
                    },
                )
            },
        ),
        rule(
            "An answer rests on a seal",
            &[
                ("exactly_once", "nobody asked for it"),
                ("ledger_order", "it is a `ledger.seal`"),
            ],
            || {
                told_then(Story::seal, |run| {
                    last_answer(run, |answer| {
                        answer.request = None;
                        answer.seq += 1;
                    });
                })
            },
        ),
        rule("A change is repeated, and so is its answer", &[], || {
            told(|story| {
                story.ask_twice(0, &story.revoke("k4", "E"));
                story.ask(1, &story.get("k4"));
            })
        }),
    ]
}

fn last_asked(run: &mut Stored, change: impl FnOnce(&mut Asked)) {
    let asked = run.history.events.iter_mut().filter_map(|event| {
        if let What::Asked(asked) = &mut event.what {
            return Some(asked);
        }
        None
    });
    change(asked.last().unwrap());
}
