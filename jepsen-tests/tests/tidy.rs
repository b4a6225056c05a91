//! House rules that no compiler holds: dependency direction, the seams, sizes, the registers.
//!
//! Plain text over `git ls-files`, so that a rule and its offender are both one line.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What each crate of ours may use of ours, in normal dependencies.
const DIRECTION: [(&str, &[&str]); 7] = [
    ("candor-proto", &[]),
    ("candor-ledger", &[]),
    ("candor-node", &["candor-proto", "candor-ledger"]),
    ("candor-client", &["candor-proto", "candor-ledger"]),
    ("candor", &["candor-client", "candor-ledger", "candor-node"]),
    ("candor-audit", &["candor-ledger", "candor-client"]),
    (
        "candor-jepsen",
        &["candor-client", "candor-ledger", "candor-node"],
    ),
];
/// What an auditor must trust stays small: crates in the ledger's normal tree, itself included.
const LEDGER_TREE_MAX: usize = 60;
const FILE_LINES_MAX: usize = 1_000;
const BLOB_BYTES_MAX: u64 = 512 * 1024;
/// Named only where the seam lies.
const NODE_SEAM: [&str; 12] = [
    "std::fs",
    "tokio::fs",
    "tokio::net",
    "std::net::Tcp",
    "std::thread",
    "SystemTime",
    "tokio::spawn",
    "spawn_blocking",
    "Handle::current",
    "std::env::var",
    ".exists()",
    "read_dir(",
];
const LEDGER_BANS: [&str; 9] = [
    "std::fs",
    "std::env",
    "std::thread",
    "std::time",
    "tokio",
    "tonic",
    "tracing",
    "HashMap",
    "HashSet",
];

#[test]
fn dependencies_point_one_way() {
    let tree = metadata();
    let allowed: BTreeMap<_, _> = DIRECTION.into_iter().collect();
    for package in tree["packages"].as_array().unwrap() {
        let name = package["name"].as_str().unwrap();
        let may = allowed
            .get(name)
            .unwrap_or_else(|| panic!("`{name}` has no place in DIRECTION"));
        for dependency in package["dependencies"].as_array().unwrap() {
            let on = dependency["name"].as_str().unwrap();
            let normal = dependency["kind"].is_null();
            assert!(
                !normal || !allowed.contains_key(on) || may.contains(&on),
                "`{name}` must not depend on `{on}`"
            );
        }
    }
}

#[test]
fn the_ledger_crate_stays_small_enough_to_trust() {
    let output = cargo(&[
        "tree",
        "-p",
        "candor-ledger",
        "-e",
        "normal",
        "--prefix",
        "none",
    ]);
    let crates: BTreeSet<&str> = output
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert!(crates.len() > 5, "cargo tree printed nothing to count");
    assert!(
        crates.len() <= LEDGER_TREE_MAX,
        "{} crates in the ledger's tree, at most {LEDGER_TREE_MAX}",
        crates.len()
    );
}

#[test]
fn seams_are_named_only_where_they_lie() {
    let mut seen = 0;
    for (path, text) in sources("rs") {
        let in_node = path.starts_with("node/src/") && !path.starts_with("node/src/env/");
        // Which planted bug is at work is asked of the environment, in builds that hold any.
        let in_ledger = path.starts_with("ledger/src/") && path != "ledger/src/mutants.rs";
        let bans: &[&str] = match (in_node, in_ledger) {
            (true, _) => &NODE_SEAM,
            (_, true) => &LEDGER_BANS,
            _ => &[],
        };
        for (number, line) in code_lines(&text) {
            seen += 1;
            for ban in bans {
                assert!(
                    !line.contains(ban),
                    "{path}:{number}: `{ban}` belongs behind the seam"
                );
            }
            let outside_consensus = !path.starts_with("node/src/consensus/");
            let ours = path.starts_with("node/src/") || path.starts_with("client/");
            assert!(
                !(ours && outside_consensus && line.contains("openraft::")),
                "{path}:{number}: openraft is named only in node/src/consensus"
            );
        }
    }
    assert!(seen > 1_000, "too little source was read: {seen} lines");
}

#[test]
fn sources_are_whole_and_of_readable_size() {
    for (path, text) in sources("rs") {
        let lines = text.lines().count();
        assert!(
            lines <= FILE_LINES_MAX,
            "{path}: {lines} lines, at most {FILE_LINES_MAX}"
        );
        for (number, line) in text.lines().enumerate() {
            let here = format!("{path}:{}", number + 1);
            for left in [
                "FIX\u{4d}E",
                "todo\u{21}(",
                "unimplemented\u{21}(",
                "dbg\u{21}(",
            ] {
                assert!(!line.contains(left), "{here}: `{left}` left behind");
            }
            if let Some((_, rest)) = line.split_once(".expect(\"")
                && product(&path)
            {
                assert!(
                    rest.starts_with("invariant:"),
                    "{here}: expect without its invariant"
                );
            }
        }
    }
    for path in files() {
        let bytes = root().join(&path).metadata().map_or(0, |m| m.len());
        assert!(
            bytes <= BLOB_BYTES_MAX,
            "{path}: {bytes} bytes, at most {BLOB_BYTES_MAX}"
        );
    }
}

#[test]
fn every_invariant_stands_in_the_register_the_code_and_a_test() {
    let register = read("node/ARCHITECTURE.md");
    let listed = invariants(&register);
    assert_eq!(
        listed,
        (1..=10).collect(),
        "the register lists INV-1 to INV-10"
    );
    let (mut in_code, mut in_tests) = (BTreeSet::new(), BTreeSet::new());
    for (path, text) in sources("rs") {
        let tests = path.contains("/tests") || path.ends_with("tests.rs");
        let (code, inline) = match text.split_once("#[cfg(test)]") {
            Some((code, inline)) if !tests => (code, inline),
            _ if tests => ("", text.as_str()),
            _ => (text.as_str(), ""),
        };
        in_code.extend(invariants(code));
        in_tests.extend(invariants(inline));
    }
    for number in listed {
        assert!(
            in_code.contains(&number),
            "INV-{number} is named by no code"
        );
        assert!(
            in_tests.contains(&number),
            "INV-{number} is named by no test"
        );
    }
}

#[test]
fn every_error_code_is_documented() {
    let register = read("node/ARCHITECTURE.md");
    let codes = read("proto/src/code.rs");
    let mut seen = 0;
    for line in codes.lines() {
        let Some((_, rest)) = line.split_once(" = \"") else {
            continue;
        };
        let Some((code, _)) = rest.split_once('"') else {
            continue;
        };
        if code.bytes().all(|b| b.is_ascii_uppercase() || b == b'_') {
            seen += 1;
            assert!(
                register.contains(&format!("`{code}`")),
                "`{code}` is not in the table"
            );
        }
    }
    assert!(seen > 10, "no error codes were found to check");
}

#[test]
fn proto_fields_carry_their_comments() {
    let mut fields = 0;
    for (path, text) in sources("proto") {
        let mut commented = false;
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            let field = line.contains(" = ") && line.ends_with(';') && !line.starts_with("option");
            if field {
                fields += 1;
                assert!(commented, "{path}:{}: `{line}` has no comment", number + 1);
            }
            commented = line.starts_with("//") || (commented && line.is_empty());
        }
    }
    assert!(fields > 50, "only {fields} proto fields were read");
}

fn product(path: &str) -> bool {
    path.contains("/src/") && !path.contains("tests") && !path.starts_with("jepsen-tests/")
}

/// Lines before the file's inline tests, without comments.
fn code_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.split("#[cfg(test)]")
        .next()
        .unwrap_or_default()
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
        .map(|(at, line)| (at + 1, line))
}

fn invariants(text: &str) -> BTreeSet<u32> {
    let number = |rest: &str| {
        rest.chars()
            .take_while(char::is_ascii_digit)
            .collect::<String>()
            .parse()
            .ok()
    };
    text.split("INV-").skip(1).filter_map(number).collect()
}

fn sources(extension: &str) -> Vec<(String, String)> {
    files()
        .into_iter()
        .filter(|path| !path.contains("/generated/"))
        .filter(|path| {
            Path::new(path)
                .extension()
                .is_some_and(|found| found == extension)
        })
        .map(|path| (path.clone(), read(&path)))
        .collect()
}

fn files() -> Vec<String> {
    let output = Command::new("git")
        .arg("ls-files")
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "git ls-files failed");
    let listed: Vec<String> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect();
    listed
        .into_iter()
        .filter(|path| root().join(path).is_file())
        .collect()
}

fn metadata() -> serde_json::Value {
    let text = cargo(&["metadata", "--format-version", "1", "--no-deps"]);
    serde_json::from_str(&text).unwrap()
}

fn cargo(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO"))
        .args(arguments)
        .current_dir(root())
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo {arguments:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_path_buf()
}
