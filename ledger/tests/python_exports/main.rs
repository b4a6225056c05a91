//! Exports checked by a program that shares no code with us, `vectors/verify_export.py`: whatever
//! is done to one, both say the same of it.
//!
//! `$CANDOR_PYTHON` names a Python with `cryptography` and `slh-dsa`.
#![cfg(all(feature = "sign", feature = "outside-programs"))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "test"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use candor_ledger::checkpoint::Checkpoint;
use candor_ledger::digest::sha3_256;
use candor_ledger::export::check::{ExportQuestion, ExportReport};
use candor_ledger::export::{CHECKPOINT_FILE, ENTRIES_FILE, EXPORT_FILE};
use candor_ledger::ids::TreeSize;
use candor_ledger::note::Note;
use candor_ledger::policy::Policy;
use candor_ledger::time::Micros;
use candor_ledger::tree::root_at;
use candor_ledger::verify::{Outcome, Verdict};
use serde_json::{Value, json};

#[path = "../common/pack.rs"]
mod pack;
#[path = "../common/python.rs"]
mod python;
#[path = "../common/reader.rs"]
mod reader;
#[path = "../common/sample.rs"]
mod sample;

mod crimes;
mod damage;
mod forms;

use pack::{Folder, pack};
use sample::{ORIGIN, Sample};

const OTHER: &str = "globex";

/// A folder, and what it is.
struct Case {
    name: String,
    folder: Folder,
}

#[test]
fn a_program_without_our_code_says_the_same_of_every_export_good_or_not() {
    let python = python::python();
    let seed = std::env::var("CANDOR_SEED").unwrap_or_else(|_| "python exports".to_owned());
    println!("CANDOR_SEED={seed}");
    let sample = damage::story();
    let policy = sample.policy();
    let good = damage::good(&sample);
    let mut cases = damage::damaged(&good, &sample, &seed);
    cases.extend(crimes::all());
    cases.extend(forms::mutated(&sample, &seed));
    println!("{} exports besides the good one", cases.len());

    for (case, said, report) in judged(&python, &good, &policy) {
        let report = report.unwrap();
        assert_eq!(report.outcome, Outcome::Proved, "{}", case.name);
        assert_eq!(said, facts(case, &report), "{}", case.name);
    }
    let mut codes: BTreeMap<String, u32> = BTreeMap::new();
    let mut disagreements = Vec::new();
    let pinned = judged(&python, &good, &pinned(&sample));
    for (case, said, report) in judged(&python, &cases, &policy).into_iter().chain(pinned) {
        match agreed(case, &said, report) {
            Ok(code) => *codes.entry(code).or_default() += 1,
            Err(ours) => disagreements.push(format!("{}: {ours}, and Python {said}", case.name)),
        }
    }
    println!("{codes:#?}");
    let count = disagreements.len();
    assert_eq!(count, 0, "of {}: {disagreements:#?}", cases.len());
}

/// The same policy, and of one size the root, of another one a root that is wrong.
fn pinned(sample: &Sample) -> Policy {
    let root = |size| root_at(&sample.nodes, TreeSize(size)).unwrap();
    let (right, wrong) = (root(10), root(5));
    let pins = format!("pin {ORIGIN} 10 {right}\npin {ORIGIN} 4 {wrong}\n");
    Policy::parse(&(sample.policy().to_text() + &pins)).unwrap()
}

/// What Python, in one process, and we say of each folder.
fn judged<'a>(
    python: &str,
    cases: &'a [Case],
    policy: &Policy,
) -> Vec<(&'a Case, Value, Option<ExportReport>)> {
    let place = tempfile::tempdir().unwrap();
    let python = start(python, cases, policy, place.path());
    let read = |case: &Case| reader::check(&case.folder, policy, &ExportQuestion::default());
    let reports: Vec<_> = cases.iter().map(read).collect();
    let output = python.wait_with_output().unwrap();
    let lines = String::from_utf8(output.stdout).unwrap();
    let mut said: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(said.len(), cases.len());
    let all_hold = said.iter().all(|said| said.get("refused").is_none());
    assert_eq!(output.status.code(), Some(i32::from(!all_hold)));
    for (at, said) in said.iter_mut().enumerate() {
        let folder = said.as_object_mut().unwrap().remove("folder");
        assert_eq!(folder, Some(json!(at.to_string())));
    }
    let judged = cases.iter().zip(said).zip(reports);
    judged
        .map(|((case, said), report)| (case, said, report))
        .collect()
}

fn start(python: &str, cases: &[Case], policy: &Policy, place: &Path) -> Child {
    std::fs::write(place.join("policy"), policy.to_text()).unwrap();
    let script = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/vectors/verify_export.py"
    );
    let mut command = Command::new(python);
    command.arg(script).arg("policy").current_dir(place);
    for (at, case) in cases.iter().enumerate() {
        let folder = place.join(at.to_string());
        std::fs::create_dir(&folder).unwrap();
        for (name, bytes) in &case.folder {
            std::fs::write(folder.join(name), bytes).unwrap();
        }
        command.arg(at.to_string());
    }
    command.stdout(Stdio::piped()).spawn().unwrap()
}

/// What the other program should say of an export that is proved.
fn facts(case: &Case, report: &ExportReport) -> Value {
    let checkpoint = report.checkpoint.as_ref().unwrap();
    let nodes = checkpoint.vouched.iter().map(|node| format!("node-{node}"));
    let nodes: BTreeSet<String> = nodes.collect();
    let note = Note::parse(&case.folder[CHECKPOINT_FILE]).unwrap();
    let root = Checkpoint::parse(&note.text).unwrap().root;
    let time = |time: Option<Micros>| time.map(|time| time.to_string());
    json!({
        "export": format!("sha3-256:{}", hex::encode(sha3_256(&case.folder[EXPORT_FILE]))),
        "origin": report.origin,
        "tenant": report.tenant,
        "from": report.from.0,
        "to": report.to.0,
        "size": report.size.0,
        "root": root.to_string(),
        "keyset": checkpoint.keyset,
        "nodes": nodes,
        "shown": report.shown,
        "hidden": report.hidden,
        "first_time": time(report.first),
        "last_time": time(report.last),
        "complete": report.tests.complete.verdict == Verdict::Proved,
    })
}

/// Whether both accept, with the same facts, or both refuse, for one reason: Python's first must be
/// among ours. Then that reason; else what we say.
fn agreed(case: &Case, said: &Value, report: Option<ExportReport>) -> Result<String, String> {
    let theirs = said["refused"].as_str();
    let ours = match report {
        None => vec!["not-readable"],
        Some(report) if report.outcome == Outcome::Proved => {
            let facts = facts(case, &report);
            let same = *said == facts;
            return same.then(|| "proved".to_owned()).ok_or(facts.to_string());
        }
        Some(report) => report.findings.iter().map(|finding| finding.code).collect(),
    };
    let agreed = theirs.filter(|code| ours.contains(code));
    agreed.map(str::to_owned).ok_or(format!("{ours:?}"))
}

/// The lines of a folder, for whoever changes them.
fn lines(folder: &Folder) -> Vec<Vec<u8>> {
    let text = folder[ENTRIES_FILE].strip_suffix(b"\n").unwrap();
    text.split(|byte| *byte == b'\n')
        .map(<[u8]>::to_vec)
        .collect()
}

fn with_lines(folder: &Folder, lines: &[Vec<u8>]) -> Folder {
    let mut folder = folder.clone();
    let text = lines.iter().flat_map(|line| [line, &b"\n"[..]].concat());
    folder.insert(ENTRIES_FILE, text.collect());
    folder
}

/// A number below `end`, the same for the same words.
fn random(end: usize, words: &str) -> usize {
    let bytes = sha3_256(words.as_bytes());
    let number = u64::from_be_bytes(*bytes.first_chunk().unwrap());
    usize::try_from(number % u64::try_from(end).unwrap()).unwrap()
}
