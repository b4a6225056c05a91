//! The corpus: stored runs of known verdict, in `jepsen-tests/corpus/`.
//!
//! Each folder is a run as `candor-jepsen check` reads it, and `expect.json`, which says in words what is wrong
//! with it and names every checker that must say `false` or `unknown`; all others must say `true`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

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
