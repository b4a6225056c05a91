//! `candor-jepsen volume`: the figures of one run.

use std::time::Duration;

use candor_jepsen::real::Setup;
use candor_jepsen::volume::{self, By, Plan, percentile};
use clap::Args;

#[derive(Args)]
pub(crate) struct Arguments {
    /// What ends them.
    #[arg(long, default_value = "supersession")]
    by: By,
    /// Results that end.
    #[arg(long, default_value_t = 100_000)]
    results: u64,
    /// Seconds that results live when their deadlines end them; all must be made before.
    #[arg(long, default_value_t = 180)]
    life_seconds: u64,
    /// Clients that get and set results of another model meanwhile.
    #[arg(long, default_value_t = 16)]
    workers: u64,
    /// Seconds that these work alone, before and after.
    #[arg(long, default_value_t = 15)]
    calm_seconds: u64,
}

pub(crate) async fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let mut cluster = Setup::new(std::env::current_exe()?).found().await?;
    let plan = Plan {
        by: arguments.by,
        results: arguments.results,
        life: Duration::from_secs(arguments.life_seconds),
        workers: arguments.workers,
        calm: Duration::from_secs(arguments.calm_seconds),
        patience: Duration::from_hours(1),
    };
    let report = volume::run(&mut cluster, &plan).await?;
    println!(
        "{} results ended by {:?}, by exactly one entry each, the last {:.1?} after the first; the leader \
         killed after {}; {} lookups of them behind it, none served",
        plan.results, plan.by, report.took, report.at_kill, report.misses
    );
    println!(
        "{} other clients, 7 gets to a sealed set; longest without an answer {:.1?}",
        plan.workers, report.longest
    );
    for (name, lap) in ["before", "during", "after"].iter().zip(&report.others) {
        let [p50, p99] = [50, 99].map(|at| percentile(lap, at));
        let most = lap.last().copied().unwrap_or_default();
        println!(
            "{name:>8}: {:>7} operations, p50 {p50:.1?}, p99 {p99:.1?}, most {most:.1?}",
            lap.len()
        );
    }
    println!(
        "three equal ledgers of {} files, {} bytes",
        report.same.files, report.same.bytes
    );
    Ok(())
}
