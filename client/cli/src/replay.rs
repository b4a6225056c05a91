//! `candor replay`: a recorded trace against a cluster, and what the cache saved.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use candor_client::{Client, Error, Fault, Fields as _, GetOptions, Lookup, SetOptions};
use candor_ledger::digest::TaggedDigest;
use candor_ledger::entry::Told;
use candor_ledger::ids::{RequestId, Seq};
use clap::Args;
use indicatif::ProgressBar;
use serde_json::json;
use tokio::time::Instant;

use crate::output::{self, Count, Lines, Output, Took};
use crate::session::{self, Connection};
use crate::span;
use crate::trace::{self, Request};

/// A line whose call had no answer for a passing reason (an election, a deadline) is asked this often
/// before the replay gives up. Every call has the SDK's own retries within.
const TRIES: u32 = 4;

/// Replay a recorded trace: get, on a miss take the recorded output and set it, and so on.
///
/// Every line is looked up first. On a miss the recorded output stands for the inference and is
/// attested; a later repetition is then a hit, verified like any other. Requests of one
/// computation stay with one client, in the order of the file, so that a repetition finds what the
/// first one wrote. Leaders may die meanwhile: the replay goes on by itself.
#[derive(Args)]
pub(crate) struct Arguments {
    /// The trace, one JSON object a line. Default: the one that comes with this program, 517
    /// requests to SmolLM2-135M-Instruct.
    trace: Option<PathBuf>,
    /// Requests on their way at a time.
    #[arg(long, value_name = "N", default_value = "8")]
    clients: NonZeroUsize,
    /// Start at most this many requests a second.
    #[arg(long, value_name = "R")]
    rate: Option<NonZeroU32>,
    /// On a miss, take as long as the recorded inference did.
    #[arg(long)]
    real_time: bool,
    /// How long the results may be served.
    #[arg(long, value_name = "SPAN", default_value = "24h", value_parser = span::parse_positive)]
    ttl: Duration,
    /// Write each acknowledged request's id, kind and entry to this file, as it is acknowledged.
    #[arg(long, value_name = "FILE")]
    acked: Option<PathBuf>,
    #[command(flatten)]
    connection: Connection,
}

/// `candor replay`
pub(crate) fn run(args: &Arguments, output: Output) -> anyhow::Result<ExitCode> {
    let requests = match &args.trace {
        Some(path) => trace::read(path)?,
        None => trace::embedded()?,
    };
    let plan = Plan {
        clients: args.clients,
        rate: args.rate,
        real_time: args.real_time,
        ttl: args.ttl,
        acked: args.acked.as_deref().map(AckedFile::create).transpose()?,
    };
    session::block_on(async {
        let client = args.connection.client()?;
        let tally = replay(&client, requests, plan).await?;
        output.print(tally.to_json(), || tally.to_text())
    })
}

/// How to replay.
pub(crate) struct Plan {
    pub(crate) clients: NonZeroUsize,
    pub(crate) rate: Option<NonZeroU32>,
    pub(crate) real_time: bool,
    pub(crate) ttl: Duration,
    pub(crate) acked: Option<AckedFile>,
}

/// What a replay came to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) requests: u64,
    pub(crate) hits: u64,
    pub(crate) misses: u64,
    pub(crate) conflicts: u64,
    /// Lines that were asked again because a call had no answer in time.
    pub(crate) asked_again: u64,
    /// Of the hits, as the writers told.
    pub(crate) input_tokens_saved: u64,
    pub(crate) output_tokens_saved: u64,
    pub(crate) model_time_saved: Duration,
    /// Of the misses, as recorded in the trace.
    pub(crate) model_time_spent: Duration,
    pub(crate) acknowledged: u64,
    pub(crate) gets: Vec<Duration>,
    pub(crate) sets: Vec<Duration>,
    pub(crate) took: Duration,
}

/// A request that was acknowledged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Acked {
    pub(crate) id: RequestId,
    pub(crate) kind: &'static str,
    pub(crate) seq: Seq,
}

/// Replays all requests and waits for the last.
///
/// # Errors
/// The first line that cannot be answered; what was acknowledged before stays so.
pub(crate) async fn replay(
    client: &Client,
    requests: Vec<Request>,
    plan: Plan,
) -> anyhow::Result<Tally> {
    let total = u64::try_from(requests.len()).unwrap_or(u64::MAX);
    let shared = Arc::new(Shared {
        client: client.clone(),
        progress: output::bar(total, "replay"),
        pace: plan.rate.map(Pace::new),
        tally: Mutex::default(),
        plan,
    });
    let started = Instant::now();
    let mut workers = tokio::task::JoinSet::new();
    for share in shares(requests, shared.plan.clients)? {
        let shared = Arc::clone(&shared);
        workers.spawn(async move {
            for (line, request) in share {
                let done = shared.request(&request).await;
                done.with_context(|| format!("request {line} of the trace"))?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(ended) = workers.join_next().await {
        ended.context("a worker ended badly")??;
    }
    shared.progress.finish_and_clear();
    let mut tally = shared.with_tally(std::mem::take);
    tally.took = started.elapsed();
    tally.gets.sort_unstable();
    tally.sets.sort_unstable();
    Ok(tally)
}

/// The requests of each worker: all of one computation with the same worker, in their order.
fn shares(
    requests: Vec<Request>,
    workers: NonZeroUsize,
) -> anyhow::Result<Vec<Vec<(usize, Request)>>> {
    let mut shares = vec![Vec::new(); workers.get()];
    let mut worker_of = BTreeMap::new();
    for (at, request) in requests.into_iter().enumerate() {
        let fingerprint = request.fields()?.to_fingerprint_fields()?.fingerprint();
        let next = worker_of.len() % workers;
        let worker = *worker_of.entry(fingerprint.0).or_insert(next);
        if let Some(share) = shares.get_mut(worker) {
            share.push((at + 1, request));
        }
    }
    Ok(shares)
}

struct Shared {
    client: Client,
    plan: Plan,
    progress: ProgressBar,
    pace: Option<Pace>,
    /// Held for a few additions at a time, by the workers in turn.
    tally: Mutex<Tally>,
}

impl Shared {
    /// One line of the trace, to its acknowledgements.
    async fn request(&self, request: &Request) -> anyhow::Result<()> {
        if let Some(pace) = &self.pace {
            pace.wait().await;
        }
        for attempt in 1.. {
            match self.once(request).await {
                Err(problem) if attempt < TRIES && is_passing(&problem) => {
                    self.with_tally(|tally| tally.asked_again += 1);
                }
                other => {
                    other?;
                    break;
                }
            }
        }
        self.with_tally(|tally| tally.requests += 1);
        self.progress.inc(1);
        Ok(())
    }

    async fn once(&self, request: &Request) -> anyhow::Result<()> {
        let fields = request.fields()?;
        let started = Instant::now();
        let found = self.client.get(&fields, GetOptions::default()).await?;
        let took = started.elapsed();
        match found {
            Lookup::Hit(verified) => {
                let about = verified.about();
                self.acknowledged(about.request_id, "get", about.read_seq)?;
                self.with_tally(|tally| {
                    tally.gets.push(took);
                    tally.hits += 1;
                    tally.input_tokens_saved += about.input_tokens.unwrap_or(0);
                    tally.output_tokens_saved += about.output_tokens.unwrap_or(0);
                    tally.model_time_saved += Duration::from_millis(about.latency_ms.unwrap_or(0));
                });
                Ok(())
            }
            Lookup::Miss(missed) => {
                if let Some(id) = missed.entry.request_id {
                    self.acknowledged(id, "get", missed.seq)?;
                }
                self.with_tally(|tally| {
                    tally.gets.push(took);
                    tally.misses += 1;
                });
                self.infer_and_set(request).await
            }
        }
    }

    /// The recorded output stands for the inference.
    async fn infer_and_set(&self, request: &Request) -> anyhow::Result<()> {
        let model_time = Duration::from_millis(request.latency_ms);
        if self.plan.real_time {
            tokio::time::sleep(model_time).await;
        }
        let started = Instant::now();
        let options = SetOptions {
            told: told(request)?,
            ..SetOptions::default()
        };
        let fields = request.fields()?;
        match self
            .client
            .set(&fields, &request.output, self.plan.ttl, options)
            .await
        {
            Ok(attested) => {
                let recorded = &attested.recorded;
                if let Some(id) = recorded.entry.request_id {
                    self.acknowledged(id, "set", recorded.seq())?;
                }
            }
            Err(Error::Conflict { .. }) => self.with_tally(|tally| tally.conflicts += 1),
            Err(problem) => return Err(problem.into()),
        }
        self.with_tally(|tally| {
            tally.sets.push(started.elapsed());
            tally.model_time_spent += model_time;
        });
        Ok(())
    }

    fn acknowledged(&self, id: RequestId, kind: &'static str, seq: Seq) -> anyhow::Result<()> {
        if let Some(file) = &self.plan.acked {
            file.write(Acked { id, kind, seq })?;
        }
        self.with_tally(|tally| tally.acknowledged += 1);
        Ok(())
    }

    fn with_tally<T>(&self, change: impl FnOnce(&mut Tally) -> T) -> T {
        change(&mut self.tally.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What the trace says about how an output came about.
pub(crate) fn told(request: &Request) -> anyhow::Result<Told> {
    let checksum = request
        .model_checksum
        .as_deref()
        .map(TaggedDigest::parse)
        .transpose()?;
    Ok(Told {
        input_tokens: Some(request.prompt_tokens),
        output_tokens: Some(request.completion_tokens),
        latency_ms: Some(request.latency_ms),
        model_checksum: checksum,
        ..Told::default()
    })
}

/// An election, a deadline, a node that lags: asking again is right.
pub(crate) fn is_passing(problem: &anyhow::Error) -> bool {
    let error = problem.downcast_ref::<Error>();
    error.is_some_and(|error| matches!(error.fault(), Fault::World | Fault::Endpoint))
}

/// Starts at an even pace, whoever asks.
struct Pace {
    each: Duration,
    /// When the next may start; held for one addition.
    next: Mutex<Instant>,
}

impl Pace {
    fn new(rate: NonZeroU32) -> Self {
        Self {
            each: Duration::from_secs(1) / rate.get(),
            next: Mutex::new(Instant::now()),
        }
    }

    async fn wait(&self) {
        let start = {
            let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            let start = (*next).max(Instant::now());
            *next = start + self.each;
            start
        };
        tokio::time::sleep_until(start).await;
    }
}

/// `--acked`: `<request id> <get|set> <seq>` a line, handed to the system as each is acknowledged.
pub(crate) struct AckedFile(Mutex<BufWriter<File>>);

impl AckedFile {
    fn create(path: &std::path::Path) -> anyhow::Result<Self> {
        let file =
            File::create(path).with_context(|| format!("cannot write `{}`", path.display()))?;
        Ok(Self(Mutex::new(BufWriter::new(file))))
    }

    fn write(&self, acked: Acked) -> anyhow::Result<()> {
        let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        writeln!(file, "{} {} {}", acked.id, acked.kind, acked.seq)
            .and_then(|()| file.flush())
            .context("cannot write the acknowledged requests")
    }
}

impl Tally {
    /// Prompt and output tokens of the hits.
    pub(crate) fn tokens_saved(&self) -> u64 {
        self.input_tokens_saved
            .saturating_add(self.output_tokens_saved)
    }

    fn to_json(&self) -> serde_json::Value {
        json!({
            "requests": self.requests,
            "hits": self.hits,
            "misses": self.misses,
            "conflicts": self.conflicts,
            "asked_again": self.asked_again,
            "acknowledged": self.acknowledged,
            "input_tokens_saved": self.input_tokens_saved,
            "output_tokens_saved": self.output_tokens_saved,
            "model_time_saved_ms": millis(self.model_time_saved),
            "model_time_of_misses_ms": millis(self.model_time_spent),
            "get_p50_us": percentile(&self.gets, 50).as_micros(),
            "get_p99_us": percentile(&self.gets, 99).as_micros(),
            "set_p50_us": percentile(&self.sets, 50).as_micros(),
            "set_p99_us": percentile(&self.sets, 99).as_micros(),
            "took_ms": millis(self.took),
        })
    }

    fn to_text(&self) -> String {
        let mut text = Lines::default();
        text.push(format_args!(
            "requests   {}: {} hits, {} misses, {} conflicts; {} acknowledged, in {}",
            Count(self.requests),
            Count(self.hits),
            Count(self.misses),
            Count(self.conflicts),
            Count(self.acknowledged),
            Took(self.took),
        ));
        text.push(format_args!(
            "saved      {} tokens ({} prompt, {} output) and {} of model time, by the hits",
            Count(self.tokens_saved()),
            Count(self.input_tokens_saved),
            Count(self.output_tokens_saved),
            Took(self.model_time_saved),
        ));
        text.push(format_args!("get        {}", Latencies(&self.gets)));
        text.push(format_args!("set sealed {}", Latencies(&self.sets)));
        if self.asked_again > 0 {
            let again = Count(self.asked_again);
            text.push(format_args!(
                "again      {again} lines, after a call without an answer"
            ));
        }
        text.into_text()
    }
}

/// `p50 1.2 ms, p99 8.0 ms` of ascending durations.
pub(crate) struct Latencies<'a>(pub(crate) &'a [Duration]);

impl std::fmt::Display for Latencies<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.is_empty() {
            return f.write_str("none");
        }
        let at = |percent| Took(percentile(self.0, percent));
        write!(f, "p50 {}, p99 {}", at(50), at(99))
    }
}

/// The nearest rank in ascending durations; nothing of none.
fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let rank = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(rank).copied().unwrap_or_default()
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test")]
    use super::*;

    #[test]
    fn percentiles_are_values_that_occurred() {
        let sorted: Vec<Duration> = (1..=200).map(Duration::from_millis).collect();
        assert_eq!(percentile(&sorted, 50), Duration::from_millis(100));
        assert_eq!(percentile(&sorted, 99), Duration::from_millis(198));
        assert_eq!(percentile(&sorted[..1], 99), Duration::from_millis(1));
        assert_eq!(percentile(&[], 50), Duration::ZERO);
    }

    #[test]
    fn a_computation_stays_with_one_worker_in_order_and_none_is_lost() {
        let requests = trace::embedded().unwrap();
        let shares = shares(requests.clone(), NonZeroUsize::new(7).unwrap()).unwrap();
        let mut worker_of = BTreeMap::new();
        let mut lines = Vec::new();
        for (worker, share) in shares.iter().enumerate() {
            assert!(share.is_sorted_by_key(|(line, _)| *line));
            assert!(
                share.len() > 40,
                "worker {worker} has {} requests",
                share.len()
            );
            for (line, request) in share {
                let fields = request.fields().unwrap().to_fingerprint_fields().unwrap();
                assert_eq!(
                    *worker_of.entry(fields.fingerprint().0).or_insert(worker),
                    worker
                );
                lines.push(*line);
            }
        }
        lines.sort_unstable();
        assert_eq!(lines, (1..=requests.len()).collect::<Vec<_>>());
    }
}
