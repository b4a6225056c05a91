//! The history is one that processes can have made.
//!
//! When it is not, the other checkers see no operations, and say that there was nothing to judge.

use super::{Judgement, Notes, Run};

/// As named in results.
pub(super) const NAME: &str = "well_formed";

/// Judges a run.
pub(super) fn judge(run: &Run) -> Judgement {
    let mut notes = Notes::default();
    for _ in &run.history.events {
        notes.saw();
    }
    if let Err(malformed) = &run.operations {
        notes.violated(malformed.to_string());
    }
    notes.close(NAME, "events")
}
