//! What a replay finds wrong.

use core::fmt;

use super::state::ViewError;
use crate::ids::Seq;

/// Why an entry could not be taken into the state.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FoldError {
    /// The cluster appended what the rules do not allow there, whoever signed it.
    #[error(
        "rule broken by the cluster at seq `{seq}`: {rule}: expected {expected}, found {found}"
    )]
    Broken {
        /// Where the entry stands, whatever position it claims.
        seq: Seq,
        /// Which rule.
        rule: Rule,
        /// What the rules allow there.
        expected: String,
        /// What the entry says.
        found: String,
    },
    /// The entry rests on something that this version does not know: it could not be checked.
    #[error("could not check seq `{seq}`: {what}")]
    NotUnderstood {
        /// The entry.
        seq: Seq,
        /// What is unknown.
        what: String,
    },
    /// The state could not be read; no fault of the entry.
    #[error(transparent)]
    View(#[from] ViewError),
}

/// A rule of the ledger, by what it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// Who may do what: `log` the log's own operations, clients all others.
    Actor,
    /// A question about the past names a moment that is past.
    AsOf,
    /// What a supersession by the log follows from.
    Cause,
    /// Changes of the log change something, and only to what is allowed.
    Change,
    /// Only what is overdue expires.
    Deadline,
    /// The subject is the fingerprint of the fields.
    Fingerprint,
    /// The first entry, and no other, is the genesis.
    Genesis,
    /// Seals name the keys in force.
    Keyset,
    /// Ordinal and predecessor within the lifecycle.
    Lifecycle,
    /// Numbers stay within the ledger's parameters.
    Limit,
    /// What the log does by itself has an order.
    Order,
    /// Which bytes a result has.
    Output,
    /// The hash of the entry before.
    Prev,
    /// Which seal came before.
    PrevSeal,
    /// A lookup's miss says why.
    Reason,
    /// What the state forbids is refused, and nothing else.
    Refusal,
    /// The request's digest is that of what the entry says.
    RequestDigest,
    /// A request id takes effect once, and not when it is too old or too new.
    RequestId,
    /// Lookups by similarity say how, others do not.
    Semantic,
    /// Positions have no gaps.
    Seq,
    /// An attestation carries its auditor's signature.
    Signature,
    /// What the subject's state allows.
    State,
    /// Which subjects an operation may be about, and whose.
    Subject,
    /// Time does not go back.
    Time,
    /// Versions count up by one, and an entry names the one that it is about.
    Version,
    /// Which write a result rests on.
    WriteSeq,
}

impl Rule {
    /// The rule's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Actor => "actor",
            Self::AsOf => "as of",
            Self::Cause => "cause",
            Self::Change => "change",
            Self::Deadline => "deadline",
            Self::Fingerprint => "fingerprint",
            Self::Genesis => "genesis",
            Self::Keyset => "keyset",
            Self::Lifecycle => "lifecycle",
            Self::Limit => "limit",
            Self::Order => "order",
            Self::Output => "output",
            Self::Prev => "prev",
            Self::PrevSeal => "prev_seal",
            Self::Reason => "reason",
            Self::Refusal => "refusal",
            Self::RequestDigest => "request digest",
            Self::RequestId => "request id",
            Self::Semantic => "semantic",
            Self::Seq => "seq",
            Self::Signature => "signature",
            Self::State => "state",
            Self::Subject => "subject",
            Self::Time => "time",
            Self::Version => "version",
            Self::WriteSeq => "write_seq",
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
