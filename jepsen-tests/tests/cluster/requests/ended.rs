//! Results that may not be served: ended ones, other bytes, writes that are not sealed.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use candor_client::{
    ChangeOptions, Client, Error, GetOptions, Lookup, Missed, SetOptions, WaitFor,
};
use candor_jepsen::real::{Cluster, Setup};
use candor_jepsen::workload::{TTL, fields};
use candor_ledger::digest::sha3_256;
use candor_ledger::entry::{Body, Entry, MissReason, Op, Subject};
use candor_ledger::ids::Seq;
use candor_proto::cache_v1::{self as wire, get_result::Outcome};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::raw::{Raw, fingerprint, new_id};

const REPLAYS: usize = 1_000;
const UNDER_WAY: usize = 64;

/// INV-6: an ended result is not served, and each refusal to serve it is an entry that says why. A
/// get's id opens nothing again.
#[tokio::test(flavor = "multi_thread")]
async fn ended_results_are_never_served_and_every_try_is_recorded() {
    let cluster = Setup::new(env!("CARGO_BIN_EXE_candor-jepsen"))
        .found()
        .await
        .unwrap();
    let client = cluster.client("service-a").unwrap();
    let options = ChangeOptions::default();
    for name in ["old", "new", "wrong"] {
        client.set_attested(&fields(name), name, TTL).await.unwrap();
    }
    let short = Duration::from_millis(500);
    client
        .set_attested(&fields("short"), "short", short)
        .await
        .unwrap();

    // While it is ACTIVE, this id gets the value.
    let id = new_id();
    let first = Raw::new(&cluster, "service-a", 1).get(&id, "wrong").await;
    assert!(matches!(first.unwrap().outcome, Some(Outcome::Hit(_))));

    let (old, new, wrong) = (fingerprint("old"), fingerprint("new"), fingerprint("wrong"));
    client
        .supersede(old, new, "a better prompt", options)
        .await
        .unwrap();
    let hash = sha3_256(b"wrong");
    client
        .revoke(wrong, hash, "it was wrong", options)
        .await
        .unwrap();
    tokio::time::sleep(short).await;
    let missed = [
        (
            missed(&client, "old").await,
            MissReason::Superseded(Subject::Fingerprint(new)),
        ),
        (missed(&client, "wrong").await, MissReason::Revoked),
        (missed(&client, "short").await, MissReason::Expired),
        (missed(&client, "never set").await, MissReason::Absent),
    ];

    let conflict = client
        .set_attested(&fields("new"), "other bytes", TTL)
        .await;
    let Err(Error::Conflict {
        seq: conflict,
        held,
        offered,
    }) = conflict
    else {
        panic!("other bytes were taken: {conflict:?}");
    };
    assert_ne!(held, offered);
    let kept: Option<String> = client.get_verified(&fields("new")).await.unwrap();
    assert_eq!(kept.as_deref(), Some("new"));

    let started = Instant::now();
    replay(&cluster, &id).await;
    let took = started.elapsed();

    cluster.settle().await.unwrap();
    cluster.same_ledgers().unwrap();
    let entries = cluster.entries(3).unwrap();
    for (missed, reason) in missed {
        assert_eq!(missed.reason, reason);
        let Body::ReadMiss(body) = &at(&entries, missed.seq).body else {
            panic!("entry {} is no miss", missed.seq);
        };
        assert_eq!(body.reason, reason);
    }
    let Body::WriteConflict(body) = &at(&entries, conflict).body else {
        panic!("entry {conflict} is no conflict");
    };
    assert_eq!(
        (body.held, body.offered),
        (sha3_256(b"new"), sha3_256(b"other bytes"))
    );

    let (served, refused) = gets_under(&entries, &id);
    assert_eq!(served, 1, "the one get before the revocation");
    println!(
        "a revoked result asked for {REPLAYS} times under an old id in {took:.1?}: {refused} entries, \
         no value"
    );
    assert_eq!(refused, REPLAYS);
}

/// INV-6, INV-9: a value whose write is under no checkpoint stays here; the get waits for the seal,
/// or says that it did not come, and is an entry in both cases.
#[tokio::test(flavor = "multi_thread")]
async fn a_get_of_an_unsealed_write_waits_for_the_seal_or_says_that_there_is_none() {
    let cluster = Setup::new(env!("CARGO_BIN_EXE_candor-jepsen"))
        .sections("[sealing]\ninterval_ms = 15000\n")
        .found()
        .await
        .unwrap();
    let client = cluster.client("service-a").unwrap();
    // Whenever the last seal was: after this one the next is an interval away.
    client
        .set_attested(&fields("first"), "first", TTL)
        .await
        .unwrap();
    let options = SetOptions {
        wait_for: Some(WaitFor::Committed),
        ..SetOptions::default()
    };
    let name = "unsealed";
    let set = client.set(&fields(name), name, TTL, options).await.unwrap();
    assert_eq!(set.recorded.sealed, None, "sealed too soon for this test");
    let write_seq = set.recorded.seq();

    // Nobody gets it by asking the leader, or a follower, which has to send the question on.
    let leader = cluster.leader().await.unwrap();
    let ask = |node| in_haste(&cluster, node, name, write_seq);
    tokio::join!(ask(leader), ask(leader % 3 + 1));

    let patient = GetOptions {
        timeout: Some(Duration::from_secs(50)),
        ..GetOptions::default()
    };
    let started = Instant::now();
    let Lookup::Hit(verified) = client.get(&fields(name), patient).await.unwrap() else {
        panic!("the write was lost");
    };
    assert_eq!(&verified.value()[..], name.as_bytes());
    assert!(verified.about().as_of.size.covers(write_seq));
    println!("waited {:.1?} for the seal", started.elapsed());

    cluster.settle().await.unwrap();
    let entries = cluster.entries(1).unwrap();
    let reads = entries
        .iter()
        .filter(|entry| entry.op() == Op::CacheReadHit);
    let ids: BTreeSet<_> = reads.map(|entry| entry.request_id).collect();
    assert_eq!(
        ids.len(),
        5,
        "two gets in haste at each of two nodes, and a patient one"
    );
}

/// Two gets with little time. A machine that is busy elsewhere may cut one of them off.
async fn in_haste(cluster: &Cluster, node: u64, name: &str, write: Seq) {
    let client = cluster.client_builder("service-a", node).unwrap();
    let client = client.build().unwrap();
    let options = GetOptions {
        timeout: Some(Duration::from_millis(2_500)),
        ..GetOptions::default()
    };
    let mut said = Vec::new();
    for _ in 0..2 {
        match client.get(&fields(name), options).await {
            Err(error) => said.push(error),
            Ok(answer) => panic!("an unsealed write was answered with {answer:?}"),
        }
    }
    let says_so =
        |error: &Error| matches!(error, Error::Withheld { write_seq } if *write_seq == write);
    assert!(
        said.iter().any(says_so),
        "node {node} did not say why: {said:?}"
    );
}

async fn missed(client: &Client, name: &str) -> Missed {
    match client.get(&fields(name), GetOptions::default()).await {
        Ok(Lookup::Miss(missed)) => *missed,
        other => panic!("`{name}` was answered with {other:?}"),
    }
}

/// The same get under the same id, over all nodes; none of the answers may bring a value.
async fn replay(cluster: &Cluster, id: &str) {
    let nodes = [1, 2, 3].map(|node| Raw::new(cluster, "service-a", node));
    let under_way = Arc::new(Semaphore::new(UNDER_WAY));
    let mut gets = JoinSet::new();
    for number in 0..REPLAYS {
        let permit = Arc::clone(&under_way).acquire_owned().await.unwrap();
        let (node, id) = (nodes[number % 3].clone(), id.to_owned());
        gets.spawn(async move {
            let result = node.get(&id, "wrong").await.unwrap();
            drop(permit);
            let Some(Outcome::Miss(miss)) = result.outcome else {
                panic!("answered with {result:?}");
            };
            assert_eq!(miss.reason(), wire::MissReason::Revoked);
            result.recorded.unwrap().seq
        });
    }
    let mut seqs = BTreeSet::new();
    while let Some(seq) = gets.join_next().await {
        assert!(seqs.insert(seq.unwrap()), "an entry stands for two answers");
    }
}

/// Hits, and misses because it was revoked; there is nothing else under this id.
fn gets_under(entries: &[Entry], id: &str) -> (usize, usize) {
    let has_id = |entry: &&Entry| {
        entry
            .request_id
            .is_some_and(|found| found.to_string() == id)
    };
    let is_hit = |entry: &&Entry| entry.op() == Op::CacheReadHit;
    let (served, refused): (Vec<_>, Vec<_>) = entries.iter().filter(has_id).partition(is_hit);
    for entry in &refused {
        let Body::ReadMiss(miss) = &entry.body else {
            panic!("a get left {entry:?}");
        };
        assert_eq!(miss.reason, MissReason::Revoked);
    }
    (served.len(), refused.len())
}

fn at(entries: &[Entry], seq: Seq) -> &Entry {
    &entries[usize::try_from(seq.0).unwrap()]
}
