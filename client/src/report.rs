//! A lifecycle told for a reader who knows neither ledgers nor hashes.

use std::fmt;

use candor_ledger::entry::{Body, Entry, MissReason, State, SupersedeBy};
use candor_ledger::fingerprint::FingerprintFields;
use candor_ledger::time::Micros;

use crate::audit::AuditTrail;

/// What a compliance officer, a regulator or a court asks about one computation, answered from
/// verified entries. Its `Display` form is the report itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ComplianceReport {
    /// The verified entries.
    pub trail: AuditTrail,
    /// The conditions of the computation, as its writes state them; `None` when nothing was ever
    /// written.
    pub conditions: Option<FingerprintFields>,
    /// The state after the last shown event.
    pub state: State,
    /// How often what happened.
    pub counts: Counts,
}

/// Events by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Results accepted, renewals included.
    pub writes: u64,
    /// Values disclosed.
    pub reads: u64,
    /// Lookups that found nothing to serve.
    pub misses: u64,
    /// Questions about the past, each of which may have disclosed what was a result then.
    pub past_reads: u64,
    /// Offers of other bytes under the same conditions.
    pub conflicts: u64,
    /// Operations that the state forbade.
    pub refusals: u64,
    /// Findings of auditors.
    pub attestations: u64,
}

impl ComplianceReport {
    /// Reads a verified trail.
    pub fn of(trail: AuditTrail) -> Self {
        let (mut counts, mut state) = (Counts::default(), State::Absent);
        let mut deadline = Micros(0);
        for event in &trail.entries {
            counts.count(&event.entry.body);
            if let Body::Write(write) = &event.entry.body {
                deadline = event.entry.time.plus_millis(write.ttl_ms);
            }
            state = next_state(state, &event.entry, deadline);
        }
        Self {
            conditions: trail.newest_write().map(|(_, write)| write.fields.clone()),
            trail,
            state,
            counts,
        }
    }
}

impl Counts {
    fn count(&mut self, body: &Body) {
        let count = match body {
            Body::Write(_) => &mut self.writes,
            Body::ReadAsOf(_) => &mut self.past_reads,
            Body::ReadHit(_) => &mut self.reads,
            Body::ReadMiss(_) => &mut self.misses,
            Body::WriteConflict(_) => &mut self.conflicts,
            Body::Refused(_) => &mut self.refusals,
            Body::Verify(_) => &mut self.attestations,
            _ => return,
        };
        *count += 1;
    }
}

/// The state after an event of a valid log. The rules themselves are `candor_ledger::fold`; a whole
/// replay holds the log to them.
fn next_state(state: State, entry: &Entry, deadline: Micros) -> State {
    match &entry.body {
        // What was revoked meanwhile is not renewed by being allowed again.
        Body::Reinstate(_) if entry.time >= deadline => State::Expired,
        Body::Write(_) | Body::Reinstate(_) => State::Active,
        Body::Supersede(_) => State::Superseded,
        Body::Revoke(_) => State::Revoked,
        Body::Expire(_) => State::Expired,
        Body::ReadMiss(miss) => match miss.reason {
            MissReason::Absent => state,
            MissReason::Erased => State::Erased,
            MissReason::Expired => State::Expired,
            MissReason::Revoked => State::Revoked,
            MissReason::Superseded(_) => State::Superseded,
        },
        _ => state,
    }
}

impl fmt::Display for ComplianceReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let trail = &self.trail;
        writeln!(f, "Report on {}", trail.subject)?;
        writeln!(f, "Log: {}   Tenant: {}", trail.origin, trail.tenant)?;
        self.write_conditions(f)?;
        writeln!(
            f,
            "\nState after the last event shown: {}",
            self.state.as_str()
        )?;
        let Counts {
            writes,
            reads,
            misses,
            past_reads,
            conflicts,
            refusals,
            attestations,
        } = self.counts;
        writeln!(
            f,
            "Results accepted: {writes}   disclosures: {reads}   lookups without result: {misses}   \
             questions about the past: {past_reads}\n\
             Conflicting results offered: {conflicts}   refused operations: {refusals}   \
             findings of auditors: {attestations}"
        )?;
        writeln!(f, "\nWhat happened, oldest first:")?;
        for event in &trail.entries {
            let Entry { time, actor, .. } = &event.entry;
            let sealed = if event.path.is_some() {
                ""
            } else {
                " (not yet sealed)"
            };
            writeln!(
                f,
                "  {}  {actor}: {}{sealed}",
                seconds(*time),
                told(&event.entry.body)
            )?;
        }
        self.write_verdict(f)
    }
}

impl ComplianceReport {
    fn write_conditions(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(conditions) = &self.conditions else {
            return writeln!(f, "\nNo result was ever recorded here.");
        };
        writeln!(f, "\nProduced under exactly these conditions:")?;
        writeln!(f, "  pattern: {}", conditions.pattern())?;
        for (name, value) in conditions.fields() {
            let shown = if value.is_empty() { "(none)" } else { value };
            writeln!(f, "  {}: {}", name.replace('_', " "), shown.escape_debug())?;
        }
        Ok(())
    }

    /// The three tests of an audit trail, never merged.
    fn write_verdict(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let trail = &self.trail;
        let sealed = trail
            .entries
            .iter()
            .filter(|event| event.path.is_some())
            .count();
        let all = trail.entries.len();
        writeln!(f, "\nWhat is proved, and what is not:")?;
        let Some(under) = &trail.checkpoint else {
            return writeln!(f, "  nothing yet: no event is under a checkpoint.");
        };
        let nodes: Vec<_> = under.vouched().iter().map(ToString::to_string).collect();
        let changed = if sealed == all {
            "proved"
        } else {
            "proved for the sealed events"
        };
        writeln!(
            f,
            "  tamper-evident: {changed}. {sealed} of {all} events lie, in this order and without a \
             gap,\n    under the checkpoint of {} entries sealed at {}.",
            under.size(),
            under.sealed()
        )?;
        writeln!(
            f,
            "  independently verifiable: proved. Three signatures of unrelated families hold under \
             the\n    given trust policy; nodes {} recomputed it; witnesses: {}.",
            nodes.join(", "),
            if under.witnessed().is_empty() {
                "none".to_owned()
            } else {
                under.witnessed().join(", ")
            }
        )?;
        for caveat in under.caveats() {
            writeln!(f, "    But: {caveat}.")?;
        }
        writeln!(f, "  {}.", trail.caveat())?;
        writeln!(
            f,
            "  not shown by any log: that the output was right, or that the caller told the truth \
             about its model."
        )
    }
}

/// Whole seconds are enough for people.
fn seconds(time: Micros) -> String {
    let text = time.to_string();
    format!("{}Z", text.split('.').next().unwrap_or(&text))
}

/// An event in plain words; texts from entries are escaped.
fn told(body: &Body) -> String {
    match body {
        Body::Write(write) => {
            format!(
                "a result was recorded (version {}, {} bytes)",
                write.version, write.output_len
            )
        }
        Body::ReadAsOf(read) => match read.time {
            Some(time) => format!("was shown to an auditor as it stood at {time}"),
            None => format!(
                "was shown to an auditor as it stood in a ledger of {} entries",
                read.as_of
            ),
        },
        Body::ReadHit(hit) => format!("the result was disclosed (version {})", hit.version),
        Body::ReadMiss(miss) => format!("nothing was disclosed: {}", miss.reason.as_str()),
        Body::WriteConflict(_) => {
            "a different result was offered under the same conditions and not accepted".to_owned()
        }
        Body::Refused(refused) => {
            format!("{} was refused: {}", refused.asked, refused.refusal.code())
        }
        Body::Supersede(supersede) => match &supersede.by {
            SupersedeBy::Client {
                successor, reason, ..
            } => {
                format!("gave way to {successor}: {}", reason.escape_debug())
            }
            SupersedeBy::Model { successor, .. } => {
                format!("gave way, with all results of its model, to {successor}")
            }
        },
        Body::Revoke(revoked) => format!("was revoked: {}", revoked.reason.escape_debug()),
        Body::Reinstate(back) => format!("was reinstated: {}", back.reason.escape_debug()),
        Body::Expire(_) => "expired".to_owned(),
        Body::Verify(finding) => format!("an auditor found: {}", finding.result.as_str()),
        Body::ModelSupersede(supersede) => {
            let reason = supersede.reason.escape_debug();
            format!("the model gave way to {}: {reason}", supersede.to)
        }
        other => other.op().to_string(),
    }
}
