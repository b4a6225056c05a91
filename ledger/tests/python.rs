//! Evidence checked by a program that shares no code with us, `vectors/verify_evidence.py`.
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

use std::path::Path;
use std::process::{Command, Output};

use candor_ledger::evidence::{Claim, Evidence};
use candor_ledger::ids::Seq;
use serde_json::Value;

#[path = "common/python.rs"]
mod python;
#[path = "common/sample.rs"]
mod sample;

use python::python;
use sample::{Sample, TENANT, fingerprint};

#[test]
fn a_program_without_our_code_verifies_the_evidence_and_refuses_it_changed() {
    let python = python();
    let mut sample = Sample::new("python");
    let write = sample.write("what?", b"the output");
    let hit = sample.hit(write);
    sample.write("other", b"else");
    let seal = sample.seal().last().unwrap();
    let subject = fingerprint("what?").to_string();
    let evidence = sample
        .evidence(TENANT, &subject, &[Seq(0), write, hit, seal])
        .value(b"the output")
        .claim(Claim::SubjectLifecycle { from_n: 1, to_n: 2 })
        .finish()
        .unwrap();
    let check = |evidence: &Evidence| {
        let folder = tempfile::tempdir().unwrap();
        let (file, policy) = (folder.path().join("evidence"), folder.path().join("policy"));
        std::fs::write(&file, evidence.render()).unwrap();
        std::fs::write(&policy, sample.policy().to_text()).unwrap();
        run(&python, &file, &policy)
    };

    let output = check(&evidence);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    let checkpoint = sample.checkpoint(sample.sealed());
    assert_eq!(said["size"], checkpoint.size.0);
    assert_eq!(said["root"], checkpoint.root.to_string());
    assert_eq!(said["keyset"], hex::encode(sample.keys.key_set().id()));
    assert_eq!(
        said["nodes"],
        serde_json::json!(["node-1", "node-2", "node-3"])
    );
    assert_eq!(said["entries"], 4);

    for (name, change) in CHANGES {
        let mut changed = evidence.clone();
        change(&mut changed);
        assert_ne!(changed, evidence, "{name}");
        let output = check(&changed);
        assert_eq!(output.status.code(), Some(1), "{name} was accepted");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.starts_with("refused: Refused"), "{name}: {said}");
    }
}

type Change = fn(&mut Evidence);

const CHANGES: [(&str, Change); 7] = [
    ("an entry", |e| {
        e.entries[1].line = e.entries[1].line.replace("tiny", "tinx");
    }),
    ("a path", |e| e.entries[1].path[0].0[0] ^= 1),
    ("an index", |e| e.entries[1].index = Seq(3)),
    ("a value", |e| e.values[0].bytes[0] ^= 1),
    ("the text of the note", |e| {
        e.notes[0] = e.notes[0].replace("sealed 2025", "sealed 2026");
    }),
    ("the Ed25519 signature", |e| spoil_line(e, 0)),
    ("the SLH-DSA signature", |e| spoil_line(e, 2)),
];

fn spoil_line(evidence: &mut Evidence, at: usize) {
    let mut note = candor_ledger::note::Note::parse(evidence.notes[0].as_bytes()).unwrap();
    note.signatures[at].blob[6] ^= 1;
    evidence.notes[0] = note.encode();
}

fn run(python: &str, evidence: &Path, policy: &Path) -> Output {
    let script = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/vectors/verify_evidence.py"
    );
    Command::new(python)
        .arg(script)
        .args([evidence, policy])
        .output()
        .unwrap()
}
