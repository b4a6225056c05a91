//! What runs have covered: faults by what was asked meanwhile, and by what was looked at behind them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, ensure};
use serde::{Deserialize, Serialize};

use super::{ALL, Judgement, Run, Verdict, coverage};
use crate::history::F;

/// Whatever was asked while nothing was broken.
const CALM: &str = "nothing";

/// Of one run, or of many together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Covered {
    runs: u64,
    /// Verified answers to what was asked while a fault lasted, by fault and operation.
    answers: BTreeMap<String, BTreeMap<String, u64>>,
    /// What checkers looked at in runs that had a fault, and found good, by fault and checker.
    looked_at: BTreeMap<String, BTreeMap<String, u64>>,
}

impl Covered {
    /// What a run has covered, by what is said of it.
    pub fn of(run: &Run, judgements: &[Judgement]) -> Self {
        let during = coverage::during(run);
        let good = judgements.iter().filter(|one| one.verdict == Verdict::True);
        let counts: BTreeMap<String, u64> = good
            .map(|one| (one.checker.to_owned(), one.looked_at))
            .collect();
        let mut answers = BTreeMap::new();
        for (fault, by_f) in &during {
            let by_f = by_f
                .iter()
                .map(|(f, count)| (f.as_str().to_owned(), *count));
            answers.insert(fault.unwrap_or(CALM).to_owned(), by_f.collect());
        }
        let faults = during.keys().map(|fault| fault.unwrap_or(CALM));
        Self {
            runs: 1,
            looked_at: faults
                .map(|fault| (fault.to_owned(), counts.clone()))
                .collect(),
            answers,
        }
    }

    /// Adds what other runs have covered.
    pub fn add(&mut self, other: &Self) {
        self.runs += other.runs;
        for (into, from) in [
            (&mut self.answers, &other.answers),
            (&mut self.looked_at, &other.looked_at),
        ] {
            for (fault, counts) in from {
                let into = into.entry(fault.clone()).or_default();
                for (what, count) in counts {
                    *into.entry(what.clone()).or_default() += count;
                }
            }
        }
    }

    /// What no run has covered, of these faults.
    pub fn holes(&self, faults: &[&str]) -> Vec<String> {
        let mut holes = Vec::new();
        let names = || ALL.iter().map(|checker| checker.name);
        for fault in faults {
            let none = |table: &BTreeMap<String, BTreeMap<String, u64>>, what: &str| {
                table
                    .get(*fault)
                    .and_then(|row| row.get(what))
                    .is_none_or(|count| *count == 0)
            };
            let unasked = F::ALL.iter().map(|f| f.as_str());
            let unasked = unasked.filter(|what| none(&self.answers, what));
            let unseen = names().filter(|what| none(&self.looked_at, what));
            holes.extend(
                unasked
                    .chain(unseen)
                    .map(|what| format!("{fault} x {what}")),
            );
        }
        holes
    }

    /// Puts the tables into a file, in the place of those under the same title.
    ///
    /// # Errors
    /// The file's, and that of a file without such a title.
    pub fn write(&self, path: &Path, title: &str, command: &str) -> anyhow::Result<()> {
        let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
        let heading = format!("## {title}\n");
        let (before, rest) = text
            .split_once(&heading)
            .with_context(|| format!("`{}` has no `{}`", path.display(), heading.trim()))?;
        let behind = rest
            .find("\n## ")
            .map_or("", |at| rest.get(at..).unwrap_or_default());
        ensure!(self.runs > 0, "no run was made");
        let tables = self.tables(command);
        fs::write(path, format!("{before}{heading}{tables}{behind}"))?;
        Ok(())
    }

    fn tables(&self, command: &str) -> String {
        let mut text = format!("\n`{command}`: {} runs, all good.\n", self.runs);
        let operations: Vec<&str> = F::ALL.iter().map(|f| f.as_str()).collect();
        text += "\nVerified answers to what was asked while a fault lasted:\n\n";
        table(&mut text, &operations, &self.answers);
        let checkers: Vec<&str> = ALL.iter().map(|checker| checker.name).collect();
        text += "\nWhat checkers looked at in the runs that had it:\n\n";
        table(&mut text, &checkers, &self.looked_at);
        text
    }
}

fn table(text: &mut String, columns: &[&str], rows: &BTreeMap<String, BTreeMap<String, u64>>) {
    let _ = writeln!(text, "| fault | {} |", columns.join(" | "));
    let _ = writeln!(text, "| --- |{}", " ---: |".repeat(columns.len()));
    for (fault, counts) in rows {
        let cells = columns
            .iter()
            .map(|what| counts.get(*what).copied().unwrap_or_default());
        let cells: Vec<String> = cells.map(|count| count.to_string()).collect();
        let _ = writeln!(text, "| {fault} | {} |", cells.join(" | "));
    }
}
