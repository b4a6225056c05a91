//! `candor-jepsen grow`: the figures of one run, as `node/ARCHITECTURE.md` has them.

use std::path::PathBuf;
use std::time::Duration;

use candor_client::Fields as _;
use candor_jepsen::long::{self, Asks, GROWING_NODES, Grown, Pace, Strain, new_name};
use candor_jepsen::real::{Cluster, Setup};
use candor_jepsen::workload::fields;
use candor_node::config::{StateEngine, StateSection};
use clap::Args;

use super::{mib, print_spreads, state};

/// Its walk over the state fills the engine's cache, which single new subjects never ask: passes this often
/// bring memory to where it stays before it is held against anything.
const VERIFIER_PAUSE_S: u64 = 60;

#[derive(Args)]
pub(crate) struct Arguments {
    /// Least minutes of sustained load.
    #[arg(long, default_value_t = 30)]
    minutes: u64,
    /// Least entries in the ledger; nearly each makes a subject.
    #[arg(long, default_value_t = 10_200_000)]
    entries: u64,
    /// `raft.purge_bytes` of every node, in MiB.
    #[arg(long, default_value_t = 32)]
    purge_mib: u64,
    /// `state.memory_bytes` of every node, in MiB.
    #[arg(long, default_value_t = 512)]
    memory_mib: usize,
    /// Clients that ask at once.
    #[arg(long, default_value_t = 16)]
    workers: u64,
    /// Gets of one call, each with an entry of its own.
    #[arg(long, default_value_t = 256)]
    batch: usize,
    /// Where the nodes' folders are made: about 1 KB an entry and node. The system's temporary folder
    /// when not said.
    #[arg(long)]
    dir: Option<PathBuf>,
}

pub(crate) async fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let purge_bytes = arguments.purge_mib << 20;
    let state = StateSection {
        engine: StateEngine::Fjall,
        memory_bytes: arguments.memory_mib << 20,
    };
    let sections = format!(
        "\n[state]\nmemory_bytes = {}\n\n[limits]\nsubjects_per_hour = 1000000000\n\
         \n[verifier]\npause_s = {VERIFIER_PAUSE_S}\n",
        state.memory_bytes
    );
    let mut setup = Setup::new(std::env::current_exe()?)
        .nodes(GROWING_NODES)
        .raft(&format!("purge_bytes = {purge_bytes}"))
        .sections(&sections);
    if let Some(dir) = &arguments.dir {
        setup = setup.below(dir);
    }
    let mut cluster = setup.found().await?;
    let strain = Strain {
        duration: Duration::from_mins(arguments.minutes),
        entries: arguments.entries,
        workers: arguments.workers,
        pace: Pace {
            asks: Asks::New,
            batch: arguments.batch,
            rest: Duration::ZERO,
        },
        purge_bytes,
        patience: Duration::from_hours(3),
    };
    let ran = long::grow(&mut cluster, &strain).await;
    let grown = ran.inspect_err(|problem| {
        eprintln!("{problem:#}");
        cluster.keep();
    })?;
    print(&cluster, &strain, &grown)?;
    println!("\ndecide alone, on the state that node 1 has grown:");
    let (_, _, fold) = state::open_all(&cluster.folder(1), &state)?;
    state::latencies(&fold, grown.subjects, |number| {
        Ok(fields(&new_name(number))
            .to_fingerprint_fields()?
            .fingerprint())
    })?;
    grown.check_flat()
}

fn print(cluster: &Cluster, strain: &Strain, grown: &Grown) -> anyhow::Result<()> {
    let counts = &grown.counts;
    println!("\n| what | seen |\n| --- | --- |");
    println!(
        "| sustained load | {:.0?}: {} new subjects, {} hits, {} sealed sets acknowledged, {} unanswered; {} entries, {} a second |",
        grown.sustained,
        counts.misses,
        counts.gets,
        counts.sets,
        counts.unanswered,
        grown.entries,
        grown.entries / grown.sustained.as_secs().max(1)
    );
    print_spreads(&grown.nodes);
    println!(
        "| bound of the Raft log | {} MiB, over {} purges of the leader |",
        mib(strain.log_bound()),
        grown.purges
    );
    for (node, before, after) in &grown.flat {
        let state = state::disk_mib(&cluster.folder(*node).join("state"))? << 20;
        println!(
            "| node {node}: most memory until three tenths of the entries, and afterwards | {} and {} MiB: {} %; state on disk {} bytes a subject |",
            mib(*before),
            mib(*after),
            after * 100 / before.max(&1),
            state / grown.subjects.max(1)
        );
    }
    println!(
        "| from the start of a killed node until it was ready | {:.1?} |",
        grown.started
    );
    let asked = ["any subject", "10 hot ones", "never asked for"];
    for (name, latency) in asked.iter().zip(&grown.latencies) {
        println!(
            "| single gets, {name} | p50 {:.1?}, p99 {:.1?} |",
            latency.p50, latency.p99
        );
    }
    println!(
        "| acknowledged and present | {} entries found, one each, and {} more of gets sent again; {} of requests without an answer, {} of the log itself; {} in all |",
        grown.counted.acknowledged,
        grown.counted.again,
        grown.counted.unanswered,
        grown.counted.of_the_log,
        grown.counted.entries
    );
    println!(
        "| equal ledgers of {GROWING_NODES} nodes | {} files, {} bytes each |",
        grown.same.files, grown.same.bytes
    );
    Ok(())
}
