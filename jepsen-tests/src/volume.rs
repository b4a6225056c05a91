//! Many results end at once while others work, and the leader is killed: their model version is
//! superseded, or they reach their deadlines.
//!
//! Checked: from the moment of the answer, or of the deadline by the ledger's time, no lookup finds one
//! of them; each ends by exactly one entry, read from the entries on disk; all nodes hold the same bytes.
//! By supersession that entry is a `cache.supersede`; by expiry it is a `cache.expire`, or the first
//! lookup that found the result overdue.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use candor_client::{ChangeOptions, Client, Fields, FingerprintFields, Lookup, SetItem, WaitFor};
use candor_ledger::digest::{TaggedDigest, sha3_256};
use candor_ledger::entry::{Body, Entry, MissReason, Model, Subject, SupersedeBy};
use candor_ledger::fingerprint::Fingerprint;
use candor_ledger::ids::Seq;
use candor_ledger::time::Micros;
use clap::ValueEnum;
use rand::RngExt as _;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::real::{Cluster, Same};
use crate::workload::{TTL, fields, get_each, is_excused};

/// Sets of one call while the results are being made.
const BATCH: u64 = 256;
/// Calls of the loading clients at once.
const LOADERS: u64 = 4;
/// Lookups of one probe.
const PROBE: usize = 16;
/// Results that others work on.
const OTHERS: u64 = 64;
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// What ends results.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum By {
    /// `model.supersede` of the version they are of.
    Supersession,
    /// Their deadlines, all at nearly the same moment.
    Expiry,
}

/// What is done.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What ends the results.
    pub by: By,
    /// Results that end.
    pub results: u64,
    /// From the first set to the deadlines, where these end the results: long enough to make them all.
    pub life: Duration,
    /// Clients that work on other results meanwhile.
    pub workers: u64,
    /// How long these work alone, before and after.
    pub calm: Duration,
    /// How long everything may take behind the end.
    pub patience: Duration,
}

/// What was seen.
#[derive(Debug)]
pub struct Report {
    /// From the answer, or the deadline, to the last result's entry.
    pub took: Duration,
    /// Results that had their entry when the leader was killed.
    pub at_kill: u64,
    /// Lookups of ended results, all of them misses.
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
    let start = Instant::now();
    let deadline = start + plan.life;
    let lifetime = Lifetime {
        by: plan.by,
        deadline,
    };
    make_results(&clients, plan.results, lifetime).await?;
    println!("{} results made in {:.1?}", plan.results, start.elapsed());
    for number in 0..OTHERS {
        first.set_attested(&other(number), "other", TTL).await?;
    }

    let others = Others::start(&clients, plan.workers);
    tokio::time::sleep(plan.calm).await;
    let (asked, began, behind) = match plan.by {
        By::Supersession => {
            let asked = Instant::now();
            let cause = supersede(first).await?;
            (asked, Instant::now(), cause.0 + 1)
        }
        By::Expiry => {
            ensure!(
                Instant::now() < deadline,
                "the first results expired while the last were made: they need longer lives"
            );
            let behind = cluster.status(cluster.leader().await?).await?.ledger_size;
            tokio::time::sleep_until(deadline).await;
            (deadline, deadline, behind)
        }
    };
    let ended = Ended {
        by: plan.by,
        behind,
        results: plan.results,
    };
    let probing = Probing::start(&clients, ended);

    // 1. A third of the way its leader dies.
    let leader = cluster.leader().await?;
    let watched = cluster.nodes().find(|node| *node != leader);
    let watched = watched.context("a cluster has more nodes than its leader")?;
    let third = plan.results / 3;
    let at_kill = ended
        .followed(cluster, watched, third, plan.patience)
        .await?;
    cluster.kill(leader)?;
    cluster.start(leader).await?;

    // 2. Others finish the work.
    ended
        .followed(cluster, watched, plan.results, plan.patience)
        .await?;
    let done = Instant::now();
    let misses = probing.finish().await?;
    tokio::time::sleep(plan.calm).await;
    let (others, longest) = others.finish((asked, done)).await?;
    cluster.settle().await?;
    let same = cluster.same_ledgers()?;
    ended.check_entries(&cluster.entries(leader)?)?;
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

async fn supersede(client: &Client) -> anyhow::Result<Seq> {
    let (from, to) = (model("1"), model("2"));
    let options = ChangeOptions {
        wait_for: Some(WaitFor::Committed),
        ..ChangeOptions::default()
    };
    let recorded = client.supersede_model(&from, &to, "the weights were wrong", options);
    Ok(recorded.await?.seq())
}

/// How long results are to live.
#[derive(Clone, Copy)]
struct Lifetime {
    by: By,
    deadline: Instant,
}

impl Lifetime {
    fn left(self) -> Duration {
        match self.by {
            By::Supersession => TTL,
            By::Expiry => self.deadline.saturating_duration_since(Instant::now()),
        }
    }
}

async fn make_results(
    clients: &[Arc<Client>],
    results: u64,
    lifetime: Lifetime,
) -> anyhow::Result<()> {
    let mut loaders = Vec::new();
    for (loader, client) in (0..LOADERS).zip(clients.iter().cycle().cloned()) {
        loaders.push(tokio::spawn(async move {
            let mut from = loader * BATCH;
            while from < results {
                let until = results.min(from + BATCH);
                let ttl = lifetime.left();
                let items = (from..until).map(|number| SetItem::new(&result(number), "old", ttl));
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

/// Results that have ended.
#[derive(Clone, Copy)]
struct Ended {
    by: By,
    /// The first place where an entry of an end may stand.
    behind: u64,
    results: u64,
}

impl Ended {
    /// Waits until so many results have ended on a node, and says how many have.
    async fn followed(
        self,
        cluster: &Cluster,
        node: u64,
        want: u64,
        patience: Duration,
    ) -> anyhow::Result<u64> {
        let deadline = Instant::now() + patience;
        let (mut next, mut ended) = (self.behind, BTreeSet::new());
        loop {
            let operator = cluster.operator(node)?;
            // A page that is not answered, as in an election, is asked for again.
            if let Ok(page) = operator.list_entries(next).await {
                for line in &page.entries {
                    let entry = Entry::parse(line)?;
                    next += 1;
                    ended.extend(self.end(&entry).map(|(fingerprint, _)| fingerprint));
                }
                let count = u64::try_from(ended.len())?;
                if count >= want {
                    return Ok(count);
                }
                if next < page.size {
                    continue;
                }
            }
            let count = ended.len();
            ensure!(Instant::now() < deadline, "{count} of {want} results ended");
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// The result that this entry says has ended, and in which way.
    fn end(self, entry: &Entry) -> Option<(Fingerprint, End)> {
        let end = match (&entry.body, self.by) {
            (Body::Supersede(body), By::Supersession) => match &body.by {
                SupersedeBy::Model { cause, .. } if cause.0 + 1 == self.behind => End::Entry,
                _ => return None,
            },
            (Body::Expire(_), By::Expiry) => End::Entry,
            (Body::ReadMiss(body), By::Expiry) if body.reason == MissReason::Expired => End::Lookup,
            _ => return None,
        };
        match entry.subject {
            Subject::Fingerprint(fingerprint) => Some((fingerprint, end)),
            _ => None,
        }
    }

    /// Each result ends exactly once, and none is served behind its end.
    fn check_entries(self, entries: &[Entry]) -> anyhow::Result<()> {
        let mut lives: BTreeMap<Fingerprint, Life> = BTreeMap::new();
        for number in 0..self.results {
            let fingerprint = result(number).to_fingerprint_fields()?.fingerprint();
            lives.insert(fingerprint, Life::default());
        }
        for entry in entries {
            let end = self.end(entry);
            let Subject::Fingerprint(about) = &entry.subject else {
                continue;
            };
            let Some(life) = lives.get_mut(about) else {
                ensure!(end.is_none(), "entry {} ended another result", entry.seq);
                continue;
            };
            if let Some((_, end)) = end {
                // Lookups behind the end find it again and change nothing.
                let again = life.ended && end == End::Entry;
                ensure!(!again, "entry {} ended a result again", entry.seq);
                life.ended = true;
            }
            match &entry.body {
                Body::Write(write) => life.deadline = Some(entry.time.plus_millis(write.ttl_ms)),
                Body::ReadHit(_) => {
                    let late = match self.by {
                        By::Supersession => entry.seq.0 >= self.behind,
                        By::Expiry => life.deadline.is_none_or(|deadline| entry.time >= deadline),
                    };
                    ensure!(
                        !late && !life.ended,
                        "entry {} served a result behind its end",
                        entry.seq
                    );
                }
                _ => {}
            }
        }
        let lasting = lives.values().filter(|life| !life.ended).count();
        ensure!(lasting == 0, "{lasting} results did not end");
        Ok(())
    }
}

/// How an entry ends a result.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// By what it is there for: once for each result.
    Entry,
    /// As a lookup that found it overdue before a tick did.
    Lookup,
}

/// What the entries have told of a result so far.
#[derive(Default)]
struct Life {
    deadline: Option<Micros>,
    ended: bool,
}

/// Lookups of ended results, from the first moment to the last.
struct Probing {
    stop: Arc<AtomicBool>,
    task: JoinHandle<anyhow::Result<u64>>,
}

impl Probing {
    fn start(clients: &[Arc<Client>], ended: Ended) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, clients) = (Arc::clone(&stop), clients.to_vec());
        let task = tokio::spawn(async move {
            let mut misses = 0;
            for client in clients.iter().cycle() {
                if stopped.load(Ordering::SeqCst) {
                    break;
                }
                misses += probe(client, ended).await?;
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

async fn probe(client: &Client, ended: Ended) -> anyhow::Result<u64> {
    let fields: Vec<_> = {
        let mut rng = rand::rng();
        let numbers = (0..PROBE).map(|_| rng.random_range(0..ended.results));
        numbers.map(result).collect()
    };
    let mut misses = 0;
    for answer in get_each(client, &fields).await? {
        match answer {
            Ok(Lookup::Miss(_)) => misses += 1,
            // Deadlines are some milliseconds apart: the entries tell which hit came too late.
            Ok(Lookup::Hit(_)) if ended.by == By::Expiry => {}
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
