//! Three nodes grow to many subjects under sustained load: memory, Raft log, start, latency.

use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use candor_client::{Client, GetOptions, Lookup};
use candor_ledger::ids::RequestId;
use tokio::time::Instant;

use super::load::{Counts, new_name};
use super::reckoning::{self, Counted};
use super::samples::Spread;
use super::strain::{Run, Strain};
use crate::real::{Cluster, Same};
use crate::workload::fields;

/// Nodes that found the cluster.
pub const GROWING_NODES: u64 = 3;
/// Leads and is asked for latencies.
const FIRST: u64 = 1;
/// Is killed and started again when all is there.
const KILLED: u64 = 3;
/// Memory is held against that at this share of the entries.
const MARK_PERCENT: u64 = 30;
/// What it may be then, in percent.
const FLAT_PERCENT: u64 = 110;
/// Gets behind each line of latencies, one after another.
const LOOKUPS: u64 = 500;
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What was seen.
#[derive(Debug)]
pub struct Grown {
    /// How long the sustained load lasted.
    pub sustained: Duration,
    /// Entries by then.
    pub entries: u64,
    /// Subjects by then that one get each has made.
    pub subjects: u64,
    /// What was acknowledged by then.
    pub counts: Counts,
    /// Raft log on disk and resident memory of each node: node, log, memory.
    pub nodes: Vec<(u64, Spread, Spread)>,
    /// Most resident memory until three tenths of the entries, and afterwards: node, both.
    pub flat: Vec<(u64, u64, u64)>,
    /// Times that the leader has purged by then.
    pub purges: usize,
    /// From the start of a killed node until it was ready again.
    pub started: Duration,
    /// Single gets by one client, one after another.
    pub latencies: [Latency; 3],
    /// Entries of the ledger against what was acknowledged.
    pub counted: Counted,
    /// The ledgers compared.
    pub same: Same,
}

/// How long gets took.
#[derive(Clone, Copy, Debug, Default)]
pub struct Latency {
    /// Half took less.
    pub p50: Duration,
    /// One in a hundred took longer.
    pub p99: Duration,
}

/// Grows a fresh cluster of [`GROWING_NODES`]; all nodes are stopped afterwards.
///
/// # Errors
/// Says which of the promises was broken, or what the harness could not do.
pub async fn grow(cluster: &mut Cluster, strain: &Strain) -> anyhow::Result<Grown> {
    let clients: Vec<_> = (1..=GROWING_NODES)
        .map(|node| {
            cluster
                .client_builder("service-a", node)?
                .build()
                .context("a client")
        })
        .collect::<anyhow::Result<_>>()?;
    super::lead(cluster, FIRST).await?;
    let mut run = Run::begin(cluster, strain, &clients, FIRST).await?;

    // 1. Load, until all is there.
    let mark = strain.entries * MARK_PERCENT / 100;
    run.grow(Duration::ZERO, mark).await?;
    let (looks, before) = (run.samples.count(), run.spreads(0, |_| true));
    run.grow(strain.duration, strain.entries).await?;
    let (sustained, counts) = (run.samples.elapsed(), run.load.counts());
    let nodes = run.spreads(0, |_| true);
    let later = run.spreads(looks, |_| true);
    let purges = run.check_log(&nodes, 0).await?;
    let both = before.iter().zip(&later);
    let flat = both
        .map(|((node, _, before), (_, _, after))| (*node, before.max, after.max))
        .collect();
    let subjects = run.load.asked_new();
    let Run { cluster, load, .. } = run;
    let mut acknowledged = load.finish().await?;
    let entries = cluster.status(FIRST).await?.ledger_size;

    // 2. A kill and a start; single gets.
    let started = starts(cluster, strain.patience).await?;
    super::lead(cluster, FIRST).await?;
    let client = clients.first().context("a client")?;
    let spread = |at: u64| at.wrapping_mul(0x9e37_79b9_7f4a_7c15) % subjects.max(1);
    let latencies = [
        lookups(client, &mut acknowledged, |at| new_name(spread(at))).await?,
        lookups(client, &mut acknowledged, |at| new_name(spread(at % 10))).await?,
        lookups(client, &mut acknowledged, |at| format!("never/{at}")).await?,
    ];

    // 3. Everything is counted.
    cluster.settle().await?;
    cluster.stop_all().await?;
    let same = cluster.same_ledgers()?;
    let counted = reckoning::count(&cluster.folder(KILLED).join("ledger"), acknowledged)?;
    Ok(Grown {
        sustained,
        entries,
        subjects,
        counts,
        nodes,
        flat,
        purges,
        started,
        latencies,
        counted,
        same,
    })
}

impl Grown {
    /// Whether memory stayed flat from three tenths of the entries on.
    ///
    /// # Errors
    /// Names the node whose memory grew.
    pub fn check_flat(&self) -> anyhow::Result<()> {
        for (node, before, most) in &self.flat {
            ensure!(
                most * 100 <= before * FLAT_PERCENT,
                "the memory of node {node} grew from {before} to {most} bytes"
            );
        }
        Ok(())
    }
}

async fn starts(cluster: &mut Cluster, patience: Duration) -> anyhow::Result<Duration> {
    cluster.kill(KILLED)?;
    let began = Instant::now();
    cluster.spawn(KILLED)?;
    loop {
        let answer = cluster.http_get(KILLED, "/readyz");
        if answer.is_ok_and(|answer| answer.starts_with("HTTP/1.1 200")) {
            return Ok(began.elapsed());
        }
        ensure!(began.elapsed() < patience, "node {KILLED} does not start");
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn lookups(
    client: &Client,
    acknowledged: &mut Vec<RequestId>,
    name: impl Fn(u64) -> String,
) -> anyhow::Result<Latency> {
    let mut took = Vec::new();
    for at in 0..LOOKUPS {
        let asked = fields(&name(at));
        let began = Instant::now();
        let found = client.get(&asked, GetOptions::default()).await?;
        took.push(began.elapsed());
        let Lookup::Miss(missed) = found else {
            bail!("nobody set it");
        };
        acknowledged.extend(missed.entry.request_id);
    }
    took.sort_unstable();
    let at = |percent: usize| took.get(took.len() * percent / 100).copied();
    Ok(Latency {
        p50: at(50).unwrap_or_default(),
        p99: at(99).unwrap_or_default(),
    })
}
