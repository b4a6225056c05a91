//! Damaged files heal by themselves: found within one pass of the verifier, fetched from peers, and
//! nobody is told anything wrong meanwhile.
#![allow(clippy::unwrap_used, reason = "test")]

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use candor_client::Client;
use candor_jepsen::real::{Cluster, PATIENCE, Setup, folders};
use candor_jepsen::workload::{TTL, fields};

/// Passes follow each other at once, so that what nothing reads is found as well.
const VERIFIER: &str = "\n[verifier]\npause_s = 1\n";

/// Kinds of files that a node can get back from others, with the byte that is changed.
const KINDS: [(&str, usize); 6] = [
    ("ledger/entries/000000000000.jsonl", 40),
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
    for (kind, at) in KINDS {
        let leader = cluster.leader().await.unwrap();
        let follower = cluster.nodes().find(|node| *node != leader).unwrap();
        for (node, role) in [(follower, "a follower"), (leader, "the leader")] {
            let file = file_of(&cluster.folder(node), kind);
            let before = repairs(&cluster, node);
            let was = std::fs::read(&file).unwrap();
            flip(&file, at);
            healed(&cluster, node, before).await;
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
    ended.store(true, Ordering::SeqCst);
    load.await.unwrap();
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
                && http(cluster, node, "/readyz").starts_with("HTTP/1.1 200")
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
    let metrics = http(cluster, node, "/metrics");
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

/// Changes one bit in place, as a bad device would: open handles see it.
fn flip(file: &Path, at: usize) {
    use std::os::unix::fs::FileExt as _;
    let open = std::fs::File::options().read(true).write(true).open(file);
    let open = open.unwrap();
    let at = u64::try_from(at).unwrap();
    let mut byte = [0];
    open.read_exact_at(&mut byte, at).unwrap();
    open.write_all_at(&[byte[0] ^ 1], at).unwrap();
}

fn http(cluster: &Cluster, node: u64, path: &str) -> String {
    let config = cluster.root().join(format!("node-{node}.toml"));
    let config = std::fs::read_to_string(config).unwrap();
    let line = config.lines().find(|line| line.starts_with("http = "));
    let address = line
        .unwrap()
        .trim_start_matches("http = ")
        .trim_matches('"');
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: n\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}
