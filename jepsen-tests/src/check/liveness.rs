//! L18, L19: every call ends in time; and after the last fault, the cluster serves again.
//!
//! A call may take its timeout and a second. After the last fault ended a change must be answered within the
//! plan's bound; without faults, at all. Nothing is said about the time while a fault lasts.

use super::words;
use super::{Judgement, Notes, Run};
use crate::history::{Outcome, Step, What};

/// As named in results.
pub(super) const NAME: &str = "liveness";

/// What a call may take beyond its timeout: to notice it, and to be scheduled.
const GRACE_MS: u64 = 1_000;

/// Judges a run.
pub(super) fn judge(run: &Run) -> Judgement {
    let mut notes = Notes::default();
    for operation in run.all() {
        notes.saw();
        let allowed_ns = (run.plan.timeout_ms + GRACE_MS) * 1_000_000;
        let took = operation.completed_ns.map(|at| at - operation.invoked_ns);
        notes.demand(took.is_some_and(|took| took <= allowed_ns), || {
            format!(
                "{}: not within {} ms",
                words::operation(operation),
                allowed_ns / 1_000_000
            )
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
    let mut lasting = Vec::new();
    let mut healed_ns = 0;
    for event in &run.history.events {
        let What::Fault(fault) = &event.what else {
            continue;
        };
        healed_ns = event.time_ns;
        match fault.step {
            Step::Start => lasting.push(&fault.name),
            Step::Stop => lasting.retain(|name| **name != fault.name),
        }
    }
    if !lasting.is_empty() {
        notes.doubted(format!("faults {lasting:?} never ended"));
        return;
    }
    let after = run.all().iter().filter(|one| one.invoked_ns >= healed_ns);
    let changes = after.filter(|one| one.asked.f().is_change() && one.answer().is_some());
    let first = changes.filter_map(|one| one.completed_ns).min();
    let bound_ns = healed_ns + run.plan.recovery_ms * 1_000_000;
    notes.demand(first.is_some_and(|first| first <= bound_ns), || {
        format!(
            "no change was answered within {} ms of the last fault's end at {} ms",
            run.plan.recovery_ms,
            words::millis(healed_ns)
        )
    });
}
