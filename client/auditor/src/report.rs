//! Reports on standard output: lines for people, or one JSON object for programs.
//!
//! The first screen answers which log, which keys were trusted and why, what range, what was
//! checked, and the verdicts. The three tests stand apart. Everything that came out of a ledger or
//! an evidence file is shown escaped.

use std::fmt::{self, Write as _};

use candor_ledger::export::check::ExportReport;
use candor_ledger::ids::Seq;
use candor_ledger::replay::LedgerReport;
use candor_ledger::shown::shown;
use candor_ledger::time::Micros;
use candor_ledger::verify::{Finding, Judgement, NoteReport, Outcome, Report, Tests};
use serde_json::{Value, json};

use crate::trust::TrustSummary;

/// How many findings the text form lists; the JSON form has them all.
const FINDINGS_SHOWN_MAX: usize = 20;

/// Width of the labels in the text form.
const LABEL: usize = 14;

/// The report on an evidence file.
pub(crate) fn evidence_text(report: &Report, trust: &TrustSummary) -> String {
    let mut page = Page::default();
    page.line("log", shown(&report.origin));
    page.line("about", about(&report.tenant, &report.subject));
    page.line("as of", format_args!("size {}", report.size));
    page.trust(trust);
    for note in &report.notes {
        page.note(note);
    }
    page.gap();
    for claim in &report.claims {
        page.judgement("claim", &claim.statement, &claim.judgement);
    }
    page.tests(&report.tests);
    page.findings(&report.findings);
    page.caveats(&report.caveats);
    page.outcome(report.outcome);
    page.text
}

/// The report on an evidence file, for programs.
pub(crate) fn evidence_json(report: &Report, trust: &TrustSummary) -> Value {
    let claims = report.claims.iter().map(|claim| {
        json!({
            "type": claim.claim.kind(),
            "statement": claim.statement,
            "verdict": claim.judgement.verdict.as_str(),
            "reasons": claim.judgement.reasons,
        })
    });
    json!({
        "report": "candor.audit.evidence.v1",
        "outcome": report.outcome.as_str(),
        "exit_code": report.outcome.exit_code(),
        "origin": report.origin,
        "tenant": report.tenant,
        "subject": report.subject,
        "size": report.size.0,
        "trust": trust.to_json(),
        "checkpoints": report.notes.iter().map(note_json).collect::<Vec<_>>(),
        "claims": claims.collect::<Vec<_>>(),
        "tests": tests_json(&report.tests),
        "findings": report.findings.iter().map(finding_json).collect::<Vec<_>>(),
        "caveats": report.caveats,
    })
}

/// The report on a whole ledger.
pub(crate) fn ledger_text(report: &LedgerReport, trust: &TrustSummary, compared: &str) -> String {
    let mut page = Page::default();
    page.line("log", shown(report.origin.as_deref().unwrap_or("unknown")));
    match report.size.last() {
        Some(last) => page.line(
            "range",
            match report.seals {
                0 => format!("entries 0 to {last}"),
                _ => format!("entries 0 to {last}, replayed one by one"),
            },
        ),
        None => page.line("range", "no entry"),
    }
    page.trust(trust);
    page.line(
        "checked",
        format_args!(
            "{compared}, {} seals, {} kept checkpoints",
            report.seals, report.checkpoints
        ),
    );
    page.line(
        "root",
        format_args!("{} at size {}", report.root, report.size),
    );
    if let Some(newest) = &report.newest {
        page.note(newest);
    }
    page.tests(&report.tests);
    page.findings(&report.findings);
    page.caveats(&report.caveats);
    page.outcome(report.outcome);
    page.text
}

/// The report on a whole ledger, for programs.
pub(crate) fn ledger_json(report: &LedgerReport, trust: &TrustSummary) -> Value {
    json!({
        "report": "candor.audit.ledger.v1",
        "outcome": report.outcome.as_str(),
        "exit_code": report.outcome.exit_code(),
        "origin": report.origin,
        "size": report.size.0,
        "root": report.root.to_string(),
        "head": report.head.to_string(),
        "time": report.time.map(|time| time.to_string()),
        "trust": trust.to_json(),
        "newest_checkpoint": report.newest.as_ref().map(note_json),
        "checkpoints": report.checkpoints,
        "seals": report.seals,
        "unsealed": report.unsealed,
        "stopped": report.stopped.map(|Seq(seq)| seq),
        "tests": tests_json(&report.tests),
        "findings": report.findings.iter().map(finding_json).collect::<Vec<_>>(),
        "caveats": report.caveats,
    })
}

/// The report on an export.
pub(crate) fn export_text(report: &ExportReport, id: &str, trust: &TrustSummary) -> String {
    let mut page = Page::default();
    page.line("log", shown(&report.origin));
    page.line("export", format_args!("sha3-256:{id}"));
    let (from, to) = (report.from, report.to);
    page.line(
        "range",
        format_args!("entries {from} to {to} as of size {}", report.size),
    );
    let time = |time: Option<Micros>| time.map_or("hidden".to_owned(), |time| time.to_string());
    let (first, last) = (time(report.first), time(report.last));
    page.line(
        "",
        format_args!("the first one of {first}, the last one of {last}"),
    );
    page.line(
        "shown",
        match report.hidden {
            0 => format!("all {} entries", report.shown),
            hidden => format!(
                "{} entries of tenant {} and of the log; of {hidden} others the hash",
                report.shown,
                shown(&report.tenant)
            ),
        },
    );
    page.trust(trust);
    if let Some(checkpoint) = &report.checkpoint {
        page.note(checkpoint);
    }
    page.tests(&report.tests);
    page.findings(&report.findings);
    page.caveats(&report.caveats);
    page.outcome(report.outcome);
    page.text
}

/// The report on an export, for programs.
pub(crate) fn export_json(report: &ExportReport, id: &str, trust: &TrustSummary) -> Value {
    json!({
        "report": "candor.audit.export.v1",
        "outcome": report.outcome.as_str(),
        "exit_code": report.outcome.exit_code(),
        "export": format!("sha3-256:{id}"),
        "origin": report.origin,
        "tenant": report.tenant,
        "from": report.from.0,
        "to": report.to.0,
        "size": report.size.0,
        "first_time": report.first.map(|time| time.to_string()),
        "last_time": report.last.map(|time| time.to_string()),
        "shown": report.shown,
        "hidden": report.hidden,
        "trust": trust.to_json(),
        "checkpoint": report.checkpoint.as_ref().map(note_json),
        "tests": tests_json(&report.tests),
        "findings": report.findings.iter().map(finding_json).collect::<Vec<_>>(),
        "caveats": report.caveats,
    })
}

/// Lines with a label each, built up to be printed at once.
#[derive(Default)]
pub(crate) struct Page {
    pub(crate) text: String,
}

impl Page {
    pub(crate) fn line(&mut self, label: &str, content: impl fmt::Display) {
        writeln!(self.text, "{label:LABEL$}{content}").expect("invariant: a string takes all");
    }

    pub(crate) fn gap(&mut self) {
        self.text.push('\n');
    }

    pub(crate) fn trust(&mut self, trust: &TrustSummary) {
        for (label, line) in trust.lines() {
            self.line(label, line);
        }
    }

    pub(crate) fn note(&mut self, note: &NoteReport) {
        let size = note.size.map_or("?".to_owned(), |size| size.to_string());
        let sealed = note
            .sealed
            .map_or(String::new(), |time| format!(", sealed {time}"));
        let verdict = note.judgement.verdict.in_words();
        self.line(
            "checkpoint",
            format_args!("size {size}{sealed} ({}): {verdict}", shown(&note.place)),
        );
        for reason in &note.judgement.reasons {
            self.line("", reason);
        }
        let vouched: Vec<String> = note.vouched.iter().map(ToString::to_string).collect();
        if !vouched.is_empty() {
            self.line("", format_args!("vouched by node {}", vouched.join(", ")));
        }
        self.names("witnessed by", &note.witnessed);
        self.names(
            "unknown signature lines, which count for nothing:",
            &note.unknown,
        );
        self.names(
            "cosigned before the seal by the signer's own clock:",
            &note.early,
        );
    }

    pub(crate) fn judgement(&mut self, label: &str, statement: &str, judgement: &Judgement) {
        self.line(
            label,
            format_args!("{}: {statement}", judgement.verdict.in_words()),
        );
        for reason in &judgement.reasons {
            self.line("", format_args!("- {reason}"));
        }
    }

    pub(crate) fn tests(&mut self, tests: &Tests) {
        self.gap();
        for (name, judgement) in named_tests(tests) {
            let label = if name == TAMPER_EVIDENT { "tests" } else { "" };
            self.judgement(label, name, judgement);
        }
    }

    pub(crate) fn findings(&mut self, findings: &[Finding]) {
        if findings.is_empty() {
            return;
        }
        self.gap();
        for finding in findings.iter().take(FINDINGS_SHOWN_MAX) {
            self.line(
                "found",
                format_args!("{} [{}, {}]", finding, finding.fault, finding.code),
            );
        }
        let more = findings.len().saturating_sub(FINDINGS_SHOWN_MAX);
        if more > 0 {
            self.line(
                "",
                format_args!("and {more} more: --output json lists them all"),
            );
        }
    }

    pub(crate) fn caveats(&mut self, caveats: &[String]) {
        self.gap();
        for (at, caveat) in caveats.iter().enumerate() {
            self.line(if at == 0 { "note" } else { "" }, caveat);
        }
    }

    pub(crate) fn outcome(&mut self, outcome: Outcome) {
        self.gap();
        let word = outcome.as_str().to_uppercase();
        self.line(
            "outcome",
            format_args!("{word} (exit status {})", outcome.exit_code()),
        );
    }

    fn names(&mut self, what: &str, names: &[String]) {
        if !names.is_empty() {
            let names: Vec<String> = names.iter().map(|name| shown(name).to_string()).collect();
            self.line("", format_args!("{what} {}", names.join(", ")));
        }
    }
}

pub(crate) fn tests_json(tests: &Tests) -> Value {
    let members = named_tests(tests).map(|(name, judgement)| {
        let key = name.replace([' ', '-'], "_");
        let verdict = judgement.verdict.as_str();
        (
            key,
            json!({ "verdict": verdict, "reasons": judgement.reasons }),
        )
    });
    Value::Object(members.into_iter().collect())
}

pub(crate) fn finding_json(finding: &Finding) -> Value {
    json!({
        "fault": finding.fault.to_string(),
        "code": finding.code,
        "seq": finding.seq.map(|Seq(seq)| seq),
        "place": finding.place,
        "problem": finding.problem,
        "expected": finding.expected,
        "found": finding.found,
    })
}

pub(crate) fn note_json(note: &NoteReport) -> Value {
    json!({
        "place": note.place,
        "verdict": note.judgement.verdict.as_str(),
        "reasons": note.judgement.reasons,
        "size": note.size.map(|size| size.0),
        "sealed": note.sealed.map(|time| time.to_string()),
        "keyset": note.keyset,
        "signatures": note.signatures.iter().map(|family| family.name()).collect::<Vec<_>>(),
        "vouched": note.vouched.iter().map(|node| node.0).collect::<Vec<_>>(),
        "witnessed": note.witnessed,
        "unknown": note.unknown,
        "early": note.early,
        "one_machine": note.one_machine,
        "distrusted": note.distrusted,
    })
}

const TAMPER_EVIDENT: &str = "tamper-evident";

fn named_tests(tests: &Tests) -> [(&'static str, &Judgement); 3] {
    [
        (TAMPER_EVIDENT, &tests.tamper_evident),
        ("independently verifiable", &tests.independently_verifiable),
        ("complete", &tests.complete),
    ]
}

fn about(tenant: &str, subject: &str) -> String {
    if tenant.is_empty() {
        return format!("{} (the log itself)", shown(subject));
    }
    format!("{} of tenant {}", shown(subject), shown(tenant))
}
