//! The history is one that processes and a nemesis can have made.
//!
//! When it is not one of processes, the other checkers see no operations, and say that there was nothing to
//! judge.

use super::faults::Lasting;
use super::{Judgement, Notes, Run};
use crate::history::What;

/// As named in results.
pub(super) const NAME: &str = "well_formed";

/// Judges a run.
pub(super) fn judge(run: &Run) -> Judgement {
    let mut notes = Notes::default();
    let mut lasting = Lasting::default();
    for event in &run.history.events {
        notes.saw();
        if let What::Fault(fault) = &event.what {
            notes.demand(lasting.take(fault), || {
                format!(
                    "event {}: fault `{}` of nodes {:?} stops and did not last",
                    event.index, fault.name, fault.nodes
                )
            });
        }
    }
    if let Err(malformed) = &run.operations {
        notes.violated(malformed.to_string());
    }
    notes.close(NAME, "events")
}
