//! `candor-jepsen full`: the figures of one run.

use anyhow::{Context as _, ensure};
use candor_jepsen::full::{self, Plan, Round};
use clap::Args;

use super::Seed;

#[derive(Args)]
pub(crate) struct Arguments {
    /// How often the disk runs full.
    #[arg(long, default_value_t = 10)]
    rounds: u32,
    #[command(flatten)]
    seed: Seed,
}

pub(crate) async fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let plan = Plan {
        rounds: arguments.rounds,
        seed: arguments.seed.choose(),
        program: std::env::current_exe()?,
    };
    println!("{} rounds, seed {}", plan.rounds, plan.seed);
    let (mut ended, mut not_started, mut last) = (0, 0, None);
    let done = full::run(&plan, |round| {
        let Round {
            ended: now,
            not_started: refused,
            checked,
            took,
        } = round;
        println!("{took:.1?}: {now} nodes ended, {refused} of them could not start; {checked:?}");
        ended += now;
        not_started += refused;
        last = Some(*checked);
    });
    done.await.with_context(|| format!("seed {}", plan.seed))?;
    println!(
        "{} times nearly full, each refused by type; {ended} nodes ended when nothing was left, {not_started} \
         starts ended on the full disk; all said why",
        plan.rounds
    );
    let last = last.context("no round")?;
    println!(
        "{} requests acknowledged, each found; {} entries, {} checkpoints, equal ledgers of {} files",
        last.acknowledged, last.entries, last.checkpoints, last.files
    );
    ensure!(ended > 0, "no write has met a full disk: nothing was shown");
    Ok(())
}
