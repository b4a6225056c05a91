//! Membership: a node joins, votes and vouches; one leaves and is refused; and no folder that lost
//! its memory comes back under its old number.
#![allow(clippy::unwrap_used, reason = "test")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use candor_client::{Client, FingerprintFields};
use candor_jepsen::real::{Cluster, PATIENCE, Setup, folders};
use candor_ledger::entry::{Body, MemberChange};

const TTL: Duration = Duration::from_hours(1);

#[tokio::test(flavor = "multi_thread")]
async fn a_node_joins_votes_and_vouches_and_one_that_left_counts_no_more() {
    let mut cluster = founded().await;
    let client = client(&cluster);
    for number in 0..5 {
        set(&client, number).await;
    }
    let joined = cluster.make_node().unwrap();
    cluster.start(joined).await.unwrap();
    cluster.add(joined).await.unwrap();
    set(&client, 10).await;
    cluster.settle().await.unwrap();
    cluster.same_ledgers().unwrap();

    // With one of the first three down a majority of four needs the new one.
    let leader = cluster.leader().await.unwrap();
    let mut first = (1..=3).filter(|node| *node != leader);
    let (down, leaving) = (first.next().unwrap(), first.next().unwrap());
    let policy = cluster.operator(leader).unwrap().policy().await.unwrap();
    assert!(policy.contains("group nodes 3 node-1 node-2 node-3 node-4"));
    cluster.kill(down).unwrap();
    set(&client, 11).await;
    let of_four = with_policy(&cluster, &policy);
    let without_one: Vec<u64> = (1..=4).filter(|node| *node != down).collect();
    assert_eq!(vouched(&of_four).await, without_one);
    cluster.start(down).await.unwrap();

    // One leaves: the ledger says so, after which the majority is of three again.
    let operator = cluster.operator(cluster.leader().await.unwrap()).unwrap();
    let removed = operator.remove_node(leaving).await.unwrap();
    let left: Vec<u64> = (1..=4).filter(|node| *node != leaving).collect();
    assert_eq!(removed.voters, left);
    // A client that pinned the first three would believe two of them only: it needs the new policy.
    let policy = operator.policy().await.unwrap();
    assert!(policy.contains("group nodes 2 ") && !policy.contains(&format!("node-{leaving} ")));
    let of_three = with_policy(&cluster, &policy);
    for number in 20..25 {
        set(&of_three, number).await;
        assert!(!vouched(&of_three).await.contains(&leaving));
    }
    let again = cluster.add(leaving).await.unwrap_err().to_string();
    assert!(again.contains("MEMBERSHIP_REFUSED"), "{again}");
    // What it sends on for a client is refused: for this cluster it is nobody.
    let service = cluster.principal("service-a").unwrap();
    let through = Client::builder()
        .tenant(&service.tenant)
        .token(&service.token)
        .policy(&policy)
        .endpoint(format!("http://{}", cluster.client_address(leaving)))
        .timeout(Duration::from_secs(5))
        .build()
        .unwrap();
    let refused = through.set_attested(&fields(30), "x", TTL).await;
    let refused = refused.unwrap_err().to_string();
    assert!(
        refused.contains("was removed from this cluster"),
        "{refused}"
    );
    knows_no_leader(&cluster, leaving).await;

    cluster.stop(leaving).await.unwrap();
    cluster.settle().await.unwrap();
    let ledgers: Vec<PathBuf> = left
        .iter()
        .map(|node| cluster.folder(*node).join("ledger"))
        .collect();
    folders::same(&ledgers).unwrap();
    let changes: Vec<_> = cluster
        .entries(joined)
        .unwrap()
        .into_iter()
        .filter_map(|entry| match entry.body {
            Body::Member(change) => Some(change),
            _ => None,
        })
        .collect();
    assert!(
        matches!(&changes[..], [MemberChange::Join(new), MemberChange::Leave(old)]
            if new.node.0 == joined && old.0 == leaving),
        "{changes:?}"
    );
    cluster.stop_all().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wiped_cloned_or_rolled_back_folder_is_refused_under_its_old_number() {
    let mut cluster = founded().await;
    let client = client(&cluster);
    set(&client, 0).await;
    let victim = follower(&cluster).await;
    let folder = cluster.folder(victim);
    let copy = |name: &str| cluster.root().join(name);
    let (old, honest, wiped) = (copy("old"), copy("honest"), copy("wiped"));
    cluster.stop(victim).await.unwrap();
    folders::copy(&folder, &old).unwrap();
    cluster.start(victim).await.unwrap();
    for number in 1..5 {
        set(&client, number).await;
    }
    cluster.settle().await.unwrap();

    // A copy from before the last start, running beside the original: the original stays.
    let clone = cluster.make_node().unwrap();
    let config = cluster.root().join(format!("node-{clone}.toml"));
    let text = std::fs::read_to_string(&config).unwrap();
    let text = text.replace(&format!("id = {clone}\n"), &format!("id = {victim}\n"));
    std::fs::write(&config, text).unwrap();
    folders::replace(&cluster.folder(clone), &old).unwrap();
    cluster.start(clone).await.unwrap();
    refused(&cluster, "its folder is a copy").await;
    set(&client, 10).await;
    assert_no_part(&cluster, clone).await;
    assert_eq!(cluster.status(victim).await.unwrap().trouble, [""; 0]);
    cluster.kill(clone).unwrap();

    // The folder rolled back: refused, and no part of a quorum. The honest folder is welcome.
    cluster.stop(victim).await.unwrap();
    folders::copy(&folder, &honest).unwrap();
    folders::replace(&folder, &old).unwrap();
    cluster.start(victim).await.unwrap();
    set(&client, 11).await;
    assert_no_part(&cluster, victim).await;
    let mut others = (1..=3).filter(|node| *node != victim);
    let (one, other) = (others.next().unwrap(), others.next().unwrap());
    cluster.kill(one).unwrap();
    let alone = cluster
        .client_builder("service-a", other)
        .unwrap()
        .timeout(Duration::from_secs(6))
        .build()
        .unwrap();
    let lost = alone.set_attested(&fields(12), "x", TTL).await;
    assert!(
        lost.is_err(),
        "two nodes of which one lost its memory: no majority"
    );
    cluster.start(one).await.unwrap();
    cluster.kill(victim).unwrap();
    folders::replace(&folder, &honest).unwrap();
    cluster.start(victim).await.unwrap();
    set(&client, 13).await;

    // Wiped: even with the genesis stored anew it is another node.
    cluster.kill(victim).unwrap();
    std::fs::create_dir(&wiped).unwrap();
    folders::copy(&folder.join("keys"), &wiped.join("keys")).unwrap();
    folders::replace(&folder, &wiped).unwrap();
    cluster.start(victim).await.unwrap();
    let leader = cluster.operator(cluster.leader().await.unwrap()).unwrap();
    let genesis = leader.identity().await.unwrap().genesis.to_vec();
    let itself = cluster.operator(victim).unwrap();
    itself.prepare_genesis(genesis).await.unwrap();
    refused(&cluster, "its folder was wiped or replaced").await;
    set(&client, 14).await;
    assert_no_part(&cluster, victim).await;

    cluster.kill(victim).unwrap();
    folders::replace(&folder, &honest).unwrap();
    cluster.start(victim).await.unwrap();
    set(&client, 15).await;
}

/// It knows no leader, and its ledger stays behind.
async fn assert_no_part(cluster: &Cluster, node: u64) {
    knows_no_leader(cluster, node).await;
    let leader = cluster.leader().await.unwrap();
    let ahead = cluster.status(leader).await.unwrap();
    let status = cluster.status(node).await.unwrap();
    assert!(status.ledger_size < ahead.ledger_size);
}

/// Nobody speaks to it any more, and it says so.
async fn knows_no_leader(cluster: &Cluster, node: u64) {
    let looking = async {
        loop {
            let status = cluster.status(node).await.unwrap();
            if status.leader_id.is_none() && !status.trouble.is_empty() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let found = tokio::time::timeout(PATIENCE, looking).await;
    found.unwrap_or_else(|_| panic!("node {node} still believes in a leader"));
}

/// Waits until a member says why it refuses.
async fn refused(cluster: &Cluster, why: &str) {
    let looking = async {
        while !(1..=3).any(|node| cluster.log_text(node).contains(why)) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let found = tokio::time::timeout(PATIENCE, looking).await;
    found.unwrap_or_else(|_| panic!("no node says `{why}`"));
}

async fn founded() -> Cluster {
    let setup = Setup::new(Path::new(env!("CARGO_BIN_EXE_candor-jepsen")));
    setup.found().await.unwrap()
}

async fn follower(cluster: &Cluster) -> u64 {
    let leader = cluster.leader().await.unwrap();
    cluster.nodes().find(|node| *node != leader).unwrap()
}

fn client(cluster: &Cluster) -> Client {
    with_policy(cluster, cluster.policy())
}

fn with_policy(cluster: &Cluster, policy: &str) -> Client {
    let builder = cluster.client_builder("service-a", 1).unwrap();
    builder.policy(policy).timeout(PATIENCE).build().unwrap()
}

async fn vouched(client: &Client) -> Vec<u64> {
    let newest = client.checkpoint(None).await.unwrap();
    newest.vouched().iter().map(|node| node.0).collect()
}

async fn set(client: &Client, number: u32) {
    let output = format!("the output of prompt {number}");
    let done = client.set_attested(&fields(number), &output, TTL).await;
    done.unwrap();
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
