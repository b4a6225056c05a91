//! L6: a receipt, once given, holds for ever.
//!
//! Each is checked against the ledger as it is at the end, after everything that the run did: its entry
//! is still the one at its place, and its path leads to the root of its checkpoint. That this root is the
//! ledger's is `checkpoints`; that it is signed is `signatures`. Unknown when a receipt that was asked for and
//! given was not kept.

use std::collections::{BTreeMap, BTreeSet};

use super::merkle::{leaf, root_of_path};
use super::note::{Shown, Stated};
use super::words;
use super::{Given, Judgement, Notes, Run};
use crate::history::{Answer, F, Operation};

/// As named in results.
pub(super) const NAME: &str = "receipts";

/// Judges a run.
pub(super) fn judge(run: &Run) -> Judgement {
    let mut notes = Notes::default();
    let mut given_to: BTreeSet<u64> = BTreeSet::new();
    let by_index: BTreeMap<u64, &Operation> =
        run.all().iter().map(|one| (one.index, one)).collect();
    for given in &run.receipts {
        notes.saw();
        given_to.insert(given.index);
        let answer = by_index.get(&given.index).and_then(|one| one.answer());
        match answer.map(|answer| problem(run, answer, given)) {
            None => notes.doubted(format!(
                "the receipt of [{}]: nothing was answered there",
                given.index
            )),
            Some(None) => {}
            Some(Some(problem)) => {
                notes.violated(format!("the receipt of [{}]: {problem}", given.index));
            }
        }
    }
    for operation in run.all() {
        let is_kept = operation.asked.f() != F::Receipt
            || operation.answer().is_none()
            || given_to.contains(&operation.index);
        if !is_kept {
            let told = words::operation(operation);
            notes.doubted(format!("{told}: the receipt was not kept"));
        }
    }
    notes.close(NAME, "receipts")
}

fn problem(run: &Run, answer: &Answer, given: &Given) -> Option<String> {
    let Some(shown) = Shown::read(&given.receipt) else {
        return Some("it cannot be read".to_owned());
    };
    let Some(checkpoint) = Stated::read(&shown.note) else {
        return Some("its checkpoint cannot be read".to_owned());
    };
    if answer.seq != shown.index {
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
