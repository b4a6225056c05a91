//! The receipt: one entry, and everything needed to show that the log holds it.
//!
//! ```text
//! <entry, one line of canonical JSON>
//! c2sp.org/tlog-proof@v1
//! ...
//! ```
//!
//! The first line alone is the leaf; the rest is a C2SP tlog-proof that other tools read as well.
//!
//! A receipt rests on SHA-256, as the tree does; the chain's SHA3-256 takes part in a full replay
//! only. It shows that the entry stands at its place under a checkpoint. It does not show what the
//! entry means, nor that no newer one exists: compare the entry with the question that was asked.

use crate::checkpoint::Checkpoint;
use crate::entry::ENTRY_LEN_MAX;
use crate::ids::{Seq, TreeSize};
use crate::note::Note;
use crate::policy::{Policy, PolicyVerdict};
use crate::proof::{PROOF_LEN_MAX, ProofParseError, TlogProof};
use crate::tree::{ProofError, leaf_hash, verify_inclusion};

/// Longest receipt in bytes: the longest entry, LF, the longest proof.
pub const RECEIPT_LEN_MAX: usize = ENTRY_LEN_MAX + 1 + PROOF_LEN_MAX;

/// An entry with its proof, unchecked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The entry's bytes, without LF.
    pub entry: Vec<u8>,
    /// Where it stands, and under what.
    pub proof: TlogProof,
}

/// Bytes that are no receipt.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReceiptParseError {
    /// No entry: the first line is missing, empty or too long.
    #[error("the receipt has no entry of 1 to {ENTRY_LEN_MAX} bytes in its first line")]
    Entry,
    /// The part after the first line is no proof. Its line numbers start after the entry.
    #[error(transparent)]
    Proof(#[from] ProofParseError),
}

/// A receipt that does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReceiptError {
    /// The path does not lead from this entry to the signed root.
    #[error("entry `{index}` is not under the checkpoint of size `{size}`: {problem}")]
    Inclusion {
        /// The claimed position.
        index: Seq,
        /// The checkpoint's.
        size: TreeSize,
        /// What the tree says.
        problem: ProofError,
    },
    /// The policy does not accept the checkpoint.
    #[error("the policy does not accept the checkpoint: {}", reasons(.0))]
    Policy(Box<PolicyVerdict>),
}

/// A receipt that holds under a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedReceipt {
    /// The entry's position.
    pub index: Seq,
    /// What the log signed.
    pub checkpoint: Checkpoint,
    /// Who vouched and witnessed, and what the policy leaves open.
    pub verdict: PolicyVerdict,
}

impl Receipt {
    /// Reads a receipt in its one spelling.
    ///
    /// # Errors
    /// [`ReceiptParseError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, ReceiptParseError> {
        let head = bytes.iter().take(ENTRY_LEN_MAX + 1);
        let end = head.clone().position(|byte| *byte == b'\n');
        let (entry, rest) = end
            .and_then(|end| bytes.split_at_checked(end))
            .filter(|(entry, _)| !entry.is_empty())
            .ok_or(ReceiptParseError::Entry)?;
        let proof = rest.get(1..).unwrap_or_default();
        Ok(Self {
            entry: entry.to_vec(),
            proof: TlogProof::parse(proof)?,
        })
    }

    /// Writes the receipt.
    pub fn encode(&self) -> Vec<u8> {
        [
            &self.entry,
            b"\n".as_slice(),
            self.proof.encode().as_bytes(),
        ]
        .concat()
    }

    /// The checkpoint's note.
    pub fn note(&self) -> &Note {
        &self.proof.note
    }

    /// Checks that the entry stands at its index under a checkpoint that the policy accepts.
    ///
    /// Cost: that of [`Policy::check`], and one hash for each step of the path.
    ///
    /// # Errors
    /// [`ReceiptError`] says which half does not hold.
    pub fn verify(&self, policy: &Policy) -> Result<VerifiedReceipt, ReceiptError> {
        let verdict = policy.check(&self.proof.note);
        let Some(checkpoint) = verdict.accepted().cloned() else {
            return Err(ReceiptError::Policy(Box::new(verdict)));
        };
        let (index, size) = (self.proof.index, checkpoint.size);
        let leaf = leaf_hash(&self.entry);
        let path = &self.proof.path;
        verify_inclusion(&leaf, index, size, path, &checkpoint.root).map_err(|problem| {
            ReceiptError::Inclusion {
                index,
                size,
                problem,
            }
        })?;
        Ok(VerifiedReceipt {
            index,
            checkpoint,
            verdict,
        })
    }
}

fn reasons(verdict: &PolicyVerdict) -> String {
    let reasons: Vec<_> = verdict.refusals.iter().map(ToString::to_string).collect();
    reasons.join("; ")
}

#[cfg(all(test, feature = "sign"))]
mod tests;
