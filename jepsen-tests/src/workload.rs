//! Load from clients that remember what was acknowledged to them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use candor_client::{
    Client, Error, Fault, Fields, FingerprintFields, GetOptions, Lookup, SetOptions,
};
use candor_ledger::digest::{TaggedDigest, sha3_256};
use candor_ledger::ids::RequestId;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::real::PATIENCE;

/// Results outlive every test.
pub const TTL: Duration = Duration::from_hours(1);
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// After a failed call, so that a cluster that is down is not asked in a tight loop.
const PAUSE: Duration = Duration::from_millis(20);

/// The conditions of a computation that a test knows by a name. Its output, in a load, is the name.
pub fn fields(name: &str) -> FingerprintFields {
    FingerprintFields {
        model_name: "model".to_owned(),
        model_version: "1".to_owned(),
        prompt_hash: TaggedDigest::sha3(sha3_256(name.as_bytes())).to_string(),
        temperature: "0".to_owned(),
        top_p: "1".to_owned(),
        system_prompt_hash: String::new(),
        hardware_class: "cpu".to_owned(),
    }
}

/// Looks up computations by their names, in one call where they fit; answers in their order.
///
/// # Errors
/// The first that was not answered.
pub async fn get_all(client: &Client, names: &[String]) -> Result<Vec<Lookup>, Error> {
    let all: Vec<_> = names.iter().map(|name| fields(name)).collect();
    get_each(client, &all).await?.into_iter().collect()
}

/// Looks up computations in one call; an answer, or why there is none, for each in their order.
///
/// # Errors
/// When the whole call was not answered.
pub async fn get_each(
    client: &Client,
    all: &[FingerprintFields],
) -> Result<Vec<Result<Lookup, Error>>, Error> {
    let mut asked: Vec<&(dyn Fields + Sync)> = Vec::new();
    for one in all {
        asked.push(one);
    }
    client.get_batch(&asked, GetOptions::default()).await
}

/// The seed of a test's random choices, from `$CANDOR_SEED` or new; printed, so that a failure can be
/// run again.
pub fn seed() -> u64 {
    let given = std::env::var("CANDOR_SEED").ok();
    let seed = given.and_then(|text| text.parse().ok());
    let seed = seed.unwrap_or_else(rand::random);
    println!("CANDOR_SEED={seed}");
    seed
}

/// A request that was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acknowledged {
    /// Its id, as the client that verified the answer says.
    pub id: RequestId,
    /// What it was.
    pub what: Asked,
    /// The computation, for [`fields`].
    pub name: String,
}

/// Kinds of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Asked {
    /// A lookup.
    Get,
    /// A new result, until it was sealed.
    Set,
    /// A lookup of what nobody has set.
    Miss,
}

/// What the workers of a load do over and over.
#[derive(Clone, Debug, Default)]
pub enum Work {
    /// Set a new computation, whose output is its name, and get it.
    #[default]
    Named,
    /// The same with one output for all: the Raft log grows by it, the values do not.
    Output(Arc<[u8]>),
    /// Look up so many computations at once that nobody sets.
    Misses(u64),
}

/// Workers under way; by default each sets a new computation and gets it, over and over.
pub struct Load {
    shared: Arc<Shared>,
    workers: JoinSet<anyhow::Result<Vec<Acknowledged>>>,
}

#[derive(Default)]
struct Shared {
    name: String,
    work: Work,
    stop: AtomicBool,
    acknowledged: AtomicU64,
    /// Calls that brought no answer: no leader, no connection, outcome unknown.
    unanswered: AtomicU64,
}

impl Load {
    /// Starts so many workers on each client. The name sets the load apart from every other.
    pub fn start(name: &str, clients: &[Client], workers_each: usize) -> Self {
        Self::start_with(name, clients, workers_each, Work::Named)
    }

    /// The same with another kind of work.
    pub fn start_with(name: &str, clients: &[Client], workers_each: usize, work: Work) -> Self {
        let shared = Arc::new(Shared {
            name: name.to_owned(),
            work,
            ..Shared::default()
        });
        let mut workers = JoinSet::new();
        for (at, client) in clients.iter().enumerate() {
            for worker in 0..workers_each {
                let (shared, client) = (Arc::clone(&shared), client.clone());
                workers.spawn(async move { shared.work(&client, at, worker).await });
            }
        }
        Self { shared, workers }
    }

    /// Requests acknowledged so far.
    pub fn acknowledged(&self) -> u64 {
        self.shared.acknowledged.load(Ordering::Relaxed)
    }

    /// Calls that brought no answer so far.
    pub fn unanswered(&self) -> u64 {
        self.shared.unanswered.load(Ordering::Relaxed)
    }

    /// Waits until so many more requests are acknowledged than now.
    ///
    /// # Errors
    /// When they are not, or a worker met what no crash explains.
    pub async fn wait_for(&mut self, more: u64) -> anyhow::Result<()> {
        let want = self.acknowledged() + more;
        let deadline = Instant::now() + PATIENCE;
        while self.acknowledged() < want {
            if let Some(ended) = self.workers.try_join_next() {
                ended.context("a worker panicked")??;
                bail!("a worker ended by itself");
            }
            ensure!(
                Instant::now() < deadline,
                "fewer than {more} requests were acknowledged"
            );
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    /// Stops the workers after the requests they are at; returns all that was acknowledged.
    ///
    /// # Errors
    /// When a worker met what no crash explains.
    pub async fn finish(mut self) -> anyhow::Result<Vec<Acknowledged>> {
        self.shared.stop.store(true, Ordering::Relaxed);
        let mut all = Vec::new();
        while let Some(ended) = self.workers.join_next().await {
            all.extend(ended.context("a worker panicked")??);
        }
        Ok(all)
    }
}

impl Shared {
    async fn work(
        &self,
        client: &Client,
        at: usize,
        worker: usize,
    ) -> anyhow::Result<Vec<Acknowledged>> {
        let mut acknowledged = Vec::new();
        for round in 0_u64.. {
            if self.stop.load(Ordering::Relaxed) {
                break;
            }
            let name = format!("{}/{at}/{worker}/{round}", self.name);
            if let Err(error) = self.round(client, &name, &mut acknowledged).await {
                let excused = error.downcast_ref::<Error>().is_some_and(is_excused);
                if !excused {
                    return Err(error.context(format!("computation `{name}`")));
                }
                self.unanswered.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(PAUSE).await;
            }
        }
        Ok(acknowledged)
    }

    async fn round(
        &self,
        client: &Client,
        name: &str,
        all: &mut Vec<Acknowledged>,
    ) -> anyhow::Result<()> {
        let mut acknowledge = |id: Option<RequestId>, what| {
            let id = id.context("an answer without a request id")?;
            let name = name.to_owned();
            all.push(Acknowledged { id, what, name });
            self.acknowledged.fetch_add(1, Ordering::Relaxed);
            anyhow::Ok(())
        };
        let output = match &self.work {
            Work::Named => name.as_bytes(),
            Work::Output(output) => output,
            Work::Misses(count) => {
                let names: Vec<String> = (0..*count).map(|at| format!("{name}/{at}")).collect();
                for answer in get_all(client, &names).await? {
                    let Lookup::Miss(missed) = answer else {
                        bail!("what nobody has set is found")
                    };
                    acknowledge(missed.entry.request_id, Asked::Miss)?;
                }
                return Ok(());
            }
        };
        let fields = fields(name);
        let options = SetOptions::default();
        let attested = client.set(&fields, output, TTL, options).await?;
        acknowledge(attested.recorded.entry.request_id, Asked::Set)?;
        match client.get(&fields, GetOptions::default()).await? {
            Lookup::Hit(verified) => {
                ensure!(verified.value()[..] == *output, "another value");
                acknowledge(Some(verified.about().request_id), Asked::Get)
            }
            Lookup::Miss(missed) => bail!("an acknowledged set is not found: {missed:?}"),
        }
    }
}

/// Whether crashes and elections explain it. An answer without a good proof is no such thing.
pub fn is_excused(error: &Error) -> bool {
    error.fault() == Fault::World || matches!(error, Error::Stale { .. })
}
