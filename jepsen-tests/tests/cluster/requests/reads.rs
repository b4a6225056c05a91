//! Ten thousand gets.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use candor_client::{Client, GetOptions, Lookup, SetItem};
use candor_jepsen::real::{Cluster, PATIENCE, Setup};
use candor_jepsen::workload::{TTL, fields, get_all, seed};
use candor_ledger::entry::{Entry, Op};
use candor_ledger::ids::RequestId;
use candor_node::principal::Right;
use rand::rngs::Xoshiro256PlusPlus as Rng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

const CLIENTS: usize = 8;
/// One at a time, so many of them under way for each client.
const SINGLE_EACH: usize = 500;
const UNDER_WAY: usize = 32;
/// And in batches.
const BATCHES_EACH: usize = 15;
const BATCH: usize = 50;
const GETS: usize = CLIENTS * (SINGLE_EACH + BATCHES_EACH * BATCH);
const _: () = assert!(GETS == 10_000);
/// Computations that are asked for; every other one has a result, in one of two tenants.
const NAMES: usize = 64;

/// An answered get: who asked, and whether a value came.
type Answered = (RequestId, String, bool);

/// INV-6, INV-9: every get has its entry, under its own id and in its own principal's name, also
/// when its node died and it was sent again.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn ten_thousand_gets_by_eight_clients_leave_ten_thousand_entries_that_name_them() {
    let seed = seed();
    let mut setup = Setup::new(env!("CARGO_BIN_EXE_candor-jepsen"));
    for reader in 0..CLIENTS {
        setup = setup.principal(tenant(reader), &actor(reader), &[Right::Read]);
    }
    let mut cluster = setup.found().await.unwrap();
    set_every_other(&cluster).await;

    let started = Instant::now();
    let mut readers = JoinSet::new();
    for reader in 0..CLIENTS {
        let first = u64::try_from(reader % 3 + 1).unwrap();
        let settings = cluster.client_builder(&actor(reader), first).unwrap();
        // Every get is answered in the end, however often it has to be sent.
        let settings = settings.retries_max(1_000_000).timeout(PATIENCE);
        let client = settings.build().unwrap();
        let rng = Rng::seed_from_u64(seed.wrapping_add(u64::try_from(reader).unwrap()));
        readers.spawn(read(client, reader, rng));
    }
    // Two of the nodes that are being asked die and come back, the leader first.
    for _ in 0..2 {
        tokio::time::sleep(std::time::Duration::from_secs(3)).await;
        let leader = cluster.leader().await.unwrap();
        cluster.kill(leader).unwrap();
        cluster.start(leader).await.unwrap();
    }
    let mut answered = BTreeMap::new();
    while let Some(reader) = readers.join_next().await {
        for (id, actor, hit) in reader.unwrap() {
            assert_eq!(answered.insert(id, (actor, hit)), None, "{id} stands twice");
        }
    }
    let took = started.elapsed();
    assert_eq!(answered.len(), GETS);

    cluster.settle().await.unwrap();
    cluster.same_ledgers().unwrap();
    let entries = cluster.entries(1).unwrap();
    let reads: Vec<&Entry> = entries.iter().filter(|entry| is_read(entry)).collect();
    let mut ids = BTreeSet::new();
    for entry in &reads {
        let id = entry.request_id.unwrap();
        let (actor, hit) = &answered[&id];
        assert_eq!(&entry.actor, actor, "entry {}", entry.seq);
        let reader = actor.strip_prefix("reader-").unwrap().parse().unwrap();
        assert_eq!(entry.tenant, tenant(reader), "entry {}", entry.seq);
        assert_eq!(entry.op() == Op::CacheReadHit, *hit, "entry {}", entry.seq);
        ids.insert(id);
    }
    println!(
        "{GETS} gets by {CLIENTS} clients in {took:.1?}, {:.0} a second: {} distinct request ids in {} \
         read entries, {} of them hits",
        f64::from(u32::try_from(GETS).unwrap()) / took.as_secs_f64(),
        ids.len(),
        reads.len(),
        reads
            .iter()
            .filter(|entry| entry.op() == Op::CacheReadHit)
            .count(),
    );
    assert_eq!(ids.len(), GETS);
}

fn actor(reader: usize) -> String {
    format!("reader-{reader}")
}

fn tenant(reader: usize) -> &'static str {
    if reader < 6 { "acme" } else { "globex" }
}

fn is_read(entry: &Entry) -> bool {
    matches!(entry.op(), Op::CacheReadHit | Op::CacheReadMiss)
}

async fn set_every_other(cluster: &Cluster) {
    let client = cluster.client("service-a").unwrap();
    let names = (0..NAMES).step_by(2).map(|number| number.to_string());
    let items: Vec<_> = names
        .map(|name| SetItem::new(&fields(&name), &name, TTL).unwrap())
        .collect();
    for set in client.set_batch(items, None, None).await.unwrap() {
        assert!(set.unwrap().recorded.sealed.is_some());
    }
}

/// All gets of one client: some by themselves, some in batches, in random order of computations.
async fn read(client: Client, reader: usize, mut rng: Rng) -> Vec<Answered> {
    let under_way = Arc::new(Semaphore::new(UNDER_WAY));
    let mut gets = JoinSet::new();
    for number in 0..SINGLE_EACH + BATCHES_EACH {
        let count = if number < SINGLE_EACH { 1 } else { BATCH };
        let names: Vec<usize> = (0..count).map(|_| rng.random_range(0..NAMES)).collect();
        let permit = Arc::clone(&under_way).acquire_owned().await.unwrap();
        let client = client.clone();
        gets.spawn(async move {
            let answers = ask(&client, &names).await;
            drop(permit);
            let pairs = names.into_iter().zip(answers);
            let checked = pairs.map(|(name, answer)| check(reader, name, &answer));
            checked.collect::<Vec<_>>()
        });
    }
    let mut answered = Vec::new();
    while let Some(done) = gets.join_next().await {
        answered.extend(done.unwrap());
    }
    answered
}

async fn ask(client: &Client, names: &[usize]) -> Vec<Lookup> {
    let names: Vec<_> = names.iter().map(ToString::to_string).collect();
    if let [name] = &names[..] {
        let options = GetOptions::default();
        return vec![client.get(&fields(name), options).await.unwrap()];
    }
    get_all(client, &names).await.unwrap()
}

fn check(reader: usize, name: usize, answer: &Lookup) -> Answered {
    let is_held = name.is_multiple_of(2) && tenant(reader) == "acme";
    let (id, hit) = match answer {
        Lookup::Hit(verified) => {
            assert_eq!(&verified.value()[..], name.to_string().as_bytes());
            (verified.about().request_id, true)
        }
        Lookup::Miss(missed) => (missed.entry.request_id.unwrap(), false),
    };
    assert_eq!(hit, is_held, "computation {name} for reader {reader}");
    (id, actor(reader), hit)
}
