//! `deploy/local/`: its three configurations and the commands of its README, run as they stand
//! there.
#![allow(clippy::unwrap_used, reason = "test")]

use std::fs;
use std::net::TcpListener;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use candor_ledger::export::Export;
use candor_ledger::ids::Seq;
use common::{log, shell};

#[allow(dead_code, unreachable_pub, reason = "each test uses a part")]
mod common;

/// A hang becomes a failure.
const BOUND: Duration = Duration::from_mins(3);

/// The shell with all that it started, in a process group of its own, so that nothing outlives the
/// test however it ends.
struct Session(Child);

impl Drop for Session {
    fn drop(&mut self) {
        shell(Path::new("/"), &format!("kill -9 -- -{}", self.0.id()));
        let _ = self.0.wait();
    }
}

/// The lines between the fences of the README.
fn commands(readme: &str) -> String {
    let mut inside = false;
    let mut lines = Vec::new();
    for line in readme.lines() {
        if line.starts_with("```") {
            inside = !inside;
        } else if inside {
            lines.push(line);
        }
    }
    lines.join("\n") + "\n"
}

#[test]
fn the_commands_of_deploy_local_found_a_cluster_that_serves_and_stops() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let source = workspace.join("deploy/local");
    let outside = tempfile::tempdir().unwrap();
    let (folder, cluster) = (outside.path(), outside.path().join("my-cluster"));
    let copy = folder.join("deploy/local");
    fs::create_dir_all(&copy).unwrap();
    let mut configured = String::new();
    for name in [
        "README.md",
        "client.toml",
        "node-1.toml",
        "node-2.toml",
        "node-3.toml",
    ] {
        fs::copy(source.join(name), copy.join(name)).unwrap();
        configured += &fs::read_to_string(source.join(name)).unwrap();
    }
    for port in [7411, 7412, 7413, 7421, 7422, 7423, 7431, 7432, 7433] {
        assert!(configured.contains(&format!("127.0.0.1:{port}")), "{port}");
        let free = TcpListener::bind(("127.0.0.1", port));
        assert!(free.is_ok(), "port {port} of deploy/local is in use here");
    }

    let script = commands(&fs::read_to_string(copy.join("README.md")).unwrap());
    let program = Path::new(env!("CARGO_BIN_EXE_candor"));
    let path = format!(
        "{}:{}",
        program.parent().unwrap().display(),
        std::env::var("PATH").unwrap()
    );
    // Files, not pipes: a node that were left behind would keep a pipe open for ever.
    let mut session = Session(
        Command::new("sh")
            .args(["-ec", &script])
            .current_dir(folder)
            .env("PATH", path)
            .env_remove("CANDOR_CONFIG")
            .stdin(Stdio::null())
            .stdout(log(folder, "out"))
            .stderr(log(folder, "err"))
            .process_group(0)
            .spawn()
            .unwrap(),
    );
    let printed = || {
        let read = |name| fs::read_to_string(folder.join(name)).unwrap_or_default();
        format!("{}\n{}", read("out"), read("err"))
    };
    let deadline = Instant::now() + BOUND;
    let status = loop {
        match session.0.try_wait().unwrap() {
            Some(status) => break status,
            None => assert!(Instant::now() < deadline, "no end:\n{}", printed()),
        }
        sleep(Duration::from_millis(100));
    };
    let out = fs::read_to_string(folder.join("out")).unwrap();
    assert!(status.success(), "{status}\n{}", printed());
    assert!(
        out.lines().any(|line| line == "4"),
        "what was got:\n{}",
        printed()
    );
    assert!(out.contains("leader"), "the status:\n{}", printed());
    let policy = fs::read_to_string(cluster.join("policy")).unwrap();
    assert!(policy.starts_with("candor-policy v1\n"), "{policy}");

    // Each node's ledger is the longest one as far as it goes, and no process is left.
    let entries = |node: u16| {
        let file = cluster.join(format!("node-{node}/ledger/entries/000000000000.jsonl"));
        fs::read_to_string(file).unwrap()
    };
    let longest = (1..=3).map(entries).max_by_key(String::len).unwrap();
    assert_exported(&cluster, &longest);
    for op in ["ledger.genesis", "cache.write", "cache.read_hit"] {
        assert!(longest.contains(&format!("\"op\":\"{op}\"")), "{op}");
    }
    for node in 1..=3 {
        assert!(entries(node).contains("ledger.genesis"), "node {node}");
        assert!(longest.starts_with(&entries(node)), "node {node}");
        let alive = shell(&cluster, &format!("kill -0 $(cat node-{node}.pid)"));
        assert!(!alive.status.success(), "node {node} was left behind");
    }
}

/// The folder that the README's export made holds the ledger's own bytes from the first entry on.
fn assert_exported(cluster: &Path, ledger: &str) {
    let exported = fs::read(cluster.join("my-export/export.json")).unwrap();
    let export = Export::parse(&exported).unwrap();
    assert_eq!((export.from, &*export.tenant), (Seq(0), ""));
    let lines = fs::read_to_string(cluster.join("my-export/entries.jsonl")).unwrap();
    let count = u64::try_from(lines.lines().count()).unwrap();
    assert_eq!(count, export.to.0 + 1);
    assert!(ledger.starts_with(&lines));
    assert!(!cluster.join("my-export.partial").exists());
}
