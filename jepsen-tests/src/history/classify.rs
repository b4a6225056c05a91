//! Which outcome an error is: the table of `SEMANTICS.md` as code.
//!
//! `:fail` is a claim that a checker builds on: an entry of a failed call refutes the run. So it is made
//! only where it is proved; everything in doubt, and everything that this version does not know, is
//! `:info`. To call a failure `:info` costs a checker some power. To call a success `:fail` would cost it
//! its soundness.

use candor_client::Error;
use candor_node::grpc::status::ErrorCode;

use super::F;

/// What a call's end says about its effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// It is proved to have made no entry, and never will.
    Fail,
    /// It may have made its entry, or may yet.
    Info,
    /// Its entry is committed, and the verified answer says so.
    Ok,
}

/// How often a call may have been sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tries {
    /// By the SDK, which tries again by itself.
    Many,
    /// Once.
    One,
}

/// The class of a call of the SDK that returned an error.
///
/// `Error` may grow: what is added falls to `Info`, and a test demands that each variant is named here
/// and in `SEMANTICS.md`.
#[expect(
    clippy::match_same_arms,
    reason = "what is named differs from what is not known"
)]
pub fn class_of(error: &Error, f: F, tries: Tries) -> Class {
    match error {
        // The refusal is an entry, shown and checked: that is an answer.
        Error::Conflict { .. } | Error::Refused { .. } => Class::Ok,
        // Nothing was sent; or, for `Ambiguous`, nothing that makes an entry.
        Error::Ambiguous { .. } | Error::Config(_) | Error::Field(_) => Class::Fail,
        // Of a change, the SDK says `Rejected` only if no try before is in doubt; of a lookup, it says
        // so whatever happened before, and each try of it may have left its entry.
        Error::Rejected { code, .. } if tries == Tries::One || f.is_change() => {
            ErrorCode::parse(code).map_or(Class::Info, class_of_code)
        }
        Error::Rejected { .. }
        // The answer may have come, and only remembering it failed.
        | Error::Memory { .. }
        // Nothing that this log says counts, so neither does its refusal.
        | Error::Misbehaviour(_)
        // Served and verified, though not readable to this caller.
        | Error::NotOpened { .. }
        | Error::NotText { .. }
        | Error::OutcomeUnknown { .. }
        // The read has its entry, but nothing was returned that could be compared with it.
        | Error::Stale { .. }
        // Its text names what the last try met; what those before it met is not told.
        | Error::Unavailable { .. }
        | Error::Unproven { .. }
        | Error::Withheld { .. } => Class::Info,
        _ => Class::Info,
    }
}

/// The class of one try that a node refused with this code.
///
/// Written a second time beside [`ErrorCode::effect`], by which the SDK goes: a verdict must not rest on the
/// table under test. Both must agree, since the SDK hands a refusal on only where no try is in doubt.
#[expect(
    clippy::match_same_arms,
    reason = "what is named differs from what is not known"
)]
pub fn class_of_code(code: ErrorCode) -> Class {
    match code {
        // Refused before it was proposed: the form, the caller, the limits.
        ErrorCode::AlreadyInitialized
        | ErrorCode::AmbiguousPrefix
        | ErrorCode::BootstrapRefused
        | ErrorCode::DeadlineMissing
        | ErrorCode::DeadlinePassed
        | ErrorCode::FingerprintMismatch
        | ErrorCode::InvalidField
        | ErrorCode::MembershipBusy
        | ErrorCode::MembershipRefused
        | ErrorCode::NotInitialized
        | ErrorCode::OutputHashMismatch
        | ErrorCode::PeerRefused
        | ErrorCode::PermissionDenied
        | ErrorCode::SubjectLimit
        | ErrorCode::TooLarge
        | ErrorCode::Unauthenticated
        // Refused before it was proposed: this node does not lead, or records nothing now.
        | ErrorCode::ClockUnsure
        | ErrorCode::NoLeader
        | ErrorCode::NotLeader
        | ErrorCode::QueueFull
        | ErrorCode::ShuttingDown
        | ErrorCode::StorageFull
        | ErrorCode::StorageSlow
        // Decided at its place in the log, the same on every node, without an entry.
        | ErrorCode::RequestIdAhead
        | ErrorCode::RequestIdReused
        | ErrorCode::RequestIdStale
        | ErrorCode::RulesMismatch
        // What makes no entry was not found.
        | ErrorCode::EntryNotFound
        | ErrorCode::UnknownCheckpoint
        | ErrorCode::UnknownFingerprint
        | ErrorCode::UnknownNode
        | ErrorCode::UnknownRequest
        | ErrorCode::UnknownTile => Class::Fail,
        // Said also of an entry that is committed, when its line, proof or seal is not at hand.
        ErrorCode::Behind
        | ErrorCode::NotSealed
        | ErrorCode::StorageDamaged
        | ErrorCode::Internal
        | ErrorCode::OutcomeUnknown => Class::Info,
        _ => Class::Info,
    }
}

/// Whether no fault of machines, networks or clocks explains this code: whoever reads it has found a
/// defect, or a liar.
pub fn is_alarm(code: &str) -> bool {
    const ALARMS: [&str; 6] = [
        "CONFIG",
        "INTERNAL",
        "MEMORY",
        "MISBEHAVIOUR",
        "NOT_OPENED",
        "UNPROVEN",
    ];
    ALARMS.contains(&code)
}
