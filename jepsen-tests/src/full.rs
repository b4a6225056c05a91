//! The disk of all nodes runs full, again and again, on a small file system of its own.
//!
//! ```text
//! load runs -> little is left: refused by type, nothing ends -> room again: served
//!   -> not a byte is left, at a random moment: who writes ends -> a start finds no room
//!   -> room again: all start, serve, settle -> checked as behind a power cut
//! ```

use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use candor_client::{Client, SetOptions};
use candor_ledger::policy::Policy;
use candor_node::wal::EXIT_DISK;
use rand::rngs::Xoshiro256PlusPlus as Rng;
use rand::{RngExt as _, SeedableRng as _};

use crate::power::{Checked, Checker, Past};
use crate::real::loop_disk::LoopDisk;
use crate::real::{Cluster, PATIENCE, Setup, folders};
use crate::workload::{Load, TTL, fields};

/// Room for three nodes and what they keep free; the rest is ballast.
const DISK_BYTES: u64 = 2 << 30;
const RESERVE_BYTES: u64 = 64 << 20;
/// Left when little is left: below the reserve, above the quarter of it.
const LITTLE_BYTES: u64 = 32 << 20;
/// Left before the disk is filled to its end: a node looks twice a second, and this is written sooner.
const BEFORE_BYTES: u64 = 72 << 20;
const CHUNK: usize = 1 << 20;
/// Not a byte is left for so long.
const FULL_FOR: Duration = Duration::from_secs(3);
/// Requests that must be served before and behind each fault.
const SERVED: u64 = 12;
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What is done.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How often the disk runs full.
    pub rounds: u32,
    /// Chooses the moments.
    pub seed: u64,
    /// What the nodes run.
    pub program: PathBuf,
}

/// One round, and what was found behind it.
#[derive(Clone, Copy, Debug)]
pub struct Round {
    /// Nodes that ended because a write found no room.
    pub ended: u64,
    /// Nodes that could not start on the full disk, and said why.
    pub not_started: u64,
    /// What was checked.
    pub checked: Checked,
    /// The whole round.
    pub took: Duration,
}

/// Fills the disk as often as planned; tells of each round.
///
/// # Errors
/// Says which promise was broken, or what the harness could not do; the nodes' logs are named then.
pub async fn run(plan: &Plan, mut tell: impl FnMut(&Round)) -> anyhow::Result<()> {
    let folder = tempfile::Builder::new().prefix("candor-full-").tempdir()?;
    // Dropped in the opposite order: nodes end before their file system does.
    let disk = LoopDisk::make(folder.path(), DISK_BYTES)?;
    let reserve = format!("\n[limits]\ndisk_reserve_bytes = {RESERVE_BYTES}\n");
    let setup = Setup::new(&plan.program)
        .folders_in(disk.path())
        .sections(&reserve);
    let mut cluster = setup.found().await?;
    let policy = Policy::parse(cluster.policy())?;
    let mut checker = Checker::new(&policy, Past::new(), true);
    let mut rng = Rng::seed_from_u64(plan.seed);
    for number in 0..plan.rounds {
        let ballast = Ballast(disk.path().join("ballast"));
        let round = round(&mut cluster, &ballast, &mut checker, &mut rng, number).await;
        let round = round.with_context(|| format!("round {number}"));
        match round {
            Ok(round) => tell(&round),
            Err(problem) => {
                // What the nodes had on disk goes with the file system.
                let kept = cluster.keep_folder();
                folders::copy(disk.path(), &kept.join("disk"))?;
                eprintln!("logs and folders of the nodes stay: {}", kept.display());
                return Err(problem);
            }
        }
    }
    checker.finish()
}

async fn round(
    cluster: &mut Cluster,
    ballast: &Ballast,
    checker: &mut Checker<'_>,
    rng: &mut Rng,
    number: u32,
) -> anyhow::Result<Round> {
    let began = Instant::now();
    let clients = crate::power::clients(cluster)?;
    let mut load = Load::start(&format!("round {number}"), &clients, 4);
    load.wait_for(SERVED).await?;

    // 1. Little is left: a typed refusal, and nobody ends.
    ballast.leave(LITTLE_BYTES)?;
    all_say(cluster, "nearly full").await?;
    refused_by_type(cluster, number).await?;
    ballast.remove()?;
    load.wait_for(SERVED).await?;

    // 2. Nothing is left: who writes ends, by its own word.
    ballast.leave(BEFORE_BYTES)?;
    tokio::time::sleep(Duration::from_millis(rng.random_range(600..2_000))).await;
    ballast.fill_for(FULL_FOR)?;
    let ended = ended(cluster)?;
    let mut not_started = 0;
    for node in &ended {
        not_started += u64::from(!starts_on_full(cluster, *node, ballast).await?);
    }

    // 3. Room again: all serve, and hold what was promised.
    ballast.remove()?;
    cluster.start_all().await?;
    load.wait_for(SERVED).await?;
    checker.acknowledged(load.finish().await?);
    cluster.settle().await?;
    Ok(Round {
        ended: u64::try_from(ended.len())?,
        not_started,
        checked: checker.check(cluster)?,
        took: began.elapsed(),
    })
}

async fn all_say(cluster: &Cluster, what: &str) -> anyhow::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    for node in cluster.nodes() {
        loop {
            let status = cluster.status(node).await;
            if status.is_ok_and(|status| status.trouble.concat().contains(what)) {
                break;
            }
            ensure!(
                Instant::now() < deadline,
                "node {node} does not say that it is {what}"
            );
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
    Ok(())
}

/// A client that does not try again learns why.
async fn refused_by_type(cluster: &Cluster, number: u32) -> anyhow::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    let settings = cluster.client_builder("service-b", 1)?;
    let client: Client = settings.retries_max(0).build()?;
    let asked = fields(&format!("refused {number}"));
    loop {
        let options = SetOptions::default();
        let Err(error) = client.set(&asked, b"output", TTL, options).await else {
            bail!("a set was taken on a disk that is nearly full");
        };
        if error.to_string().contains("STORAGE_FULL") {
            return Ok(());
        }
        // Leadership goes round once.
        ensure!(Instant::now() < deadline, "refused otherwise: {error}");
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Who has ended: each for want of room, as it says.
fn ended(cluster: &mut Cluster) -> anyhow::Result<Vec<u64>> {
    let mut all = Vec::new();
    for node in cluster.nodes() {
        if let Some((code, log)) = cluster.ended(node)? {
            ensure!(
                code == Some(EXIT_DISK) && log.contains("No space left"),
                "node {node} ended with {code:?}:\n{log}"
            );
            all.push(node);
        }
    }
    Ok(all)
}

/// A start without room ends and says why, or goes on and takes nothing.
async fn starts_on_full(
    cluster: &mut Cluster,
    node: u64,
    ballast: &Ballast,
) -> anyhow::Result<bool> {
    // What the nodes have removed meanwhile is room.
    ballast.fill()?;
    cluster.spawn(node)?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some((code, log)) = cluster.ended(node)? {
            ensure!(
                code.is_some() && log.contains("No space left"),
                "node {node} did not start, with {code:?}:\n{log}"
            );
            return Ok(false);
        }
        if cluster.status(node).await.is_ok() {
            return Ok(true);
        }
        ensure!(
            Instant::now() < deadline,
            "node {node} neither starts nor ends"
        );
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// A file that takes room away.
struct Ballast(PathBuf);

impl Ballast {
    /// Grows until so many bytes are free, as a node counts them.
    fn leave(&self, bytes: u64) -> anyhow::Result<()> {
        let mut file = self.open()?;
        while free(self.folder())? > bytes + u64::try_from(CHUNK)? {
            file.write_all(&vec![1; CHUNK])?;
            file.sync_data()?;
        }
        Ok(())
    }

    /// Takes all there is; what others give back meanwhile too.
    fn fill_for(&self, time: Duration) -> anyhow::Result<()> {
        let until = Instant::now() + time;
        while Instant::now() < until {
            self.fill()?;
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    fn fill(&self) -> anyhow::Result<()> {
        let mut file = self.open()?;
        let mut len = CHUNK;
        while len > 0 {
            match file.write_all(&vec![1; len]) {
                Ok(()) => {}
                Err(full) if full.kind() == ErrorKind::StorageFull => len /= 16,
                Err(other) => return Err(other.into()),
            }
        }
        Ok(())
    }

    fn remove(&self) -> anyhow::Result<()> {
        Ok(fs::remove_file(&self.0)?)
    }

    fn open(&self) -> anyhow::Result<File> {
        let file = File::options().create(true).append(true).open(&self.0);
        file.with_context(|| self.0.display().to_string())
    }

    fn folder(&self) -> &Path {
        self.0.parent().unwrap_or(&self.0)
    }
}

fn free(folder: &Path) -> anyhow::Result<u64> {
    use candor_node::env::{Disk as _, real::RealDisk};
    Ok(RealDisk::open(folder)?.free_bytes()?)
}
