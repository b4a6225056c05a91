//! Clients that set and get until they are told to stop, and remember what was acknowledged.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use candor_client::{Client, GetOptions, Lookup, SetOptions};
use candor_ledger::ids::RequestId;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::folder::random_name;
use crate::replay::{is_passing, told};
use crate::trace::Request;

/// Results of the load are of no use afterwards.
const TTL: Duration = Duration::from_hours(1);

/// Workers under way.
pub(crate) struct Load {
    shared: Arc<Shared>,
    workers: JoinSet<anyhow::Result<Vec<Ack>>>,
}

/// A request that was acknowledged, and when.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ack {
    pub(crate) at: Instant,
    pub(crate) id: RequestId,
    pub(crate) is_set: bool,
}

struct Shared {
    client: Client,
    requests: Vec<Request>,
    /// Sets the computations of this load apart from those of every other.
    name: String,
    stop: AtomicBool,
    acknowledged: AtomicU64,
}

impl Load {
    /// Starts the workers; each sets a new computation and gets it, over and over.
    pub(crate) fn start(client: &Client, requests: Vec<Request>, workers: usize) -> Self {
        let shared = Arc::new(Shared {
            client: client.clone(),
            requests,
            name: random_name(),
            stop: AtomicBool::new(false),
            acknowledged: AtomicU64::new(0),
        });
        let mut set = JoinSet::new();
        for worker in 0..workers {
            let shared = Arc::clone(&shared);
            set.spawn(async move { shared.work(worker, workers).await });
        }
        Self {
            shared,
            workers: set,
        }
    }

    /// Waits until so many more requests are acknowledged than now.
    ///
    /// # Errors
    /// When they are not within `bound`.
    pub(crate) async fn wait_for(&mut self, more: u64, bound: Duration) -> anyhow::Result<()> {
        let want = self.shared.acknowledged.load(Ordering::Relaxed) + more;
        let deadline = Instant::now() + bound;
        while self.shared.acknowledged.load(Ordering::Relaxed) < want {
            if let Some(ended) = self.workers.try_join_next() {
                ended
                    .context("a worker ended badly")?
                    .context("a worker of the load")?;
            }
            anyhow::ensure!(
                Instant::now() < deadline,
                "fewer than {more} requests were acknowledged in {} s",
                bound.as_secs()
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    /// Stops the workers after the requests they are at; all acknowledgements in order of time.
    pub(crate) async fn finish(mut self) -> anyhow::Result<Vec<Ack>> {
        self.shared.stop.store(true, Ordering::Relaxed);
        let mut all = Vec::new();
        while let Some(ended) = self.workers.join_next().await {
            all.extend(
                ended
                    .context("a worker ended badly")?
                    .context("a worker of the load")?,
            );
        }
        all.sort_by_key(|ack| ack.at);
        Ok(all)
    }
}

impl Shared {
    async fn work(&self, worker: usize, workers: usize) -> anyhow::Result<Vec<Ack>> {
        let mut acks = Vec::new();
        let requests = self
            .requests
            .iter()
            .cycle()
            .skip(worker)
            .step_by(workers.max(1));
        for (round, request) in requests.enumerate() {
            if self.stop.load(Ordering::Relaxed) {
                break;
            }
            match self
                .round(
                    request,
                    &format!("{}-{worker}-{round}", self.name),
                    &mut acks,
                )
                .await
            {
                // The outcome may be unknown; it was not acknowledged.
                Err(problem) if is_passing(&problem) => {}
                other => other?,
            }
        }
        Ok(acks)
    }

    async fn round(
        &self,
        request: &Request,
        name: &str,
        acks: &mut Vec<Ack>,
    ) -> anyhow::Result<()> {
        let mut acknowledged = |id: Option<RequestId>, is_set| {
            acks.extend(id.map(|id| Ack {
                at: Instant::now(),
                id,
                is_set,
            }));
            self.acknowledged.fetch_add(1, Ordering::Relaxed);
        };
        let fields = request.fields_and("dev_load", name)?;
        let options = SetOptions {
            told: told(request)?,
            ..SetOptions::default()
        };
        let attested = self
            .client
            .set(&fields, &request.output, TTL, options)
            .await?;
        acknowledged(attested.recorded.entry.request_id, true);
        match self.client.get(&fields, GetOptions::default()).await? {
            Lookup::Hit(verified) => acknowledged(Some(verified.about().request_id), false),
            Lookup::Miss(missed) => acknowledged(missed.entry.request_id, false),
        }
        Ok(())
    }
}

/// The longest time between two acknowledgements that follow each other, after `from`.
pub(crate) fn longest_pause(acks: &[Ack], from: Instant) -> Duration {
    let mut last = from;
    let mut longest = Duration::ZERO;
    for ack in acks.iter().filter(|ack| ack.at >= from) {
        longest = longest.max(ack.at.duration_since(last));
        last = ack.at;
    }
    longest
}
