//! `candor-audit export` as an auditor runs it: a folder in, report and exit status out.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test")]

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use serde_json::Value;

#[path = "../../../ledger/tests/common/pack.rs"]
mod pack;
#[path = "../../../ledger/tests/common/sample.rs"]
mod sample;

use pack::{Folder, pack};
use sample::{Sample, TENANT};

fn shared() -> &'static Sample {
    static SHARED: OnceLock<Sample> = OnceLock::new();
    SHARED.get_or_init(|| {
        let mut sample = Sample::new("export desk");
        let write = sample.write("what?", b"the output");
        for _ in 0..20 {
            sample.hit(write);
        }
        sample.seal();
        sample
    })
}

fn write(folder: &Folder, desk: &Path) {
    fs::create_dir_all(desk.join("export")).unwrap();
    for (name, bytes) in folder {
        fs::write(desk.join("export").join(name), bytes).unwrap();
    }
    fs::write(desk.join("policy"), shared().policy().to_text()).unwrap();
}

/// Exit status, report (null where there is none) and what was printed as text.
fn audit(desk: &Path, more: &[&str]) -> (i32, Value, String) {
    let run = |output: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_candor-audit"));
        command
            .args(["export", "export", "--output", output])
            .args(more);
        if !more.contains(&"--trust") {
            command.args(["--trust", "policy"]);
        }
        command.current_dir(desk).output().unwrap()
    };
    let (json, text) = (run("json"), run("text"));
    assert_eq!(json.status, text.status);
    let report = serde_json::from_slice(&json.stdout).unwrap_or(Value::Null);
    let text = [text.stdout, text.stderr].concat();
    (
        json.status.code().unwrap(),
        report,
        String::from_utf8_lossy(&text).into_owned(),
    )
}

#[test]
fn a_whole_export_is_proved_and_one_with_hidden_entries_is_not_called_complete() {
    let desk = tempfile::tempdir().unwrap();
    let last = shared().sealed().0 - 1;
    write(&pack(shared(), 5, last, None), desk.path());
    let (status, report, text) = audit(desk.path(), &["--require", "complete", "--from", "5"]);
    assert_eq!(
        (status, &report["tests"]["complete"]["verdict"]),
        (0, &"proved".into()),
        "{text}"
    );
    assert_eq!(report["report"], "candor.audit.export.v1");
    for said in ["entries 5 to", "trusting", "all ", "PROVED (exit status 0)"] {
        assert!(text.contains(said), "{said}: {text}");
    }
    // The same with other entries than `acme`'s and the log's as hashes; here nobody else has any.
    write(&pack(shared(), 3, last, Some("globex")), desk.path());
    let (status, report, text) = audit(desk.path(), &[]);
    assert_eq!((status, &report["hidden"]), (0, &20.into()), "{text}");
    let (status, report, _) = audit(desk.path(), &["--require", "complete"]);
    assert_eq!(
        (status, &report["findings"][0]["code"]),
        (4, &"not-complete".into())
    );
}

#[test]
fn what_is_missing_changed_or_not_asked_for_is_named_with_its_exit_status() {
    let desk = tempfile::tempdir().unwrap();
    let folder = pack(shared(), 5, 15, None);
    write(&folder, desk.path());
    let code = |more: &[&str]| {
        let (status, report, said) = audit(desk.path(), more);
        let code = report["findings"][0]["code"]
            .as_str()
            .unwrap_or(&said)
            .to_owned();
        (status, code)
    };
    let other = |code: &str| (4, code.to_owned());
    assert_eq!(code(&["--to", "16"]), other("range-not-covered"));
    assert_eq!(code(&["--from", "2020-01-01"]), other("range-not-covered"));
    assert_eq!(code(&["--tenant", TENANT]), other("other-tenant"));
    assert_eq!(code(&["--origin", "b"]), other("other-origin"));
    assert_eq!(
        code(&["--trust", "export/policy.txt"]),
        other("policy-of-the-export")
    );
    assert_eq!(audit(desk.path(), &["--from", "then"]).0, 2);
    let at = |name: &str| desk.path().join("export").join(name);
    fs::write(at("notes.txt"), "of the sender").unwrap();
    let (status, report, _) = audit(desk.path(), &[]);
    assert_eq!(status, 0);
    assert!(report["caveats"].to_string().contains("notes.txt"));
    for (name, change, expected) in [
        ("README.txt", "more", (1, "file-changed")),
        ("policy.txt", "more", (1, "file-changed")),
        ("entries.jsonl", "more", (1, "entry-malformed")),
        ("checkpoint", "more", (1, "file-changed")),
        ("genesis.receipt", "more", (1, "file-changed")),
        ("export.json", "more", (3, "one spelling")),
    ] {
        let good = fs::read(at(name)).unwrap();
        fs::write(at(name), [good.as_slice(), change.as_bytes()].concat()).unwrap();
        let (status, found) = code(&[]);
        assert_eq!(status, expected.0, "{name}: {found}");
        assert!(found.contains(expected.1), "{name}: {found}");
        fs::remove_file(at(name)).unwrap();
        let (status, found) = code(&[]);
        assert!(status == 3 && found.contains(name), "{name}: {found}");
        fs::write(at(name), good).unwrap();
    }
    // A later entry says which one was changed.
    let text = fs::read_to_string(at("entries.jsonl")).unwrap();
    let line = text.lines().nth(4).unwrap();
    let changed = line.replacen("alice", "mallo", 1);
    fs::write(at("entries.jsonl"), text.replacen(line, &changed, 1)).unwrap();
    let (status, report, _) = audit(desk.path(), &[]);
    assert_eq!(
        (status, &report["findings"][0]["seq"]),
        (1, &9.into()),
        "{report:#}"
    );
}
