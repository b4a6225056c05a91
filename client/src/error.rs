//! What can go wrong, and who is at fault.

use std::path::PathBuf;
use std::sync::Arc;

use candor_ledger::fingerprint::{FieldError, Fingerprint};
use candor_ledger::ids::{RequestId, Seq, TreeSize};
use candor_ledger::time::Micros;
use candor_proto::ErrorCode;

use crate::config::ConfigError;
use crate::misbehaviour::Misbehaviour;
use crate::privacy::OpenError;

/// Why a call gave no verified answer.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A prefix names several fingerprints.
    #[error("`{prefix}` could be any of {} fingerprints, `{}` among them", candidates.len(), candidates.first().map(ToString::to_string).unwrap_or_default())]
    Ambiguous {
        /// What was asked.
        prefix: String,
        /// What it could mean, ascending; at most 16.
        candidates: Vec<Fingerprint>,
    },
    /// The settings of the client.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Other bytes are ACTIVE under this fingerprint: the model was not deterministic. Nothing was
    /// overwritten, and the conflict is an entry.
    #[error(
        "entry {seq}: another output is held under this fingerprint (`{held}`, offered `{offered}`)"
    )]
    Conflict {
        /// The `cache.write_conflict` entry.
        seq: Seq,
        /// `sha3-256:` of the bytes that are held.
        held: String,
        /// `sha3-256:` of the bytes that were offered.
        offered: String,
    },
    /// A field cannot be used as it is; nothing was sent.
    #[error(transparent)]
    Field(#[from] FieldError),
    /// The remembered checkpoint could not be read or kept.
    ///
    /// Nothing is accepted without it: to forget it is to give up the protection against a log that
    /// was rolled back.
    #[error("the remembered checkpoint in `{}` is unusable: {problem}", path.display())]
    Memory {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// Validly signed statements contradict each other. Nothing of this log is accepted any more.
    #[error("the log contradicts itself: {0}")]
    Misbehaviour(Arc<Misbehaviour>),
    /// The verified value is not what the caller's type holds.
    #[error("the value of entry {seq} is no UTF-8 text (media type `{media_type}`)")]
    NotText {
        /// The `cache.write` entry.
        seq: Seq,
        /// What its writer called it.
        media_type: String,
    },
    /// The value is verified, and cannot be read with this client's tenant key. Nothing of it was
    /// returned.
    #[error("the value of entry {seq} cannot be opened: {problem}")]
    NotOpened {
        /// The `cache.write` entry.
        seq: Seq,
        /// Why.
        problem: OpenError,
    },
    /// The deadline came before an answer. A try may have taken effect, or may yet: ask again with
    /// this id (`receipt` tells what became of it), never with another.
    #[error("whether request `{request_id}` took effect is unknown: {last}")]
    OutcomeUnknown {
        /// The id that all tries carried.
        request_id: RequestId,
        /// What the last try met.
        last: String,
    },
    /// The state of the result forbids the operation; the refusal is an entry.
    #[error("entry {seq}: refused because `{reason}`")]
    Refused {
        /// The `cache.refused` entry.
        seq: Seq,
        /// Stable reason, as in the entry.
        reason: String,
        /// What took the result's place, when that is the reason.
        successor: Option<String>,
    },
    /// A node refused the request before it became an entry.
    #[error("`{endpoint}` refused the request with `{code}`: {message}")]
    Rejected {
        /// The stable code, also one that this version does not know; the gRPC status without one.
        code: String,
        /// The node's sentence.
        message: String,
        /// The field at fault, when one is.
        field: Option<String>,
        /// Who said so.
        endpoint: String,
    },
    /// No endpoint has shown a checkpoint young enough, or as large as one already seen.
    #[error(
        "no endpoint shows a checkpoint as new as needed: the newest seen has size {seen} ({problem})"
    )]
    Stale {
        /// The greatest size an endpoint showed; 0 when none did.
        seen: TreeSize,
        /// What was lacking at the last try.
        problem: String,
    },
    /// No endpoint could be reached, or none could answer, within the deadline.
    #[error("no endpoint answered: {last}")]
    Unavailable {
        /// What the last try met.
        last: String,
    },
    /// An answer came without a good proof. Blame the endpoint; nothing of it was returned.
    #[error("`{endpoint}` did not prove its answer: {problem}")]
    Unproven {
        /// Who answered.
        endpoint: String,
        /// Which check failed.
        problem: Unproven,
    },
    /// A result is held, but its write was not sealed before the deadline.
    #[error("the result of entry {write_seq} is not under a checkpoint yet")]
    Withheld {
        /// The `cache.write` entry.
        write_seq: Seq,
    },
}

/// Which check an answer failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unproven {
    /// A checkpoint is not proved to extend the one remembered, or the other way round.
    #[error("no proof ties the checkpoint of size {shown} to the remembered one of size {known}")]
    Consistency {
        /// Remembered.
        known: TreeSize,
        /// Shown.
        shown: TreeSize,
    },
    /// An answer is not the one to the question.
    #[error("{what} is `{got}`, want `{want}`")]
    Differs {
        /// Of what.
        what: &'static str,
        /// What the question demands.
        want: String,
        /// What the answer says.
        got: String,
    },
    /// The bytes are no entry.
    #[error("entry {index} cannot be read: {problem}")]
    Entry {
        /// Where it is said to stand.
        index: Seq,
        /// Why not.
        problem: String,
    },
    /// The path does not lead to the root.
    #[error("entry {index} is not proved to lie under the checkpoint of size {size}")]
    Inclusion {
        /// Where it is said to stand.
        index: Seq,
        /// Under which checkpoint.
        size: TreeSize,
    },
    /// Something that belongs in the answer is not there.
    #[error("the answer lacks {0}")]
    Missing(&'static str),
    /// The note does not meet the trust policy.
    #[error("the checkpoint does not meet the trust policy: {0}")]
    Policy(String),
}

impl Unproven {
    #[expect(clippy::needless_pass_by_value, reason = "takes what callers have")]
    pub(crate) fn differs(what: &'static str, want: impl ToString, got: impl ToString) -> Self {
        let (want, got) = (want.to_string(), got.to_string());
        Self::Differs { what, want, got }
    }
}

/// Who has to act on an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// Whoever called: the request, the token, the settings.
    Caller,
    /// Whoever runs the endpoint that answered.
    Endpoint,
    /// Whoever runs the cluster: its signed statements are false.
    Log,
    /// Nobody: networks, elections, deadlines.
    World,
}

impl Error {
    /// Stable code for programs, `UPPER_SNAKE_CASE`; for a refusal by a node, the node's code.
    pub fn code(&self) -> &str {
        match self {
            Self::Ambiguous { .. } => ErrorCode::AmbiguousPrefix.as_str(),
            Self::Config(_) => "CONFIG",
            Self::Conflict { .. } => "CONFLICT",
            Self::Field(_) => ErrorCode::InvalidField.as_str(),
            Self::Memory { .. } => "MEMORY",
            Self::Misbehaviour(_) => "MISBEHAVIOUR",
            Self::NotOpened { .. } => "NOT_OPENED",
            Self::NotText { .. } => "NOT_TEXT",
            Self::OutcomeUnknown { .. } => ErrorCode::OutcomeUnknown.as_str(),
            Self::Refused { .. } => "REFUSED",
            Self::Rejected { code, .. } => code,
            Self::Stale { .. } => "STALE",
            Self::Unavailable { .. } => "UNAVAILABLE",
            Self::Unproven { .. } => "UNPROVEN",
            Self::Withheld { .. } => "WITHHELD",
        }
    }

    /// Who has to act.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Ambiguous { .. }
            | Self::Config(_)
            | Self::Conflict { .. }
            | Self::Field(_)
            | Self::Memory { .. }
            | Self::NotOpened { .. }
            | Self::NotText { .. }
            | Self::Refused { .. }
            | Self::Rejected { .. } => Fault::Caller,
            Self::Misbehaviour(_) => Fault::Log,
            Self::OutcomeUnknown { .. } | Self::Unavailable { .. } | Self::Withheld { .. } => {
                Fault::World
            }
            Self::Stale { .. } | Self::Unproven { .. } => Fault::Endpoint,
        }
    }
}

/// Why one try of a request gave no answer to return.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Doubt {
    /// The endpoint knows less than the client: no alarm, try another.
    #[error("BEHIND: shows size {shown}, less than the remembered {known}")]
    Behind { shown: TreeSize, known: TreeSize },
    /// Verified, and not what was hoped for; or not worth another try.
    #[error(transparent)]
    Final(Error),
    /// Two signed statements contradict each other.
    #[error("MISBEHAVIOUR: {0}")]
    Misbehaviour(Box<Misbehaviour>),
    /// The checkpoint is older than asked.
    #[error("STALE: shows size {shown}, sealed at {sealed}")]
    TooOld { shown: TreeSize, sealed: Micros },
    /// A check failed.
    #[error("UNPROVEN: {0}")]
    Unproven(Unproven),
    /// The write is not sealed yet.
    #[error("WITHHELD: entry {write_seq} is not sealed yet")]
    Withheld { write_seq: Seq },
}

impl From<Unproven> for Doubt {
    fn from(problem: Unproven) -> Self {
        Self::Unproven(problem)
    }
}

impl From<Error> for Doubt {
    fn from(error: Error) -> Self {
        Self::Final(error)
    }
}
