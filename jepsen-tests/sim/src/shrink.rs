//! The fewest faults, and the shortest time, with which a seed still fails.

use std::process::{Command, Stdio};

use clap::ValueEnum as _;

use crate::swarm::{Kind, Swarm};

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The seed that fails.
    seed: u64,
    /// Simulated seconds during which faults come.
    #[arg(long, default_value_t = 30)]
    seconds: u64,
}

/// Prints the line that runs the smallest failing form; whether there is none.
///
/// # Errors
/// When a run cannot be made.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<bool> {
    let Arguments { seed, seconds } = *arguments;
    if !fails(seed, seconds, &[])? {
        println!("seed {seed} does not fail");
        return Ok(true);
    }
    let length = std::time::Duration::from_secs(seconds);
    let chosen = Swarm::of(seed, length, &[]).faults;
    let mut without: Vec<Kind> = Vec::new();
    for kind in Kind::value_variants()
        .iter()
        .filter(|kind| chosen.contains(kind))
    {
        let fewer: Vec<Kind> = without.iter().copied().chain([*kind]).collect();
        if fails(seed, seconds, &fewer)? {
            println!("fails without {}", kind.name());
            without = fewer;
        }
    }
    let (mut good, mut bad) = (0, seconds);
    while bad - good > 1 {
        let middle = good.midpoint(bad);
        if fails(seed, middle, &without)? {
            bad = middle;
        } else {
            good = middle;
        }
    }
    println!("cargo sim {}", line(seed, bad, &without).join(" "));
    Ok(false)
}

fn fails(seed: u64, seconds: u64, without: &[Kind]) -> anyhow::Result<bool> {
    let ran = Command::new(std::env::current_exe()?)
        .args(line(seed, seconds, without))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()?;
    Ok(!ran.success())
}

fn line(seed: u64, seconds: u64, without: &[Kind]) -> Vec<String> {
    let mut line = vec![
        seed.to_string(),
        "--seconds".to_owned(),
        seconds.to_string(),
    ];
    if !without.is_empty() {
        let names: Vec<_> = without.iter().map(|kind| kind.name()).collect();
        line.extend(["--without".to_owned(), names.join(",")]);
    }
    line
}
