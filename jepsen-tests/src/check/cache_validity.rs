//! L9: nothing is served that was withdrawn before it was asked for, nor what nobody recorded.
//!
//! From client data alone, in O(n log n), so that it holds where `wgl` runs out of budget. A hit on an
//! output is wrong if
//!
//! - no set of it was asked for before the hit was answered; or
//! - its revocation was answered before the hit was asked for, and no reinstatement of it can have come
//!   between the two: each was answered before that revocation was asked for, or asked for after the hit; or
//! - a supersession of its key was answered before: nothing ends that.
//!
//! Sound: each is impossible in every order. Deadlines are `ttl`.

use std::collections::BTreeMap;

use super::words;
use super::{Judgement, Notes, Run};
use crate::history::{Asked, Found, Operation, Outcome};

/// As named in results.
pub(super) const NAME: &str = "cache_validity";

/// Judges a run.
pub(super) fn judge(run: &Run) -> Judgement {
    let mut notes = Notes::default();
    let mut keys: BTreeMap<&str, Facts<'_>> = BTreeMap::new();
    for operation in run.all() {
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
    /// Revocations that were answered, by output: answered, asked.
    revoked: BTreeMap<&'a str, Vec<(u64, u64)>>,
    /// Reinstatements that may have taken effect, by output: asked, answered.
    reinstated: BTreeMap<&'a str, Vec<(u64, u64)>>,
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
            (Asked::Set { output, .. }, _) => {
                let first = self.set.entry(output).or_insert(invoked);
                *first = invoked.min(*first);
            }
            (Asked::Revoke { output, .. }, Some(Found::Revoked { .. })) => {
                let ended = completed.map(|completed| (completed, invoked));
                self.revoked.entry(output).or_default().extend(ended);
            }
            (Asked::Reinstate { output, .. }, None | Some(Found::Reinstated { .. })) => {
                // Unknown: it may take effect at any time.
                let ended = completed.filter(|_| found.is_some()).unwrap_or(u64::MAX);
                self.reinstated
                    .entry(output)
                    .or_default()
                    .push((invoked, ended));
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
        let before = self.revoked.get(output).into_iter().flatten();
        let (ended, since) = before.filter(|(ended, _)| *ended < asked).max()?;
        let back = self.reinstated.get(output).into_iter().flatten();
        let mut back = back.filter(|(asked, ended)| *asked < answered && *ended >= *since);
        let revoked = || format!("it was revoked, answered at {} ms", words::millis(*ended));
        back.next().is_none().then(revoked)
    }
}
