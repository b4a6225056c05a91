//! L6: a receipt, once given, holds for ever.
//!
//! Each is checked against the ledger as it is at the end, after everything that the run did: its entry
//! is still the one at its place, and its path leads to the root of its checkpoint. That this root is the
//! ledger's is `checkpoints`; that it is signed is `signatures`.

use std::collections::BTreeMap;

use super::merkle::{leaf, root_of_path};
use super::note::{Shown, Stated};
use super::{Given, Judgement, Notes, Run};
use crate::history::Operation;

/// As named in results.
pub(super) const NAME: &str = "receipts";

/// Judges a run.
pub(super) fn judge(run: &Run) -> Judgement {
    let mut notes = Notes::default();
    let by_index: BTreeMap<u64, &Operation> =
        run.all().iter().map(|one| (one.index, one)).collect();
    for given in &run.receipts {
        notes.saw();
        if let Some(problem) = problem(run, by_index.get(&given.index).copied(), given) {
            notes.violated(format!("the receipt of [{}]: {problem}", given.index));
        }
    }
    notes.close(NAME, "receipts")
}

fn problem(run: &Run, operation: Option<&Operation>, given: &Given) -> Option<String> {
    let Some(shown) = Shown::read(&given.receipt) else {
        return Some("it cannot be read".to_owned());
    };
    let Some(checkpoint) = Stated::read(&shown.note) else {
        return Some("its checkpoint cannot be read".to_owned());
    };
    let answer = operation.and_then(Operation::answer);
    if answer.is_some_and(|answer| answer.seq != shown.index) {
        return Some(format!(
            "it is of entry {}, which was not asked for",
            shown.index
        ));
    }
    let leaf = leaf(shown.entry.as_bytes());
    let root = root_of_path(leaf, shown.index, checkpoint.size, &shown.path);
    if root != Some(checkpoint.root) {
        return Some("its path does not lead to the root of its checkpoint".to_owned());
    }
    let now = usize::try_from(shown.index)
        .ok()
        .and_then(|at| run.ledger().get(at));
    match now {
        None => Some(format!(
            "entry {} is not in the ledger any more",
            shown.index
        )),
        Some(record) if record.line != shown.entry => Some(format!(
            "entry {} of the ledger is another one now",
            shown.index
        )),
        Some(_) => None,
    }
}
