//! L9: nothing is served after its deadline, and nothing is missed as expired before it.
//!
//! By the harness's own monotonic clock, whatever the clocks of the nodes say: the plan tells how far the
//! ledger's time may be from it (`clock_error_ms`). A result's deadline is at the latest the last answer
//! to a set of that output + its time to live, at the earliest the asking of it + its time to live.
//! A reinstated result has its old deadline, so behind a reinstatement no miss is called early. Whether
//! deadlines hold exactly, by the ledger's time, is part of `ledger_order`.

use std::collections::BTreeMap;

use super::words;
use super::{Judgement, Notes, Run};
use crate::history::{Asked, Found, Miss, Operation, Outcome};

/// As named in results.
pub(super) const NAME: &str = "ttl";

/// Judges a run.
pub(super) fn judge(run: &Run) -> Judgement {
    let mut notes = Notes::default();
    let error_ns = run.plan.clock_error_ms * 1_000_000;
    let mut sets: BTreeMap<&str, Vec<Write<'_>>> = BTreeMap::new();
    let mut reinstated: BTreeMap<&str, u64> = BTreeMap::new();
    for operation in run.all() {
        if let Some((key, write)) = Write::of(operation) {
            sets.entry(key).or_default().push(write);
        }
        if let Asked::Reinstate { key, .. } = &operation.asked {
            reinstated.entry(key).or_insert(operation.invoked_ns);
        }
    }
    for operation in run.all() {
        let (Some(key), Some(answer)) = (operation.asked.key(), operation.answer()) else {
            continue;
        };
        let sets = sets.get(key).map(Vec::as_slice).unwrap_or_default();
        let problem = match &answer.found {
            Found::Hit { output, .. } => late(operation, output, sets, error_ns),
            Found::Missed(Miss::Expired) => {
                let back = reinstated
                    .get(key)
                    .is_some_and(|at| Some(*at) < operation.completed_ns);
                early(operation, sets, error_ns).filter(|_| !back)
            }
            _ => continue,
        };
        notes.saw();
        if let Some(problem) = problem {
            notes.violated(format!("{}: {problem}", words::operation(operation)));
        }
    }
    notes.close(NAME, "hits and expired misses")
}

/// A set that made or renewed a result, or may have.
struct Write<'a> {
    output: &'a str,
    ttl_ns: u64,
    asked: u64,
    /// `None`: nobody knows whether, or when.
    answered: Option<u64>,
}

impl<'a> Write<'a> {
    fn of(operation: &'a Operation) -> Option<(&'a str, Self)> {
        let Asked::Set {
            key,
            output,
            ttl_ms,
        } = &operation.asked
        else {
            return None;
        };
        let answered = match &operation.outcome {
            Outcome::Ok(answer) if matches!(answer.found, Found::Written { .. }) => {
                operation.completed_ns
            }
            Outcome::Unknown(_) => None,
            _ => return None,
        };
        let write = Self {
            output,
            ttl_ns: ttl_ms.saturating_mul(1_000_000),
            asked: operation.invoked_ns,
            answered,
        };
        Some((key, write))
    }
}

/// A hit that was asked for after every deadline that its output may have had.
fn late(hit: &Operation, output: &str, sets: &[Write<'_>], error_ns: u64) -> Option<String> {
    let answered = hit.completed_ns.unwrap_or(u64::MAX);
    let before = sets
        .iter()
        .filter(|set| set.output == output && set.asked < answered);
    let deadline = |set: &Write<'_>| {
        let latest = set.answered.unwrap_or(u64::MAX);
        latest.saturating_add(set.ttl_ns).saturating_add(error_ns)
    };
    // Without any set, `cache_validity` has it.
    let last = before.map(deadline).max()?;
    let told = || format!("its deadline was {} ms at the latest", words::millis(last));
    (last < hit.invoked_ns).then(told)
}

/// An expired miss that was answered before the only deadline that can have counted.
fn early(miss: &Operation, sets: &[Write<'_>], error_ns: u64) -> Option<String> {
    let answered = miss.completed_ns.unwrap_or(u64::MAX);
    let done = |set: &&Write<'_>| set.answered.is_some_and(|at| at < miss.invoked_ns);
    let last = sets.iter().filter(done).max_by_key(|set| set.asked)?;
    let others =
        |set: &&Write<'_>| set.asked < answered && set.answered.is_none_or(|at| at >= last.asked);
    let shortest = sets.iter().filter(others).map(|set| set.ttl_ns).min()?;
    let first = last.asked.saturating_add(shortest).saturating_sub(error_ns);
    let told = || {
        format!(
            "its deadline was {} ms at the earliest",
            words::millis(first)
        )
    };
    (answered < first).then(told)
}
