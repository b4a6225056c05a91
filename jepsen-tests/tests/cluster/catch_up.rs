//! A node that was away for longer than the Raft log reaches back, and one that is new, get the ledger by
//! verified files: with clients writing, leaders dying and a source that lies.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test")]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use candor_client::Client;
use candor_jepsen::real::{Cluster, PATIENCE, Setup};
use candor_jepsen::workload::{Acknowledged, Load, get_all};
use candor_ledger::tree::leaf_hash;

/// The smallest that a node accepts: the log is purged after about a hundred requests.
const PURGE: &str = "purge_bytes = 65536";
/// The liar has the lowest number, so it is asked first.
const LIAR: u64 = 1;
const CHANGED: usize = 5;

#[tokio::test(flavor = "multi_thread")]
async fn an_absent_and_a_new_node_catch_up_from_files_while_leaders_die_and_a_source_lies() {
    let started = Instant::now();
    let mut cluster = Setup::new(env!("CARGO_BIN_EXE_candor-jepsen"))
        .raft(PURGE)
        .found()
        .await
        .unwrap();
    let clients = clients(&cluster);
    let mut load = Load::start("catch-up", &clients, 3);
    load.wait_for(30).await.unwrap();
    let absent = lead_elsewhere(&cluster).await;
    cluster.kill(absent).unwrap();

    // What the absent node has last is gone from both logs; node 1 has a changed entry.
    let last = cluster.status(LIAR).await.unwrap().last_log_index;
    for node in (1..=3).filter(|node| *node != absent) {
        purged_above(&cluster, node, last, &mut load).await;
    }
    // A start puts the last block of each file back from its marker: the change lies below it.
    while cluster.status(LIAR).await.unwrap().ledger_size < 300 {
        load.wait_for(20).await.unwrap();
    }
    cluster.stop(LIAR).await.unwrap();
    let patches = change(&cluster.folder(LIAR));
    cluster.start(LIAR).await.unwrap();
    load.wait_for(20).await.unwrap();

    let joining = cluster.make_node().unwrap();
    cluster.start(joining).await.unwrap();
    cluster.add(joining).await.unwrap();
    cluster.start(absent).await.unwrap();
    for _ in 0..2 {
        let leader = cluster.leader().await.unwrap();
        cluster.kill(leader).unwrap();
        load.wait_for(20).await.unwrap();
        cluster.start(leader).await.unwrap();
    }
    load.wait_for(40).await.unwrap();
    let unanswered = load.unanswered();
    let acknowledged = load.finish().await.unwrap();

    let log = cluster.log_text(joining);
    let refused = "a peer sent entries that are not those that were sealed node=1";
    assert!(log.contains(refused), "the liar was not named");
    for node in [absent, joining] {
        let log = cluster.log_text(node);
        assert!(
            log.contains("a snapshot is installed"),
            "node {node} did not"
        );
    }
    cluster.stop(LIAR).await.unwrap();
    for patch in patches {
        patch.undo();
    }
    cluster.start(LIAR).await.unwrap();
    cluster.settle().await.unwrap();
    let same = cluster.same_ledgers().unwrap();
    let found = found(&cluster, joining, &acknowledged);
    println!(
        "{:.1?}: {} requests acknowledged, {found} found, {unanswered} calls without an answer; four \
         equal ledgers of {} files, {} bytes",
        started.elapsed(),
        acknowledged.len(),
        same.files,
        same.bytes
    );
    assert_eq!(found, acknowledged.len(), "acknowledged requests were lost");
    let names: Vec<String> = acknowledged.iter().map(|one| one.name.clone()).collect();
    for some in names.chunks(50).take(4) {
        get_all(&clients[0], some).await.unwrap();
    }
    cluster.stop_all().await.unwrap();
}

fn clients(cluster: &Cluster) -> [Client; 2] {
    [("service-a", 1), ("service-b", 2)].map(|(actor, first)| {
        let builder = cluster.client_builder(actor, first).unwrap();
        builder.timeout(Duration::from_secs(10)).build().unwrap()
    })
}

/// Makes node 2 or 3 lead, and returns the other one.
async fn lead_elsewhere(cluster: &Cluster) -> u64 {
    let leader = cluster.leader().await.unwrap();
    if leader == LIAR {
        let operator = cluster.operator(leader).unwrap();
        operator.transfer_leadership(Some(2)).await.unwrap();
        return 3;
    }
    5 - leader
}

async fn purged_above(cluster: &Cluster, node: u64, index: u64, load: &mut Load) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let status = cluster.status(node).await.unwrap();
        if status.purged_index > index {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "node {node} purges nothing: {status:?}"
        );
        load.wait_for(20).await.unwrap();
    }
}

/// Changes one entry and its leaf, so that the node takes it for what it wrote.
fn change(folder: &Path) -> Vec<Patch> {
    let entries = folder.join("ledger/entries/000000000000.jsonl");
    let leaves = fs::read_dir(folder.join("ledger/tree")).unwrap();
    let mut leaves: Vec<PathBuf> = leaves.map(|found| found.unwrap().path()).collect();
    leaves.sort();
    let leaves = leaves.remove(0);
    let mut lines = fs::read(&entries).unwrap();
    let ends = lines.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
    let ends: Vec<usize> = ends.map(|(at, _)| at).take(CHANGED + 1).collect();
    let (start, end) = (ends[CHANGED - 1] + 1, ends[CHANGED]);
    lines[start + 20] ^= 1;
    let leaf = leaf_hash(&lines[start..end]).0;
    vec![
        Patch::make(&entries, start, &lines[start..end]),
        Patch::make(&leaves, CHANGED * 32, &leaf),
    ]
}

/// Bytes that were put into a file, which may have grown since.
struct Patch {
    file: PathBuf,
    at: usize,
    before: Vec<u8>,
}

impl Patch {
    fn make(file: &Path, at: usize, bytes: &[u8]) -> Self {
        let before = fs::read(file).unwrap()[at..][..bytes.len()].to_vec();
        let (file, patch) = (file.to_owned(), bytes);
        Self::put(&file, at, patch);
        Self { file, at, before }
    }

    fn undo(&self) {
        Self::put(&self.file, self.at, &self.before);
    }

    fn put(file: &Path, at: usize, bytes: &[u8]) {
        let mut whole = fs::read(file).unwrap();
        whole[at..][..bytes.len()].copy_from_slice(bytes);
        fs::write(file, whole).unwrap();
    }
}

/// How many of the acknowledged requests have an entry in a node's ledger.
fn found(cluster: &Cluster, node: u64, acknowledged: &[Acknowledged]) -> usize {
    let entries = cluster.entries(node).unwrap();
    let ids: std::collections::BTreeSet<_> = entries
        .iter()
        .filter_map(|entry| entry.request_id)
        .collect();
    acknowledged
        .iter()
        .filter(|one| ids.contains(&one.id))
        .count()
}
