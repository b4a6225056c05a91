//! What deciding a command brings.

use super::error::FoldError;
use super::outcome::Outcome;
use super::state::{Changes, ViewError};
use crate::digest::ChainHash;
use crate::entry::Entry;
use crate::ids::{Seq, TreeSize};
use crate::time::Micros;

/// Entries to append, answers to give, records to keep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The entries in their order, each with its bytes.
    pub entries: Vec<(Entry, Vec<u8>)>,
    /// One answer for each item.
    pub outcomes: Vec<Outcome>,
    /// What the entries do to the state.
    pub changes: Changes,
    /// The seal at the end, when the command closes its group.
    pub seal: Option<SealDue>,
    /// The values that results became ACTIVE with: to be kept beside the ledger.
    pub values: Vec<ValueName>,
    /// Size of the ledger with the entries.
    pub size: TreeSize,
    /// Hash of the last entry.
    pub head: ChainHash,
}

/// A seal that waits for its checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealDue {
    /// Size of the ledger with the seal.
    pub size: TreeSize,
    /// Time of the seal.
    pub time: Micros,
    /// Id of the key set that signs.
    pub keyset: [u8; 32],
    /// The entry that holds the keys.
    pub keyset_seq: Seq,
}

/// A value beside the ledger.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ValueName {
    /// Whose.
    pub tenant: String,
    /// SHA3-256 of the value.
    pub output_hash: [u8; 32],
    /// Its length in bytes.
    pub output_len: u64,
}

/// Why nothing was decided. A node that meets one stops before it applies anything.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecideError {
    /// A rule was decided that its own check refuses: a fault of this program.
    #[error("bug: what was decided breaks a rule: {0}")]
    Bug(String),
    /// The command was stamped with rules that this version does not know: a newer one is needed.
    #[error("rules `{0}` are unknown to this version")]
    UnknownRules(u32),
    /// The state could not be read.
    #[error(transparent)]
    View(#[from] ViewError),
}

impl From<FoldError> for DecideError {
    fn from(error: FoldError) -> Self {
        match error {
            FoldError::View(error) => Self::View(error),
            other => Self::Bug(other.to_string()),
        }
    }
}
