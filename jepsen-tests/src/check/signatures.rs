//! L4: every note that anybody saw verifies under the trust policy.
//!
//! By the product's own verifier, which other programs are held against elsewhere; a run without a policy
//! is unknown.

use candor_ledger::note::Note;
use candor_ledger::policy::Policy;

use super::note::Shown;
use super::{Judgement, Notes, Run};

/// As named in results.
pub(super) const NAME: &str = "signatures";

/// Judges a run.
pub(super) fn judge(run: &Run) -> Judgement {
    let mut notes = Notes::default();
    let policy = run.policy.as_deref().map(Policy::parse);
    match policy {
        None => notes.doubted("there is no policy".to_owned()),
        Some(Err(error)) => notes.doubted(format!("the policy cannot be read: {error}")),
        Some(Ok(policy)) => all(run, &policy, &mut notes),
    }
    notes.close(NAME, "notes")
}

fn all(run: &Run, policy: &Policy, notes: &mut Notes) {
    let seen = run.checkpoints.iter().map(|seen| seen.note.clone());
    let given = run
        .receipts
        .iter()
        .filter_map(|given| Some(Shown::read(&given.receipt)?.note));
    // One note is often shown many times, and costs milliseconds.
    let distinct: std::collections::BTreeSet<String> = seen.chain(given).collect();
    for note in distinct {
        notes.saw();
        let size = note.lines().nth(1).unwrap_or_default().to_owned();
        match Note::parse(note.as_bytes()) {
            Err(error) => notes.violated(format!("the note of size {size}: {error}")),
            Ok(note) => {
                let verdict = policy.check(&note);
                notes.demand(verdict.accepted().is_some(), || {
                    let why: Vec<_> = verdict.refusals.iter().map(ToString::to_string).collect();
                    format!("the note of size {size}: {}", why.join("; "))
                });
            }
        }
    }
}
