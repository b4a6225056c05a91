//! `candor-jepsen check`: a stored run, judged again.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use candor_jepsen::check::{self, Judgement, Run, Touch, Verdict};
use candor_jepsen::history::Term;

/// What to judge.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Folders of stored runs.
    #[arg(required = true, value_name = "DIR")]
    folders: Vec<PathBuf>,
    /// Also write to each folder the verdicts as `results.edn`, and `porcupine.jsonl`, in which each key
    /// is a plain register, for other checkers.
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
            let touches = Touch::to_jsonl(run.all());
            for (name, text) in [
                ("results.edn", results(&judgements)),
                ("porcupine.jsonl", touches),
            ] {
                let path = folder.join(name);
                fs::write(&path, text).with_context(|| format!("`{}`", path.display()))?;
            }
        }
        let good = judgements.iter().all(|one| one.verdict == Verdict::True);
        if !good {
            bad.push(folder.display().to_string());
        }
    }
    ensure!(bad.is_empty(), "not good: {}", bad.join(", "));
    Ok(())
}

pub(super) fn print(judgement: &Judgement) {
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

/// Jepsen's form: whatever is not `true` under `:valid?` must not be taken for true, as a keyword would be.
fn results(judgements: &[Judgement]) -> String {
    let word = |verdict| match verdict {
        Verdict::True => Term::Bool(true),
        Verdict::False => Term::Bool(false),
        Verdict::Unknown => Term::word(Verdict::Unknown.as_str()),
    };
    let entry = |judgement: &Judgement| {
        let findings = judgement.findings.iter().map(|text| Term::text(text));
        let members = [
            ("valid?", word(judgement.verdict)),
            ("seen", Term::text(&judgement.seen)),
            ("findings", Term::List(findings.collect())),
        ];
        let members = members.map(|(key, value)| (key.to_owned(), value));
        (judgement.checker.to_owned(), Term::Map(members.into()))
    };
    let mut members: Vec<_> = judgements.iter().map(entry).collect();
    let verdicts = || judgements.iter().map(|one| one.verdict);
    let whole = match verdicts().find(|one| *one == Verdict::False) {
        None => verdicts().max().unwrap_or(Verdict::Unknown),
        Some(wrong) => wrong,
    };
    members.insert(0, ("valid?".to_owned(), word(whole)));
    Term::Map(members).to_edn() + "\n"
}
