//! `candor-jepsen smoke`: the figures of one run.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::ensure;
use candor_jepsen::check::{Covered, Verdict};
use candor_jepsen::trial::{self, Bounds, Plan};
use clap::Args;

use super::{Seed, check};

#[derive(Args)]
pub(crate) struct Arguments {
    /// Nodes.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=31))]
    nodes: u64,
    /// Clients at once.
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    clients: u64,
    /// Seconds that faults come; in 30 each kind has come once.
    #[arg(long, default_value_t = 75, value_parser = clap::value_parser!(u64).range(30..=86_400))]
    fault_seconds: u64,
    /// Seconds that all is well behind them.
    #[arg(long, default_value_t = 15)]
    calm_seconds: u64,
    /// Verified answers that the run must bring.
    #[arg(long, default_value_t = 10_000)]
    ok_least: u64,
    /// How often another node must lead than before.
    #[arg(long, default_value_t = 3)]
    leader_changes_least: usize,
    #[command(flatten)]
    seed: Seed,
    /// Where the run is stored, for `candor-jepsen check` and Jepsen's own tools: a folder that is empty or not
    /// there. A new one in the system's temporary folder when not said.
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,
    /// Writes what was covered to this file, under `## Real processes`.
    #[arg(long, value_name = "FILE")]
    coverage: Option<PathBuf>,
}

pub(crate) async fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let folder = match &arguments.store {
        Some(folder) => {
            let is_free = fs::read_dir(folder).map_or(true, |mut files| files.next().is_none());
            ensure!(is_free, "`{}` holds something already", folder.display());
            folder.clone()
        }
        None => tempfile::Builder::new()
            .prefix("candor-run-")
            .tempdir()?
            .keep(),
    };
    let plan = Plan {
        nodes: arguments.nodes,
        clients: arguments.clients,
        faults: Duration::from_secs(arguments.fault_seconds),
        calm: Duration::from_secs(arguments.calm_seconds),
        power: true,
        network: true,
        bounds: Bounds::PROMISED,
        ok_least: arguments.ok_least,
        seed: arguments.seed.choose(),
        program: std::env::current_exe()?,
        folder,
    };
    println!(
        "{} nodes, {} clients, seed {}, stored in {}",
        plan.nodes,
        plan.clients,
        plan.seed,
        plan.folder.display()
    );
    let report = trial::run(&plan).await?;
    let answered = report.run.all().iter().filter(|one| one.answer().is_some());
    println!(
        "{:.1?}: {} questions, {} verified answers, {} entries; {} leader changes, {} catch-ups by files",
        report.took,
        report.run.all().len(),
        answered.count(),
        report.run.ledger().len(),
        report.leader_changes,
        report.installed
    );
    if let Some(carried) = report.carried {
        println!(
            "packets: {} arrived, {} of them twice; {} lost",
            carried.arrived, carried.twice, carried.lost
        );
    }
    for judgement in &report.judgements {
        check::print(judgement);
    }
    let good = |verdict: Verdict| verdict == Verdict::True;
    let bad = report.judgements.iter().filter(|one| !good(one.verdict));
    let bad: Vec<&str> = bad.map(|one| one.checker).collect();
    ensure!(
        bad.is_empty(),
        "not good, seed {}: {}",
        plan.seed,
        bad.join(", ")
    );
    ensure!(
        report.leader_changes >= arguments.leader_changes_least,
        "too few leader changes to show anything"
    );
    ensure!(report.installed > 0, "no node has caught up by files");
    if let Some(file) = &arguments.coverage {
        let command = format!("candor-jepsen smoke --seed {}", plan.seed);
        let covered = Covered::of(&report.run, &report.judgements);
        covered.write(file, "Real processes", &command)?;
    }
    Ok(())
}
