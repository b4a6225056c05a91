//! `candor-jepsen check`: a stored run, judged again.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use candor_jepsen::check::{self, Judgement, Run, Verdict};
use candor_jepsen::history::Term;

/// What to judge.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Folders of stored runs.
    #[arg(required = true, value_name = "DIR")]
    folders: Vec<PathBuf>,
    /// Also write the verdicts to `results.edn` in each folder.
    #[arg(long)]
    write: bool,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let mut bad = Vec::new();
    for folder in &arguments.folders {
        let run = Run::read(folder)?;
        let judgements = check::judge(&run);
        println!(
            "{}: {} events, {} operations, seed {}",
            folder.display(),
            run.history.events.len(),
            run.all().len(),
            run.plan.seed
        );
        for judgement in &judgements {
            print(judgement);
        }
        if arguments.write {
            let path = folder.join("results.edn");
            fs::write(&path, results(&judgements))
                .with_context(|| format!("`{}`", path.display()))?;
        }
        let good = judgements.iter().all(|one| one.verdict == Verdict::True);
        if !good {
            bad.push(folder.display().to_string());
        }
    }
    ensure!(bad.is_empty(), "not good: {}", bad.join(", "));
    Ok(())
}

fn print(judgement: &Judgement) {
    let Judgement {
        checker,
        verdict,
        seen,
        ..
    } = judgement;
    println!("  {verdict:<8} {checker:<15} {seen}");
    for finding in &judgement.findings {
        println!("           - {finding}");
    }
    let hidden = judgement.found - judgement.findings.len();
    if hidden > 0 {
        println!("           - and {hidden} more");
    }
}

fn results(judgements: &[Judgement]) -> String {
    let entry = |judgement: &Judgement| {
        let findings = judgement.findings.iter().map(|text| Term::text(text));
        let members = [
            ("valid?", Term::word(judgement.verdict.as_str())),
            ("seen", Term::text(&judgement.seen)),
            ("findings", Term::List(findings.collect())),
        ];
        let members = members.map(|(key, value)| (key.to_owned(), value));
        (judgement.checker.to_owned(), Term::Map(members.into()))
    };
    Term::Map(judgements.iter().map(entry).collect()).to_edn() + "\n"
}
