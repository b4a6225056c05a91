//! A long life in an hour: sustained load with purges of the Raft log, then a node that was away for nearly
//! all of it and a new one catch up by verified files, from sources that lie, under leaders that die.
//!
//! Five nodes found the cluster: [`ABSENT`] is killed early; [`LIARS`] lie; [`HONEST`] leads first. With
//! one of the others killed three are left, a majority. The verifier rests, so that lies stay.

mod catching;
mod growing;
mod lies;
mod load;
mod reckoning;
mod samples;
mod strain;

use std::time::Duration;

use anyhow::{Context as _, ensure};
use candor_client::Client;
use tokio::time::Instant;

pub use self::catching::{CaughtUp, Kill};
pub use self::growing::{GROWING_NODES, Grown, Latency, grow};
pub use self::lies::LIARS;
pub use self::load::{Asks, Counts, Pace, new_name};
pub use self::reckoning::Counted;
pub use self::samples::Spread;
pub use self::strain::Strain;

use self::lies::{Lies, NAMED};
use self::strain::Run;
use crate::real::{Cluster, Same};

/// Nodes that found the cluster.
pub const NODES: u64 = 5;
const HONEST: u64 = 4;
const ABSENT: u64 = 5;
/// What every node is told beside its purge size: lies stay until they are taken back.
pub const SECTIONS: &str = "\n[verifier]\npause_s = 86400\nheal = false\n";
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// A checkpoint this old still serves: nothing is sealed while a leader is dead.
const MAX_AGE: Duration = Duration::from_mins(10);
const CLIENT_TIMEOUT: Duration = Duration::from_secs(40);
/// While nodes catch up.
const GENTLE: Pace = Pace {
    asks: Asks::Known,
    batch: 4,
    rest: Duration::from_millis(100),
};

/// What is done.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The load until nodes catch up.
    pub strain: Strain,
    /// Entries at which one node goes away.
    pub absent_after: u64,
    /// Leaders killed during each fetch.
    pub kills: usize,
}

/// What was seen.
#[derive(Debug)]
pub struct Report {
    /// How long the sustained load lasted.
    pub sustained: Duration,
    /// Entries by then.
    pub entries: u64,
    /// What was acknowledged by then.
    pub counts: Counts,
    /// Raft log on disk by then, and resident memory, of each node that ran: node, log, memory.
    pub nodes: Vec<(u64, Spread, Spread)>,
    /// The log must stay below.
    pub bound_bytes: u64,
    /// Times that the leader has purged by then.
    pub purges: usize,
    /// Raft log on disk afterwards, most of each node.
    pub log_max_later: u64,
    /// The lies.
    pub lies: [String; 3],
    /// The node that was away, and the new one.
    pub caught_up: [CaughtUp; 2],
    /// The same at the end.
    pub counts_in_all: Counts,
    /// Entries of the ledger against what was acknowledged.
    pub counted: Counted,
    /// The ledgers compared.
    pub same: Same,
}

/// Runs the plan on a fresh cluster of [`NODES`] nodes with [`SECTIONS`].
///
/// # Errors
/// Says which of the promises was broken, or what the harness could not do.
pub async fn run(cluster: &mut Cluster, plan: &Plan) -> anyhow::Result<Report> {
    let clients = clients(cluster)?;
    lead(cluster, HONEST).await?;
    let strain = &plan.strain;
    let mut run = Run::begin(cluster, strain, &clients, HONEST).await?;

    // 1. One goes away early; the others work on, and purge.
    run.grow(Duration::ZERO, plan.absent_after).await?;
    let (away_at, away_index) = run.goes_away().await?;
    run.grow(strain.duration, strain.entries).await?;
    let (sustained, counts) = (run.samples.elapsed(), run.load.counts());
    let others = |node: u64| node != ABSENT;
    let entries = run.cluster.status(HONEST).await?.ledger_size;
    let nodes = run.spreads(0, others);
    let purges = run.check_log(&nodes, away_index).await?;

    // 2. It comes back, and a new one joins; both ask three liars first.
    let (phase, folder) = (run.samples.count(), |node| run.cluster.folder(node));
    let lies = Lies::plant(folder, away_at, entries)?;
    run.load.set_pace(GENTLE);
    run.lead_honestly().await?;
    println!("node {ABSENT}, away since entry {away_at}, comes back");
    run.cluster.spawn(ABSENT)?;
    let returned = run.catches_up(ABSENT, away_at, plan.kills).await?;
    run.check_named(ABSENT)?;
    run.all_answer().await?;
    run.lead_honestly().await?;
    let joining = run.cluster.make_node()?;
    println!("node {joining} joins");
    run.cluster.start(joining).await?;
    run.cluster.admit(joining).await?;
    let joined = run.catches_up(joining, 0, plan.kills).await?;
    run.check_named(joining)?;
    run.all_answer().await?;
    run.cluster.promote(joining).await?;
    let later = run.spreads(phase, others);
    let log_max_later = later.iter().map(|(_, log, _)| log.max).max();

    // 3. Everything is put back and counted.
    let Run { cluster, load, .. } = run;
    let counts_in_all = load.counts();
    let acknowledged = load.finish().await?;
    let told = lies.told.clone();
    lies.undo()?;
    for liar in LIARS {
        cluster.stop(liar).await?;
        cluster.start_within(liar, strain.patience).await?;
    }
    cluster.settle().await?;
    let same = cluster.same_ledgers()?;
    let ledger = cluster.folder(joining).join("ledger");
    let counted = reckoning::count(&ledger, acknowledged)?;
    Ok(Report {
        sustained,
        entries,
        counts,
        nodes,
        bound_bytes: strain.log_bound(),
        purges,
        log_max_later: log_max_later.unwrap_or_default(),
        lies: told,
        caught_up: [returned, joined],
        counts_in_all,
        counted,
        same,
    })
}

impl Run<'_> {
    /// Kills the node that will be away; returns how many entries it has, and its last log index.
    async fn goes_away(&mut self) -> anyhow::Result<(u64, u64)> {
        let status = self.cluster.status(ABSENT).await?;
        self.cluster.kill(ABSENT)?;
        println!("node {ABSENT} goes away at {} entries", status.ledger_size);
        Ok((status.ledger_size, status.last_log_index))
    }

    /// A liar that leads would be killed, and a start may find its lies.
    async fn lead_honestly(&mut self) -> anyhow::Result<()> {
        lead(self.cluster, HONEST).await
    }

    /// Waits until all that were killed are back.
    async fn all_answer(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + self.strain.patience;
        for node in self.cluster.nodes() {
            let answers = |status: &candor_client::operator::messages::GetStatusResponse| {
                status.leader_id.is_some()
            };
            while !self
                .cluster
                .status(node)
                .await
                .is_ok_and(|status| answers(&status))
            {
                ensure!(Instant::now() < deadline, "node {node} does not come back");
                self.breathe()?;
                tokio::time::sleep(LOOK_EVERY).await;
            }
        }
        Ok(())
    }

    fn check_named(&self, node: u64) -> anyhow::Result<()> {
        let log = self.cluster.log_text(node);
        for named in NAMED {
            ensure!(log.contains(named), "node {node} did not log: {named}");
        }
        Ok(())
    }
}

/// Hands leadership to a node.
async fn lead(cluster: &Cluster, node: u64) -> anyhow::Result<()> {
    let deadline = Instant::now() + crate::real::PATIENCE;
    while cluster.leader().await? != node {
        ensure!(Instant::now() < deadline, "node {node} does not lead");
        let leader = cluster.operator(cluster.leader().await?)?;
        // Refused while the node lags; then again.
        let _ = leader.transfer_leadership(Some(node)).await;
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(())
}

fn clients(cluster: &Cluster) -> anyhow::Result<Vec<Client>> {
    let nodes = cluster.nodes().filter(|node| *node != ABSENT);
    nodes
        .map(|first| {
            let builder = cluster.client_builder("service-a", first)?;
            let builder = builder.timeout(CLIENT_TIMEOUT).max_age(MAX_AGE);
            builder.build().context("a client")
        })
        .collect()
}
