//! `candor-audit export`.

use std::fs;
use std::io;
use std::path::Path;

use candor_ledger::digest::sha3_256;
use candor_ledger::export::check::{ExportCheck, ExportQuestion, ExportReport};
use candor_ledger::export::{
    CHECKPOINT_FILE, DIGESTED_FILES, ENTRIES_FILE, EXPORT_FILE, EXPORT_LEN_MAX, Export,
    GENESIS_FILE,
};
use candor_ledger::note::NOTE_LEN_MAX;
use candor_ledger::policy::POLICY_LEN_MAX;
use candor_ledger::receipt::RECEIPT_LEN_MAX;
use candor_ledger::shown::shown;
use candor_ledger::verify::{Fault, Finding, Outcome, Verdict};

use crate::Done;
use crate::args::{ExportArgs, Output, Requirement};
use crate::folder::{Line, Lines};
use crate::progress::Progress;
use crate::read::{self, CouldNotRead};
use crate::report;
use crate::trust::{self, TrustSummary};

pub(crate) fn run(args: &ExportArgs, output: Output) -> Done {
    let distrust = args.distrust.algorithms();
    let policy = trust::policy(&args.trust, &distrust)?;
    let description = read::file(&args.dir.join(EXPORT_FILE), EXPORT_LEN_MAX)?;
    let export = Export::parse(&description)
        .map_err(|error| CouldNotRead::new(&args.dir.join(EXPORT_FILE), error))?;
    let mut check = ExportCheck::new(export, &policy);
    if lies_in(&args.trust, &args.dir) {
        let problem = "the trust policy lies in the export: whoever made that chose the keys; bring your \
                       own";
        let (code, place) = ("policy-of-the-export", "--trust");
        check.report(Finding::new(Fault::PolicyNotMet, code, place, problem));
    }
    for name in DIGESTED_FILES {
        check.push_file(name, &read::file(&args.dir.join(name), len_max(name))?);
    }
    remark_strangers(&args.dir, &mut check)?;
    read_lines(&args.dir.join(ENTRIES_FILE), &mut check)?;
    let mut report = check.finish(&question(args));
    if args.require == Some(Requirement::Complete) {
        require_complete(&mut report);
    }
    let trust = TrustSummary::new(&args.trust, &policy, &distrust);
    let id = hex::encode(sha3_256(&description));
    read::print(&match output {
        Output::Json => format!("{:#}\n", report::export_json(&report, &id, &trust)),
        Output::Text => report::export_text(&report, &id, &trust),
    });
    Ok(report.outcome.exit_code())
}

fn read_lines(path: &Path, check: &mut ExportCheck<'_>) -> Result<(), CouldNotRead> {
    let failed = |error: io::Error| CouldNotRead::new(path, error);
    let progress = Progress::new(fs::metadata(path).map_err(failed)?.len());
    let mut lines = Lines::open(path).map_err(failed)?;
    let mut line = Vec::new();
    loop {
        let read = lines.read(&mut line).map_err(failed)?;
        let goes_on = match read {
            Line::Entry => check.push_line(&line),
            Line::End => false,
            Line::Torn | Line::TooLong => {
                let problem = "its last line does not end, or is longer than an entry can be";
                let (fault, code) = (Fault::Tampered, "entry-malformed");
                check.report(Finding::new(fault, code, ENTRIES_FILE, problem));
                false
            }
        };
        if !goes_on {
            break;
        }
        progress.advance(line.len() + 1);
    }
    progress.finish();
    Ok(())
}

fn question(args: &ExportArgs) -> ExportQuestion {
    ExportQuestion {
        origin: args.origin.clone(),
        tenant: args.tenant.clone(),
        from: args.from,
        to: args.to,
    }
}

/// A requirement that is not met replaces success and nothing graver.
fn require_complete(report: &mut ExportReport) {
    let complete = report.tests.complete.verdict;
    if complete == Verdict::Proved {
        return;
    }
    let problem = format!("completeness was required and is {}", complete.in_words());
    let (fault, code) = (Fault::PolicyNotMet, "not-complete");
    let finding = Finding::new(fault, code, "the three tests", problem);
    report.findings.push(finding);
    report.outcome = Outcome::of(&report.findings);
}

fn len_max(name: &str) -> usize {
    match name {
        CHECKPOINT_FILE => NOTE_LEN_MAX,
        GENESIS_FILE => RECEIPT_LEN_MAX,
        _ => POLICY_LEN_MAX,
    }
}

fn remark_strangers(dir: &Path, check: &mut ExportCheck<'_>) -> Result<(), CouldNotRead> {
    let failed = |error: io::Error| CouldNotRead::new(dir, error);
    let mut strangers = Vec::new();
    for found in fs::read_dir(dir).map_err(failed)? {
        let name = found.map_err(failed)?.file_name();
        let name = name.to_string_lossy();
        let is_ours =
            [EXPORT_FILE, ENTRIES_FILE].contains(&&*name) || DIGESTED_FILES.contains(&&*name);
        if !is_ours {
            strangers.push(shown(&name).to_string());
        }
    }
    if !strangers.is_empty() {
        strangers.sort();
        let names = strangers.join(", ");
        check.remark(format!("no part of an export, not looked at: {names}"));
    }
    Ok(())
}

/// Whether a file lies in a folder, whatever both are called.
fn lies_in(file: &Path, dir: &Path) -> bool {
    match (file.canonicalize(), dir.canonicalize()) {
        (Ok(file), Ok(dir)) => file.starts_with(dir),
        _ => false,
    }
}
