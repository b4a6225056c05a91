//! Help, and what is said to input that cannot be used.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test")]

use std::fs;
use std::process::Command;

use common::{candor, said};

#[allow(dead_code, unreachable_pub, reason = "each test uses a part")]
mod common;

const COMMANDS: [&[&str]; 32] = [
    &[],
    &["attest"],
    &["auditlog"],
    &["checkpoint"],
    &["cluster"],
    &["cluster", "add"],
    &["cluster", "init"],
    &["cluster", "remove"],
    &["cluster", "settle"],
    &["cluster", "status"],
    &["cluster", "transfer"],
    &["completions"],
    &["config"],
    &["config", "check"],
    &["config", "example"],
    &["dev"],
    &["evidence"],
    &["export"],
    &["get"],
    &["keys"],
    &["keys", "export-public"],
    &["keys", "generate"],
    &["keys", "install"],
    &["keys", "token"],
    &["node"],
    &["receipt"],
    &["reinstate"],
    &["replay"],
    &["revoke"],
    &["set"],
    &["supersede"],
    &["supersede-model"],
];

#[test]
fn every_command_has_help_worth_reading() {
    let folder = tempfile::tempdir().unwrap();
    for words in COMMANDS {
        let output = candor(folder.path())
            .args(words)
            .arg("--help")
            .output()
            .unwrap();
        let text = said(&output);
        assert!(output.status.success(), "{words:?}: {text}");
        assert!(text.contains("Usage: candor"), "{words:?}: {text}");
        let first = text.lines().next().unwrap_or_default();
        assert!(first.contains(' '), "{words:?} starts with {first:?}");
        let undescribed = text
            .lines()
            .zip(text.lines().skip(1))
            .find(|(option, next)| {
                option.trim_start().starts_with("--")
                    && option.ends_with('>')
                    && next.trim().is_empty()
            });
        assert_eq!(
            undescribed, None,
            "{words:?} has an option without a word about it"
        );
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn bad_input_ends_with_2_and_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let exact = [
        "--model-name",
        "m",
        "--model-version",
        "1",
        "--prompt",
        "p",
        "--hardware-class",
        "c",
    ];
    let with = |first: &[&'static str], more: &[&'static str]| -> Vec<&'static str> {
        first.iter().chain(&exact).chain(more).copied().collect()
    };
    for (words, named) in [
        (vec!["fly"], "fly"),
        (vec!["completions", "cmd"], "cmd"),
        (vec!["get", "--temprature", "1"], "--temprature"),
        (vec!["set", "--ttl", "1", "-"], "--ttl"),
        (vec!["set", "--ttl", "0s", "-"], "--ttl"),
        (with(&["set"], &["--param", "seed"]), "--param"),
        (with(&["set"], &["--temperature", "warm"]), "temperature"),
        (with(&["set"], &["--top-p", "1e99"]), "top_p"),
        (
            with(&["set"], &["--param", "n=9007199254740992"]),
            "parameters",
        ),
        (
            with(&["set"], &["--model-checksum", "abc"]),
            "--model-checksum",
        ),
        (with(&["set"], &["--prompt-hash", "00"]), "--prompt"),
        (vec!["set", "--model-name", "m"], "--model-version"),
        (vec!["set", "--pattern", "fuzzy"], "--pattern"),
        (
            vec!["set", "--pattern", "result-only", "--model-version", "1"],
            "--computation-type",
        ),
        (vec!["revoke", "abcdef01"], "--reason"),
        (vec!["revoke", "abcdef01", "--reason", " "], "--reason"),
        (
            vec![
                "revoke",
                "abcdef01",
                "--reason",
                "x",
                "--output-hash",
                "sha-256:00",
            ],
            "--output-hash",
        ),
        (
            vec!["supersede-model", "a", "b/1", "--reason", "x"],
            "NAME/VERSION",
        ),
        (vec!["receipt", "first"], "SEQ|REQUEST_ID"),
        (vec!["export"], "--out"),
        (vec!["export", "--from", "monday", "--out", "e"], "--from"),
        (vec!["export", "--to", "2026-13-01", "--out", "e"], "--to"),
        (vec!["replay", "--clients", "0"], "--clients"),
        (vec!["replay", "--rate", "0"], "--rate"),
        (vec!["dev", "--nodes", "2"], "--nodes"),
        (vec!["dev", "--price-in", "1"], "--price-out"),
        (
            vec!["dev", "--price-in", "x", "--price-out", "1"],
            "--price-in",
        ),
        (vec!["keys", "generate", "--out", "k"], "--origin"),
        (
            vec!["keys", "generate", "--purpose", "tenant", "--out", "k"],
            "--tenant",
        ),
        (
            vec![
                "keys",
                "generate",
                "--purpose",
                "attest",
                "--tenant",
                "a",
                "--out",
                "k",
            ],
            "--tenant",
        ),
        (
            vec![
                "keys", "token", "--file", "t", "--tenant", "a b", "--actor", "c",
            ],
            "--tenant",
        ),
        (
            vec![
                "keys", "token", "--file", "t", "--tenant", "a", "--actor", "c", "--rights", "fly",
            ],
            "fly",
        ),
    ] {
        let output = candor(folder.path()).args(&words).output().unwrap();
        let text = said(&output);
        assert_eq!(output.status.code(), Some(2), "{words:?}: {text}");
        assert!(
            text.contains(named),
            "{words:?} does not name {named}: {text}"
        );
        assert!(
            output.stdout.is_empty(),
            "{words:?} wrote to standard output: {text}"
        );
    }
    assert!(
        !folder.path().join("t").exists(),
        "a refused token is not written"
    );
}

#[test]
fn what_is_not_there_is_named_and_ends_with_1() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(
        folder.path().join("odd.toml"),
        "endpoints = []\ncolour = 3\n",
    )
    .unwrap();
    fs::write(folder.path().join("bad.jsonl"), "{}\n").unwrap();
    for (words, named) in [
        (vec!["get", "abcdef01"], "candor dev"),
        (
            vec!["get", "abcdef01", "--config", "gone.toml"],
            "gone.toml",
        ),
        (vec!["get", "abcdef01", "--config", "odd.toml"], "colour"),
        (vec!["cluster", "status"], "--node"),
        (
            vec![
                "cluster",
                "status",
                "--node",
                "127.0.0.1:1",
                "--token-file",
                "gone",
            ],
            "gone",
        ),
        (vec!["node", "--config", "gone.toml"], "gone.toml"),
        (vec!["config", "check", "odd.toml"], "colour"),
        (vec!["replay", "bad.jsonl"], "line 1"),
        (vec!["keys", "export-public", "gone.key"], "gone.key"),
    ] {
        let output = candor(folder.path()).args(&words).output().unwrap();
        let text = said(&output);
        assert_eq!(output.status.code(), Some(1), "{words:?}: {text}");
        assert!(
            text.contains(named),
            "{words:?} does not name {named}: {text}"
        );
        assert!(
            output.stdout.is_empty(),
            "{words:?} wrote to standard output: {text}"
        );
    }
    let output = candor(folder.path())
        .args(["get", "abcdef01", "--output", "json"])
        .output()
        .unwrap();
    let error: serde_json::Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!(error["schema_version"], 1);
    assert_eq!(error["error"]["code"], "CONFIG");
}

#[test]
fn completions_know_the_commands_and_bash_reads_them() {
    let folder = tempfile::tempdir().unwrap();
    for shell in ["bash", "fish", "zsh"] {
        let output = candor(folder.path())
            .args(["completions", shell])
            .output()
            .unwrap();
        assert!(output.status.success(), "{shell}: {}", said(&output));
        let script = String::from_utf8(output.stdout).unwrap();
        for word in ["supersede-model", "as-of", "export-public"] {
            assert!(script.contains(word), "{shell} does not know {word}");
        }
        fs::write(folder.path().join(shell), script).unwrap();
    }
    // Not every machine has bash.
    let read = Command::new("bash")
        .args(["-n", "bash"])
        .current_dir(folder.path())
        .output();
    if let Ok(read) = read {
        assert!(
            read.status.success() && read.stderr.is_empty(),
            "{}",
            said(&read)
        );
    }
}

#[test]
fn the_example_configuration_is_accepted_and_an_edit_of_it_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let example = candor(folder.path())
        .args(["config", "example"])
        .output()
        .unwrap();
    fs::write(folder.path().join("node.toml"), &example.stdout).unwrap();
    let check = |name: &str| {
        candor(folder.path())
            .args(["config", "check", name])
            .output()
            .unwrap()
    };
    let output = check("node.toml");
    assert!(output.status.success(), "{}", said(&output));
    let edited = String::from_utf8(example.stdout)
        .unwrap()
        .replace("127.0.0.1", "0.0.0.0");
    fs::write(folder.path().join("edited.toml"), edited).unwrap();
    let output = check("edited.toml");
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("listen.client"), "{}", said(&output));
}

#[test]
fn a_secret_is_written_once_for_its_owner_alone_and_never_printed() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let run = |words: &[&str]| candor(folder.path()).args(words).output().unwrap();
    let generate = [
        "keys",
        "generate",
        "--origin",
        "log.example/a",
        "--out",
        "log.key",
    ];
    assert!(run(&generate).status.success());
    let key = folder.path().join("log.key");
    assert_eq!(
        fs::metadata(&key).unwrap().permissions().mode() & 0o777,
        0o600
    );
    assert!(!run(&generate).status.success(), "never overwritten");

    let public = run(&["keys", "export-public", "log.key"]);
    let line = String::from_utf8(public.stdout).unwrap();
    assert!(line.starts_with("keyset log.example/a 1 "), "{line}");
    assert_eq!(line.split_whitespace().count(), 6, "{line}");
    let secret = fs::read_to_string(&key).unwrap();
    let secrets = secret.lines().filter(|line| line.starts_with("secret "));
    for word in secrets.filter_map(|line| line.split(' ').next_back()) {
        assert!(!line.contains(word), "a secret was printed");
    }
    let install = [
        "keys",
        "install",
        "--log-key",
        "log.key",
        "--folder",
        "node-1",
    ];
    assert!(run(&install).status.success());
    let installed = folder.path().join("node-1/keys/log.key");
    assert_eq!(
        fs::metadata(installed).unwrap().permissions().mode() & 0o777,
        0o600
    );

    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let refused = run(&["keys", "export-public", "log.key"]);
    assert!(said(&refused).contains("mode 644"), "{}", said(&refused));
}
