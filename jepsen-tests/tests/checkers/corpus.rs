//! The corpus: stored runs of known verdict, in `jepsen-tests/corpus/`.
//!
//! Each folder is a run as `candor-jepsen check` reads it, and `expect.json`, which says in words what is wrong
//! with it and names every checker that must say `false` or `unknown`; all others must say `true`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Command;

use candor_jepsen::check::{self, Run, Verdict};
use serde::Deserialize;

/// One run with what must be said of it.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) run: Run,
    expect: Expect,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expect {
    says: String,
    r#false: BTreeSet<String>,
    unknown: BTreeSet<String>,
}

pub(crate) fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

pub(crate) fn cases() -> Vec<Case> {
    let mut folders: Vec<PathBuf> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    folders.sort();
    let case = |path: PathBuf| Case {
        name: path.file_name().unwrap().to_str().unwrap().to_owned(),
        run: Run::read(&path).unwrap(),
        expect: serde_json::from_slice(&std::fs::read(path.join("expect.json")).unwrap()).unwrap(),
    };
    folders.into_iter().map(case).collect()
}

/// What the program makes of a run: a folder that is not good must never look so to a script.
#[test]
fn the_program_exits_with_0_only_if_every_verdict_of_every_run_is_true() {
    let folder = tempfile::tempdir().unwrap();
    let copy = |name: &str| {
        let to = folder.path().join(name);
        std::fs::create_dir(&to).unwrap();
        for entry in std::fs::read_dir(self::folder().join(name)).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
        to
    };
    let (good, wrong) = (copy("valid_signed"), copy("lost"));
    let unsigned = copy("valid");
    for (runs, code, results) in [
        (vec![&good], 0, "{:valid? true, :alarms {:valid? true, "),
        (vec![&wrong, &good], 1, "{:valid? false, "),
        (vec![&unsigned], 1, "{:valid? :unknown, "),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_candor-jepsen"))
            .args(["check", "--write"])
            .args(&runs)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(code), "{text}");
        let written = std::fs::read_to_string(runs[0].join("results.edn")).unwrap();
        assert!(written.starts_with(results), "{written}");
        let touches = std::fs::read_to_string(runs[0].join("porcupine.jsonl")).unwrap();
        assert!(touches.lines().count() > 10, "{touches}");
        assert_eq!(text.matches("well_formed").count(), runs.len(), "{text}");
    }
}

#[test]
fn every_case_of_the_corpus_gets_its_verdicts_from_the_checkers_that_it_names() {
    let mut found_by: BTreeMap<&str, u32> = BTreeMap::new();
    let mut problems = Vec::new();
    let cases = cases();
    for Case { name, run, expect } in &cases {
        let judgements = check::judge(run);
        let said = |verdict| -> BTreeSet<String> {
            let these = judgements.iter().filter(|one| one.verdict == verdict);
            these.map(|one| one.checker.to_owned()).collect()
        };
        let (wrong, unknown) = (said(Verdict::False), said(Verdict::Unknown));
        if (&wrong, &unknown) != (&expect.r#false, &expect.unknown) {
            let told: Vec<_> = judgements
                .iter()
                .filter(|one| one.verdict != Verdict::True)
                .map(|one| format!("    {} {}: {:?}", one.verdict, one.checker, one.findings))
                .collect();
            problems.push(format!(
                "{name} ({}): false {:?}, unknown {:?} wanted; got\n{}",
                expect.says,
                expect.r#false,
                expect.unknown,
                told.join("\n")
            ));
        }
        for checker in check::ALL
            .iter()
            .filter(|one| expect.r#false.contains(one.name))
        {
            *found_by.entry(checker.name).or_default() += 1;
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    let idle = check::ALL
        .iter()
        .filter(|one| !found_by.contains_key(one.name));
    let idle: Vec<_> = idle.map(|checker| checker.name).collect();
    assert!(
        idle.is_empty(),
        "no case shows that these find anything: {idle:?}"
    );
    println!(
        "{} cases; violations found by checker: {found_by:?}",
        cases.len()
    );
}
