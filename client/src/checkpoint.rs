//! Checkpoints that the trust policy accepts, and what two of them may not say at once.

use candor_ledger::checkpoint::Checkpoint;
use candor_ledger::ids::{NodeId, TreeSize};
use candor_ledger::note::Note;
use candor_ledger::policy::{Caveat, Policy};
use candor_ledger::time::Micros;

use crate::error::Unproven;
use crate::output::AsOf;

/// A checkpoint whose note met the client's trust policy: three log signatures and the policy's
/// quorum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedCheckpoint {
    note: Note,
    checkpoint: Checkpoint,
    vouched: Vec<NodeId>,
    witnessed: Vec<String>,
    unknown: Vec<String>,
    caveats: Vec<Caveat>,
}

impl VerifiedCheckpoint {
    /// Reads and checks a note of the log named `origin`.
    pub(crate) fn accept(bytes: &[u8], policy: &Policy, origin: &str) -> Result<Self, Unproven> {
        let refused = |problem: String| Unproven::Policy(problem);
        let note = Note::parse(bytes).map_err(|error| refused(error.to_string()))?;
        let verdict = policy.check(&note);
        let Some(checkpoint) = verdict.accepted().cloned() else {
            let reasons: Vec<_> = verdict.refusals.iter().map(ToString::to_string).collect();
            return Err(refused(reasons.join("; ")));
        };
        if checkpoint.origin != origin {
            return Err(Unproven::differs(
                "the checkpoint's origin",
                origin,
                checkpoint.origin,
            ));
        }
        Ok(Self {
            vouched: verdict.vouched.iter().map(|vouched| vouched.node).collect(),
            witnessed: verdict
                .witnessed
                .into_iter()
                .map(|witness| witness.name)
                .collect(),
            unknown: verdict.unknown.into_iter().map(|(name, _)| name).collect(),
            caveats: verdict.caveats,
            checkpoint,
            note,
        })
    }

    /// The whole note as it was signed.
    pub fn note(&self) -> &Note {
        &self.note
    }

    /// What was signed.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// Entries that it covers.
    pub fn size(&self) -> TreeSize {
        self.checkpoint.size
    }

    /// When it was sealed, by the ledger's time.
    pub fn sealed(&self) -> Micros {
        self.checkpoint.sealed
    }

    /// Size and time.
    pub fn as_of(&self) -> AsOf {
        AsOf {
            size: self.size(),
            sealed: self.sealed(),
        }
    }

    /// The nodes of the policy that recomputed it and cosigned.
    pub fn vouched(&self) -> &[NodeId] {
        &self.vouched
    }

    /// The witnesses of the policy, by the names it gives them, that cosigned.
    pub fn witnessed(&self) -> &[String] {
        &self.witnessed
    }

    /// Names on lines by keys that the policy does not know; they count for nothing.
    pub fn unknown(&self) -> &[String] {
        &self.unknown
    }

    /// What it does not show, in words for its reader.
    pub fn caveats(&self) -> &[Caveat] {
        &self.caveats
    }

    /// Why this and another accepted checkpoint of one log cannot both be true, as far as their
    /// texts show: one size has one text, and time does not run backwards.
    pub(crate) fn contradicts(&self, other: &Self) -> Option<String> {
        let (first, second) = if self.size() <= other.size() {
            (&self.checkpoint, &other.checkpoint)
        } else {
            (&other.checkpoint, &self.checkpoint)
        };
        if first.size == second.size && first != second {
            return Some(format!(
                "two different checkpoints of size {} are signed",
                first.size
            ));
        }
        (first.sealed > second.sealed).then(|| {
            format!(
                "size {} was sealed at {}, later than the greater size {} at {}",
                first.size, first.sealed, second.size, second.sealed
            )
        })
    }
}
