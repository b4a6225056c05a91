//! L1, L8, L12: the ledger is the witness of an order, and the order is a good one.
//!
//! Three parts, each O(n log n), so millions of operations are judged in seconds:
//!
//! 1. every answer is the one that its entry holds;
//! 2. along the ledger, every entry is the one that the model of a result's life allows there. The model
//!    is this crate's own: the product's rules would agree with their own mistakes;
//! 3. what was answered before something else was asked stands before it.
//!
//! Together they are a proof of strict serializability, given the order that the ledger claims; with
//! `chain`, all nodes claim it. Unknown when the ledger holds what the model does not know: operations on
//! models, and records that no lookup finds.

use std::collections::BTreeMap;

use super::model::{Life, Standing, agrees};
use super::record::Record;
use super::words::{self, brief};
use super::{Judgement, Notes, Run};
use crate::history::{Answer, Asked, F, Found, Operation, Outcome};

/// As named in results.
pub(super) const NAME: &str = "ledger_order";

/// Judges a run.
pub(super) fn judge(run: &Run) -> Judgement {
    let mut notes = Notes::default();
    compare_answers(run, &mut notes);
    replay(run.ledger(), &mut notes);
    sweep(run, &mut notes);
    notes.close(NAME, "answers")
}

fn compare_answers(run: &Run, notes: &mut Notes) {
    let ledger = run.ledger();
    for operation in run.all() {
        let Some(answer) = operation
            .answer()
            .filter(|_| operation.asked.f().makes_entry())
        else {
            continue;
        };
        notes.saw();
        let record = usize::try_from(answer.seq)
            .ok()
            .and_then(|at| ledger.get(at));
        let problem = match record {
            None => Some("there is no such entry: lost".to_owned()),
            Some(record) => difference(operation, answer, record),
        };
        if let Some(problem) = problem {
            let told = words::operation(operation);
            notes.violated(format!("entry {} of {told}: {problem}", answer.seq));
        }
    }
}

/// What an entry says otherwise than the answer that rests on it.
fn difference(operation: &Operation, answer: &Answer, record: &Record) -> Option<String> {
    let id = answer.request.as_deref();
    if id.is_some() && record.request() != id {
        return Some("it is another request's".to_owned());
    }
    let Some(found) = record.found() else {
        return Some(format!("it is a `{}`", record.op()));
    };
    if !record.is_of(&operation.asked) {
        return Some(format!("it answers another question: {}", record.line));
    }
    if !is_answer(&answer.found, &found) {
        return Some(format!("it says {}", words::found(&found)));
    }
    let time = answer.time_us.is_some() && answer.time_us != record.time_us();
    time.then(|| "it has another time".to_owned())
}

fn is_answer(answer: &Found, held: &Found) -> bool {
    match (answer, held) {
        // An entry does not say whether it renews: its version does, and the replay sees that.
        (
            Found::Written {
                version,
                expires_us,
                ..
            },
            Found::Written {
                version: held_version,
                expires_us: held_expires,
                ..
            },
        ) => version == held_version && expires_us == held_expires,
        _ => answer == held,
    }
}

/// A life, with the times and places that only the ledger tells.
#[derive(Default)]
struct Kept {
    life: Life,
    /// Deadline and newest write of each version.
    written: BTreeMap<u64, (u64, u64)>,
}

fn replay(ledger: &[Record], notes: &mut Notes) {
    let mut lives: BTreeMap<String, Kept> = BTreeMap::new();
    for (seq, record) in (0_u64..).zip(ledger) {
        let op = record.op();
        let strange = op == "model.supersede" || record.body_str("pattern") == Some("result-only");
        if strange {
            notes.doubted(format!(
                "entry {seq}: `{op}` with models or without a lookup"
            ));
            return;
        }
        let Some(key) = record.key() else { continue };
        if op == "cache.expire" {
            let kept = lives.entry(key).or_default();
            if let Some(problem) = kept.expire(record) {
                notes.violated(format!("entry {seq}: {problem}"));
            }
            continue;
        }
        if op.starts_with("ledger.") || op == "cache.read_as_of" || op == "cache.verify" {
            continue;
        }
        let (Some(asked), Some(found)) = (record.asked(), record.found()) else {
            notes.doubted(format!("entry {seq}: `{op}` is not understood"));
            return;
        };
        if let Some(problem) = take(&mut lives, seq, record, &asked, &found) {
            notes.violated(format!(
                "entry {seq}, `{op}` of `{}`: {problem}",
                brief(&key)
            ));
        }
    }
}

/// Takes an entry into the lives; says what is wrong with it, if anything is.
fn take(
    lives: &mut BTreeMap<String, Kept>,
    seq: u64,
    record: &Record,
    asked: &Asked,
    found: &Found,
) -> Option<String> {
    let key = asked.key()?.to_owned();
    let now_us = record.time_us()?;
    let hindrance = match asked {
        Asked::Supersede { successor, .. } => hindrance(lives, &key, successor),
        _ => None,
    };
    let kept = lives.entry(key).or_default();
    let met = kept.met_at(now_us);
    let before = met.in_words();
    let (demanded, after) = met.decide(asked, hindrance);
    // A deadline alone leaves no trace in the ledger: a lookup that finds it passed does, and so does what
    // changes the result. After anything else the log itself may still expire it.
    if asked.f() == F::Get || after != met {
        kept.life = after;
    }
    let held = match (found, &demanded) {
        (
            Found::Written {
                version,
                expires_us,
                ..
            },
            Found::Written { renewed, .. },
        ) => {
            kept.written.insert(*version, (*expires_us, seq));
            Found::Written {
                version: *version,
                renewed: *renewed,
                expires_us: *expires_us,
            }
        }
        _ => found.clone(),
    };
    if !agrees(&demanded, &held) {
        let (demanded, found) = (words::found(&demanded), words::found(found));
        return Some(format!(
            "it says {found}, but the result is {before}: {demanded}"
        ));
    }
    match found {
        Found::Hit { write_seq, .. } if kept.write_seq() != Some(*write_seq) => Some(format!(
            "its write is {:?}, not {write_seq}",
            kept.write_seq()
        )),
        _ => None,
    }
}

/// Why a result cannot take another's place, by the lives before.
fn hindrance(lives: &BTreeMap<String, Kept>, key: &str, successor: &str) -> Option<&'static str> {
    const LOOKED_AT_MAX: usize = 64;
    let mut at = successor;
    for step in 0..LOOKED_AT_MAX {
        if at == key {
            return Some("successor_circular");
        }
        match lives.get(at).map(|kept| &kept.life.standing) {
            None | Some(Standing::Absent) if step == 0 => return Some("successor_absent"),
            Some(Standing::Superseded(next)) => at = next,
            _ => return None,
        }
    }
    Some("successor_chain_too_long")
}

impl Kept {
    fn deadline_us(&self) -> Option<u64> {
        self.written
            .get(&self.life.version)
            .map(|(deadline, _)| *deadline)
    }

    fn write_seq(&self) -> Option<u64> {
        self.written.get(&self.life.version).map(|(_, seq)| *seq)
    }

    /// The life that an operation at this time meets.
    fn met_at(&self, now_us: u64) -> Life {
        let overdue = self
            .deadline_us()
            .is_some_and(|deadline| deadline <= now_us);
        let expired = self.life.expired().filter(|_| overdue);
        expired.unwrap_or_else(|| self.life.clone())
    }

    fn expire(&mut self, record: &Record) -> Option<String> {
        let due = self.deadline_us() <= record.time_us() && self.deadline_us().is_some();
        match self.life.expired() {
            Some(_) if !due => Some("it expires before its deadline".to_owned()),
            Some(_) if self.write_seq() != record.body_int("write_seq") => {
                Some("it names another write".to_owned())
            }
            Some(expired) => {
                self.life = expired;
                None
            }
            None => Some(format!("it expires what is {}", self.life.in_words())),
        }
    }
}

/// By invocation, keeping the greatest place that was answered before. What was sent more than once under
/// one id was asked when it was first sent; what was not answered stands where its id does, if it does.
fn sweep(run: &Run, notes: &mut Notes) {
    let ids = places(run.ledger());
    let own = run.once.iter().filter(|one| one.asked.f().makes_entry());
    let place = |one: &Operation| match &one.outcome {
        Outcome::Ok(answer) => Some(answer.seq),
        Outcome::Unknown(_) => ids.get(one.request()?).copied(),
        Outcome::Failed(_) => None,
    };
    let mut ends: Vec<(u64, u64, u64)> = own
        .clone()
        .filter_map(|one| Some((one.completed_ns?, one.answer()?.seq, one.index)))
        .collect();
    ends.sort_unstable();
    let mut ends = ends.into_iter().peekable();
    let (mut greatest, mut of) = (None, 0);
    for operation in own {
        while let Some((_, seq, index)) =
            ends.next_if(|(completed, _, _)| *completed < operation.invoked_ns)
        {
            if Some(seq) > greatest {
                (greatest, of) = (Some(seq), index);
            }
        }
        if let Some(place) = place(operation).filter(|place| Some(*place) <= greatest) {
            notes.violated(format!(
                "{} stands at {place}, though [{of}] was answered before with {}",
                words::operation(operation),
                greatest.unwrap_or_default()
            ));
        }
    }
}

/// Where the first change of each id stands.
fn places(ledger: &[Record]) -> BTreeMap<&str, u64> {
    let mut places = BTreeMap::new();
    for (seq, record) in (0_u64..).zip(ledger).filter(|(_, one)| one.is_change()) {
        if let Some(id) = record.request() {
            places.entry(id).or_insert(seq);
        }
    }
    places
}
