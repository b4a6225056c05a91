//! Findings about the run as a whole.

use candor_jepsen::history::{Answer, Event, Fault, Found, Process, Step, Trouble, What};
use serde_json::json;

use super::{Rule, rule};
use crate::changes::{add, again, changed, error, get_of, last_answer, number, speaks_after_info};
use crate::story::Stored;

pub(super) fn all() -> Vec<Rule> {
    let mut all = without_operations();
    all.extend(in_the_run());
    all
}

fn in_the_run() -> Vec<Rule> {
    vec![
        rule(
            "A fault stops that never started",
            &[("well_formed", "stops and did not last")],
            || changed(|run| fault_behind_the_first(run, "partition", Step::Stop, vec![1])),
        ),
        rule(
            "A fault ends on one node and lasts on another",
            &[("liveness", "never ended")],
            || changed(|run| fault_behind_the_first(run, "kill", Step::Start, vec![2])),
        ),
        rule(
            "A call ended without a reason",
            &[("liveness", "has no reason")],
            || changed(|run| error(run, "")),
        ),
        rule(
            "A call took longer than it may",
            &[("liveness", "not within")],
            || {
                changed(|run| {
                    let get = get_of(run);
                    add(run, 90, vec![What::Asked(get)]);
                    error_of_the_open(run, 20_000);
                })
            },
        ),
        rule(
            "The plan demands nothing",
            &[("coverage", "the plan demands nothing")],
            || changed(|run| run.plan["demands"]["ok"] = json!(0)),
        ),
        rule(
            "The plan demands an operation that there is not",
            &[("coverage", "which is no operation")],
            || changed(|run| run.plan["demands"]["ok_of"]["fetch"] = json!(0)),
        ),
        rule(
            "A lookup is repeated in the ledger under its id",
            &[],
            || changed(|run| run.rewrite(|entries| again(entries, "cache.read_miss"))),
        ),
        rule("A name that EDN cannot spell as a keyword", &[], || {
            changed(|run| error(run, "not a: code"))
        }),
    ]
}

const NOT_JUDGED_AS_NO_ANSWER: [(&str, &str); 12] = not_judged("answers no `set`");
const NOT_JUDGED_AS_AFTER_INFO: [(&str, &str); 12] = not_judged("speaks again after `:info`");

/// What is found where a history is malformed for this reason: no checker has operations to judge.
const fn not_judged(why: &'static str) -> [(&'static str, &'static str); 12] {
    const NOTHING: &str = "there was nothing to judge";
    [
        ("alarms", NOTHING),
        ("cache_validity", NOTHING),
        ("coverage", ""),
        ("exactly_once", NOTHING),
        ("ledger_order", NOTHING),
        ("liveness", "no change was answered"),
        ("receipts", "nothing was answered there"),
        ("session", NOTHING),
        ("set_full", NOTHING),
        ("ttl", NOTHING),
        ("well_formed", why),
        ("wgl", NOTHING),
    ]
}

/// Histories of which nothing can be judged.
fn without_operations() -> Vec<Rule> {
    vec![
        rule(
            "An answer is none to the question",
            &NOT_JUDGED_AS_NO_ANSWER,
            || {
                changed(|run| {
                    last_answer(run, |answer| {
                        *answer = Answer::new(answer.seq, Found::Proved);
                    });
                })
            },
        ),
        rule(
            "A process goes on after it was told nothing",
            &NOT_JUDGED_AS_AFTER_INFO,
            || changed(speaks_after_info),
        ),
    ]
}

fn fault_behind_the_first(run: &mut Stored, name: &str, step: Step, nodes: Vec<u64>) {
    let events = &mut run.history.events;
    let is_fault = |what: &What| matches!(what, What::Fault(_));
    let first = events
        .iter()
        .position(|event| is_fault(&event.what))
        .unwrap();
    let mut fault = events[first].clone();
    assert_eq!(fault.process, Process::Nemesis);
    let name = name.to_owned();
    fault.what = What::Fault(Fault { name, step, nodes });
    events.insert(first + 1, fault);
    number(run);
}

/// Ends what the last event asked, so late.
fn error_of_the_open(run: &mut Stored, millis: u64) {
    let asked = run.history.events.last().unwrap().clone();
    let What::Asked(question) = &asked.what else {
        panic!("the last event asks")
    };
    let trouble = Trouble {
        f: question.f(),
        error: "UNAVAILABLE".to_owned(),
        request: None,
    };
    let time_ns = asked.time_ns + millis * 1_000_000;
    let what = What::Unknown(trouble);
    run.history.events.push(Event {
        index: u64::MAX,
        time_ns,
        what,
        ..asked
    });
    number(run);
}
