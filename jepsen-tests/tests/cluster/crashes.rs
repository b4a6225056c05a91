//! Real processes killed with SIGKILL, and real folders damaged under them.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use candor_client::{Client, Lookup};
use candor_jepsen::real::{Cluster, PATIENCE, Setup, folders};
use candor_jepsen::workload::{Acknowledged, Asked, Load, get_all, seed};
use candor_ledger::digest::TaggedDigest;
use candor_ledger::entry::{Entry, Op};
use candor_ledger::fold::{MemoryState, evolve};
use candor_ledger::ids::RequestId;
use rand::rngs::Xoshiro256PlusPlus as Rng;
use rand::{RngExt as _, SeedableRng as _};

const ROUNDS: u32 = 20;
/// The round of damage that cuts a file short.
const CUT: u8 = 1;

/// INV-1, INV-3, INV-7: what was acknowledged before a crash of all is there after it, once.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_when_all_nodes_are_killed_at_once_twenty_times() {
    let mut rng = Rng::seed_from_u64(seed());
    let started = Instant::now();
    let mut cluster = Setup::new(env!("CARGO_BIN_EXE_candor-jepsen"))
        .found()
        .await
        .unwrap();
    let clients = three_clients(&cluster);
    let mut load = Load::start("crashes", &clients, 4);
    for _ in 0..ROUNDS {
        load.wait_for(rng.random_range(8..40)).await.unwrap();
        // Anywhere between two seals, and within one.
        tokio::time::sleep(Duration::from_millis(rng.random_range(0..150))).await;
        cluster.kill_all().unwrap();
        cluster.start_all().await.unwrap();
    }
    load.wait_for(40).await.unwrap();
    let unanswered = load.unanswered();
    let acknowledged = load.finish().await.unwrap();

    cluster.settle().await.unwrap();
    let same = cluster.same_ledgers().unwrap();
    let found = found(&cluster.entries(1).unwrap(), &acknowledged);
    println!(
        "{ROUNDS} crashes of all three in {:.1?}: {} requests acknowledged, {found} found, {unanswered} \
         calls without an answer; three equal ledgers of {} files, {} bytes",
        started.elapsed(),
        acknowledged.len(),
        same.files,
        same.bytes
    );
    assert_eq!(found, acknowledged.len(), "acknowledged requests were lost");
    all_values_are_served(&clients[0], &acknowledged).await;
}

/// INV-5: the kept state is a copy of what the ledger says, and never more than that.
#[tokio::test(flavor = "multi_thread")]
async fn a_state_folder_that_is_deleted_damaged_or_old_is_made_good_from_the_ledger() {
    let mut rng = Rng::seed_from_u64(seed());
    let mut cluster = Setup::new(env!("CARGO_BIN_EXE_candor-jepsen"))
        .found()
        .await
        .unwrap();
    let clients = three_clients(&cluster);
    let mut acknowledged = run_load(&clients, "first", 60).await;
    cluster.settle().await.unwrap();
    cluster.stop(3).await.unwrap();
    let old = cluster.root().join("old-state");
    folders::copy(&cluster.folder(3).join("state"), &old).unwrap();
    let old_size = fold(&cluster, 3, None).size;
    cluster.start(3).await.unwrap();
    acknowledged.extend(run_load(&clients, "second", 60).await);

    for round in 0..3_u8 {
        cluster.settle().await.unwrap();
        cluster.kill_all().unwrap();
        let state = |node| cluster.folder(node).join("state");
        fs::remove_dir_all(state(1)).unwrap();
        damage(&state(2), round, &mut rng);
        folders::replace(&state(3), &old).unwrap();
        cluster.start_all().await.unwrap();

        // Each logs what its fold is at the size of its marker; here it is made once more.
        for node in cluster.nodes() {
            let line = opened(&cluster, node);
            let want = fold(&cluster, node, Some(size_in(&line)));
            assert!(
                line.contains(&want.digest),
                "another fold, want {want:?}:\n{line}"
            );
            let origin = match (node, round) {
                // The engine finds an older store in a file cut short, or none.
                (2, CUT) => "origin=",
                (3, _) => &format!("Loaded {{ size: TreeSize({old_size}) }}"),
                _ => "Rebuilt",
            };
            assert!(line.contains(origin), "want {origin}:\n{line}");
        }
        // And they go on deciding alike: a fold that differs makes other entries.
        acknowledged.extend(run_load(&clients, &format!("round {round}"), 30).await);
        all_values_are_served(&clients[usize::from(round)], &acknowledged).await;
    }
    cluster.settle().await.unwrap();
    let same = cluster.same_ledgers().unwrap();
    let found = found(&cluster.entries(2).unwrap(), &acknowledged);
    println!(
        "{} requests acknowledged, {found} found; three equal ledgers of {} files, {} bytes",
        acknowledged.len(),
        same.files,
        same.bytes
    );
    assert_eq!(found, acknowledged.len());
}

fn three_clients(cluster: &Cluster) -> [Client; 3] {
    [("service-a", 1), ("service-b", 2), ("service-a", 3)].map(|(actor, first)| {
        // Calls outlive a crash: their tries go on under one request id.
        let settings = cluster.client_builder(actor, first).unwrap();
        let settings = settings.retries_max(1_000_000).timeout(PATIENCE);
        settings.build().unwrap()
    })
}

async fn run_load(clients: &[Client], name: &str, requests: u64) -> Vec<Acknowledged> {
    let mut load = Load::start(name, clients, 4);
    load.wait_for(requests).await.unwrap();
    load.finish().await.unwrap()
}

/// How many acknowledged requests have their entry, of their own kind, and a set exactly one.
fn found(entries: &[Entry], acknowledged: &[Acknowledged]) -> usize {
    let mut by_id: BTreeMap<RequestId, Vec<Op>> = BTreeMap::new();
    for entry in entries {
        if let Some(id) = entry.request_id {
            by_id.entry(id).or_default().push(entry.op());
        }
    }
    let is_found = |one: &&Acknowledged| match (one.what, by_id.get(&one.id)) {
        (_, None) => false,
        (Asked::Set, Some(ops)) => {
            assert_eq!(ops[..], [Op::CacheWrite], "{one:?} took effect otherwise");
            true
        }
        (Asked::Get, Some(ops)) => ops.iter().all(|op| *op == Op::CacheReadHit),
        (Asked::Miss, Some(ops)) => ops.iter().all(|op| *op == Op::CacheReadMiss),
    };
    acknowledged.iter().filter(is_found).count()
}

async fn all_values_are_served(client: &Client, acknowledged: &[Acknowledged]) {
    let sets = acknowledged.iter().filter(|one| one.what == Asked::Set);
    let names: Vec<String> = sets.map(|one| one.name.clone()).collect();
    let answers = get_all(client, &names).await.unwrap();
    assert_eq!(answers.len(), names.len());
    for (name, answer) in names.into_iter().zip(answers) {
        match answer {
            Lookup::Hit(verified) => assert_eq!(&verified.value()[..], name.as_bytes()),
            Lookup::Miss(missed) => panic!("the value of `{name}` was lost: {missed:?}"),
        }
    }
}

/// Flips bytes in the store's largest file: in one place, all over it, or in its header; or cuts it
/// short.
fn damage(state: &Path, how: u8, rng: &mut Rng) {
    let stores = fs::read_dir(state).unwrap();
    let files = stores.flat_map(|store| fs::read_dir(store.unwrap().path()).unwrap());
    let files = files
        .map(|file| file.unwrap().path())
        .filter(|path| path.is_file());
    let written = |path: &Path| {
        fs::read(path)
            .unwrap()
            .iter()
            .filter(|byte| **byte != 0)
            .count()
    };
    let file = files.max_by_key(|path| written(path)).unwrap();
    let mut bytes = fs::read(&file).unwrap();
    let written = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    match how {
        0 => {
            for at in (0..written).step_by(199) {
                bytes[at] ^= rng.random_range(1..=u8::MAX);
            }
        }
        CUT => bytes.truncate(written / 2),
        _ => {
            for byte in bytes.iter_mut().take(64) {
                *byte ^= rng.random_range(1..=u8::MAX);
            }
        }
    }
    fs::write(&file, bytes).unwrap();
}

/// What a node said of its state when it was last started.
fn opened(cluster: &Cluster, node: u64) -> String {
    let log = cluster.log_text(node);
    let mut lines = log.lines().filter(|line| line.contains("ledger opened"));
    lines.next_back().unwrap().to_owned()
}

fn size_in(line: &str) -> usize {
    let (_, rest) = line.split_once("size `").unwrap();
    rest.split_once('`').unwrap().0.parse().unwrap()
}

#[derive(Debug)]
struct Folded {
    size: usize,
    digest: String,
}

/// The fold of a node's first entries, or of all of them.
fn fold(cluster: &Cluster, node: u64, size: Option<usize>) -> Folded {
    let lines = cluster.lines(node).unwrap();
    let size = size.unwrap_or(lines.len());
    let mut state = MemoryState::new();
    for line in &lines[..size] {
        let entry = Entry::parse(line).unwrap();
        let changes = evolve(&state, &entry, line).unwrap();
        state.apply(&changes);
    }
    let digest = TaggedDigest::sha3(state.digest().0).to_string();
    let digest = digest.trim_start_matches("sha3-256:").to_owned();
    Folded { size, digest }
}
