//! A lifecycle as lines: one event each, and a footer that says what was verified.

use candor_client::{AuditTrail, TrailEntry};
use candor_ledger::entry::{Body, Entry, Revocation, SupersedeBy, Write};
use candor_ledger::fingerprint::FingerprintFields;
use candor_ledger::ids::Seq;
use candor_ledger::policy::Policy;
use candor_ledger::shown::shown;
use candor_ledger::signature::Algorithm;
use candor_ledger::time::Micros;
use candor_ledger::verify::{NoteReport, Outcome, Question, Report, verify_evidence};
use serde_json::{Value, json};

use crate::output::Lines;

/// Digits of a hash that stand for it in a line.
const SHORT: usize = 8;

/// A lifecycle that was read, and verified once more as an auditor would.
pub(crate) struct Checked {
    trail: AuditTrail,
    /// `None` while no event is sealed: then nothing can be verified.
    report: Option<Report>,
}

/// Verifies the sealed events of a trail as evidence, with the public keys alone.
pub(crate) fn check(trail: AuditTrail, policy: &Policy) -> anyhow::Result<Checked> {
    if trail.checkpoint.is_none() {
        return Ok(Checked {
            trail,
            report: None,
        });
    }
    let question = Question {
        origin: Some(trail.origin.clone()),
        tenant: Some(trail.tenant.clone()),
        subject: Some(trail.subject.to_string()),
    };
    let report = Some(verify_evidence(&trail.evidence(&[])?, policy, &question));
    Ok(Checked { trail, report })
}

impl Checked {
    /// Nothing shown contradicts anything else, and what is sealed is proved.
    pub(crate) fn holds(&self) -> bool {
        let sealed_holds = match &self.report {
            None => true,
            Some(report) => report.outcome == Outcome::Proved,
        };
        sealed_holds && self.gaps() == 0
    }

    /// What an auditor may attest after this.
    pub(crate) fn finding(&self) -> candor_ledger::entry::Verdict {
        use candor_ledger::entry::Verdict;
        match self.report.as_ref().map(|report| report.outcome) {
            Some(Outcome::Proved) if self.holds() => Verdict::Proved,
            Some(Outcome::Tampered) => Verdict::Refuted,
            _ => Verdict::NotProved,
        }
    }

    /// Places where an event is missing between two that are shown, or before the first.
    fn gaps(&self) -> usize {
        let mut before: Option<&Entry> = None;
        let mut gaps = 0;
        for event in &self.trail.entries {
            let (n, seq) = before.map_or((0, None), |entry| (entry.n, Some(entry.seq)));
            if event.entry.n != n + 1 || event.entry.subject_prev != seq {
                gaps += 1;
            }
            before = Some(&event.entry);
        }
        gaps
    }

    /// Entries whose bytes do not lead to the signed root.
    fn mismatches(&self) -> usize {
        let Some(report) = &self.report else { return 0 };
        let mut seqs: Vec<Seq> = report
            .findings
            .iter()
            .filter_map(|found| found.seq)
            .collect();
        seqs.sort_unstable();
        seqs.dedup();
        seqs.len()
    }

    fn sealed(&self) -> usize {
        self.trail
            .entries
            .iter()
            .filter(|event| event.path.is_some())
            .count()
    }

    /// The lifecycle for people.
    pub(crate) fn text(&self, full: bool) -> String {
        let mut text = Lines::default();
        for event in &self.trail.entries {
            text.push(event_line(&self.trail, event, full));
        }
        self.footer(&mut text);
        text.into_text()
    }

    fn footer(&self, text: &mut Lines) {
        let (all, sealed) = (self.trail.entries.len(), self.sealed());
        let verdict = match (self.holds(), sealed) {
            (_, 0) => "NOT PROVED YET",
            (true, _) => "VALID",
            (false, _) => "NOT VALID",
        };
        text.push(format_args!(
            "Chain integrity: {verdict} ({all} entries, {} gaps, {} hash mismatches)",
            self.gaps(),
            self.mismatches()
        ));
        if sealed < all {
            let open = all - sealed;
            text.push(format_args!(
                "  not sealed  the newest {open}: so far the answering node's word"
            ));
        }
        let Some(report) = &self.report else { return };
        for note in &report.notes {
            note_lines(text, note);
        }
        for finding in &report.findings {
            text.push(format_args!("  found       {finding}"));
        }
        text.push(format_args!("  not proved  {}", self.trail.caveat()));
        for caveat in &report.caveats {
            text.push(format_args!("              {caveat}"));
        }
    }

    /// The lifecycle for programs.
    pub(crate) fn to_json(&self) -> anyhow::Result<Value> {
        let mut events = Vec::new();
        for event in &self.trail.entries {
            let entry: Value = serde_json::from_slice(&event.line)?;
            let verified = match &event.entry.body {
                Body::ReadHit(_) => Some(is_write_verified(&self.trail, event)),
                _ => None,
            };
            let sealed = event.path.is_some();
            events.push(json!({ "entry": entry, "sealed": sealed, "write_verified": verified }));
        }
        let notes = self
            .report
            .iter()
            .flat_map(|report| &report.notes)
            .map(|note| {
                json!({
                    "size": note.size.map(|size| size.0),
                    "sealed": note.sealed.map(|time| time.to_string()),
                    "keyset": note.keyset,
                    "verdict": note.judgement.verdict.as_str(),
                    "signatures": names(&note.signatures, Algorithm::name),
                    "vouched": note.vouched.iter().map(|node| node.0).collect::<Vec<_>>(),
                    "witnessed": note.witnessed,
                })
            });
        let report = self.report.as_ref();
        Ok(json!({
            "origin": self.trail.origin,
            "tenant": self.trail.tenant,
            "subject": self.trail.subject.to_string(),
            "valid": self.holds() && self.sealed() > 0,
            "entries": self.trail.entries.len(),
            "sealed": self.sealed(),
            "gaps": self.gaps(),
            "hash_mismatches": self.mismatches(),
            "checkpoints": notes.collect::<Vec<_>>(),
            "findings": report.map_or_else(Vec::new, |report| {
                report.findings.iter().map(ToString::to_string).collect()
            }),
            "complete": "not proved",
            "caveat": self.trail.caveat(),
            "caveats": report.map(|report| report.caveats.clone()).unwrap_or_default(),
            "events": events,
        }))
    }
}

fn note_lines(text: &mut Lines, note: &NoteReport) {
    let size = note.size.map_or("?".to_owned(), |size| size.to_string());
    let sealed = note.sealed.map_or("?".to_owned(), |time| time.to_string());
    text.push(format_args!(
        "  checkpoint  size {size}, sealed {sealed}: {}",
        note.judgement.verdict.as_str()
    ));
    for reason in &note.judgement.reasons {
        text.push(format_args!("              {reason}"));
    }
    let listed = |names: Vec<String>| match names.as_slice() {
        [] => "none".to_owned(),
        names => names.join(", "),
    };
    text.push(format_args!(
        "  signatures  {}",
        listed(names(&note.signatures, Algorithm::title))
    ));
    let nodes = listed(note.vouched.iter().map(ToString::to_string).collect());
    let witnesses = note.witnessed.iter().map(|name| shown(name).to_string());
    let witnesses = listed(witnesses.collect());
    text.push(format_args!(
        "  vouched     nodes {nodes}; witnesses {witnesses}"
    ));
}

fn names(families: &[Algorithm], name: impl Fn(Algorithm) -> &'static str) -> Vec<String> {
    families
        .iter()
        .map(|family| name(*family).to_owned())
        .collect()
}

/// Time, operation and what matters about it. Texts from entries are escaped.
fn event_line(trail: &AuditTrail, event: &TrailEntry, full: bool) -> String {
    let entry = &event.entry;
    let (word, what) = told(trail, event);
    let subject = match &entry.subject {
        candor_ledger::entry::Subject::Fingerprint(fingerprint) if full => {
            format!("fingerprint={}", fingerprint.to_hex())
        }
        candor_ledger::entry::Subject::Fingerprint(fingerprint) => {
            format!("fingerprint={}", short(&fingerprint.to_hex()))
        }
        other => format!("subject={}", shown(&other.to_string())),
    };
    let place = if full {
        format!(" seq={} n={}", entry.seq, entry.n)
    } else {
        String::new()
    };
    let open = if event.path.is_some() {
        ""
    } else {
        " (not sealed yet)"
    };
    format!(
        "{} {word:<9} {subject} {what}{place}{open}",
        time(entry.time, full)
    )
}

fn told(trail: &AuditTrail, event: &TrailEntry) -> (&'static str, String) {
    let actor = shown(&event.entry.actor);
    match &event.entry.body {
        Body::Write(write) => ("WRITE", write_text(trail, event, write)),
        Body::ReadAsOf(read) => {
            let moment = match read.time {
                Some(moment) => time(moment, true),
                None => format!("size {}", read.as_of),
            };
            ("PAST", format!("client={actor} as_of={}", quoted(&moment)))
        }
        Body::ReadHit(_) => {
            let verified = if is_write_verified(trail, event) {
                "true"
            } else {
                "not-proved"
            };
            ("READ", format!("client={actor} verified={verified}"))
        }
        Body::ReadMiss(miss) => (
            "MISS",
            format!("client={actor} reason={}", miss.reason.as_str()),
        ),
        Body::WriteConflict(conflict) => (
            "CONFLICT",
            format!(
                "client={actor} held={} offered={}",
                short(&hex::encode(conflict.held)),
                short(&hex::encode(conflict.offered))
            ),
        ),
        Body::Refused(refused) => (
            "REFUSED",
            format!(
                "client={actor} asked={} status={} reason={}",
                refused.asked,
                refused.state.as_str().to_uppercase(),
                refused.refusal.code()
            ),
        ),
        Body::Supersede(supersede) => ("SUPERSEDE", supersede_text(&supersede.by)),
        Body::ModelSupersede(model) => (
            "SUPERSEDE",
            format!(
                "→ {} client={actor} reason={}",
                shown(&model.to.to_string()),
                quoted(&model.reason)
            ),
        ),
        Body::Revoke(body) => ("REVOKE", revocation_text(body, event)),
        Body::Reinstate(body) => ("REINSTATE", revocation_text(body, event)),
        Body::Expire(expire) => (
            "EXPIRE",
            format!("write={} status=EXPIRED", expire.write_seq),
        ),
        Body::Verify(attestation) => (
            "VERIFY",
            format!(
                "auditor={} by={actor} size={} result={}",
                short(&hex::encode(attestation.auditor)),
                attestation.size,
                attestation.result.as_str().to_uppercase()
            ),
        ),
        other => ("LEDGER", other.op().to_string()),
    }
}

fn write_text(trail: &AuditTrail, event: &TrailEntry, write: &Write) -> String {
    let conditions = match &write.fields {
        FingerprintFields::Exact(fields) | FingerprintFields::Semantic(fields) => {
            let temperature = if fields.temperature.is_empty() {
                "default"
            } else {
                &fields.temperature
            };
            format!(
                "model={} temp={}",
                shown(&fields.model_name),
                shown(temperature)
            )
        }
        FingerprintFields::ResultOnly(fields) => format!(
            "model-version={} computation={}",
            shown(&fields.model_version),
            shown(&fields.computation_type)
        ),
    };
    let before = |other: &&TrailEntry| other.entry.seq < event.entry.seq;
    let is_renewal = trail.entries.iter().filter(before).any(
        |other| matches!(&other.entry.body, Body::Write(held) if held.version == write.version),
    );
    let renewed = if is_renewal { " renewed=true" } else { "" };
    format!(
        "{conditions} status=ACTIVE{renewed} client={}",
        shown(&event.entry.actor)
    )
}

fn supersede_text(by: &SupersedeBy) -> String {
    match by {
        SupersedeBy::Client {
            successor, reason, ..
        } => {
            format!("→ {} reason={}", short(&successor.to_hex()), quoted(reason))
        }
        SupersedeBy::Model { cause, successor } => {
            format!("→ model {} cause={cause}", shown(&successor.to_string()))
        }
    }
}

fn revocation_text(body: &Revocation, event: &TrailEntry) -> String {
    format!(
        "client={} version={} output={} reason={}",
        shown(&event.entry.actor),
        body.version,
        short(&hex::encode(body.output_hash)),
        quoted(&body.reason)
    )
}

/// Whether the receipt of the write that a read disclosed was verified just now, and says what the
/// read says.
fn is_write_verified(trail: &AuditTrail, event: &TrailEntry) -> bool {
    let Body::ReadHit(read) = &event.entry.body else {
        return false;
    };
    trail.entries.iter().any(|other| {
        other.entry.seq == read.write_seq
            && other.path.is_some()
            && matches!(&other.entry.body, Body::Write(write)
                if write.output_hash == read.output_hash && write.version == read.version)
    })
}

fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("\"{}\"", shown(text))
}

fn short(digits: &str) -> String {
    format!("{}...", digits.get(..SHORT).unwrap_or(digits))
}

/// Whole seconds are enough for people.
fn time(time: Micros, full: bool) -> String {
    let text = time.to_string();
    match text.split_once('.') {
        Some((seconds, _)) if !full => format!("{seconds}Z"),
        _ => text,
    }
}
