//! An export read as the auditor's tool reads a folder.

use candor_ledger::export::check::{ExportCheck, ExportQuestion, ExportReport};
use candor_ledger::export::{DIGESTED_FILES, ENTRIES_FILE, EXPORT_FILE, Export};
use candor_ledger::policy::Policy;
use candor_ledger::verify::{Fault, Finding};

use crate::pack::Folder;

/// `None` where the folder is not readable as an export.
pub(crate) fn check(
    folder: &Folder,
    policy: &Policy,
    question: &ExportQuestion,
) -> Option<ExportReport> {
    let export = Export::parse(&folder[EXPORT_FILE]).ok()?;
    let mut check = ExportCheck::new(export, policy);
    for name in DIGESTED_FILES {
        check.push_file(name, &folder[name]);
    }
    let mut lines = folder[ENTRIES_FILE].split(|byte| *byte == b'\n').peekable();
    while let Some(line) = lines.next() {
        let is_last = lines.peek().is_none();
        if is_last && !line.is_empty() {
            let (fault, code) = (Fault::Tampered, "entry-malformed");
            check.report(Finding::new(
                fault,
                code,
                ENTRIES_FILE,
                "its last line does not end",
            ));
        }
        if is_last || !check.push_line(line) {
            break;
        }
    }
    Some(check.finish(question))
}
