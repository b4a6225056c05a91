//! L18, L19: every call ends in time; and after the last fault, the cluster serves again.
//!
//! A call may take its timeout and a second. After the last fault ended a change must be answered within the
//! plan's bound; without faults, after the history begins. Nothing is said about the time while a fault lasts.

use super::faults::Lasting;
use super::words;
use super::{Judgement, Notes, Run};
use crate::history::{Outcome, What};

/// As named in results.
pub(super) const NAME: &str = "liveness";

/// What a call may take beyond its timeout: to notice it, and to be scheduled.
const GRACE_MS: u64 = 1_000;

/// Judges a run.
pub(super) fn judge(run: &Run) -> Judgement {
    let mut notes = Notes::default();
    for operation in run.all() {
        notes.saw();
        let millis = run.plan.timeout_ms.saturating_add(GRACE_MS);
        let allowed_ns = millis.saturating_mul(1_000_000);
        let took = operation.completed_ns.map(|at| at - operation.invoked_ns);
        notes.demand(took.is_some_and(|took| took <= allowed_ns), || {
            format!("{}: not within {millis} ms", words::operation(operation))
        });
        if let Outcome::Failed(trouble) | Outcome::Unknown(Some(trouble)) = &operation.outcome {
            notes.demand(!trouble.error.is_empty(), || {
                format!("{}: has no reason", words::operation(operation))
            });
        }
    }
    recovers(run, &mut notes);
    notes.close(NAME, "operations")
}

fn recovers(run: &Run, notes: &mut Notes) {
    let mut lasting = Lasting::default();
    let first = run.history.events.first();
    let mut healed_ns = first.map_or(0, |event| event.time_ns);
    for event in &run.history.events {
        let What::Fault(fault) = &event.what else {
            continue;
        };
        healed_ns = event.time_ns;
        lasting.take(fault);
    }
    let lasting: Vec<&str> = lasting.names().collect();
    if !lasting.is_empty() {
        notes.doubted(format!("faults {lasting:?} never ended"));
        return;
    }
    let after = run.all().iter().filter(|one| one.invoked_ns >= healed_ns);
    let changes = after.filter(|one| one.asked.f().is_change() && one.answer().is_some());
    let first = changes.filter_map(|one| one.completed_ns).min();
    let bound_ns = run.plan.recovery_ms.saturating_mul(1_000_000);
    let bound_ns = bound_ns.saturating_add(healed_ns);
    notes.demand(first.is_some_and(|first| first <= bound_ns), || {
        format!(
            "no change was answered within {} ms of the last fault's end at {} ms",
            run.plan.recovery_ms,
            words::millis(healed_ns)
        )
    });
}
