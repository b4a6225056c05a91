//! `candor-jepsen long`: the figures of one run, as `node/ARCHITECTURE.md` has them.

use std::path::PathBuf;
use std::time::Duration;

use candor_jepsen::long::{self, Asks, CaughtUp, NODES, Pace, Plan, Report, SECTIONS, Strain};
use candor_jepsen::real::Setup;
use clap::Args;

use super::{mib, print_spreads};

#[derive(Args)]
pub(crate) struct Arguments {
    /// Least minutes of sustained load.
    #[arg(long, default_value_t = 30)]
    minutes: u64,
    /// Least entries in the ledger before nodes catch up; four files of 65,536 and more.
    #[arg(long, default_value_t = 2_000_000)]
    entries: u64,
    /// What gets ask for until nodes catch up.
    #[arg(long, default_value = "known")]
    asks: Asks,
    /// Entries at which one node goes away.
    #[arg(long, default_value_t = 100_000)]
    absent_after: u64,
    /// `raft.purge_bytes` of every node, in MiB.
    #[arg(long, default_value_t = 32)]
    purge_mib: u64,
    /// Clients that ask at once.
    #[arg(long, default_value_t = 16)]
    workers: u64,
    /// Gets of one call. Each has its own entry, and its value is verified by itself.
    #[arg(long, default_value_t = 64)]
    batch: usize,
    /// Leaders killed during each of the two fetches.
    #[arg(long, default_value_t = 2)]
    kills: usize,
    /// Where the nodes' folders are made: about 1 KB an entry and node. The system's temporary folder
    /// when not said.
    #[arg(long)]
    dir: Option<PathBuf>,
}

pub(crate) async fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let purge_bytes = arguments.purge_mib << 20;
    let mut setup = Setup::new(std::env::current_exe()?)
        .nodes(NODES)
        .raft(&format!("purge_bytes = {purge_bytes}"))
        .sections(SECTIONS);
    if let Some(dir) = &arguments.dir {
        setup = setup.below(dir);
    }
    let mut cluster = setup.found().await?;
    let plan = Plan {
        strain: Strain {
            duration: Duration::from_mins(arguments.minutes),
            entries: arguments.entries,
            workers: arguments.workers,
            pace: Pace {
                asks: arguments.asks,
                batch: arguments.batch,
                rest: Duration::ZERO,
            },
            purge_bytes,
            patience: Duration::from_hours(2),
        },
        absent_after: arguments.absent_after,
        kills: arguments.kills,
    };
    let ran = long::run(&mut cluster, &plan).await;
    let report = ran.inspect_err(|problem| {
        eprintln!("{problem:#}");
        cluster.keep();
    })?;
    print(&plan, &report);
    cluster.stop_all().await
}

fn print(plan: &Plan, report: &Report) {
    println!("\n| what | seen |\n| --- | --- |");
    println!(
        "| sustained load | {:.0?}: {} hits, {} misses and {} sealed sets acknowledged, {} unanswered; {} entries, {} a second |",
        report.sustained,
        report.counts.gets,
        report.counts.misses,
        report.counts.sets,
        report.counts.unanswered,
        report.entries,
        report.entries / report.sustained.as_secs().max(1)
    );
    print_spreads(&report.nodes);
    println!(
        "| bound of the Raft log, 2 x {} MiB, a segment of 64 and 4 between two looks | {} MiB, over {} purges of the leader; later, held for fetches, at most {} MiB |",
        mib(plan.strain.purge_bytes),
        mib(report.bound_bytes),
        report.purges,
        mib(report.log_max_later)
    );
    for lie in &report.lies {
        println!("| a lie | {lie}: refused by both, named in their logs |");
    }
    for (name, caught) in ["long absent", "new"].iter().zip(&report.caught_up) {
        print_caught_up(name, caught);
    }
    let all = &report.counts_in_all;
    println!(
        "| acknowledged and present | {} hits, {} misses and {} sets, {} entries found, one each, and {} more of gets sent again; {} entries of {} requests without an answer, {} of the log itself; {} in all |",
        all.gets,
        all.misses,
        all.sets,
        report.counted.acknowledged,
        report.counted.again,
        report.counted.unanswered,
        all.unanswered,
        report.counted.of_the_log,
        report.counted.entries
    );
    println!(
        "| equal ledgers of {} nodes | {} files, {} bytes each |",
        NODES + 1,
        report.same.files,
        report.same.bytes
    );
}

fn print_caught_up(name: &str, caught: &CaughtUp) {
    println!(
        "| {name} node {}: from {} to {} entries | all fetched after {:.1?}, up with it after {:.1?}, at the tip ({}) and ready after {:.1?} |",
        caught.node,
        caught.base,
        caught.total,
        caught.fetched,
        caught.installed,
        caught.size,
        caught.ready
    );
    println!(
        "| its bytes | {} fetched; {} are the entries and notes it then had more |",
        caught.fetched_bytes, caught.needed_bytes
    );
    let kills = caught.kills.iter().map(|kill| {
        let percent = kill.done * 100 / kill.total.max(1);
        format!(
            "node {} at {} of {} ({percent} %)",
            kill.leader, kill.done, kill.total
        )
    });
    println!(
        "| leaders killed during its fetch | {}; each offer found it at {:?}; {} refusals |",
        kills.collect::<Vec<_>>().join(", "),
        caught.begun_at,
        caught.refused
    );
}
