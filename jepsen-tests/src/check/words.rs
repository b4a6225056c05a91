//! Findings in words that a reader can follow in the history.

use super::model::{Life, Standing};
use crate::history::{Asked, Found, Miss, Operation, Outcome};

/// The first part of a key or digest, enough to tell it from others.
pub(super) fn brief(text: &str) -> String {
    const SHOWN: usize = 8;
    match text.split_once('/') {
        Some((tenant, digest)) => format!("{tenant}/{}", brief(digest)),
        None => text.chars().take(SHOWN).collect(),
    }
}

/// `[12] process 3 at node 2, 1.203-1.904 ms: get acme/9f3c -> hit 51ab v2`
pub(super) fn operation(operation: &Operation) -> String {
    let node = operation.node.map(|node| format!(" at node {node}"));
    let completed = operation
        .completed_ns
        .map_or_else(|| "?".to_owned(), millis);
    format!(
        "[{}] process {}{}, {}-{completed} ms: {} -> {}",
        operation.index,
        operation.process,
        node.unwrap_or_default(),
        millis(operation.invoked_ns),
        asked(&operation.asked),
        outcome(&operation.outcome)
    )
}

/// Milliseconds with three decimals.
pub(super) fn millis(ns: u64) -> String {
    let us = ns / 1_000;
    format!("{}.{:03}", us / 1_000, us % 1_000)
}

fn asked(asked: &Asked) -> String {
    let f = asked.f().as_str();
    let key = asked.key().map(brief).unwrap_or_default();
    match asked {
        Asked::Attest { .. } | Asked::Get { .. } => format!("{f} {key}"),
        Asked::Receipt { seq } => format!("{f} {seq}"),
        Asked::Set { output, .. }
        | Asked::Reinstate { output, .. }
        | Asked::Revoke { output, .. } => format!("{f} {key} {}", brief(output)),
        Asked::Supersede { successor, .. } => format!("{f} {key} by {}", brief(successor)),
    }
}

fn outcome(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Ok(answer) => found(&answer.found),
        Outcome::Failed(trouble) => format!("failed: {}", trouble.error),
        Outcome::Unknown(Some(trouble)) => format!("unknown: {}", trouble.error),
        Outcome::Unknown(None) => "unknown: never came back".to_owned(),
    }
}

/// An answer.
pub(super) fn found(found: &Found) -> String {
    match found {
        Found::Attested => "attested".to_owned(),
        Found::Conflict { held } => format!("conflict with {}", brief(held)),
        Found::Hit {
            output, version, ..
        } => format!("hit {} v{version}", brief(output)),
        Found::Missed(Miss::Superseded(by)) => format!("miss superseded by {}", brief(by)),
        Found::Missed(miss) => format!("miss {}", miss.as_str()),
        Found::Proved => "proved".to_owned(),
        Found::Refused { reason, .. } => format!("refused {reason}"),
        Found::Reinstated { version } => format!("reinstated v{version}"),
        Found::Revoked { version } => format!("revoked v{version}"),
        Found::Superseded => "superseded".to_owned(),
        Found::Written {
            version, renewed, ..
        } => format!(
            "{} v{version}",
            if *renewed { "renewed" } else { "written" }
        ),
    }
}

impl Life {
    pub(super) fn in_words(&self) -> String {
        let result = format!("({} v{})", brief(&self.output), self.version);
        match &self.standing {
            Standing::Absent => "ABSENT".to_owned(),
            Standing::Active => format!("ACTIVE {result}"),
            Standing::Expired => format!("EXPIRED {result}"),
            Standing::Revoked => format!("REVOKED {result}"),
            Standing::Superseded(by) => format!("SUPERSEDED by {}", brief(by)),
        }
    }
}
