//! Closed-loop load through the SDK: every get is verified and has its entry on a quorum's disks
//! before it counts; every set is sealed.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use candor_client::{Client, FingerprintFields};
use candor_jepsen::real::{Cluster, Setup, folders};
use candor_ledger::digest::{TaggedDigest, sha3_256};
use clap::Args;

/// Connections to share: more clients than this take turns on them.
const CONNECTIONS_MAX: usize = 9;
/// Distinct results that gets are spread over.
const RESULTS: u64 = 64;
const TTL: Duration = Duration::from_hours(24);
/// What the bare disk is asked for, as a measure for the rest.
const DISK_WRITES: u32 = 500;
const DISK_BLOCK: [u8; 4_096] = [0; 4_096];

#[derive(Args)]
pub(crate) struct Arguments {
    /// Measure a running cluster with these connection settings, as `candor dev` writes them. Without
    /// it three nodes are started for the purpose, in a temporary folder ($TMPDIR), and what they
    /// write is counted too.
    #[arg(long)]
    config: Option<PathBuf>,
    /// Numbers of clients that ask at once.
    #[arg(long, value_delimiter = ',', default_value = "1,16,64,256")]
    clients: Vec<usize>,
    /// Seconds for each number of clients.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Bytes of a value.
    #[arg(long, default_value_t = 1_024)]
    value_bytes: usize,
}

pub(crate) async fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let own = match arguments.config {
        Some(_) => None,
        None => Some(Setup::new(std::env::current_exe()?).found().await?),
    };
    if let Some(cluster) = &own {
        let rate = disk_rate(cluster.root())?;
        println!("bare disk: {rate:.0} appends of 4 KiB with fdatasync a second, one at a time");
    }
    let clients = clients(arguments, own.as_ref())?;
    let value = vec![b'x'; arguments.value_bytes];
    let first = clients.first().context("a client")?;
    for number in 0..RESULTS {
        first
            .set_attested(&fields("shared", number), &value, TTL)
            .await?;
    }
    for (work, name) in [(Work::Get, "gets/s"), (Work::Set(value), "sets/s")] {
        println!(
            "{:>8} {name:>9} {:>8} {:>8} {:>8}  one node writes",
            "clients", "p50 ms", "p99 ms", "ratio"
        );
        let mut base = None;
        for &count in &arguments.clients {
            let before = Written::by(own.as_ref()).await?;
            let lap = lap(&clients, count, arguments.seconds, &work).await?;
            let after = Written::by(own.as_ref()).await?;
            let ratio = lap.rate / *base.get_or_insert(lap.rate);
            let written = before
                .zip(after)
                .map(|(before, after)| after.since(&before));
            lap.print(count, ratio, written.as_ref());
        }
    }
    Ok(())
}

#[derive(Clone)]
enum Work {
    Get,
    Set(Vec<u8>),
}

struct Lap {
    done: u64,
    rate: f64,
    sorted: Vec<Duration>,
}

impl Lap {
    fn print(&self, clients: usize, ratio: f64, written: Option<&Written>) {
        let at = |percent: usize| {
            let index = self.sorted.len().saturating_sub(1) * percent / 100;
            self.sorted
                .get(index)
                .map_or(0.0, |taken| taken.as_secs_f64() * 1e3)
        };
        println!(
            "{clients:>8} {:>9.0} {:>8.2} {:>8.2} {ratio:>8.2}  {}",
            self.rate,
            at(50),
            at(99),
            written.map_or(String::new(), |written| written.per(self.done))
        );
    }
}

/// What one node wrote: counters since its start, bytes of its folders.
struct Written {
    syncs: u64,
    entries: u64,
    seals: u64,
    lines: u64,
    tree: u64,
    notes: u64,
    values: u64,
    log: u64,
}

impl Written {
    /// By the leader, which does the most; `None` where the folders are not ours to read.
    async fn by(cluster: Option<&Cluster>) -> anyhow::Result<Option<Self>> {
        let Some(cluster) = cluster else {
            return Ok(None);
        };
        let leader = cluster.leader().await?;
        let status = cluster.status(leader).await?;
        let bytes = |name: &str| bytes_below(&cluster.folder(leader).join(name));
        Ok(Some(Self {
            syncs: status.log_syncs,
            entries: status.entries_appended,
            seals: status.checkpoints_applied,
            lines: bytes("ledger/entries")?,
            tree: bytes("ledger/tree")?,
            notes: bytes("ledger/checkpoints")?,
            values: bytes("values")?,
            log: bytes("raft")?,
        }))
    }

    fn since(&self, before: &Self) -> Self {
        Self {
            syncs: self.syncs.saturating_sub(before.syncs),
            entries: self.entries.saturating_sub(before.entries),
            seals: self.seals.saturating_sub(before.seals),
            lines: self.lines.saturating_sub(before.lines),
            tree: self.tree.saturating_sub(before.tree),
            notes: self.notes.saturating_sub(before.notes),
            values: self.values.saturating_sub(before.values),
            log: self.log.saturating_sub(before.log),
        }
    }

    fn per(&self, operations: u64) -> String {
        let each = |bytes: u64, count: u64| bytes / count.max(1);
        format!(
            "{} syncs per 1,000; {} B an entry, {} B tree; {} B a seal ({} seals); per operation {} B values, {} B raft log",
            each(self.syncs * 1_000, operations),
            each(self.lines, self.entries),
            each(self.tree, self.entries),
            each(self.notes, self.seals),
            self.seals,
            each(self.values, operations),
            each(self.log, operations)
        )
    }
}

async fn lap(
    clients: &[Arc<Client>],
    count: usize,
    seconds: u64,
    work: &Work,
) -> anyhow::Result<Lap> {
    let started = Instant::now();
    let until = started + Duration::from_secs(seconds);
    let tasks: Vec<_> = clients
        .iter()
        .cycle()
        .take(count)
        .cloned()
        .enumerate()
        .map(|(number, client)| tokio::spawn(one(client, number, until, work.clone())))
        .collect();
    let mut sorted = Vec::new();
    for task in tasks {
        sorted.extend(task.await??);
    }
    let elapsed = started.elapsed().as_secs_f64();
    sorted.sort_unstable();
    let done = u64::try_from(sorted.len())?;
    let rate = f64::from(u32::try_from(sorted.len())?) / elapsed;
    Ok(Lap { done, rate, sorted })
}

async fn one(
    client: Arc<Client>,
    number: usize,
    until: Instant,
    work: Work,
) -> anyhow::Result<Vec<Duration>> {
    let mut taken = Vec::new();
    let lane = format!("lane-{number}-{until:?}");
    let mut turn = u64::try_from(number)?;
    while Instant::now() < until {
        let begun = Instant::now();
        match &work {
            Work::Get => {
                let found: Option<Vec<u8>> = client
                    .get_verified(&fields("shared", turn % RESULTS))
                    .await?;
                anyhow::ensure!(found.is_some(), "a result that was set is not found");
            }
            Work::Set(value) => {
                client
                    .set_attested(&fields(&lane, turn), value, TTL)
                    .await?;
            }
        }
        taken.push(begun.elapsed());
        turn += 1;
    }
    Ok(taken)
}

/// Connections that start at different nodes: most requests arrive at a follower and are forwarded.
fn clients(arguments: &Arguments, cluster: Option<&Cluster>) -> anyhow::Result<Vec<Arc<Client>>> {
    let most = arguments.clients.iter().copied().max().unwrap_or(1);
    let one = |number: usize| match (&arguments.config, cluster) {
        (Some(config), _) => {
            Client::from_config(config).with_context(|| format!("`{}`", config.display()))
        }
        (None, Some(cluster)) => {
            let nodes = u64::try_from(cluster.nodes().count())?;
            let first = u64::try_from(number)? % nodes + 1;
            Ok(cluster.client_builder("service-a", first)?.build()?)
        }
        (None, None) => anyhow::bail!("no cluster to measure"),
    };
    (0..most.min(CONNECTIONS_MAX))
        .map(|number| one(number).map(Arc::new))
        .collect()
}

fn fields(lane: &str, number: u64) -> FingerprintFields {
    let prompt = TaggedDigest::sha3(sha3_256(format!("{lane}/{number}").as_bytes()));
    FingerprintFields {
        model_name: "bench".to_owned(),
        model_version: "1".to_owned(),
        prompt_hash: prompt.to_string(),
        temperature: "0".to_owned(),
        top_p: "1".to_owned(),
        system_prompt_hash: String::new(),
        hardware_class: "bench".to_owned(),
    }
}

/// Synced appends a second of the disk below a folder, with nothing of ours in between.
fn disk_rate(folder: &Path) -> anyhow::Result<f64> {
    let path = folder.join("disk-rate");
    let mut file = File::create(&path)?;
    let started = Instant::now();
    for _ in 0..DISK_WRITES {
        file.write_all(&DISK_BLOCK)?;
        file.sync_data()?;
    }
    let taken = started.elapsed().as_secs_f64();
    std::fs::remove_file(&path)?;
    Ok(f64::from(DISK_WRITES) / taken)
}

fn bytes_below(folder: &Path) -> anyhow::Result<u64> {
    let mut bytes = 0;
    for file in folders::files_below(folder)? {
        bytes += std::fs::metadata(folder.join(file))?.len();
    }
    Ok(bytes)
}
