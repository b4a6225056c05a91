//! The harness itself: a cluster of processes is founded, serves, loses nodes and ends.
#![allow(clippy::unwrap_used, reason = "test")]

use std::time::Duration;

use candor_client::FingerprintFields;
use candor_jepsen::real::Setup;
use candor_ledger::entry::Op;

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_of_processes_serves_loses_nodes_and_settles() {
    let mut cluster = Setup::new(env!("CARGO_BIN_EXE_candor-jepsen"))
        .found()
        .await
        .unwrap();
    let client = cluster.client("service-a").unwrap();
    let fields = FingerprintFields {
        model_name: "model".to_owned(),
        model_version: "1".to_owned(),
        prompt_hash: "00".repeat(32),
        hardware_class: "cpu".to_owned(),
        ..FingerprintFields::default()
    };
    let ttl = Duration::from_hours(1);
    client.set_attested(&fields, "Paris", ttl).await.unwrap();

    let leader = cluster.leader().await.unwrap();
    cluster.kill(leader).unwrap();
    let found: Option<String> = client.get_verified(&fields).await.unwrap();
    assert_eq!(found.as_deref(), Some("Paris"));
    cluster.start(leader).await.unwrap();

    // Another tenant sees nothing of it.
    let stranger = cluster.client("service-g").unwrap();
    let found: Option<String> = stranger.get_verified(&fields).await.unwrap();
    assert_eq!(found, None);

    cluster.settle().await.unwrap();
    assert!(cluster.same_ledgers().unwrap().files > 5);
    cluster.stop_all().await.unwrap();
    for node in cluster.nodes() {
        let log = cluster.log_text(node);
        assert!(!log.contains("did not end in time"), "node {node}:\n{log}");
    }
    let entries = cluster.entries(leader).unwrap();
    let actors: Vec<_> = entries
        .iter()
        .filter(|entry| {
            matches!(
                entry.op(),
                Op::CacheWrite | Op::CacheReadHit | Op::CacheReadMiss
            )
        })
        .map(|entry| (entry.tenant.as_str(), entry.actor.as_str()))
        .collect();
    let (ours, theirs) = (("acme", "service-a"), ("globex", "service-g"));
    assert_eq!(actors, [ours, ours, theirs]);
}
