//! L5: checkpoints contradict neither each other nor the ledger.
//!
//! All that anybody saw, those within receipts included: of one size there is one text; its root and head are
//! those of the final ledger at that size, computed here; its last entry is a seal of that time and key set;
//! its origin is that of the genesis. All being of one ledger, each is consistent with each. Of a checkpoint that
//! only an answer tells the size of, the ledger has a seal there. What nobody was shown is not judged.

use std::collections::BTreeMap;

use candor_ledger::digest::sha3_256;

use super::merkle::{Hash, Tree, leaf};
use super::note::{Shown, Stated};
use super::words;
use super::{Judgement, Notes, Record, Run};

/// As named in results.
pub(super) const NAME: &str = "checkpoints";

/// Judges a run.
pub(super) fn judge(run: &Run) -> Judgement {
    let mut notes = Notes::default();
    let by_size = stated(run, &mut notes);
    let mut waiting = by_size.iter().peekable();
    let mut tree = Tree::default();
    for (size, record) in (1_u64..).zip(run.ledger()) {
        tree.push(leaf(record.line.as_bytes()));
        while let Some((_, checkpoint)) = waiting.next_if(|(of, _)| **of == size) {
            compare(checkpoint, record, tree.root(), &mut notes);
            let genesis = run.ledger().first();
            let origin = genesis.and_then(|genesis| genesis.body_str("origin"));
            notes.demand(origin == Some(&checkpoint.origin), || {
                format!("the checkpoint of size {size} is of another log than {origin:?}")
            });
        }
    }
    for (size, _) in waiting {
        notes.violated(format!(
            "a checkpoint of size {size} is of more entries than any node holds"
        ));
    }
    told(run, &mut notes);
    notes.close(NAME, "checkpoints")
}

/// What was stated of each size.
fn stated(run: &Run, notes: &mut Notes) -> BTreeMap<u64, Stated> {
    let mut by_size: BTreeMap<u64, Stated> = BTreeMap::new();
    let seen = run
        .checkpoints
        .iter()
        .map(|seen| (format!("node {}", seen.node), seen.note.clone()));
    let given = run.receipts.iter().filter_map(|given| {
        let note = Shown::read(&given.receipt)?.note;
        Some((format!("the receipt of [{}]", given.index), note))
    });
    for (source, note) in seen.chain(given) {
        notes.saw();
        let Some(checkpoint) = Stated::read(&note) else {
            notes.violated(format!("what {source} showed is no checkpoint"));
            continue;
        };
        let first = by_size
            .entry(checkpoint.size)
            .or_insert_with(|| checkpoint.clone());
        let same = first.text == checkpoint.text;
        notes.demand(same, || {
            format!(
                "two texts of size {}, one from {source}: forked",
                checkpoint.size
            )
        });
    }
    by_size
}

/// Sizes that answers tell.
fn told(run: &Run, notes: &mut Notes) {
    for operation in run.all() {
        let Some(size) = operation.answer().and_then(|answer| answer.size) else {
            continue;
        };
        let last = size.checked_sub(1).and_then(|at| usize::try_from(at).ok());
        let last = last.and_then(|at| run.ledger().get(at));
        notes.demand(last.is_some_and(|last| last.op() == "ledger.seal"), || {
            let told = words::operation(operation);
            format!("{told}: showed a checkpoint of size {size}, where no seal stands")
        });
    }
}

fn compare(checkpoint: &Stated, last: &Record, root: Option<Hash>, notes: &mut Notes) {
    let size = checkpoint.size;
    notes.demand(Some(checkpoint.root) == root, || {
        format!("the checkpoint of size {size} has not the root of the ledger there")
    });
    notes.demand(checkpoint.chain == sha3_256(last.line.as_bytes()), || {
        format!("the checkpoint of size {size} has not the chain head of the ledger there")
    });
    let keyset = format!("sha3-256:{}", hex::encode(checkpoint.keyset));
    notes.demand(last.body_str("keyset") == Some(&keyset), || {
        format!("the checkpoint of size {size} names another key set than its seal")
    });
    let sealed = last.op() == "ledger.seal" && last.str("time") == Some(&checkpoint.sealed);
    notes.demand(sealed, || {
        format!("the checkpoint of size {size} does not end with a seal of its time")
    });
}
