//! `candor dev` from end to end: real processes, a real leader killed, a real auditor.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test")]

use std::fs;
use std::path::Path;
use std::process::Child;
use std::thread::sleep;
use std::time::{Duration, Instant};

use common::{Installed, free_ports, log, said, shell};

#[allow(dead_code, unreachable_pub, reason = "each test uses a part")]
mod common;

/// Generous: the machine may build and test other things at the same time.
const BOUND: Duration = Duration::from_mins(10);

/// A process that does not outlive the test, however that ends. Its nodes end with it.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The lines after `try:` on what was printed.
fn commands(printed: &str) -> Vec<String> {
    let lines = printed.lines().skip_while(|line| *line != "try:").skip(1);
    lines
        .take_while(|line| line.starts_with("  "))
        .map(|line| line.trim().to_owned())
        .collect()
}

fn read(folder: &Path, name: &str) -> String {
    fs::read_to_string(folder.join(name)).unwrap_or_default()
}

fn wait_for(child: &mut Child, folder: &Path, what: &str, is_there: impl Fn() -> bool) {
    let deadline = Instant::now() + BOUND;
    while !is_there() {
        let ended = child.try_wait().unwrap();
        let printed = || format!("{}\n{}", read(folder, "out"), read(folder, "err"));
        assert!(
            ended.is_none(),
            "ended with {ended:?} before {what}:\n{}",
            printed()
        );
        assert!(Instant::now() < deadline, "no {what}:\n{}", printed());
        sleep(Duration::from_millis(100));
    }
}

fn check_acts(printed: &str) {
    for (act, words) in [
        ("act 1", ["saved", "p50"]),
        ("act 2", ["found in the ledger", "are the same"]),
        ("act 3", ["exit 1", "entry "]),
        ("act 4", ["exit 0", "proved"]),
    ] {
        let lines = printed.lines().skip_while(|line| !line.starts_with(act));
        let is_next = |(at, line): &(usize, &str)| *at == 0 || line.starts_with("  ");
        let lines: Vec<&str> = lines
            .enumerate()
            .take_while(is_next)
            .map(|(_, line)| line)
            .collect();
        let text = lines.join("\n");
        assert!(
            (2..=10).contains(&lines.len()),
            "{act} has {} lines:\n{printed}",
            lines.len()
        );
        for word in words {
            assert!(
                text.contains(word),
                "{act} does not say {word:?}:\n{printed}"
            );
        }
    }
}

#[test]
fn shows_its_acts_serves_stops_reopens_and_what_it_prints_to_try_works() {
    let installed = Installed::copy();
    let outside = tempfile::tempdir().unwrap();
    let folder = outside.path();
    let candor = |folder: &Path| installed.candor(folder);
    let base_port = free_ports(9).to_string();

    // A new cluster, which serves after the acts.
    let serving = candor(folder)
        .args(["dev", "--base-port", &base_port])
        .stdout(log(folder, "out"))
        .stderr(log(folder, "err"))
        .spawn()
        .unwrap();
    let mut serving = Ended(serving);
    wait_for(&mut serving.0, folder, "serving", || {
        read(folder, "err").contains("serving;")
    });
    let printed = read(folder, "out");
    check_acts(&printed);
    assert!(
        printed.contains("100\n") || printed.contains("hits       100"),
        "{printed}"
    );
    let to_try = commands(&printed);
    assert_eq!(to_try.len(), 3, "{printed}");
    let mut tried = Vec::new();
    for line in &to_try {
        let output = shell(folder, line);
        assert!(output.status.success(), "{line}\n{}", said(&output));
        tried.push(said(&output));
    }
    assert!(
        tried[0].contains(" WRITE ") && tried[0].contains("verified=true"),
        "{}",
        tried[0]
    );
    assert!(
        tried[0].contains("Chain integrity: VALID ("),
        "{}",
        tried[0]
    );
    let families = "  signatures  Ed25519, ML-DSA-65, SLH-DSA-SHA2-128f\n  vouched     nodes ";
    assert!(tried[0].contains(families), "{}", tried[0]);
    assert!(tried[2].contains("PROVED"), "{}", tried[2]);
    cache_commands(folder);
    a_killed_node_comes_back(&mut serving.0, folder);
    let settled = candor(folder).args(["cluster", "settle"]).output().unwrap();
    assert!(settled.status.success(), "{}", said(&settled));

    // Ctrl-C ends it and its nodes.
    shell(folder, &format!("kill -INT {}", serving.0.id()));
    assert!(serving.0.wait().unwrap().success());
    let status = candor(folder)
        .args(["cluster", "status", "--timeout", "2s"])
        .output()
        .unwrap();
    assert_eq!(
        status.status.code(),
        Some(1),
        "nodes outlived `candor dev`: {}",
        said(&status)
    );
    let left = fs::read_dir(folder.join(".candor-dev")).unwrap();
    let pid_file = left
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|end| end == "pid"));
    assert_eq!(pid_file, None, "the nodes have ended");

    // The same cluster again: what was computed before is a hit.
    let again = candor(folder).args(["dev", "--exit"]).output().unwrap();
    let printed = said(&again);
    assert!(again.status.success(), "{printed}");
    check_acts(&printed);
    assert!(printed.contains("hits       517"), "{printed}");
    for line in commands(&printed) {
        let output = shell(folder, &line);
        assert!(output.status.success(), "{line}\n{}", said(&output));
    }
}

/// What the line that says "serving" suggests.
fn a_killed_node_comes_back(serving: &mut Child, folder: &Path) {
    let pid = || read(folder, ".candor-dev/node-1.pid");
    let killed = pid();
    let kill = shell(folder, "kill -9 $(cat .candor-dev/node-1.pid)");
    assert!(kill.status.success(), "{}", said(&kill));
    wait_for(serving, folder, "node 1 again", || {
        read(folder, "err").contains("node 1 answers again")
    });
    let told = read(folder, "err");
    assert!(
        told.contains("node 1 ended (signal: 9 (SIGKILL))"),
        "{told}"
    );
    assert!(!pid().is_empty() && pid() != killed, "{} {killed}", pid());
}

/// Set, get, revoke and reinstate against the cluster that serves.
fn cache_commands(folder: &Path) {
    let conditions = "--model-name m --model-version 1 --prompt 'What is 2 + 2?' --hardware-class c \
                      --temperature 0.70 --param seed=7";
    let candor = env!("CARGO_BIN_EXE_candor");
    let run = |line: &str| shell(folder, line);
    let get = format!("{candor} get {conditions}");

    let missed = run(&get);
    assert_eq!(
        (missed.status.code(), missed.stdout.len()),
        (Some(3), 0),
        "{}",
        said(&missed)
    );
    assert!(said(&missed).contains("absent"), "{}", said(&missed));
    let set = run(&format!(
        "printf 4 | {candor} set {conditions} --ttl 1h --output json"
    ));
    assert!(set.status.success(), "{}", said(&set));
    let set: serde_json::Value = serde_json::from_slice(&set.stdout).unwrap();
    assert_eq!(set["entry"]["state"], "sealed");
    let fingerprint = set["fingerprint"].as_str().unwrap();
    let digits = &fingerprint["fingerprint:sha3-256:".len()..][..10];

    // The same conditions in another spelling; and the first digits of the fingerprint.
    for line in [
        get.replace("0.70", "7e-1"),
        format!("{candor} get {digits}"),
    ] {
        let hit = run(&line);
        assert_eq!(hit.stdout, b"4", "{line}: {}", said(&hit));
    }
    let conflict = run(&format!("printf 5 | {candor} set {conditions}"));
    assert_eq!(conflict.status.code(), Some(1), "{}", said(&conflict));
    let unknown = run(&format!("{candor} get 0123456789"));
    assert_eq!((unknown.status.code(), unknown.stdout.len()), (Some(1), 0));

    let revoked = run(&format!(
        "{candor} revoke {digits} --reason 'the sum is disputed'"
    ));
    assert!(revoked.status.success(), "{}", said(&revoked));
    let gone = run(&get);
    assert_eq!(
        (gone.status.code(), gone.stdout.len()),
        (Some(3), 0),
        "{}",
        said(&gone)
    );
    assert!(said(&gone).contains("revoked"), "{}", said(&gone));
    asked_again(folder, &get, &set["entry"]["seq"]);
    let back = run(&format!("{candor} reinstate {digits} --reason settled"));
    assert!(back.status.success(), "{}", said(&back));
    assert_eq!(run(&get).stdout, b"4");

    let key = run(&format!(
        "{candor} keys generate --purpose attest --out auditor.key"
    ));
    assert!(key.status.success(), "{}", said(&key));
    let attested = run(&format!("{candor} attest {digits} --key auditor.key"));
    assert!(said(&attested).contains("proved"), "{}", said(&attested));
    let log = said(&run(&format!("{candor} auditlog {digits}")));
    for word in [
        "MISS",
        "WRITE",
        "READ",
        "CONFLICT",
        "REVOKE",
        "REINSTATE",
        "PAST",
        "VERIFY",
    ] {
        assert!(
            log.lines().any(|line| line.split(' ').nth(1) == Some(word)),
            "no {word}:\n{log}"
        );
    }
    let checkpoint = run(&format!(
        "{candor} checkpoint -o kept.note && {candor} checkpoint --since kept.note"
    ));
    assert!(checkpoint.status.success(), "{}", said(&checkpoint));
    let receipt = run(&format!("{candor} receipt {}", set["entry"]["seq"]));
    assert!(
        said(&receipt).contains("c2sp.org/tlog-proof@v1"),
        "{}",
        said(&receipt)
    );
}

/// What was revoked is shown as of then, and what was never there is not.
fn asked_again(folder: &Path, get: &str, set: &serde_json::Value) {
    let then = shell(folder, &format!("{get} --as-of {set}"));
    assert_eq!(then.stdout, b"4", "{}", said(&then));
    let words = said(&then);
    assert!(
        words.contains("ACTIVE") && words.contains("not what a get answers now"),
        "{words}"
    );
    let before = shell(folder, &format!("{get} --as-of 0"));
    assert_eq!((before.status.code(), before.stdout.len()), (Some(3), 0));
    assert!(said(&before).contains("ABSENT"), "{}", said(&before));
}
