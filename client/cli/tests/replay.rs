//! `candor replay` while the leader is killed: it goes on by itself, nothing that was acknowledged
//! is lost, and the nodes end up with the same files.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use common::{candor, free_ports, log, said, shell};
use serde_json::Value;

#[allow(dead_code, unreachable_pub, reason = "each test uses a part")]
mod common;

/// A hang becomes a failure.
const BOUND: Duration = Duration::from_mins(4);
/// Acknowledged before the leader is killed: the trace makes 934 when no line is asked again.
const BEFORE: usize = 300;
const NODES: [u64; 3] = [1, 2, 3];

/// Three processes and a replay in one folder; none outlives this value.
struct Stage {
    folder: tempfile::TempDir,
    running: BTreeMap<u64, Child>,
    base_port: u16,
}

impl Drop for Stage {
    fn drop(&mut self) {
        for child in self.running.values_mut() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Stage {
    fn new() -> Self {
        let mut stage = Self {
            folder: tempfile::tempdir().unwrap(),
            running: BTreeMap::new(),
            base_port: free_ports(9),
        };
        stage.do_well("keys generate --origin replay.test/log --out log.key");
        for (actor, tenant, rights) in [
            ("operator", "ops", "operate,audit-all"),
            ("service-a", "acme", "read,write,audit"),
        ] {
            let line = "keys token --file tokens";
            let token = stage.do_well(&format!(
                "{line} --tenant {tenant} --actor {actor} --rights {rights}"
            ));
            fs::write(stage.path().join(format!("{actor}.token")), token.stdout).unwrap();
        }
        for node in NODES {
            stage.do_well(&format!(
                "keys install --log-key log.key --folder node-{node}"
            ));
            let [client, peer, http] = [1, 2, 3].map(|which| stage.address(node, which));
            let config = format!(
                "[node]\nid = {node}\nfolder = \"node-{node}\"\n\n[listen]\nclient = \"{client}\"\n\
                 peer = \"{peer}\"\nhttp = \"{http}\"\n\n[keys]\ntokens = \"tokens\"\n"
            );
            fs::write(stage.path().join(format!("node-{node}.toml")), config).unwrap();
            stage.start(node);
        }
        let endpoints = NODES.map(|node| format!("\"http://{}\"", stage.address(node, 1)));
        let config = format!(
            "endpoints = [{}]\ntenant = \"acme\"\ntoken_file = \"service-a.token\"\n\
             policy_file = \"policy\"\n",
            endpoints.join(", ")
        );
        fs::write(stage.path().join("client.toml"), config).unwrap();
        let nodes = NODES.map(|node| format!("--node {}", stage.address(node, 1)));
        stage.do_well(&format!(
            "cluster init --token-file operator.token --policy-out policy --timeout 60s {}",
            nodes.join(" ")
        ));
        stage
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn address(&self, node: u64, which: u16) -> String {
        let place = u16::try_from(node - 1).unwrap() * 3 + which;
        format!("127.0.0.1:{}", self.base_port + place)
    }

    fn start(&mut self, node: u64) {
        let name = format!("node-{node}.log");
        let child = candor(self.path())
            .args(["node", "--exit-with-stdin", "--config"])
            .arg(format!("node-{node}.toml"))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(
                fs::File::options()
                    .create(true)
                    .append(true)
                    .open(self.path().join(name))
                    .unwrap(),
            )
            .spawn()
            .unwrap();
        self.running.insert(node, child);
    }

    fn run(&self, line: &str) -> Output {
        candor(self.path())
            .args(line.split(' '))
            .env("CANDOR_CONFIG", "client.toml")
            .output()
            .unwrap()
    }

    fn do_well(&self, line: &str) -> Output {
        let output = self.run(line);
        assert!(output.status.success(), "{line}: {}", said(&output));
        output
    }

    /// Who leads, by its own word.
    fn leader(&self) -> u64 {
        let deadline = Instant::now() + BOUND;
        loop {
            for node in NODES {
                let line = format!(
                    "cluster status --timeout 2s --output json --node {}",
                    self.address(node, 1)
                );
                let status = self.run(&line);
                if let Ok(status) = serde_json::from_slice::<Value>(&status.stdout)
                    && status["leader_id"] == node
                {
                    return node;
                }
            }
            assert!(Instant::now() < deadline, "nobody leads");
        }
    }

    /// Size of the ledger where all nodes stand. A leader may take a moment to reach a node that has
    /// just come back.
    fn settle(&self) -> u64 {
        let deadline = Instant::now() + BOUND;
        loop {
            let output = self.run("cluster settle --output json");
            if output.status.success() {
                let settled: Value = serde_json::from_slice(&output.stdout).unwrap();
                return settled["nodes"][0]["ledger_size"].as_u64().unwrap();
            }
            assert!(Instant::now() < deadline, "{}", said(&output));
            sleep(Duration::from_millis(200));
        }
    }
}

/// The real `diff -r`, twice. The cluster seals a silent minute by itself: only a ledger that has
/// grown since it settled may differ, and is settled again.
fn settle_until_diff_is_empty(stage: &Stage) {
    let mut size = stage.settle();
    for _ in 0..5 {
        let diff = shell(
            stage.path(),
            "diff -r node-1/ledger node-2/ledger && diff -r node-1/ledger node-3/ledger",
        );
        if diff.status.success() && diff.stdout.is_empty() {
            return;
        }
        let now = stage.settle();
        assert!(
            now > size,
            "the ledger stood still at {size} and differs:\n{}",
            said(&diff)
        );
        size = now;
    }
    panic!("the ledger never stood still");
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + BOUND;
    while !is_so() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_replay_outlives_the_leader_and_every_acknowledged_request_is_in_the_ledger() {
    let mut stage = Stage::new();
    let path = stage.path().to_owned();
    let acked = || fs::read_to_string(path.join("acked")).unwrap_or_default();

    let replay = candor(&path)
        .args([
            "replay",
            "--clients",
            "8",
            "--acked",
            "acked",
            "--output",
            "json",
        ])
        .env("CANDOR_CONFIG", "client.toml")
        .stdout(log(&path, "replay.out"))
        .stderr(log(&path, "replay.err"))
        .spawn()
        .unwrap();
    // Killed with the nodes if this fails.
    stage.running.insert(0, replay);
    wait_until("acknowledgements", || acked().lines().count() >= BEFORE);
    let leader = stage.leader();
    let before = acked().lines().count();
    kill_9(&mut stage, leader);
    let mut replay = stage.running.remove(&0).unwrap();
    assert!(
        replay.try_wait().unwrap().is_none(),
        "it had finished before the kill"
    );
    let deadline = Instant::now() + BOUND;
    let status = loop {
        match replay.try_wait().unwrap() {
            Some(status) => break status,
            None if Instant::now() > deadline => {
                let _ = replay.kill();
                panic!("the replay does not end");
            }
            None => sleep(Duration::from_millis(50)),
        }
    };
    let read = |name| fs::read_to_string(path.join(name)).unwrap();
    assert!(status.success(), "{status}: {}", read("replay.err"));
    let tally: Value = serde_json::from_str(&read("replay.out")).unwrap();
    assert_eq!(tally["requests"], 517, "{tally}");

    stage.start(leader);
    stage.leader();
    wait_until("the killed node answers", || {
        let line = format!(
            "cluster status --timeout 2s --node {}",
            stage.address(leader, 1)
        );
        stage.run(&line).status.success()
    });
    settle_until_diff_is_empty(&stage);

    // From the file of the node that was killed: what it has, all have.
    let entries = read(&format!("node-{leader}/ledger/entries/000000000000.jsonl"));
    let entries: Vec<Value> = entries
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let acked = acked();
    for line in acked.lines() {
        let [id, kind, seq] = line.split(' ').collect::<Vec<_>>()[..] else {
            panic!("{line}")
        };
        let entry = &entries[seq.parse::<usize>().unwrap()];
        assert_eq!(entry["request_id"], id, "{line}: {entry}");
        let op = entry["op"].as_str().unwrap();
        let fits = match kind {
            "set" => op == "cache.write",
            _ => op == "cache.read_hit" || op == "cache.read_miss",
        };
        assert!(fits, "{line}: {entry}");
    }
    let all = acked.lines().count();
    assert_eq!(tally["acknowledged"], all, "{tally}");
    println!("node {leader} was killed after {before} of {all} acknowledged requests; {tally}");
}

fn kill_9(stage: &mut Stage, node: u64) {
    let mut child = stage.running.remove(&node).unwrap();
    let killed = Command::new("kill")
        .args(["-9", &child.id().to_string()])
        .status();
    assert!(killed.unwrap().success());
    child.wait().unwrap();
}
