//! `candor-audit` as an auditor runs it: files in, report and exit status out.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test")]

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::OnceLock;

use candor_ledger::evidence::{Claim, Evidence};
use candor_ledger::ids::Seq;
use serde_json::Value;
use tempfile::TempDir;

#[path = "../../../ledger/tests/common/sample.rs"]
mod sample;

use sample::{ORIGIN, Sample, TENANT, fingerprint};

const OUTPUT: &[u8] = b"the output";

/// A sample on disk: `policy`, `evidence.json`, `node/ledger/`.
struct Desk {
    sample: &'static Sample,
    folder: TempDir,
}

/// A ledger of 299 entries in two files, with two seals after the one over the genesis.
fn shared() -> &'static Sample {
    static SHARED: OnceLock<Sample> = OnceLock::new();
    SHARED.get_or_init(|| {
        let mut sample = Sample::new("desk");
        let write = sample.write("what?", OUTPUT);
        sample.hit(write);
        sample.seal();
        while sample.lines.len() < 298 {
            sample.hit(write);
        }
        sample.seal();
        sample
    })
}

impl Desk {
    /// The shared ledger, and evidence of a write and a hit in it.
    fn new() -> Self {
        let (sample, write, hit) = (shared(), Seq(2), Seq(3));
        let evidence = sample
            .evidence(TENANT, &fingerprint("what?").to_string(), &[write, hit])
            .value(OUTPUT)
            .claim(Claim::SubjectLifecycle { from_n: 1, to_n: 2 })
            .claim(Claim::Value { seq: write })
            .finish()
            .unwrap();
        let desk = Self::with(sample);
        fs::write(desk.path("evidence.json"), evidence.render()).unwrap();
        desk
    }

    fn with(sample: &'static Sample) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let desk = Self { sample, folder };
        fs::write(desk.path("policy"), desk.sample.policy().to_text()).unwrap();
        desk.sample.write_folder(&desk.path("node/ledger"));
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn run(&self, args: &[&str]) -> Output {
        let program = env!("CARGO_BIN_EXE_candor-audit");
        let mut command = Command::new(program);
        command.args(args).current_dir(self.folder.path());
        command.output().unwrap()
    }

    /// Runs with `--output json`, and checks that report and exit status say the same.
    fn json(&self, args: &[&str]) -> Value {
        let output = self.run(&[args, &["--output", "json"]].concat());
        let report: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&output.stderr)));
        assert_eq!(
            report["exit_code"],
            i64::from(output.status.code().unwrap())
        );
        report
    }

    fn verify(&self, more: &[&str]) -> Value {
        self.json(&[&["verify", "evidence.json", "--trust", "policy"], more].concat())
    }

    fn ledger(&self, more: &[&str]) -> Value {
        self.json(&[&["ledger", "node", "--trust", "policy"], more].concat())
    }

    /// Changes a file of the ledger folder.
    fn change(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let path = self.path("node/ledger").join(name);
        let mut bytes = fs::read(&path).unwrap();
        change(&mut bytes);
        fs::write(&path, bytes).unwrap();
    }

    /// Changes the lines of the second file of entries.
    fn change_lines(&self, change: impl FnOnce(&mut Vec<String>)) {
        self.change("entries/000000000256.jsonl", |bytes| {
            let text = String::from_utf8(bytes.clone()).unwrap();
            let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
            change(&mut lines);
            *bytes = lines
                .iter()
                .flat_map(|line| [line.as_bytes(), b"\n"].concat())
                .collect();
        });
    }
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// The first finding: its code and sequence number.
fn first(report: &Value) -> (&str, Option<u64>) {
    let finding = &report["findings"][0];
    (finding["code"].as_str().unwrap(), finding["seq"].as_u64())
}

fn assert_tampered(report: &Value, code: &str, seq: u64) {
    assert_eq!(report["exit_code"], 1, "{report:#}");
    assert_eq!(first(report), (code, Some(seq)), "{report:#}");
}

#[test]
fn evidence_is_verified_where_there_is_no_network_at_all() {
    let desk = Desk::new();
    let isolated = |line: &str| {
        // Root may make a network namespace; anybody else needs a user namespace around it.
        let id = Command::new("id").arg("-u").output().unwrap();
        let flags = if id.stdout == b"0\n" { "-n" } else { "-rn" };
        Command::new("unshare")
            .args([flags, "--", "sh", "-c", line])
            .current_dir(desk.folder.path())
            .output()
            .expect("`unshare` of util-linux: this test needs it")
    };
    let looks = "readlink /proc/self/ns/net; cat /proc/net/route";
    let seen = isolated(looks);
    assert!(
        seen.status.success(),
        "this machine makes no network namespace, and without one nothing is shown: {}",
        String::from_utf8_lossy(&seen.stderr)
    );
    let ours = fs::read_link("/proc/self/ns/net").unwrap();
    let seen = text(&seen);
    assert_ne!(seen.lines().next(), ours.to_str(), "our own network");
    let mut routes = seen.lines().skip(1);
    let is_heading = |line: &str| line.starts_with("Iface");
    assert!(routes.all(is_heading), "there is a way out:\n{seen}");
    let subject = fingerprint("what?");
    let program = env!("CARGO_BIN_EXE_candor-audit");
    let verify = format!("{program} verify evidence.json --trust policy --subject {subject}");
    let verified = isolated(&verify);
    assert_eq!(verified.status.code(), Some(0), "{}", text(&verified));
    assert!(text(&verified).contains("PROVED"), "{}", text(&verified));
}

#[test]
fn good_evidence_exits_0_and_the_first_screen_answers_the_five_questions() {
    let desk = Desk::new();
    let subject = fingerprint("what?").to_string();
    let question = [
        "--tenant",
        TENANT,
        "--subject",
        &subject,
        "--origin",
        ORIGIN,
    ];
    let report = desk.verify(&question);
    assert_eq!(report["exit_code"], 0, "{report:#}");
    assert_eq!(report["tests"]["tamper_evident"]["verdict"], "proved");
    assert_eq!(
        report["tests"]["independently_verifiable"]["verdict"],
        "proved"
    );
    assert_eq!(report["tests"]["complete"]["verdict"], "not-proved");
    // A bare digest means a fingerprint.
    let bare = subject.strip_prefix("fingerprint:").unwrap();
    assert_eq!(desk.verify(&["--subject", bare])["exit_code"], 0);

    let output = desk.run(&["verify", "evidence.json", "--trust", "policy"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(
        output.stderr.is_empty(),
        "progress has no place outside a terminal"
    );
    let screen = text(&output);
    let keyset = hex::encode(desk.sample.keys.key_set().id());
    for answer in [
        &format!("log           {ORIGIN}"),
        &format!("about         {subject} of tenant acme"),
        &format!("trusting      key set sha3-256:{keyset}"),
        "because your policy `policy` names it",
        "claim         proved: events 1..2",
        "tests         proved: tamper-evident",
        "proved: independently verifiable",
        "not proved: complete",
        "outcome       PROVED (exit status 0)",
    ] {
        assert!(screen.contains(answer), "{answer:?} is not in:\n{screen}");
    }
    assert!(
        screen
            .lines()
            .take(24)
            .any(|line| line.contains("not proved: complete")),
        "{screen}"
    );
}

#[test]
fn changed_evidence_exits_1_and_names_the_entry() {
    let desk = Desk::new();
    let path = desk.path("evidence.json");
    let evidence = fs::read_to_string(&path).unwrap();
    fs::write(&path, evidence.replacen("text/plain", "text/plein", 1)).unwrap();
    assert_tampered(&desk.verify(&[]), "entry-not-committed", 2);
    let screen = text(&desk.run(&["verify", "evidence.json", "--trust", "policy"]));
    assert!(
        screen.contains("found         entry 2: these bytes are not what"),
        "{screen}"
    );
    assert!(screen.contains("TAMPERED (exit status 1)"));
}

#[test]
fn wrong_usage_exits_2() {
    let desk = Desk::new();
    for args in [
        &["verify", "evidence.json"][..],
        &["ledger", "--trust", "policy"],
        &["policy"],
        &["policy", "--check", "policy", "--export-c2sp", "policy"],
        &[
            "verify",
            "evidence.json",
            "--trust",
            "policy",
            "--require",
            "everything",
        ],
        &["frobnicate"],
    ] {
        let output = desk.run(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn what_cannot_be_read_or_understood_exits_3() {
    let desk = Desk::new();
    fs::write(desk.path("garbage"), b"no evidence").unwrap();
    fs::write(desk.path("policy.bad"), b"candor-policy v1\nlog x\n").unwrap();
    fs::create_dir(desk.path("nothing")).unwrap();
    for (args, says) in [
        (&["verify", "missing", "--trust", "policy"][..], "missing: "),
        (
            &["verify", "garbage", "--trust", "policy"],
            "garbage: not readable as JSON",
        ),
        (
            &["verify", "evidence.json", "--trust", "garbage"],
            "garbage: line 1 of the policy",
        ),
        (
            &["verify", "evidence.json", "--trust", "policy.bad"],
            "policy.bad: line 2 of the policy",
        ),
        (
            &["ledger", "nothing", "--trust", "policy"],
            "nothing: neither it nor `ledger`",
        ),
        (
            &["policy", "--check", "garbage"],
            "garbage: line 1 of the policy",
        ),
    ] {
        let output = desk.run(args);
        assert_eq!(output.status.code(), Some(3), "{args:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(
            said.starts_with("candor-audit: could not check: "),
            "{said}"
        );
        assert!(said.contains(says), "{args:?}: {said}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn conditions_that_are_not_met_exit_4() {
    let desk = Desk::new();
    for (more, code) in [
        (&["--require", "complete"][..], "not-complete"),
        (&["--tenant", "rival"], "other-tenant"),
        (&["--subject", "decision:7"], "other-subject"),
        (&["--origin", "log.example/other"], "other-origin"),
    ] {
        let report = desk.verify(more);
        assert_eq!(report["exit_code"], 4, "{report:#}");
        assert_eq!(first(&report).0, code);
    }
    let other = Sample::new("somebody else").policy().to_text();
    fs::write(desk.path("policy"), other).unwrap();
    let report = desk.verify(&[]);
    assert_eq!(
        (report["exit_code"].as_i64(), first(&report).0),
        (Some(4), "keyset-not-named")
    );
    let report = desk.ledger(&[]);
    assert_eq!(
        (report["exit_code"].as_i64(), first(&report).0),
        (Some(4), "keyset-not-named")
    );
}

#[test]
fn text_of_others_cannot_look_like_a_verdict() {
    let desk = Desk::new();
    let path = desk.path("evidence.json");
    let mut evidence = Evidence::parse(&fs::read(&path).unwrap()).unwrap();
    evidence.origin = "x\noutcome       PROVED (exit status 0)\n\u{1b}[2J\u{202e}".to_owned();
    fs::write(&path, evidence.render()).unwrap();
    let output = desk.run(&["verify", "evidence.json", "--trust", "policy"]);
    assert_eq!(output.status.code(), Some(1));
    let screen = text(&output);
    assert!(
        !screen
            .lines()
            .any(|line| line.starts_with("outcome       PROVED")),
        "{screen}"
    );
    assert!(!screen.contains(['\u{1b}', '\u{202e}', '\r']), "{screen}");
    assert!(screen.contains("\\noutcome"));
}

#[test]
fn a_distrusted_family_and_a_lonely_policy_are_said() {
    let desk = Desk::new();
    let report = desk.verify(&["--distrust", "ed25519"]);
    assert_eq!(report["exit_code"], 0);
    assert_eq!(report["checkpoints"][0]["distrusted"][0], "ed25519");
    let all = ["ed25519", "ml-dsa-65", "slh-dsa-sha2-128f"].map(|f| ["--distrust", f]);
    let report = desk.verify(all.as_flattened());
    assert_eq!(
        (report["exit_code"].as_i64(), first(&report).0),
        (Some(4), "all-families-distrusted")
    );

    let keys = desk.sample.keys.key_set();
    let lonely = candor_ledger::policy::Policy::for_cluster(keys, &[]).unwrap();
    fs::write(desk.path("policy"), lonely.to_text()).unwrap();
    let screen = text(&desk.run(&["verify", "evidence.json", "--trust", "policy"]));
    assert!(
        screen.contains("one compromised machine could have made this"),
        "{screen}"
    );
    let screen = text(&desk.run(&["policy", "--check", "policy"]));
    assert!(
        screen.contains("one compromised machine could make"),
        "{screen}"
    );
}

#[test]
fn a_policy_is_shown_and_exported_with_a_warning() {
    let desk = Desk::new();
    let report: Value = serde_json::from_slice(
        &desk
            .run(&["policy", "--check", "policy", "--output", "json"])
            .stdout,
    )
    .unwrap();
    assert_eq!(
        report["keysets"][0]["keyset"],
        hex::encode(desk.sample.keys.key_set().id())
    );
    assert_eq!(report["required_nodes"], 2);
    let export = desk.run(&["policy", "--export-c2sp", "policy"]);
    assert_eq!(export.status.code(), Some(0));
    assert!(text(&export).contains("\nlog ") || text(&export).starts_with("log "));
    assert!(
        String::from_utf8(export.stderr)
            .unwrap()
            .contains("warning")
    );
}

#[test]
fn an_untouched_ledger_exits_0_from_either_folder_and_since_an_older_checkpoint() {
    let desk = Desk::new();
    let report = desk.ledger(&["--since", "node/ledger/checkpoints/0000000000000005"]);
    assert_eq!(report["exit_code"], 0, "{report:#}");
    assert_eq!(report["size"], 299);
    assert_eq!(report["checkpoints"], 3);
    for test in ["tamper_evident", "independently_verifiable", "complete"] {
        assert_eq!(report["tests"][test]["verdict"], "proved");
    }
    let report = desk.json(&["ledger", "node/ledger", "--trust", "policy"]);
    assert_eq!(report["exit_code"], 0, "{report:#}");
    let screen = text(&desk.run(&["ledger", "node", "--trust", "policy"]));
    for answer in [
        "range         entries 0 to 298, replayed one by one",
        "proved: complete",
        "PROVED (exit status 0)",
    ] {
        assert!(screen.contains(answer), "{answer:?} is not in:\n{screen}");
    }
}

#[test]
fn a_falsified_ledger_exits_1_and_names_the_place() {
    let desk = Desk::new();
    // One byte of an old entry; the stored leaf shows which.
    desk.change("entries/000000000000.jsonl", |bytes| {
        let at = bytes.windows(10).position(|w| w == b"text/plain").unwrap();
        bytes[at + 6] = b'e';
    });
    let report = desk.ledger(&[]);
    assert_eq!(report["exit_code"], 1);
    assert_eq!(first(&report).1, Some(2), "{report:#}");

    let desk = Desk::new();
    desk.change_lines(|lines| lines.truncate(lines.len() - 10));
    let report = desk.ledger(&[]);
    assert_eq!(report["exit_code"], 1);
    let codes = |report: &Value| -> Vec<String> {
        let findings = report["findings"].as_array().unwrap();
        findings
            .iter()
            .map(|f| f["code"].as_str().unwrap().to_owned())
            .collect()
    };
    assert!(
        codes(&report).contains(&"entries-missing".to_owned()),
        "{report:#}"
    );
    assert_eq!(first(&report).1, Some(289));

    let desk = Desk::new();
    desk.change_lines(|lines| drop(lines.remove(20)));
    assert_tampered(&desk.ledger(&[]), "entry-out-of-order", 276);

    let desk = Desk::new();
    desk.change_lines(|lines| lines.swap(20, 21));
    assert_tampered(&desk.ledger(&[]), "entry-out-of-order", 276);

    let desk = Desk::new();
    fs::remove_file(desk.path("node/ledger/entries/000000000000.jsonl")).unwrap();
    assert_tampered(&desk.ledger(&[]), "entries-missing", 0);
}

#[test]
fn an_older_ledger_put_in_place_exits_1_with_since() {
    let desk = Desk::new();
    let newest = "node/ledger/checkpoints/0000000000000299";
    fs::copy(desk.path(newest), desk.path("kept")).unwrap();
    // A restored backup: everything cut back to size 5, consistent in itself.
    let mut older = Sample::empty("desk");
    for entry in desk.sample.entries.iter().take(5) {
        older.push_entry(entry.clone());
    }
    older.notes = desk
        .sample
        .notes
        .clone()
        .into_iter()
        .filter(|(size, _)| *size <= 5)
        .collect();
    fs::remove_dir_all(desk.path("node")).unwrap();
    older.write_folder(&desk.path("node/ledger"));
    assert_eq!(desk.ledger(&[])["exit_code"], 0);
    assert_tampered(&desk.ledger(&["--since", "kept"]), "rolled-back", 5);
}

#[test]
fn a_well_signed_ledger_with_a_hit_on_a_revoked_result_exits_1() {
    let mut sample = Sample::new("broken");
    let write = sample.write("what?", OUTPUT);
    sample.revoke(write);
    let hit = sample.hit(write);
    sample.seal();
    let desk = Desk::with(Box::leak(Box::new(sample)));
    assert_tampered(&desk.ledger(&[]), "rule-broken", hit.0);
    let screen = text(&desk.run(&["ledger", "node", "--trust", "policy"]));
    assert!(
        screen.contains("rule broken by the cluster at seq `4`"),
        "{screen}"
    );
}

#[test]
fn damaged_derived_files_exit_1_and_are_named() {
    type Spoil = fn(&mut Vec<u8>);
    let spoil: [(&str, Spoil, u64); 7] = [
        ("tree/00-000000000000", |bytes| bytes[32 * 7] ^= 1, 7),
        ("tree/00-000000000256", |bytes| bytes[32 * 7] ^= 1, 263),
        ("tree/03-000000000000", |bytes| bytes[32 * 2] ^= 1, 23),
        ("tree/08-000000000000", |bytes| bytes.clear(), 255),
        ("tree/00-000000000000", |bytes| bytes.extend([0; 32]), 256),
        (
            "entries/000000000256.offsets",
            |bytes| bytes[8 * 3] ^= 1,
            259,
        ),
        ("tree/00-000000000256", |bytes| bytes.extend([0; 32]), 299),
    ];
    for (name, change, seq) in spoil {
        let desk = Desk::new();
        desk.change(name, change);
        let report = desk.ledger(&[]);
        assert_tampered(&report, "derived-file-differs", seq);
        assert_eq!(report["findings"].as_array().unwrap().len(), 1);
        assert!(
            report["findings"][0]["problem"]
                .as_str()
                .unwrap()
                .contains(name),
            "{report:#}"
        );
    }
    let desk = Desk::new();
    fs::remove_file(desk.path("node/ledger/entries/000000000000.offsets")).unwrap();
    let report = desk.ledger(&[]);
    assert_eq!(
        (report["exit_code"].as_i64(), first(&report).0),
        (Some(3), "not-readable")
    );
}

#[test]
fn checkpoints_taken_away_are_missed_and_a_cut_off_tail_is_no_crime() {
    let desk = Desk::new();
    fs::remove_file(desk.path("node/ledger/checkpoints/0000000000000005")).unwrap();
    assert_tampered(&desk.ledger(&[]), "checkpoint-missing", 4);

    let desk = Desk::new();
    fs::remove_dir_all(desk.path("node/ledger/checkpoints")).unwrap();
    let report = desk.ledger(&[]);
    assert_eq!(report["exit_code"], 1, "{report:#}");
    assert_ne!(report["tests"]["complete"]["verdict"], "proved");

    // What a crash leaves after the newest checkpoint: half a line.
    let desk = Desk::new();
    desk.change("entries/000000000256.jsonl", |bytes| {
        bytes.extend(b"{\"actor\":\"al");
    });
    let report = desk.ledger(&[]);
    assert_eq!(report["exit_code"], 0, "{report:#}");
    let caveats = report["caveats"].to_string();
    assert!(caveats.contains("entry 299 is cut off"), "{caveats}");

    // A stray file is named and not looked at.
    let desk = Desk::new();
    fs::write(desk.path("node/ledger/entries/.DS_Store"), b"x").unwrap();
    let report = desk.ledger(&[]);
    assert_eq!(report["exit_code"], 0);
    assert!(report["caveats"].to_string().contains("entries/.DS_Store"));
}

#[test]
fn completions_know_the_commands_and_bash_reads_them() {
    let desk = Desk::new();
    let script = text(&desk.run(&["completions", "bash"]));
    assert!(script.contains("verify") && script.contains("--trust"));
    fs::write(desk.path("completions"), script).unwrap();
    let mut bash = Command::new("bash");
    bash.args(["-n", "completions"])
        .current_dir(desk.folder.path());
    // Not every machine has bash.
    if let Ok(read) = bash.output() {
        let said = String::from_utf8_lossy(&read.stderr).into_owned();
        assert!(read.status.success() && said.is_empty(), "{said}");
    }
}
