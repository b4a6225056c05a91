//! Damaged files heal by themselves: found within one pass of the verifier, fetched from peers, and
//! nobody is told anything wrong meanwhile.
#![allow(clippy::unwrap_used, reason = "test")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use candor_client::Client;
use candor_jepsen::real::folders::{self, flip};
use candor_jepsen::real::{Cluster, PATIENCE, Setup};
use candor_jepsen::workload::{TTL, fields};
use candor_ledger::tree::{NodeHash, leaf_hash, node_hash};

/// Passes follow each other at once, so that what nothing reads is found as well.
const VERIFIER: &str = "\n[verifier]\npause_s = 1\n";

const LINES: &str = "ledger/entries/000000000000.jsonl";

/// Kinds of files that a node can get back from others, with the byte that is changed.
const KINDS: [(&str, usize); 6] = [
    (LINES, 40),
    ("ledger/entries/000000000000.offsets", 8),
    ("ledger/tree/00-000000000000", 3),
    ("ledger/tree/02-000000000000", 35),
    ("ledger/checkpoints", 100),
    ("values", 60),
];

#[tokio::test(flavor = "multi_thread")]
async fn one_changed_byte_of_any_kind_heals_on_a_follower_and_on_the_leader_under_load() {
    let cluster = Setup::new(env!("CARGO_BIN_EXE_candor-jepsen"))
        .sections(VERIFIER)
        .found()
        .await
        .unwrap();
    let client = cluster
        .client_builder("service-a", 1)
        .unwrap()
        .timeout(PATIENCE)
        .build()
        .unwrap();
    for number in 0..12 {
        set(&client, number).await;
    }
    let (ended, served) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU64::new(0)),
    );
    let load = tokio::spawn(serve(
        client.clone(),
        Arc::clone(&ended),
        Arc::clone(&served),
    ));
    flips(&cluster).await;
    rewrites(&cluster).await;
    log_groups(&cluster).await;
    ended.store(true, Ordering::SeqCst);
    load.await.unwrap();
    written_anew(&cluster).await;
    println!(
        "{} requests served meanwhile",
        served.load(Ordering::SeqCst)
    );
    for node in cluster.nodes() {
        let direct = cluster.client_builder("service-a", node).unwrap();
        let direct = direct.timeout(PATIENCE).build().unwrap();
        for number in 0..12 {
            get(&direct, number).await;
        }
        let kept = std::fs::read_dir(cluster.folder(node).join("quarantine"));
        assert!(kept.is_ok_and(|mut kept| kept.next().is_some()) || repairs(&cluster, node) == 0);
    }
    cluster.settle().await.unwrap();
    cluster.same_ledgers().unwrap();
}

/// Each kind of file that peers have, on a follower and on the leader.
async fn flips(cluster: &Cluster) {
    for (kind, at) in KINDS {
        let leader = cluster.leader().await.unwrap();
        let follower = cluster.nodes().find(|node| *node != leader).unwrap();
        for (node, role) in [(follower, "a follower"), (leader, "the leader")] {
            let file = file_of(&cluster.folder(node), kind);
            let before = repairs(cluster, node);
            let was = std::fs::read(&file).unwrap();
            flip(&file, at).unwrap();
            healed(cluster, node, before).await;
            let is = std::fs::read(&file).unwrap();
            // A value is written anew behind the others, where its name finds it first.
            assert_eq!(
                was.get(at) == is.get(at),
                kind != "values",
                "{kind} of {role}"
            );
            println!("{kind} of {role}, byte {at}: healed");
        }
    }
}

/// An entry with every hash above it, on each node.
async fn rewrites(cluster: &Cluster) {
    for node in cluster.nodes() {
        let (lines, before) = (cluster.folder(node).join(LINES), repairs(cluster, node));
        let was = std::fs::read(&lines).unwrap();
        rewrite(&cluster.folder(node), 3);
        healed(cluster, node, before).await;
        let is = std::fs::read(&lines).unwrap();
        assert!(
            is.starts_with(&was),
            "the edit of node {node} is still there"
        );
        let named = cluster.log_text(node);
        assert!(named.contains(&format!("file=\"{LINES}\"")) && named.contains("seq=3"));
        println!("an entry of node {node}, with every hash above it: healed");
    }
}

/// The Raft log, in the middle of its oldest segment and at its end.
async fn log_groups(cluster: &Cluster) {
    for newest in [false, true] {
        for node in cluster.nodes() {
            let before = repairs(cluster, node);
            let (segment, at) = group_of(&cluster.folder(node), newest);
            flip(&segment, at).unwrap();
            healed(cluster, node, before).await;
            assert!(!segment.exists(), "`{}` is still there", segment.display());
            println!("{} of node {node}, byte {at}: gone", segment.display());
        }
    }
}

/// What a node knows by heart.
async fn written_anew(cluster: &Cluster) {
    // Under load both are overwritten before anybody looks.
    for (file, at) in [
        ("raft/vote", 20),
        ("raft/vote", 4096 + 20),
        ("marker.0", 40),
        ("marker.1", 40),
    ] {
        for node in cluster.nodes() {
            let (path, before) = (cluster.folder(node).join(file), repairs(cluster, node));
            if path.metadata().unwrap().len() > u64::try_from(at).unwrap() {
                flip(&path, at).unwrap();
                healed(cluster, node, before).await;
                println!("{file} of node {node}, byte {at}: written anew");
            }
        }
    }
}

/// Sets and reads, and demands the right answer each time.
async fn serve(client: Client, ended: Arc<AtomicBool>, served: Arc<AtomicU64>) {
    let mut number = 100;
    while !ended.load(Ordering::SeqCst) {
        set(&client, number).await;
        get(&client, number).await;
        get(&client, number % 12).await;
        served.fetch_add(3, Ordering::SeqCst);
        number += 1;
    }
}

async fn set(client: &Client, number: u64) {
    let name = number.to_string();
    client
        .set_attested(&fields(&name), output(number), TTL)
        .await
        .unwrap();
}

async fn get(client: &Client, number: u64) {
    let found: Option<String> = client
        .get_verified(&fields(&number.to_string()))
        .await
        .unwrap();
    assert_eq!(found, Some(output(number)));
}

fn output(number: u64) -> String {
    format!("the output of prompt {number}")
}

/// Waits until a node has repaired something and has no damage left.
async fn healed(cluster: &Cluster, node: u64, before: u64) {
    let looking = async {
        loop {
            if repairs(cluster, node) > before
                && cluster
                    .status(node)
                    .await
                    .is_ok_and(|status| status.damages.is_empty())
                && cluster
                    .http_get(node, "/readyz")
                    .unwrap()
                    .starts_with("HTTP/1.1 200")
            {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let healed = tokio::time::timeout(PATIENCE, looking).await;
    healed.expect("the damage is neither found nor healed");
}

fn repairs(cluster: &Cluster, node: u64) -> u64 {
    let metrics = cluster.http_get(node, "/metrics").unwrap();
    let mut lines = metrics.lines();
    let line = lines.find_map(|line| line.strip_prefix("candor_verifier_repairs_total "));
    line.unwrap().parse().unwrap()
}

/// The file itself, or the first one below a folder.
fn file_of(folder: &Path, kind: &str) -> PathBuf {
    let path = folder.join(kind);
    if path.is_file() {
        return path;
    }
    path.join(folders::files_below(&path).unwrap().first().unwrap())
}

/// A group of the Raft log: in the middle of the oldest segment, or the last of the newest.
fn group_of(folder: &Path, newest: bool) -> (PathBuf, usize) {
    let raft = folder.join("raft");
    let mut segments = folders::files_below(&raft).unwrap();
    segments.retain(|path| path.extension().is_some_and(|kind| kind == "wal"));
    let segment = if newest {
        segments.last()
    } else {
        segments.first()
    };
    let path = raft.join(segment.unwrap());
    let bytes = std::fs::read(&path).unwrap();
    let begins = |at: &usize| bytes.get(*at..).unwrap().starts_with(b"candwl");
    let groups: Vec<usize> = (0..bytes.len()).step_by(512).filter(begins).collect();
    let group = if newest {
        groups.last()
    } else {
        groups.get(groups.len() / 2)
    };
    // In its header: a group that only closes the log has no records.
    (path, group.unwrap() + 20)
}

/// Edits an entry as somebody does who owns the disk: with its leaf and every complete node above, so
/// that all files agree with each other.
fn rewrite(folder: &Path, seq: usize) {
    use std::os::unix::fs::FileExt as _;
    let path = folder.join(LINES);
    let lines = std::fs::read(&path).unwrap();
    let mut all = lines.split_inclusive(|byte| *byte == b'\n');
    let start: usize = all.by_ref().take(seq).map(<[u8]>::len).sum();
    flip(&path, start + 40).unwrap();
    let edited = std::fs::read(&path).unwrap();
    let line = edited.get(start..).unwrap().split(|byte| *byte == b'\n');
    let mut hash = leaf_hash(line.into_iter().next().unwrap());
    for level in 0.. {
        let path = folder.join(format!("ledger/tree/{level:02}-000000000000"));
        let index = seq >> level;
        let Ok(file) = std::fs::File::options().read(true).write(true).open(path) else {
            return;
        };
        let at = |index: usize| u64::try_from(index * 32).unwrap();
        if file.metadata().unwrap().len() <= at(index) {
            return;
        }
        file.write_all_at(&hash.0, at(index)).unwrap();
        let mut sibling = [0; 32];
        if file.read_exact_at(&mut sibling, at(index ^ 1)).is_err() {
            return;
        }
        let sibling = NodeHash(sibling);
        hash = match index % 2 {
            0 => node_hash(&hash, &sibling),
            _ => node_hash(&sibling, &hash),
        };
    }
}
