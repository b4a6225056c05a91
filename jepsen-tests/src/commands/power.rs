//! `candor-jepsen power`: the figures of one run.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use candor_jepsen::power::{self, Cut, Kind, Plan};
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

use super::Seed;

#[derive(Args)]
pub(crate) struct Arguments {
    /// What the nodes do when the power goes.
    #[arg(long)]
    kind: Kind,
    /// How often it goes.
    #[arg(long, default_value_t = 50)]
    cuts: u32,
    #[command(flatten)]
    seed: Seed,
}

pub(crate) async fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let plan = Plan {
        kind: arguments.kind,
        cuts: arguments.cuts,
        seed: arguments.seed.choose(),
        program: std::env::current_exe()?,
    };
    println!("{:?}: {} cuts, seed {}", plan.kind, plan.cuts, plan.seed);
    let (mut totals, began) = (Totals::default(), Instant::now());
    let mut terminated = signal(SignalKind::terminate())?;
    let ended = tokio::select! {
        ended = power::run(&plan, |cut| totals.take(cut)) => ended,
        _ = tokio::signal::ctrl_c() => Err(anyhow!("interrupted")),
        _ = terminated.recv() => Err(anyhow!("terminated")),
    };
    totals.print(began.elapsed());
    ended.with_context(|| format!("seed {}", plan.seed))
}

#[derive(Default)]
struct Totals {
    cuts: u64,
    stages: BTreeMap<&'static str, u64>,
    unseen: u64,
    after: Vec<Duration>,
    lost_any: u64,
    lost: [u64; 5],
    lost_of_it: u64,
    controls: [u64; 3],
    copied_again: u64,
    states: [u64; 2],
    last: Option<power::Checked>,
    longest: Duration,
}

impl Totals {
    fn take(&mut self, cut: &Cut) {
        self.cuts += 1;
        match cut.after {
            Some(after) => {
                self.after.push(after);
                *self.stages.entry(cut.stage).or_default() += 1;
            }
            None => self.unseen += 1,
        }
        let lost = &cut.lost;
        self.lost_any += u64::from(lost.any());
        self.lost_of_it += u64::from(cut.lost_of_it.any());
        let lost = [
            lost.files,
            lost.shorter,
            lost.changed,
            lost.back,
            lost.bytes,
        ];
        for (all, more) in self.lost.iter_mut().zip(lost) {
            *all += more;
        }
        let controls = &cut.controls;
        let controls = [controls.synced, controls.unsynced_lost, controls.tail_lost];
        for (all, more) in self.controls.iter_mut().zip(controls) {
            *all += u64::from(more);
        }
        self.copied_again += u64::from(cut.copies > 1);
        for (all, more) in self.states.iter_mut().zip(cut.states) {
            *all += more;
        }
        self.longest = self.longest.max(cut.took);
        self.last = Some(cut.checked);
        println!(
            "cut {:>2}, {:.1?}: {}, {:.1?} after the sign; lost {:?}, of it {:?}; {:?}",
            self.cuts,
            cut.took,
            cut.stage,
            cut.after.unwrap_or_default(),
            cut.lost,
            cut.lost_of_it,
            cut.checked
        );
    }

    fn print(&mut self, took: Duration) {
        let cuts = self.cuts;
        println!(
            "{cuts} cuts in {took:.0?}, the longest {:.1?}",
            self.longest
        );
        self.after.sort_unstable();
        let median = self.after.get(self.after.len() / 2);
        println!(
            "the activity was seen before {} of them, {:.1?} before the stop (median); not seen {}",
            cuts - self.unseen,
            median.copied().unwrap_or_default(),
            self.unseen
        );
        for (stage, count) in &self.stages {
            println!("  {count:>3} {stage}");
        }
        let [synced, unsynced, tail] = self.controls;
        println!(
            "control files: synced ones whole {synced} of {cuts}; unsynced ones lost or short \
             {unsynced} of {cuts}; unsynced ends of synced ones lost {tail} of {cuts}"
        );
        let [files, shorter, changed, back, bytes] = self.lost;
        println!(
            "the nodes' own files: {} of {cuts} cuts lost something, {} of what the activity writes: \
             {files} files, ends of {shorter}, changes to {changed}, removals of {back}; {bytes} bytes",
            self.lost_any, self.lost_of_it
        );
        let [older, anew] = self.states;
        println!(
            "stores of the state at the starts: {older} taken over, {anew} folded anew; copies made \
             again because the device wrote: {}",
            self.copied_again
        );
        if let Some(last) = self.last {
            println!(
                "at the end: {} requests acknowledged, each found; {} entries, {} checkpoints, equal \
                 ledgers of {} files",
                last.acknowledged, last.entries, last.checkpoints, last.files
            );
        }
    }
}
