//! Many seeds, each in a process of its own, as a process has one clock and one source of random numbers.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context as _;
use candor_jepsen::check::Covered;
use clap::ValueEnum as _;

use crate::run::Report;
use crate::swarm::Kind;

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The first seed; chosen at random, and printed, when not said.
    #[arg(long)]
    from: Option<u64>,
    /// How many seeds at the most.
    #[arg(long, default_value_t = 500)]
    count: u64,
    /// Begins no further seed after so many seconds.
    #[arg(long)]
    within: Option<f64>,
    /// Simulated seconds during which faults come, in each.
    #[arg(long, default_value_t = 30)]
    seconds: u64,
    /// Writes what was covered to this file, under `## Simulation`. Fails if an operation or a checker was not met
    /// under a kind of fault.
    #[arg(long)]
    coverage: Option<PathBuf>,
    /// Processes at once.
    #[arg(long, default_value_t = 2)]
    jobs: u64,
}

/// What is counted over all runs.
const SUMS: &[(&str, fn(&Report) -> u64)] = &[
    ("operations", |report| report.operations),
    ("verified answers", |report| report.answered),
    ("ledger entries", |report| report.entries),
    ("leader changes", |report| report.leader_changes),
    ("process crashes", |report| report.tally.crashes),
    ("power cuts of a node", |report| report.tally.power_cuts),
    ("membership changes", |report| {
        report.tally.membership_changes
    }),
    ("nodes lost by damage", |report| report.tally.nodes_lost),
    ("places corrupted", |report| report.tally.corruptions),
];

/// Whether no seed fails.
///
/// # Errors
/// When a run cannot be made.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<bool> {
    let from = arguments
        .from
        .unwrap_or_else(|| rand::random::<u64>() >> 16);
    println!("seeds from {from}");
    let began = uptime()?;
    let next = AtomicU64::new(0);
    let ended: Mutex<BTreeMap<u64, Result<Report, String>>> = Mutex::default();
    std::thread::scope(|scope| {
        let work = || -> anyhow::Result<()> {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let late = arguments
                    .within
                    .is_some_and(|within| uptime().is_ok_and(|now| now - began > within));
                if number >= arguments.count || late {
                    return Ok(());
                }
                let seed = from + number;
                let one = one(seed, arguments.seconds)?;
                if let Err(problem) = &one {
                    println!("seed {seed} fails: {problem}");
                }
                let mut ended = ended
                    .lock()
                    .map_err(|_| anyhow::anyhow!("a worker panicked"))?;
                ended.insert(seed, one);
            }
        };
        let workers: Vec<_> = (0..arguments.jobs).map(|_| scope.spawn(work)).collect();
        let joined = workers.into_iter().map(|worker| {
            worker
                .join()
                .map_err(|_| anyhow::anyhow!("a worker panicked"))?
        });
        joined.collect::<anyhow::Result<()>>()
    })?;
    let ended = ended.into_inner().context("a worker panicked")?;
    let good = summary(&ended, uptime()? - began);
    if let (true, Some(file)) = (good, &arguments.coverage) {
        return covered(&ended, from, file);
    }
    Ok(good)
}

/// Writes what all runs have covered; whether there is no hole in it.
fn covered(
    ended: &BTreeMap<u64, Result<Report, String>>,
    from: u64,
    file: &Path,
) -> anyhow::Result<bool> {
    let mut all = Covered::default();
    for report in ended.values().flatten() {
        all.add(&report.covered);
    }
    let command = format!("cargo sim sweep --from {from} --count {}", ended.len());
    all.write(file, "Simulation", &command)?;
    let kinds: Vec<&str> = Kind::value_variants()
        .iter()
        .map(|kind| kind.name())
        .collect();
    let holes = all.holes(&kinds);
    for hole in &holes {
        println!("not covered: {hole}");
    }
    Ok(holes.is_empty())
}

/// Runs one seed elsewhere.
fn one(seed: u64, seconds: u64) -> anyhow::Result<Result<Report, String>> {
    let ran = Command::new(std::env::current_exe()?)
        .arg(seed.to_string())
        .args(["--seconds", &seconds.to_string()])
        .stderr(Stdio::piped())
        .output()?;
    let said = String::from_utf8_lossy(&ran.stdout);
    let report = said
        .lines()
        .find_map(|line| serde_json::from_str::<Report>(line).ok());
    Ok(match report {
        Some(report) if ran.status.success() => Ok(report),
        Some(report) => Err(report.wrong.join("; ")),
        None => Err(format!(
            "{}: {}",
            ran.status,
            String::from_utf8_lossy(&ran.stderr).trim()
        )),
    })
}

/// Prints what all runs did together; whether none failed.
fn summary(ended: &BTreeMap<u64, Result<Report, String>>, took: f64) -> bool {
    let good: Vec<&Report> = ended.values().filter_map(|one| one.as_ref().ok()).collect();
    let sum = |of: fn(&Report) -> u64| good.iter().map(|report| of(report)).sum::<u64>();
    let minutes =
        std::time::Duration::from_millis(sum(|report| report.simulated_ms)).as_secs_f64() / 60.0;
    let mut faults: BTreeMap<&str, u64> = BTreeMap::new();
    for report in &good {
        for (kind, times) in &report.tally.faults {
            *faults.entry(kind.name()).or_default() += times;
        }
    }
    let failed = ended.len() - good.len();
    println!("{} seeds, {failed} failed, {took:.0} s", ended.len());
    println!("simulated hours        {:>10.2}", minutes / 60.0);
    let a_minute = minutes * 60.0 / took.max(0.01);
    println!("simulated min per min  {a_minute:>10.1}");
    for (what, of) in SUMS {
        println!("{what:<23}{:>10}", sum(*of));
    }
    for (kind, times) in faults {
        println!("fault {kind:<17}{times:>10}");
    }
    failed == 0
}

/// Seconds since the machine started. The clocks of this process belong to the simulation.
pub(crate) fn uptime() -> anyhow::Result<f64> {
    let text = std::fs::read_to_string("/proc/uptime")?;
    let first = text.split_whitespace().next().context("no uptime")?;
    Ok(first.parse()?)
}
