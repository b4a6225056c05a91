//! L9: nothing is served that was withdrawn before it was asked for, nor what nobody recorded.
//!
//! From client data alone, in O(n log n), so that it holds where `wgl` runs out of budget. A hit on an
//! output is wrong if
//!
//! - no set of it that may have been accepted was asked for before the hit was answered; or
//! - its revocation was answered before the hit was asked for, and no reinstatement of it can have come
//!   between the two: each was answered before that revocation was asked for, or asked for after the hit; or
//! - a supersession of its key was answered before: nothing ends that; or
//! - the checkpoint that came with it does not cover its write: a value leaves a node only under one.
//!
//! Sound: each is impossible in every order. Deadlines are `ttl`.

use std::collections::BTreeMap;

use super::best::Best;
use super::words;
use super::{Judgement, Notes, Run};
use crate::history::{Asked, Found, Operation, Outcome};

/// As named in results.
pub(super) const NAME: &str = "cache_validity";

/// Judges a run.
pub(super) fn judge(run: &Run) -> Judgement {
    let mut notes = Notes::default();
    let mut keys: BTreeMap<&str, Facts<'_>> = BTreeMap::new();
    for operation in &run.once {
        if let Some(key) = operation.asked.key() {
            keys.entry(key).or_default().learn(operation);
        }
    }
    for operation in run.all() {
        let Some((key, output)) = served(operation) else {
            continue;
        };
        notes.saw();
        let problem = keys
            .get(key)
            .and_then(|facts| facts.forbid(operation, output));
        if let Some(problem) = problem {
            notes.violated(format!("{}: {problem}", words::operation(operation)));
        }
    }
    notes.close(NAME, "values served")
}

fn served(operation: &Operation) -> Option<(&str, &str)> {
    match &operation.answer()?.found {
        Found::Hit { output, .. } => Some((operation.asked.key()?, output)),
        _ => None,
    }
}

/// What happened to one key.
#[derive(Default)]
struct Facts<'a> {
    /// First asking of each output.
    set: BTreeMap<&'a str, u64>,
    /// Revocations that were answered, by output: when each was asked for, at when it was answered.
    revoked: BTreeMap<&'a str, Best<u64>>,
    /// Reinstatements that may have taken effect, by output: when each was answered, at when it was asked for.
    reinstated: BTreeMap<&'a str, Best<u64>>,
    /// First answer to a supersession.
    superseded: Option<u64>,
}

impl<'a> Facts<'a> {
    fn learn(&mut self, operation: &'a Operation) {
        let (invoked, completed) = (operation.invoked_ns, operation.completed_ns);
        if matches!(operation.outcome, Outcome::Failed(_)) {
            return;
        }
        let found = operation.answer().map(|answer| &answer.found);
        match (&operation.asked, found) {
            (Asked::Set { output, .. }, None | Some(Found::Written { .. })) => {
                let first = self.set.entry(output).or_insert(invoked);
                *first = invoked.min(*first);
            }
            (Asked::Revoke { output, .. }, Some(Found::Revoked { .. })) => {
                let ended = completed.unwrap_or(u64::MAX);
                self.revoked.entry(output).or_default().put(ended, invoked);
            }
            (Asked::Reinstate { output, .. }, None | Some(Found::Reinstated { .. })) => {
                // Unknown: it may take effect at any time.
                let ended = completed.filter(|_| found.is_some()).unwrap_or(u64::MAX);
                let those = self.reinstated.entry(output).or_default();
                those.put(invoked, ended);
            }
            (Asked::Supersede { .. }, Some(Found::Superseded)) => {
                let first = [self.superseded, completed].into_iter().flatten().min();
                self.superseded = first;
            }
            _ => {}
        }
    }

    /// Why this hit on an output cannot be, if it cannot.
    fn forbid(&self, hit: &Operation, output: &str) -> Option<String> {
        let (asked, answered) = (hit.invoked_ns, hit.completed_ns.unwrap_or(u64::MAX));
        if self.set.get(output).is_none_or(|first| *first > answered) {
            return Some("nobody had recorded this output".to_owned());
        }
        if let Some(ended) = self.superseded.filter(|ended| *ended < asked) {
            return Some(format!(
                "its key was superseded, answered at {} ms",
                words::millis(ended)
            ));
        }
        // The revocation that was asked for last is the hardest to undo.
        let revoked = self.revoked.get(output).and_then(|one| one.before(asked));
        let back = self.reinstated.get(output);
        let back = back.and_then(|back| back.before(answered));
        if let Some(since) = revoked.filter(|since| back < Some(*since)) {
            return Some(format!(
                "it was revoked, by what was asked for at {} ms and answered before",
                words::millis(since)
            ));
        }
        uncovered(hit)
    }
}

fn uncovered(hit: &Operation) -> Option<String> {
    let answer = hit.answer()?;
    match (&answer.found, answer.size) {
        (Found::Hit { write_seq, .. }, Some(size)) if *write_seq >= size => Some(format!(
            "its write {write_seq} is not covered by the checkpoint of size {size}"
        )),
        _ => None,
    }
}
