//! No error was met that no fault of machines, networks or clocks explains.
//!
//! An answer without a good proof, two statements that contradict each other, a fault of a node's software:
//! the SDK keeps them from the caller, so no other checker would see them.

use super::words;
use super::{Judgement, Notes, Run};
use crate::history::{Outcome, is_alarm};

/// As named in results.
pub(super) const NAME: &str = "alarms";

/// Judges a run.
pub(super) fn judge(run: &Run) -> Judgement {
    let mut notes = Notes::default();
    for operation in run.all() {
        notes.saw();
        if let Outcome::Failed(trouble) | Outcome::Unknown(Some(trouble)) = &operation.outcome {
            notes.demand(!is_alarm(&trouble.error), || words::operation(operation));
        }
    }
    notes.close(NAME, "operations")
}
