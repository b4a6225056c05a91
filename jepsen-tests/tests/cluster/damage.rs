//! Damaged files: each is named when a read, a seal or a start touches it; the node stops leading,
//! sealing and serving it, and the other two go on.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test")]

use std::time::Duration;

use candor_client::operator::messages::{DamageKind, GetStatusResponse};
use candor_client::{Client, FingerprintFields};
use candor_jepsen::real::folders::flip;
use candor_jepsen::real::{Cluster, PATIENCE, Setup};
use candor_ledger::entry::Op;

const LINES: &str = "ledger/entries/000000000000.jsonl";
const TTL: Duration = Duration::from_hours(1);

/// A cluster with a dozen results, so that early entries are not in the last block of their file.
async fn cluster() -> (Cluster, Client) {
    let program = env!("CARGO_BIN_EXE_candor-jepsen");
    // Healing, which `heal.rs` is about, would be quicker than these tests look.
    let setup = Setup::new(program).sections("\n[verifier]\nheal = false\n");
    let cluster = setup.found().await.unwrap();
    let client = cluster
        .client_builder("service-a", 1)
        .unwrap()
        .timeout(PATIENCE)
        .build()
        .unwrap();
    for number in 0..12 {
        set(&client, number).await;
    }
    cluster.settle().await.unwrap();
    (cluster, client)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_whose_first_entry_is_damaged_neither_seals_nor_leads() {
    let (cluster, client) = cluster().await;
    let leader = cluster.leader().await.unwrap();
    let damaged = cluster.nodes().find(|node| *node != leader).unwrap();
    flip(&cluster.folder(damaged).join(LINES), 40).unwrap();
    // Every seal takes the log's name from the first entry.
    set(&client, 100).await;
    let status = named(&cluster, damaged).await;
    let damage = &status.damages[0];
    assert_eq!(damage.kind(), DamageKind::Ledger);
    assert_eq!((damage.file.as_str(), damage.place), (LINES, 0));
    assert!(status.trouble.iter().any(|text| text.contains(LINES)));
    not_ready(&cluster, damaged);

    others_seal_without(&cluster, &client, damaged).await;
    // Asked to lead, it does not; nor does it serve what is damaged, and it serves the rest.
    let asked = cluster.operator(leader).unwrap();
    let _ = asked.transfer_leadership(Some(damaged)).await;
    set(&client, 101).await;
    assert_ne!(cluster.leader().await.unwrap(), damaged);
    let itself = cluster.operator(damaged).unwrap();
    let refused = itself.list_entries(0).await.unwrap_err();
    assert_eq!(refused.code(), "STORAGE_DAMAGED");
    assert!(!itself.list_entries(1).await.unwrap().entries.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_whose_first_entry_is_damaged_leaves_sealing_to_another() {
    let (cluster, client) = cluster().await;
    let damaged = cluster.leader().await.unwrap();
    flip(&cluster.folder(damaged).join(LINES), 40).unwrap();
    // Acknowledged means sealed: by a leader whose files are whole.
    set(&client, 100).await;
    let status = named(&cluster, damaged).await;
    assert_eq!(status.damages[0].file, LINES);
    not_ready(&cluster, damaged);
    others_seal_without(&cluster, &client, damaged).await;
    assert_ne!(cluster.leader().await.unwrap(), damaged);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_reads_a_damaged_entry_hands_over_and_the_read_is_served() {
    let (cluster, client) = cluster().await;
    let damaged = cluster.leader().await.unwrap();
    let entries = cluster.entries(damaged).unwrap();
    let write = entries
        .iter()
        .position(|entry| entry.op() == Op::CacheWrite);
    let write = write.unwrap();
    let bytes = std::fs::read(cluster.folder(damaged).join(LINES)).unwrap();
    let lines = bytes.split_inclusive(|byte| *byte == b'\n').take(write);
    let start: usize = lines.map(<[u8]>::len).sum();
    flip(&cluster.folder(damaged).join(LINES), start + 40).unwrap();
    // Seals do not touch it; the proof of a hit on it does.
    set(&client, 100).await;
    assert!(cluster.status(damaged).await.unwrap().damages.is_empty());
    assert_eq!(get(&client, 0).await, output(0));
    let status = named(&cluster, damaged).await;
    let damage = &status.damages[0];
    assert_eq!(damage.file, LINES);
    assert_eq!(damage.place, u64::try_from(write).unwrap());
    others_seal_without(&cluster, &client, damaged).await;
    assert_ne!(cluster.leader().await.unwrap(), damaged);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_with_a_damaged_value_withholds_it_and_another_serves_it() {
    let (cluster, client) = cluster().await;
    let damaged = cluster.leader().await.unwrap();
    let folder = cluster.folder(damaged).join("values");
    let pack = candor_jepsen::real::folders::files_below(&folder).unwrap();
    let pack = folder.join(pack.first().unwrap());
    let bytes = std::fs::read(&pack).unwrap();
    let value = output(0);
    let mut windows = bytes.windows(value.len());
    let at = windows.position(|found| found == value.as_bytes()).unwrap();
    flip(&pack, at).unwrap();

    assert_eq!(get(&client, 0).await, value);
    let status = named(&cluster, damaged).await;
    assert_eq!(status.damages[0].kind(), DamageKind::Value);
    assert!(status.damages[0].file.starts_with("values/"));
    assert!(status.trouble.iter().any(|text| text.contains("values/")));
    // The ledger does not rest on it: the node is ready, and its cosignature is as good as before.
    assert!(
        cluster
            .http_get(damaged, "/readyz")
            .unwrap()
            .contains("ready\n")
    );
    let metrics = cluster.http_get(damaged, "/metrics").unwrap();
    assert!(metrics.contains(r#"candor_storage_damages_total{kind="value"} 1"#));
    cluster.settle().await.unwrap();
    cluster.same_ledgers().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_mends_what_it_can_derive_and_refuses_the_rest_by_name() {
    let (mut cluster, client) = cluster().await;
    let leader = cluster.leader().await.unwrap();
    let damaged = cluster.nodes().find(|node| *node != leader).unwrap();
    cluster.stop(damaged).await.unwrap();
    let lines = cluster.folder(damaged).join(LINES);
    flip(&lines, 40).unwrap();
    cluster.spawn(damaged).unwrap();
    let (code, _) = cluster.ends(damaged).await.unwrap();
    let log = cluster.log_text(damaged);
    assert!(code.is_some_and(|code| code != 0), "{code:?}");
    assert!(
        log.contains(LINES) && log.contains("damaged at `0`"),
        "{log}"
    );

    // What stands a second time in the marker is put back.
    flip(&lines, 40).unwrap();
    let tree = "ledger/tree/00-000000000000";
    flip(&cluster.folder(damaged).join(tree), 3).unwrap();
    cluster.start(damaged).await.unwrap();
    assert!(cluster.log_text(damaged).contains(tree));
    set(&client, 100).await;
    cluster.settle().await.unwrap();
    cluster.same_ledgers().unwrap();
    assert!(cluster.status(damaged).await.unwrap().trouble.is_empty());
}

/// New checkpoints carry two nodes' lines, and not this one's.
async fn others_seal_without(cluster: &Cluster, client: &Client, damaged: u64) {
    for number in 200..203 {
        set(client, number).await;
        assert_eq!(get(client, number).await, output(number));
    }
    let newest = client.checkpoint(None).await.unwrap();
    let vouched: Vec<u64> = newest.vouched().iter().map(|node| node.0).collect();
    let others: Vec<u64> = cluster.nodes().filter(|node| *node != damaged).collect();
    assert_eq!(vouched, others);
}

/// Waits until a node has named damage of its own.
async fn named(cluster: &Cluster, node: u64) -> GetStatusResponse {
    let looking = async {
        loop {
            if let Ok(status) = cluster.status(node).await
                && !status.damages.is_empty()
                && cluster.log_text(node).contains("damage was found")
            {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let status = tokio::time::timeout(PATIENCE, looking).await;
    status.expect("the node names no damage")
}

fn not_ready(cluster: &Cluster, node: u64) {
    let answer = cluster.http_get(node, "/readyz").unwrap();
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert!(answer.contains(LINES), "{answer}");
    let metrics = cluster.http_get(node, "/metrics").unwrap();
    assert!(metrics.contains(r#"candor_storage_damages_total{kind="ledger"} 1"#));
}

async fn set(client: &Client, number: u32) {
    client
        .set_attested(&fields(number), &output(number), TTL)
        .await
        .unwrap();
}

async fn get(client: &Client, number: u32) -> String {
    let found: Option<String> = client.get_verified(&fields(number)).await.unwrap();
    found.expect("it was set")
}

fn output(number: u32) -> String {
    format!("the output of prompt {number}")
}

fn fields(number: u32) -> FingerprintFields {
    FingerprintFields {
        model_name: "model".to_owned(),
        model_version: "1".to_owned(),
        prompt_hash: format!("{number:064x}"),
        hardware_class: "cpu".to_owned(),
        ..FingerprintFields::default()
    }
}
