//! Verifying evidence: bytes and a trust policy in, a verdict for each claim out.
//!
//! What is believed is the policy alone. Keys, sizes and hashes in the evidence are checked
//! against it or against each other; nothing is taken because the file says so. A verdict is
//! [`Verdict::Proved`] only where it follows; everything that is missing, unknown or not trusted
//! ends in [`Verdict::NotProved`] (INV-10).
//!
//! The steps, each in its own module: checkpoints against the policy (`notes`), entries against
//! their checkpoint and their own form (`entries`), entries against each other (`lifecycle`),
//! claims against all of that (`claims`).
//!
//! What verification cannot say: that an output was right, that a caller told the truth about its
//! model, that the named actor asked, or that an event was never recorded.

use crate::canonical::QUOTED_CHARS_MAX;
use crate::evidence::{Claim, Evidence};
use crate::policy::Policy;
use crate::shown::shown;

mod claims;
pub(crate) mod entries;
pub(crate) mod lifecycle;
pub(crate) mod notes;
mod report;

pub use report::{
    ClaimReport, Fault, Finding, Judgement, NoteReport, Outcome, Report, Tests, Verdict,
};

/// What the verifier asked for. Evidence about something else is refused by name, however genuine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Question {
    /// The log that must have made it.
    pub origin: Option<String>,
    /// The tenant whose entries must be shown.
    pub tenant: Option<String>,
    /// The subject that it must be about, in the one spelling of entries.
    pub subject: Option<String>,
}

/// Checks evidence against a policy and a question.
///
/// Every note, entry and value in the file is checked, whether a claim needs it or not.
///
/// Cost: about 0.6 ms for each note, and for each entry some 25 hashes and reading it.
pub fn verify_evidence(evidence: &Evidence, policy: &Policy, question: &Question) -> Report {
    let mut findings = other_question(evidence, question);
    let asked = findings.is_empty();
    let notes = notes::check_notes(evidence, policy, &mut findings);
    let entries = entries::check_entries(evidence, &notes, &mut findings);
    entries::check_values(evidence, &mut findings);
    lifecycle::check_order(&entries, &mut findings);
    let shown = claims::Shown::new(evidence, &notes, &entries, &findings, asked);
    let claims: Vec<ClaimReport> = evidence.claims.iter().map(|c| shown.judge(c)).collect();
    let tests = shown.tests(&claims);
    let caveats = shown.caveats();
    Report {
        outcome: outcome(&findings, &claims),
        origin: evidence.origin.clone(),
        tenant: evidence.tenant.clone(),
        subject: evidence.subject.clone(),
        size: evidence.size,
        notes: notes.into_iter().map(|note| note.report).collect(),
        claims,
        tests,
        findings,
        caveats,
    }
}

impl Report {
    /// Demands that completeness is proved: adds a finding where it is not.
    #[must_use]
    pub fn require_complete(mut self) -> Self {
        let complete = self.tests.complete.verdict;
        if complete != Verdict::Proved {
            let problem = format!("completeness was required and is {}", complete.in_words());
            let place = "the three tests";
            let finding = Finding::new(Fault::PolicyNotMet, "not-complete", place, problem);
            self.findings.push(finding);
            self.outcome = outcome_required(self.outcome);
        }
        self
    }
}

/// A requirement that is not met replaces success and nothing graver.
fn outcome_required(outcome: Outcome) -> Outcome {
    match outcome {
        Outcome::Proved | Outcome::PolicyNotMet => Outcome::PolicyNotMet,
        graver => graver,
    }
}

/// INV-10: the one place where a whole is called proved, and every claim must be.
fn outcome(findings: &[Finding], claims: &[ClaimReport]) -> Outcome {
    let all = |verdict| {
        claims
            .iter()
            .all(|claim| claim.judgement.verdict == verdict)
    };
    let any = |verdict| {
        claims
            .iter()
            .any(|claim| claim.judgement.verdict == verdict)
    };
    match Outcome::of(findings) {
        _ if any(Verdict::Refuted) => Outcome::Tampered,
        Outcome::Proved if claims.is_empty() || !all(Verdict::Proved) => Outcome::CouldNotCheck,
        outcome => outcome,
    }
}

fn other_question(evidence: &Evidence, question: &Question) -> Vec<Finding> {
    let parts = [
        ("origin", "other-origin", &question.origin, &evidence.origin),
        ("tenant", "other-tenant", &question.tenant, &evidence.tenant),
        (
            "subject",
            "other-subject",
            &question.subject,
            &evidence.subject,
        ),
    ];
    let mut findings = Vec::new();
    for (name, code, asked, found) in parts {
        if let Some(asked) = asked.as_ref().filter(|asked| *asked != found) {
            let problem = format!("this is evidence about another {name} than was asked");
            let finding = Finding::new(Fault::OtherQuestion, code, name, problem);
            findings.push(finding.but(quoted(asked), quoted(found)));
        }
    }
    findings
}

/// Foreign text in a sentence: escaped, cut, in backticks.
pub(crate) fn quoted(text: &str) -> String {
    let cut: String = text.chars().take(QUOTED_CHARS_MAX).collect();
    let more = if cut.len() < text.len() { ".." } else { "" };
    format!("`{}{more}`", shown(&cut))
}

/// Whether a claim is about what the entries shown hold, rather than about what is not shown.
fn is_about_shown(claim: &Claim) -> bool {
    !matches!(claim, Claim::SubjectAbsent | Claim::SubjectComplete)
}
