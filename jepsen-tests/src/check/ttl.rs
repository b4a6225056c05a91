//! L9: nothing is served after its deadline, and nothing is missed as expired before it.
//!
//! By the harness's own monotonic clock, whatever the clocks of the nodes say: the plan tells how far the
//! ledger's time may be from it (`clock_error_ms`). A result's deadline is at the latest the last answer
//! to a set of that output + its time to live, at the earliest the asking of it + its time to live.
//! A reinstated result has its old deadline, so where a reinstatement may have come between set and miss, no
//! miss is called early. Whether deadlines hold exactly, by the ledger's time, is part of `ledger_order`.
//! All in O(n log n).

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::best::Best;
use super::words;
use super::{Judgement, Notes, Run};
use crate::history::{Asked, Found, Miss, Operation, Outcome};

/// As named in results.
pub(super) const NAME: &str = "ttl";

/// Judges a run.
pub(super) fn judge(run: &Run) -> Judgement {
    let mut notes = Notes::default();
    let error_ns = run.plan.clock_error_ms.saturating_mul(1_000_000);
    let mut keys: BTreeMap<&str, Facts<'_>> = BTreeMap::new();
    for operation in &run.once {
        if let Some(key) = operation.asked.key() {
            keys.entry(key).or_default().learn(operation);
        }
    }
    for operation in run.all() {
        let (Some(key), Some(answer)) = (operation.asked.key(), operation.answer()) else {
            continue;
        };
        let facts = keys.entry(key).or_default();
        match &answer.found {
            Found::Hit { output, .. } => {
                notes.saw();
                if let Some(problem) = facts.late(operation, output, error_ns) {
                    notes.violated(format!("{}: {problem}", words::operation(operation)));
                }
            }
            Found::Missed(Miss::Expired) => facts.missed.push(operation),
            _ => {}
        }
    }
    for facts in keys.values_mut() {
        facts.early(error_ns, &mut notes);
    }
    notes.close(NAME, "hits and expired misses")
}

/// What happened to one key.
#[derive(Default)]
struct Facts<'a> {
    sets: Vec<Write>,
    /// By output: the latest deadline, at when its set was asked for, without the clock's error.
    deadlines: BTreeMap<&'a str, Best<u64>>,
    /// Sets that were answered: when each was asked for, at when it was answered.
    done: Best<u64>,
    /// Reinstatements that may have taken effect: when each was answered, at when it was asked for.
    reinstated: Best<u64>,
    /// Misses because of the deadline.
    missed: Vec<&'a Operation>,
}

/// A set that made or renewed a result, or may have.
struct Write {
    ttl_ns: u64,
    asked: u64,
    /// The end of time, if nobody knows whether, or when.
    answered: u64,
}

impl<'a> Facts<'a> {
    fn learn(&mut self, operation: &'a Operation) {
        let asked = operation.invoked_ns;
        let answered = match &operation.outcome {
            Outcome::Failed(_) => return,
            Outcome::Unknown(_) => u64::MAX,
            Outcome::Ok(_) => operation.completed_ns.unwrap_or(u64::MAX),
        };
        match (&operation.asked, operation.answer().map(|one| &one.found)) {
            (Asked::Set { output, ttl_ms, .. }, None | Some(Found::Written { .. })) => {
                let ttl_ns = ttl_ms.saturating_mul(1_000_000);
                let deadlines = self.deadlines.entry(output).or_default();
                deadlines.put(asked, answered.saturating_add(ttl_ns));
                if answered < u64::MAX {
                    self.done.put(answered, asked);
                }
                self.sets.push(Write {
                    ttl_ns,
                    asked,
                    answered,
                });
            }
            (Asked::Reinstate { .. }, None | Some(Found::Reinstated { .. })) => {
                self.reinstated.put(asked, answered);
            }
            _ => {}
        }
    }

    /// A hit that was asked for after every deadline that its output may have had.
    fn late(&self, hit: &Operation, output: &str, error_ns: u64) -> Option<String> {
        let answered = hit.completed_ns.unwrap_or(u64::MAX);
        // Without any set, `cache_validity` has it.
        let last = self.deadlines.get(output)?.before(answered)?;
        let last = last.saturating_add(error_ns);
        let told = || format!("its deadline was {} ms at the latest", words::millis(last));
        (last < hit.invoked_ns).then(told)
    }

    /// Expired misses that were answered before the only deadline that can have counted: that of the last
    /// set answered before the miss was asked for, or of one that can have come after it.
    fn early(&mut self, error_ns: u64, notes: &mut Notes) {
        let done = &self.done;
        let last = |miss: &Operation| done.before(miss.invoked_ns);
        self.missed.sort_by_key(|miss| Reverse(last(miss)));
        self.sets.sort_by_key(|set| Reverse(set.answered));
        let mut sets = self.sets.iter().peekable();
        // The shortest time to live of those sets, at when each was asked for.
        let mut shortest: Best<Reverse<u64>> = Best::default();
        for miss in &self.missed {
            notes.saw();
            let Some(last) = last(miss) else { continue };
            while let Some(set) = sets.next_if(|set| set.answered >= last) {
                shortest.put(set.asked, Reverse(set.ttl_ns));
            }
            let answered = miss.completed_ns.unwrap_or(u64::MAX);
            let Some(Reverse(ttl_ns)) = shortest.before(answered) else {
                continue;
            };
            let first = last.saturating_add(ttl_ns).saturating_sub(error_ns);
            let is_back = self.reinstated.before(answered) >= Some(last);
            notes.demand(answered >= first || is_back, || {
                let (miss, first) = (words::operation(miss), words::millis(first));
                format!("{miss}: its deadline was {first} ms at the earliest")
            });
        }
    }
}
