//! Load that goes on for long: batches of verified gets, some sealed sets, and of what was
//! acknowledged nothing but the ids.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use candor_client::{Client, Error, Lookup, SetItem, WaitFor};
use candor_ledger::ids::RequestId;
use clap::ValueEnum;
use tokio::task::JoinSet;

use crate::workload::{fields, get_each, is_excused};

/// Results that gets are spread over.
const RESULTS: usize = 64;
/// Longer than any run.
const TTL: Duration = Duration::from_hours(24);
/// Every so many calls of a worker are sets ..
const SET_EVERY: u64 = 8;
/// .. and while most is new, every so many, and the one in the middle between two asks for what is known.
const SET_AMONG_NEW: u64 = 64;
/// Sets of one call.
const SETS: usize = 8;
/// How long a set may wait for its seal.
const SET_TIMEOUT: Duration = Duration::from_secs(30);
/// After a failed call, so that a cluster that is down is not asked in a tight loop.
const PAUSE: Duration = Duration::from_millis(50);

/// What gets ask for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Asks {
    /// Results that were set: each get is a hit.
    #[default]
    Known,
    /// Mostly what was never asked for: each such get is a miss and makes a subject.
    New,
}

/// How hard to work.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// What gets ask for.
    pub asks: Asks,
    /// Gets of one call.
    pub batch: usize,
    /// Rest of a worker after each call.
    pub rest: Duration,
}

/// Workers under way.
pub(super) struct Load {
    shared: Arc<Shared>,
    workers: JoinSet<anyhow::Result<Vec<RequestId>>>,
    /// By those that have ended, and before they began.
    acknowledged: Vec<RequestId>,
}

/// What was acknowledged so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Gets whose value was verified.
    pub gets: u64,
    /// Gets of what was never asked for, each with its entry.
    pub misses: u64,
    /// Sets that were sealed.
    pub sets: u64,
    /// Items without an answer: no leader, no connection, outcome unknown.
    pub unanswered: u64,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    asks_new: AtomicBool,
    batch: AtomicUsize,
    rest_us: AtomicU64,
    /// The next name that nobody has asked for.
    next_new: AtomicU64,
    gets: AtomicU64,
    misses: AtomicU64,
    sets: AtomicU64,
    unanswered: AtomicU64,
}

impl Load {
    /// Sets what will be asked for, and starts so many workers, in turn on each client.
    ///
    /// # Errors
    /// When the first sets fail.
    pub(super) async fn start(
        clients: &[Client],
        workers: u64,
        pace: Pace,
    ) -> anyhow::Result<Self> {
        let shared = Arc::new(Shared::default());
        shared.set_pace(pace);
        let first = clients.first().context("a client")?;
        let items = (0..RESULTS).map(|number| item(&shared_name(number)));
        let items = items.collect::<anyhow::Result<_>>()?;
        let mut acknowledged = Vec::new();
        shared.set(first, items, &mut acknowledged).await?;
        ensure!(acknowledged.len() == RESULTS, "the first sets failed");
        let mut load = Self {
            shared,
            workers: JoinSet::new(),
            acknowledged,
        };
        for (worker, client) in (0..workers).zip(clients.iter().cycle()) {
            let (shared, client) = (Arc::clone(&load.shared), client.clone());
            load.workers
                .spawn(async move { shared.work(&client, worker).await });
        }
        Ok(load)
    }

    /// From now on.
    pub(super) fn set_pace(&self, pace: Pace) {
        self.shared.set_pace(pace);
    }

    /// What was acknowledged so far.
    pub(super) fn counts(&self) -> Counts {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            gets: of(&self.shared.gets),
            misses: of(&self.shared.misses),
            sets: of(&self.shared.sets),
            unanswered: of(&self.shared.unanswered),
        }
    }

    /// How many new names were asked for: those of [`new_name`] below it, but for unanswered gets.
    pub(super) fn asked_new(&self) -> u64 {
        self.shared.next_new.load(Ordering::Relaxed)
    }

    /// Whether all workers still work.
    ///
    /// # Errors
    /// When one met what no crash explains.
    pub(super) fn check(&mut self) -> anyhow::Result<()> {
        let Some(ended) = self.workers.try_join_next() else {
            return Ok(());
        };
        let ids = ended.context("a worker panicked")??;
        self.acknowledged.extend(ids);
        Ok(())
    }

    /// Stops the workers after the calls they are at; returns the ids of all that was acknowledged.
    ///
    /// # Errors
    /// When a worker met what no crash explains.
    pub(super) async fn finish(mut self) -> anyhow::Result<Vec<RequestId>> {
        self.shared.stop.store(true, Ordering::Relaxed);
        let mut all = self.acknowledged;
        while let Some(ended) = self.workers.join_next().await {
            all.extend(ended.context("a worker panicked")??);
        }
        Ok(all)
    }
}

impl Shared {
    fn set_pace(&self, pace: Pace) {
        self.asks_new
            .store(pace.asks == Asks::New, Ordering::Relaxed);
        let rest = u64::try_from(pace.rest.as_micros()).unwrap_or(u64::MAX);
        self.batch.store(pace.batch, Ordering::Relaxed);
        self.rest_us.store(rest, Ordering::Relaxed);
    }

    async fn work(&self, client: &Client, worker: u64) -> anyhow::Result<Vec<RequestId>> {
        let mut all = Vec::new();
        for round in worker.. {
            if self.stop.load(Ordering::Relaxed) {
                break;
            }
            let before = self.unanswered.load(Ordering::Relaxed);
            let done = match self.what(round) {
                What::Set => {
                    let items = (0..SETS).map(|at| item(&format!("set/{worker}/{round}/{at}")));
                    let items = items.collect::<anyhow::Result<_>>()?;
                    self.set(client, items, &mut all).await
                }
                What::Get(Asks::Known) => self.get(client, round, &mut all).await,
                What::Get(Asks::New) => self.get_new(client, &mut all).await,
            };
            done.with_context(|| format!("worker {worker}, round {round}"))?;
            let failed = self.unanswered.load(Ordering::Relaxed) > before;
            let rest = Duration::from_micros(self.rest_us.load(Ordering::Relaxed));
            tokio::time::sleep(if failed { rest.max(PAUSE) } else { rest }).await;
        }
        Ok(all)
    }

    fn what(&self, round: u64) -> What {
        if !self.asks_new.load(Ordering::Relaxed) {
            return if round.is_multiple_of(SET_EVERY) {
                What::Set
            } else {
                What::Get(Asks::Known)
            };
        }
        match round % SET_AMONG_NEW {
            0 => What::Set,
            at if at == SET_AMONG_NEW / 2 => What::Get(Asks::Known),
            _ => What::Get(Asks::New),
        }
    }

    async fn get(
        &self,
        client: &Client,
        round: u64,
        all: &mut Vec<RequestId>,
    ) -> anyhow::Result<()> {
        let count = self.batch.load(Ordering::Relaxed);
        let start = usize::try_from(round).unwrap_or(0) % RESULTS;
        let names: Vec<_> = (start..)
            .take(count)
            .map(|at| shared_name(at % RESULTS))
            .collect();
        let asked: Vec<_> = names.iter().map(|name| fields(name)).collect();
        let answers = get_each(client, &asked).await?;
        for (name, answer) in names.iter().zip(answers) {
            match answer {
                Ok(Lookup::Hit(found)) => {
                    ensure!(found.value()[..] == value(name), "another value");
                    all.push(found.about().request_id);
                    self.gets.fetch_add(1, Ordering::Relaxed);
                }
                Ok(Lookup::Miss(missed)) => bail!("a sealed set is not found: {missed:?}"),
                Err(error) => self.excuse(error)?,
            }
        }
        Ok(())
    }

    async fn get_new(&self, client: &Client, all: &mut Vec<RequestId>) -> anyhow::Result<()> {
        let count = u64::try_from(self.batch.load(Ordering::Relaxed))?;
        let from = self.next_new.fetch_add(count, Ordering::Relaxed);
        let asked: Vec<_> = (from..from + count)
            .map(|number| fields(&new_name(number)))
            .collect();
        for answer in get_each(client, &asked).await? {
            match answer {
                Ok(Lookup::Hit(found)) => bail!("nobody set it: {:?}", found.about()),
                Ok(Lookup::Miss(missed)) => {
                    let id = missed.entry.request_id;
                    all.push(id.context("a read without a request id")?);
                    self.misses.fetch_add(1, Ordering::Relaxed);
                }
                Err(error) => self.excuse(error)?,
            }
        }
        Ok(())
    }

    async fn set(
        &self,
        client: &Client,
        items: Vec<SetItem>,
        all: &mut Vec<RequestId>,
    ) -> anyhow::Result<()> {
        let answers = client
            .set_batch(items, Some(WaitFor::Sealed), Some(SET_TIMEOUT))
            .await?;
        for answer in answers {
            match answer {
                // Without a proof it is committed, and was not sealed in time.
                Ok(attested) if attested.recorded.sealed.is_none() => {
                    self.unanswered.fetch_add(1, Ordering::Relaxed);
                }
                Ok(attested) => {
                    let id = attested.recorded.entry.request_id;
                    all.push(id.context("a write without a request id")?);
                    self.sets.fetch_add(1, Ordering::Relaxed);
                }
                Err(error) => self.excuse(error)?,
            }
        }
        Ok(())
    }

    fn excuse(&self, error: Error) -> anyhow::Result<()> {
        if !is_excused(&error) {
            return Err(error.into());
        }
        self.unanswered.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

/// What one call does.
enum What {
    Set,
    Get(Asks),
}

/// What nobody sets; each is asked for once.
pub fn new_name(number: u64) -> String {
    format!("new/{number}")
}

fn shared_name(number: usize) -> String {
    format!("shared/{number}")
}

fn item(name: &str) -> anyhow::Result<SetItem> {
    Ok(SetItem::new(&fields(name), value(name), TTL)?)
}

/// A kilobyte that no other name has.
fn value(name: &str) -> Vec<u8> {
    format!("{name} ").repeat(1_024 / (name.len() + 1)).into()
}
