//! `candor-audit verify`.

use candor_ledger::entry::Subject;
use candor_ledger::evidence::{EVIDENCE_LEN_MAX, Evidence};
use candor_ledger::fingerprint::Fingerprint;
use candor_ledger::verify::{Question, verify_evidence};

use crate::Done;
use crate::args::{Output, Requirement, VerifyArgs};
use crate::read::{self, CouldNotRead};
use crate::report;
use crate::trust::{self, TrustSummary};

pub(crate) fn run(args: &VerifyArgs, output: Output) -> Done {
    let distrust = args.distrust.algorithms();
    let policy = trust::policy(&args.trust, &distrust)?;
    let bytes = read::file(&args.evidence, EVIDENCE_LEN_MAX)?;
    let evidence =
        Evidence::parse(&bytes).map_err(|error| CouldNotRead::new(&args.evidence, error))?;
    let mut report = verify_evidence(&evidence, &policy, &question(args));
    if args.require == Some(Requirement::Complete) {
        report = report.require_complete();
    }
    let trust = TrustSummary::new(&args.trust, &policy, &distrust);
    read::print(&match output {
        Output::Json => format!("{:#}\n", report::evidence_json(&report, &trust)),
        Output::Text => report::evidence_text(&report, &trust),
    });
    Ok(report.outcome.exit_code())
}

fn question(args: &VerifyArgs) -> Question {
    Question {
        origin: args.origin.clone(),
        tenant: args.tenant.clone(),
        subject: args.subject.as_deref().map(full_subject),
    }
}

/// A digest without `fingerprint:` before it means a fingerprint; anything else is compared as it
/// is, and a text that is no subject equals none.
fn full_subject(asked: &str) -> String {
    match (Subject::parse(asked), Fingerprint::parse(asked)) {
        (Err(_), Ok(fingerprint)) => fingerprint.to_string(),
        _ => asked.to_owned(),
    }
}
