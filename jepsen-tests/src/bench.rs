//! Closed-loop load through the SDK: every get is verified and has its entry on a quorum's disks
//! before it counts; every set is sealed.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use candor_client::{Client, FingerprintFields, Operator};
use candor_ledger::digest::{TaggedDigest, sha3_256};
use clap::Args;

/// Connections to share: more clients than this take turns on them.
const CONNECTIONS_MAX: usize = 8;
/// Distinct results that gets are spread over.
const RESULTS: u64 = 64;
const TTL: Duration = Duration::from_hours(24);

#[derive(Args)]
pub(crate) struct Arguments {
    /// Connection settings, as `candor dev` writes them.
    #[arg(long, default_value = ".candor-dev/client.toml")]
    config: PathBuf,
    /// Numbers of clients that ask at once.
    #[arg(long, value_delimiter = ',', default_value = "1,16,64,256")]
    clients: Vec<usize>,
    /// Seconds for each number of clients.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Bytes of a value.
    #[arg(long, default_value_t = 1_024)]
    value_bytes: usize,
    /// A node whose counters are read before and after, for fsyncs and entries.
    #[arg(long, requires = "operator_token")]
    node: Option<String>,
    /// File with an operator's token for `--node`.
    #[arg(long)]
    operator_token: Option<PathBuf>,
}

pub(crate) async fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let clients: Vec<Arc<Client>> = (0..CONNECTIONS_MAX)
        .map(|_| Client::from_config(&arguments.config).map(Arc::new))
        .collect::<Result<_, _>>()
        .with_context(|| format!("`{}`", arguments.config.display()))?;
    let operator = operator(arguments)?;
    let value = vec![b'x'; arguments.value_bytes];
    let first = clients.first().context("a client")?;
    for number in 0..RESULTS {
        first
            .set_attested(&fields("shared", number), &value, TTL)
            .await?;
    }
    println!(
        "{:>8} {:>10} {:>9} {:>9} {:>9}",
        "clients", "gets/s", "p50 ms", "p99 ms", "ratio"
    );
    let mut base = None;
    for &count in &arguments.clients {
        let before = counters(operator.as_ref()).await?;
        let lap = lap(&clients, count, arguments.seconds, Work::Get).await?;
        let ratio = lap.rate / *base.get_or_insert(lap.rate);
        lap.print(count, &format!("{ratio:.2}"));
        print_counters(before, counters(operator.as_ref()).await?, lap.done);
    }
    println!(
        "{:>8} {:>10} {:>9} {:>9}",
        "clients", "sets/s", "p50 ms", "p99 ms"
    );
    for &count in &arguments.clients {
        let before = counters(operator.as_ref()).await?;
        let lap = lap(&clients, count, arguments.seconds, Work::Set(value.clone())).await?;
        lap.print(count, "");
        print_counters(before, counters(operator.as_ref()).await?, lap.done);
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
    fn print(&self, clients: usize, ratio: &str) {
        let at = |percent: usize| {
            let index = self.sorted.len().saturating_sub(1) * percent / 100;
            self.sorted
                .get(index)
                .map_or(0.0, |taken| taken.as_secs_f64() * 1e3)
        };
        println!(
            "{clients:>8} {:>10.0} {:>9.2} {:>9.2} {ratio:>9}",
            self.rate,
            at(50),
            at(99)
        );
    }
}

async fn lap(
    clients: &[Arc<Client>],
    count: usize,
    seconds: u64,
    work: Work,
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

fn operator(arguments: &Arguments) -> anyhow::Result<Option<Operator>> {
    let (Some(node), Some(file)) = (&arguments.node, &arguments.operator_token) else {
        return Ok(None);
    };
    let token = std::fs::read_to_string(file)
        .with_context(|| format!("cannot read `{}`", file.display()))?;
    Ok(Some(Operator::new(
        node,
        Some(token.trim()),
        Duration::from_secs(10),
    )?))
}

/// Syncs of the whole folder, entries and checkpoints of one node since it started.
async fn counters(operator: Option<&Operator>) -> anyhow::Result<Option<[u64; 3]>> {
    let Some(operator) = operator else {
        return Ok(None);
    };
    let status = operator.status().await?;
    Ok(Some([
        status.log_syncs,
        status.entries_appended,
        status.checkpoints_applied,
    ]))
}

fn print_counters(before: Option<[u64; 3]>, after: Option<[u64; 3]>, done: u64) {
    let (Some(before), Some(after)) = (before, after) else {
        return;
    };
    let [syncs, entries, seals] =
        [0, 1, 2].map(|at: usize| after.get(at).unwrap_or(&0) - before.get(at).unwrap_or(&0));
    println!(
        "         {} file syncs per 1,000 operations, {entries} entries, {seals} seals",
        syncs * 1_000 / done.max(1)
    );
}
