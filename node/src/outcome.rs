//! Reading outcomes: which entry, which name.

use candor_ledger::fold::{Answer, Outcome};
use candor_ledger::ids::Seq;

/// The entry that an outcome is about, whether it was made now or by an earlier try.
pub fn entry_of(outcome: &Outcome) -> Option<Seq> {
    match outcome {
        Outcome::Answered(answered) => Some(answered.seq),
        Outcome::Done { seq } => *seq,
        Outcome::Hit(hit) => Some(hit.seq),
        Outcome::Miss(miss) => Some(miss.seq),
        Outcome::PastRead(read) => Some(read.seq),
        _ => None,
    }
}

/// The entry, when this very item made it.
pub fn made_by(outcome: &Outcome) -> Option<Seq> {
    entry_of(outcome).filter(|_| !is_replay(outcome))
}

/// Whether the request had taken effect before.
pub fn is_replay(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Answered(answered) if answered.replayed)
}

/// A word for metrics and messages.
pub fn name(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::AlreadyInitialised => "already_initialised",
        Outcome::Answered(answered) => match answered.answer {
            Answer::Attested => "attested",
            Answer::Conflict { .. } => "conflict",
            Answer::ModelSuperseded => "model_superseded",
            Answer::Refused { .. } => "refused",
            Answer::Reinstated { .. } => "reinstated",
            Answer::Revoked { .. } => "revoked",
            Answer::Superseded { .. } => "superseded",
            Answer::Written { .. } => "written",
        },
        Outcome::ChangeRefused(_) => "change_refused",
        Outcome::Done { .. } => "done",
        Outcome::Hit(_) => "hit",
        Outcome::Malformed(_) => "malformed",
        Outcome::Miss(_) => "miss",
        Outcome::NotInitialised => "not_initialised",
        Outcome::PastRead(_) => "past_read",
        Outcome::RequestIdAhead { .. } => "request_id_ahead",
        Outcome::RequestIdReused { .. } => "request_id_reused",
        Outcome::RequestIdStale { .. } => "request_id_stale",
        Outcome::RulesMismatch { .. } => "rules_mismatch",
        Outcome::Ticked(_) => "ticked",
    }
}
