//! A model version with many results is superseded while others work, and its leader is killed.
//!
//! Checked: from the moment of the answer on no lookup finds a result of it; each result gets exactly
//! one `cache.supersede`, read from the entries on disk; all nodes hold the same bytes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use candor_client::{
    ChangeOptions, Client, Fields, FingerprintFields, GetOptions, Lookup, SetItem, WaitFor,
};
use candor_ledger::digest::{TaggedDigest, sha3_256};
use candor_ledger::entry::{Body, Entry, Model, Subject, SupersedeBy};
use candor_ledger::fingerprint::Fingerprint;
use candor_ledger::ids::Seq;
use rand::RngExt as _;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::real::{Cluster, Same};
use crate::workload::{TTL, fields, is_excused};

/// Sets of one call while the results are being made.
const BATCH: u64 = 256;
/// Calls of the loading clients at once.
const LOADERS: u64 = 4;
/// Lookups of one probe.
const PROBE: usize = 16;
/// Results that others work on.
const OTHERS: u64 = 64;
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// What is done.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Results of the model version.
    pub results: u64,
    /// Clients that work on results of another model meanwhile.
    pub workers: u64,
    /// How long these work alone, before and after.
    pub calm: Duration,
    /// How long everything may take behind the supersession.
    pub patience: Duration,
}

/// What was seen.
#[derive(Debug)]
pub struct Report {
    /// From the answer to the last result's entry.
    pub took: Duration,
    /// Results that had their entry when the leader was killed.
    pub at_kill: u64,
    /// Lookups of superseded results, all of them misses.
    pub misses: u64,
    /// Other operations: before, during, after.
    pub others: [Vec<Duration>; 3],
    /// Longest time without an answer to any of the others, which is the election.
    pub longest: Duration,
    /// The ledgers compared.
    pub same: Same,
}

/// Runs the plan on a fresh cluster.
///
/// # Errors
/// Says which of the promises was broken, or what the harness could not do.
pub async fn run(cluster: &mut Cluster, plan: &Plan) -> anyhow::Result<Report> {
    let clients = [1, 2, 3].map(|first| cluster.client_builder("service-a", first));
    let clients: Vec<Arc<Client>> = clients
        .into_iter()
        .map(|builder| Ok(Arc::new(builder?.build()?)))
        .collect::<anyhow::Result<_>>()?;
    let [first, ..] = clients.as_slice() else {
        bail!("three clients were made")
    };
    make_results(&clients, plan.results).await?;
    for number in 0..OTHERS {
        first.set_attested(&other(number), "other", TTL).await?;
    }

    let others = Others::start(&clients, plan.workers);
    tokio::time::sleep(plan.calm).await;
    let asked = Instant::now();
    let (from, to) = (model("1"), model("2"));
    let options = ChangeOptions {
        wait_for: Some(WaitFor::Committed),
        ..ChangeOptions::default()
    };
    let recorded = first.supersede_model(&from, &to, "the weights were wrong", options);
    let cause = recorded.await?.seq();
    let began = Instant::now();
    let probing = Probing::start(&clients, plan.results);

    // 1. A third of the way its leader dies.
    let leader = cluster.leader().await?;
    let watched = cluster.nodes().find(|node| *node != leader);
    let watched = watched.context("a cluster has more nodes than its leader")?;
    let third = plan.results / 3;
    let at_kill = followed(cluster, watched, (cause, third), plan.patience).await?;
    cluster.kill(leader)?;
    cluster.start(leader).await?;

    // 2. Others finish the work.
    followed(cluster, watched, (cause, plan.results), plan.patience).await?;
    let done = Instant::now();
    let misses = probing.finish().await?;
    tokio::time::sleep(plan.calm).await;
    let (others, longest) = others.finish((asked, done)).await?;
    cluster.settle().await?;
    let same = cluster.same_ledgers()?;
    check_entries(&cluster.entries(leader)?, cause, plan.results)?;
    Ok(Report {
        took: done - began,
        at_kill,
        misses,
        others,
        longest,
        same,
    })
}

/// The value at a share of a sorted list.
pub fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let index = sorted.len().saturating_sub(1) * percent / 100;
    sorted.get(index).copied().unwrap_or_default()
}

async fn make_results(clients: &[Arc<Client>], results: u64) -> anyhow::Result<()> {
    let mut loaders = Vec::new();
    for (loader, client) in (0..LOADERS).zip(clients.iter().cycle().cloned()) {
        loaders.push(tokio::spawn(async move {
            let mut from = loader * BATCH;
            while from < results {
                let until = results.min(from + BATCH);
                let items = (from..until).map(|number| SetItem::new(&result(number), "old", TTL));
                let items = items.collect::<Result<Vec<_>, _>>()?;
                let timeout = Some(Duration::from_secs(50));
                for made in client
                    .set_batch(items, Some(WaitFor::Committed), timeout)
                    .await?
                {
                    made?;
                }
                from += LOADERS * BATCH;
            }
            anyhow::Ok(())
        }));
    }
    for loader in loaders {
        loader.await??;
    }
    Ok(())
}

/// Waits until so many results have followed on a node, and says how many have.
async fn followed(
    cluster: &Cluster,
    node: u64,
    (cause, want): (Seq, u64),
    patience: Duration,
) -> anyhow::Result<u64> {
    let deadline = Instant::now() + patience;
    let (mut next, mut count) = (cause.0 + 1, 0);
    loop {
        let operator = cluster.operator(node)?;
        // A page that is not answered, as in an election, is asked for again.
        if let Ok(page) = operator.list_entries(next).await {
            for line in &page.entries {
                let entry = Entry::parse(line)?;
                next += 1;
                count += u64::from(follows(&entry, cause).is_some());
            }
            if count >= want {
                return Ok(count);
            }
            if next < page.size {
                continue;
            }
        }
        ensure!(
            Instant::now() < deadline,
            "{count} of {want} results followed"
        );
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn follows(entry: &Entry, cause: Seq) -> Option<Fingerprint> {
    let Body::Supersede(body) = &entry.body else {
        return None;
    };
    let SupersedeBy::Model { cause: named, .. } = &body.by else {
        return None;
    };
    match entry.subject {
        Subject::Fingerprint(fingerprint) if *named == cause => Some(fingerprint),
        _ => None,
    }
}

/// Each result follows exactly once, and none is served behind the supersession.
fn check_entries(entries: &[Entry], cause: Seq, results: u64) -> anyhow::Result<()> {
    let mut times: BTreeMap<Fingerprint, u64> = BTreeMap::new();
    for number in 0..results {
        let fingerprint = result(number).to_fingerprint_fields()?.fingerprint();
        times.insert(fingerprint, 0);
    }
    for entry in entries {
        if let Some(fingerprint) = follows(entry, cause) {
            let times = times.get_mut(&fingerprint);
            *times.context("a result of another model followed")? += 1;
        }
        if let (Subject::Fingerprint(fingerprint), Body::ReadHit(_)) = (&entry.subject, &entry.body)
        {
            let late = times.contains_key(fingerprint) && entry.seq > cause;
            ensure!(!late, "entry {} served a superseded result", entry.seq);
        }
    }
    let wrong = times.values().filter(|times| **times != 1).count();
    ensure!(wrong == 0, "{wrong} results did not follow exactly once");
    Ok(())
}

/// Lookups of superseded results, from the first moment to the last.
struct Probing {
    stop: Arc<AtomicBool>,
    task: JoinHandle<anyhow::Result<u64>>,
}

impl Probing {
    fn start(clients: &[Arc<Client>], results: u64) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, clients) = (Arc::clone(&stop), clients.to_vec());
        let task = tokio::spawn(async move {
            let mut misses = 0;
            for client in clients.iter().cycle() {
                if stopped.load(Ordering::SeqCst) {
                    break;
                }
                misses += probe(client, results).await?;
            }
            Ok(misses)
        });
        Self { stop, task }
    }

    async fn finish(self) -> anyhow::Result<u64> {
        self.stop.store(true, Ordering::SeqCst);
        self.task.await?
    }
}

async fn probe(client: &Client, results: u64) -> anyhow::Result<u64> {
    let fields: Vec<_> = {
        let mut rng = rand::rng();
        let numbers = (0..PROBE).map(|_| rng.random_range(0..results));
        numbers.map(result).collect()
    };
    let mut asked: Vec<&(dyn Fields + Sync)> = Vec::new();
    for one in &fields {
        asked.push(one);
    }
    let mut misses = 0;
    for answer in client.get_batch(&asked, GetOptions::default()).await? {
        match answer {
            Ok(Lookup::Miss(_)) => misses += 1,
            Ok(Lookup::Hit(_)) => bail!("a superseded result was served"),
            Err(error) if is_excused(&error) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(misses)
}

/// Gets and sealed sets of another model, each with its beginning and end.
struct Others {
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<anyhow::Result<Vec<Taken>>>>,
}

type Taken = (Instant, Instant);

impl Others {
    fn start(clients: &[Arc<Client>], workers: u64) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let each = (0..workers).zip(clients.iter().cycle().cloned());
        let tasks = each.map(|(worker, client)| {
            let stop = Arc::clone(&stop);
            tokio::spawn(async move {
                let (mut taken, mut turn) = (Vec::new(), worker);
                while !stop.load(Ordering::SeqCst) {
                    turn += 1;
                    let (fields, begun) = (other(turn % OTHERS), Instant::now());
                    // Every eighth is a set.
                    let answered = if turn.is_multiple_of(8) {
                        let set = client.set_attested(&fields, "other", TTL);
                        set.await.map(|_| ())
                    } else {
                        let get = client.get_verified::<Vec<u8>>(&fields);
                        get.await.map(|_| ())
                    };
                    match answered {
                        Ok(()) => taken.push((begun, Instant::now())),
                        Err(error) if is_excused(&error) => {}
                        Err(error) => return Err(error.into()),
                    }
                }
                Ok(taken)
            })
        });
        let tasks = tasks.collect();
        Self { stop, tasks }
    }

    /// Sorted times before, during and after, and the longest without any answer.
    async fn finish(self, (asked, done): Taken) -> anyhow::Result<([Vec<Duration>; 3], Duration)> {
        self.stop.store(true, Ordering::SeqCst);
        let mut all = Vec::new();
        for task in self.tasks {
            all.extend(task.await??);
        }
        all.sort_unstable_by_key(|(_, end)| *end);
        let gaps = all.windows(2).filter_map(|pair| match pair {
            [(_, one), (_, next)] => Some(*next - *one),
            _ => None,
        });
        let longest = gaps.max().unwrap_or_default();
        let mut laps = [Vec::new(), Vec::new(), Vec::new()];
        let [before, during, after] = &mut laps;
        for (begin, end) in all {
            let lap = if end < asked {
                &mut *before
            } else if begin < done {
                &mut *during
            } else {
                &mut *after
            };
            lap.push(end - begin);
        }
        for lap in &mut laps {
            lap.sort_unstable();
        }
        Ok((laps, longest))
    }
}

fn model(version: &str) -> Model {
    Model {
        name: "superseded".to_owned(),
        version: version.to_owned(),
    }
}

fn result(number: u64) -> FingerprintFields {
    let Model { name, version } = model("1");
    FingerprintFields {
        model_name: name,
        model_version: version,
        prompt_hash: TaggedDigest::sha3(sha3_256(number.to_string().as_bytes())).to_string(),
        ..fields("")
    }
}

fn other(number: u64) -> FingerprintFields {
    fields(&format!("other {number}"))
}
