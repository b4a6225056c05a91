//! L10, L11: a request takes effect once, and nothing takes effect without a request.
//!
//! 1. Of one id, a change stands in one entry, and every answer to it names that entry; a lookup has an
//!    entry for each try. Every entry of an id is of what was asked under it.
//! 2. A call that failed has none.
//! 3. Every entry that is not the log's own, or an operator's, is some call's of the run's actors: by its id,
//!    or, because the SDK tells no ids of calls without an answer, as the one of a call that is unknown and
//!    asked just this. More such entries than such calls are entries that nobody asked for.
//!
//! Not seen: a change under a second id by a client that replaced the first in doubt, while other calls
//! that ask the same are unknown.

use std::collections::{BTreeMap, BTreeSet};

use super::record::Record;
use super::words;
use super::{Judgement, Notes, Run};
use crate::history::{Asked, F, Operation, Outcome};

/// As named in results.
pub(super) const NAME: &str = "exactly_once";

/// Judges a run.
pub(super) fn judge(run: &Run) -> Judgement {
    let mut notes = Notes::default();
    if run.operations.is_err() {
        return notes.close(NAME, "entries");
    }
    let requests = requests(run, &mut notes);
    for (id, records) in &requests {
        once(id, records, &mut notes);
    }
    answers(run.all(), &mut notes);
    questions(run.all(), &requests, &mut notes);
    failures(run.all(), &requests, &mut notes);
    phantoms(run.all(), &requests, &mut notes);
    notes.close(NAME, "entries")
}

type Requests<'a> = BTreeMap<&'a str, Vec<&'a Record>>;

/// The entries of the run's actors, by id.
fn requests<'a>(run: &'a Run, notes: &mut Notes) -> Requests<'a> {
    let mut requests = Requests::new();
    for record in run.ledger() {
        let (actor, op) = (record.str("actor").unwrap_or_default(), record.op());
        let told = || format!("entry {:?}, `{op}` of `{actor}`", record.seq());
        if record.is_of_the_log() {
            let is_own = matches!(op, "ledger.genesis" | "ledger.seal" | "cache.expire")
                || op == "cache.supersede" && record.body_int("cause").is_some();
            notes.demand(is_own, || {
                format!("{}: the log does not do that by itself", told())
            });
            continue;
        }
        if op.starts_with("ledger.") {
            continue;
        }
        notes.saw();
        let is_known = run.plan.actors.iter().any(|known| known == actor);
        notes.demand(is_known, || format!("{}: took no part in the run", told()));
        match record.request() {
            Some(id) => requests.entry(id).or_default().push(record),
            None => notes.violated(format!("{}: has no id", told())),
        }
    }
    requests
}

fn once(id: &str, records: &[&Record], notes: &mut Notes) {
    let changes = records.iter().filter(|one| one.is_change()).count();
    let places = || {
        records
            .iter()
            .filter_map(|one| one.seq())
            .collect::<Vec<_>>()
    };
    notes.demand(changes <= 1, || {
        format!(
            "request {id} took effect {changes} times, in entries {:?}",
            places()
        )
    });
    let asked = |record: &&&Record| record.asked().map(|asked| likeness(&asked));
    let mut questions: Vec<_> = records.iter().map(|record| asked(&record)).collect();
    questions.dedup();
    notes.demand(questions.len() == 1, || {
        format!(
            "request {id} stands for several questions, in entries {:?}",
            places()
        )
    });
}

/// Equal ids of changes, equal entries.
fn answers(all: &[Operation], notes: &mut Notes) {
    let mut told: BTreeMap<&str, &Operation> = BTreeMap::new();
    for operation in all.iter().filter(|one| one.asked.f().is_change()) {
        let (Some(answer), Some(id)) = (operation.answer(), operation.request()) else {
            continue;
        };
        let first = *told.entry(id).or_insert(operation);
        let same = first.answer().is_some_and(|one| one.seq == answer.seq);
        notes.demand(same, || {
            let (one, other) = (words::operation(first), words::operation(operation));
            format!("one request, two entries: {one} and {other}")
        });
    }
}

/// Equal ids, equal questions: a call that is unknown too has no entry but of what it asked.
fn questions(all: &[Operation], requests: &Requests<'_>, notes: &mut Notes) {
    let own = all.iter().filter(|one| one.asked.f().makes_entry());
    for operation in own.filter(|one| !matches!(one.outcome, Outcome::Failed(_))) {
        let records = operation.request().and_then(|id| requests.get(id));
        let mut others = records.into_iter().flatten();
        if let Some(other) = others.find(|record| !record.is_of(&operation.asked)) {
            let told = words::operation(operation);
            notes.violated(format!(
                "{told}: its id stands for something else: {}",
                other.line
            ));
        }
    }
}

fn failures(all: &[Operation], requests: &Requests<'_>, notes: &mut Notes) {
    let own = all.iter().filter(|one| one.asked.f().makes_entry());
    let (failed, others): (Vec<&Operation>, Vec<_>) =
        own.partition(|one| matches!(one.outcome, Outcome::Failed(_)));
    // One id may have been sent twice, and refused only the second time.
    let elsewhere: BTreeSet<&str> = others.iter().filter_map(|one| one.request()).collect();
    for operation in failed {
        let mut id = operation.request().into_iter();
        notes.demand(
            id.all(|id| elsewhere.contains(id) || !requests.contains_key(id)),
            || {
                format!(
                    "{}: it failed, and has an entry",
                    words::operation(operation)
                )
            },
        );
    }
}

/// What an entry says of the question, to match it with a call that knows no id.
type Likeness = (F, String, String);

fn phantoms(all: &[Operation], requests: &Requests<'_>, notes: &mut Notes) {
    let mut unknown: BTreeMap<Likeness, u64> = BTreeMap::new();
    let mut claimed: BTreeSet<&str> = BTreeSet::new();
    // Who asks for the proof of an entry did not ask for the entry.
    let own = || all.iter().filter(|one| one.asked.f().makes_entry());
    for operation in own() {
        match operation.request() {
            Some(id) => {
                claimed.insert(id);
            }
            // Some answers name their entry and no id.
            None if operation.answer().is_some() => {}
            None if operation.is_unknown() => {
                *unknown.entry(likeness(&operation.asked)).or_default() += 1;
            }
            None => {}
        }
    }
    let places: BTreeSet<u64> = own().filter_map(|one| Some(one.answer()?.seq)).collect();
    let answered = |record: &Record| record.seq().is_some_and(|seq| places.contains(&seq));
    let is_open = |(id, records): &(&&str, &Vec<&Record>)| {
        !claimed.contains(**id) && !records.iter().any(|one| answered(one))
    };
    let open = requests.iter().filter(is_open);
    let open = open.filter_map(|(_, records)| records.first().copied());
    // The entry of a refusal may not hold the output: those that do choose first.
    let is_vague = |record: &&Record| {
        let asked = record.asked().map(|asked| likeness(&asked));
        asked.is_some_and(|(_, _, output)| output.is_empty())
    };
    let (vague, plain): (Vec<_>, Vec<_>) = open.partition(is_vague);
    for record in plain.into_iter().chain(vague) {
        if !take_call(&mut unknown, record) {
            notes.violated(format!(
                "entry {:?}, `{}`: nobody asked for it: {}",
                record.seq(),
                record.op(),
                record.line
            ));
        }
    }
}

/// Has an unknown call be the one behind an entry, if there is one left.
fn take_call(unknown: &mut BTreeMap<Likeness, u64>, record: &Record) -> bool {
    let Some((f, key, output)) = record.asked().map(|asked| likeness(&asked)) else {
        return false;
    };
    // An entry that tells no output is that of any: they stand directly behind it.
    let any = output.is_empty();
    let mut from = unknown.range_mut((f, key.clone(), output.clone())..);
    let like = |call: &Likeness| call.0 == f && call.1 == key && (any || call.2 == output);
    let call = from
        .by_ref()
        .take_while(|(call, _)| like(call))
        .find(|(_, left)| **left > 0);
    match call {
        Some((_, left)) => {
            *left -= 1;
            true
        }
        None => false,
    }
}

fn likeness(asked: &Asked) -> Likeness {
    let output = match asked {
        Asked::Set { output, .. }
        | Asked::Revoke { output, .. }
        | Asked::Reinstate { output, .. } => output.clone(),
        _ => String::new(),
    };
    (
        asked.f(),
        asked.key().unwrap_or_default().to_owned(),
        output,
    )
}
