//! The stable reasons of errors.

use core::fmt;

use tonic::Code;

/// `domain` of every google.rpc.ErrorInfo that a node sends.
pub mod error_domain {
    /// Errors of Candor itself.
    pub const CANDOR: &str = "candor";
}

/// Keys of google.rpc.ErrorInfo `metadata` (and of `ItemError.metadata`).
pub mod error_metadata {
    /// Ledger time, `YYYY-MM-DDThh:mm:ss.ffffffZ`: with `REQUEST_ID_AHEAD` and `REQUEST_ID_STALE`.
    pub const LEDGER_TIME: &str = "ledger_time";
    /// The leader's number, decimal: with `NOT_LEADER`.
    pub const LEADER_ID: &str = "leader_id";
    /// `host:port` where clients reach the leader: with `NOT_LEADER`.
    pub const LEADER_ADDRESS: &str = "leader_address";
    /// The limit that was passed, decimal: with `TOO_LARGE`.
    pub const LIMIT: &str = "limit";
    /// Number of the node that answered, decimal: with every error of a running node.
    pub const NODE_ID: &str = "node_id";
    /// Sequence number of a committed entry, decimal: with `NOT_SEALED`.
    pub const SEQ: &str = "seq";
}

/// What a retry of the same request, under the same id, may count on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// This try did nothing and never will.
    None,
    /// This try may have taken effect, or may yet.
    Unknown,
}

macro_rules! error_codes {
    ($($(#[$doc:meta])+ $name:ident = $text:literal, $grpc:ident, $retry:literal, $effect:ident;)+) => {
        /// Stable code of an error: the `reason` of its google.rpc.ErrorInfo, of domain
        /// [`error_domain::CANDOR`]; the same text in JSON, logs and documents.
        ///
        /// A code never changes its meaning. Clients treat one they do not know by its gRPC status.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum ErrorCode { $($(#[$doc])+ $name,)+ }

        impl ErrorCode {
            /// Every code, in alphabetical order.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// The code as it travels, `UPPER_SNAKE_CASE`.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }

            /// The gRPC status it travels with.
            pub const fn grpc(self) -> Code {
                match self { $(Self::$name => Code::$grpc,)+ }
            }

            /// Whether trying again, later or elsewhere, under the same request id can succeed.
            pub const fn is_retriable(self) -> bool {
                match self { $(Self::$name => $retry,)+ }
            }

            /// Whether the refused try can have taken effect.
            pub const fn effect(self) -> Effect {
                match self { $(Self::$name => Effect::$effect,)+ }
            }
        }
    };
}

error_codes! {
    /// The cluster has its genesis already.
    AlreadyInitialized = "ALREADY_INITIALIZED", FailedPrecondition, false, None;
    /// A fingerprint prefix means several; the candidates are listed.
    AmbiguousPrefix = "AMBIGUOUS_PREFIX", InvalidArgument, false, None;
    /// This node's ledger is shorter than the request, or the proof of its answer, needs.
    Behind = "BEHIND", Unavailable, true, Unknown;
    /// A first step of founding the cluster is refused; nothing was changed.
    BootstrapRefused = "BOOTSTRAP_REFUSED", FailedPrecondition, false, None;
    /// The leader cannot tell whether its clock is right, so it dates nothing.
    ClockUnsure = "CLOCK_UNSURE", Unavailable, true, None;
    /// The request carries no deadline.
    DeadlineMissing = "DEADLINE_MISSING", InvalidArgument, false, None;
    /// The deadline passed before the request was proposed.
    DeadlinePassed = "DEADLINE_PASSED", DeadlineExceeded, false, None;
    /// No such entry for this tenant.
    EntryNotFound = "ENTRY_NOT_FOUND", NotFound, false, None;
    /// The fingerprint sent is not that of the fields sent.
    FingerprintMismatch = "FINGERPRINT_MISMATCH", InvalidArgument, false, None;
    /// A fault of this node's software; logged there.
    Internal = "INTERNAL", Internal, false, Unknown;
    /// A field is malformed; the violation names it.
    InvalidField = "INVALID_FIELD", InvalidArgument, false, None;
    /// Another change of membership is not finished.
    MembershipBusy = "MEMBERSHIP_BUSY", FailedPrecondition, true, None;
    /// This change of membership is not possible in this state.
    MembershipRefused = "MEMBERSHIP_REFUSED", FailedPrecondition, false, None;
    /// No leader is known; an election may be on.
    NoLeader = "NO_LEADER", Unavailable, true, None;
    /// The cluster has no genesis yet.
    NotInitialized = "NOT_INITIALIZED", FailedPrecondition, true, None;
    /// Another node leads; its address is beside this code when known.
    NotLeader = "NOT_LEADER", Unavailable, true, None;
    /// The deadline passed before the entry was sealed; it is committed.
    NotSealed = "NOT_SEALED", DeadlineExceeded, true, Unknown;
    /// The connection, the leader or the deadline was lost after the request was proposed.
    OutcomeUnknown = "OUTCOME_UNKNOWN", Unavailable, true, Unknown;
    /// The digest sent is not that of the output sent.
    OutputHashMismatch = "OUTPUT_HASH_MISMATCH", InvalidArgument, false, None;
    /// A peer's handshake or session was refused.
    PeerRefused = "PEER_REFUSED", PermissionDenied, false, None;
    /// The token's scopes do not allow this.
    PermissionDenied = "PERMISSION_DENIED", PermissionDenied, false, None;
    /// The queue is full; the status carries google.rpc.RetryInfo.
    QueueFull = "QUEUE_FULL", ResourceExhausted, true, None;
    /// The request id's time is too far ahead of the ledger's.
    RequestIdAhead = "REQUEST_ID_AHEAD", FailedPrecondition, false, None;
    /// The request id was used for another request.
    RequestIdReused = "REQUEST_ID_REUSED", AlreadyExists, false, None;
    /// The request id is older than those the ledger remembers.
    RequestIdStale = "REQUEST_ID_STALE", FailedPrecondition, false, None;
    /// The rules changed between proposal and application.
    RulesMismatch = "RULES_MISMATCH", Unavailable, true, None;
    /// This node is stopping.
    ShuttingDown = "SHUTTING_DOWN", Unavailable, true, None;
    /// A file of this node is damaged; it does not serve what depends on it, be it the proof of an
    /// entry that this request made. Try another.
    StorageDamaged = "STORAGE_DAMAGED", Unavailable, true, Unknown;
    /// The disk of the leader is nearly full; nothing is recorded until there is room again.
    StorageFull = "STORAGE_FULL", ResourceExhausted, true, None;
    /// A write of the leader's disk does not end; nothing is recorded until it does.
    StorageSlow = "STORAGE_SLOW", Unavailable, true, None;
    /// The caller has brought as many new subjects within the hour as it may; nothing was recorded.
    SubjectLimit = "SUBJECT_LIMIT", ResourceExhausted, false, None;
    /// A value, field, batch or message is over its limit.
    TooLarge = "TOO_LARGE", InvalidArgument, false, None;
    /// No token, or one this cluster does not know.
    Unauthenticated = "UNAUTHENTICATED", Unauthenticated, false, None;
    /// No checkpoint of that size is kept.
    UnknownCheckpoint = "UNKNOWN_CHECKPOINT", NotFound, false, None;
    /// This tenant has no such fingerprint.
    UnknownFingerprint = "UNKNOWN_FINGERPRINT", NotFound, false, None;
    /// The cluster has no such node.
    UnknownNode = "UNKNOWN_NODE", NotFound, false, None;
    /// No request with this id is remembered.
    UnknownRequest = "UNKNOWN_REQUEST", NotFound, false, None;
    /// The sealed tree has no such tile, or the path names none.
    UnknownTile = "UNKNOWN_TILE", NotFound, false, None;
}

impl ErrorCode {
    /// The code with this text, `None` when this version knows none.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.as_str() == text)
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "test")]
    use super::*;

    #[test]
    fn codes_are_in_alphabetical_order_distinct_and_spelled_as_error_info_demands() {
        for pair in ErrorCode::ALL.windows(2) {
            let [first, second] = pair else {
                unreachable!()
            };
            assert!(
                format!("{first:?}") < format!("{second:?}"),
                "{first} before {second}"
            );
        }
        for code in ErrorCode::ALL {
            let text = code.as_str();
            assert!(text.len() <= 63 && text.chars().all(|c| c.is_ascii_uppercase() || c == '_'));
            assert_eq!(
                text.replace('_', "").to_lowercase(),
                format!("{code:?}").to_lowercase()
            );
            assert_eq!(ErrorCode::parse(text), Some(*code));
        }
    }
}
