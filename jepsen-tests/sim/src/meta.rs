//! One seed twice: if two runs differ in one byte of their trace, no seed says anything.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};

use anyhow::{Context as _, ensure};

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// How many.
    #[arg(long, default_value_t = 5)]
    count: u64,
    /// Simulated seconds during which faults come.
    #[arg(long, default_value_t = 8)]
    seconds: u64,
    /// What is compared besides the report.
    #[arg(long, default_value = "trace,turmoil=info")]
    log: String,
}

/// Whether every seed says the same twice.
///
/// # Errors
/// When a run cannot be made.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<bool> {
    let mut same = true;
    for seed in arguments.from..arguments.from + arguments.count {
        match twice(seed, arguments)? {
            Ok(lines) => println!("seed {seed}: {lines} lines, twice the same"),
            Err(difference) => {
                println!("seed {seed}: {difference}");
                same = false;
            }
        }
    }
    Ok(same)
}

/// How many lines were equal, or where they were not.
fn twice(seed: u64, arguments: &Arguments) -> anyhow::Result<Result<u64, String>> {
    let (mut one, mut other) = (child(seed, arguments)?, child(seed, arguments)?);
    let (mut lines_of_one, mut lines_of_other) = (lines(&mut one)?, lines(&mut other)?);
    let mut number = 0;
    let difference = loop {
        let (left, right) = (
            lines_of_one.next().transpose()?,
            lines_of_other.next().transpose()?,
        );
        number += 1;
        if left != right {
            break Some(format!("line {number} differs:\n  {left:?}\n  {right:?}"));
        }
        if left.is_none() {
            break None;
        }
    };
    if difference.is_some() {
        one.kill().ok();
        other.kill().ok();
    }
    let (one, other) = (one.wait()?, other.wait()?);
    if let Some(difference) = difference {
        return Ok(Err(difference));
    }
    ensure!(
        one.success() && other.success(),
        "seed {seed} fails: {one}, {other}"
    );
    Ok(Ok(number - 1))
}

fn child(seed: u64, arguments: &Arguments) -> anyhow::Result<Child> {
    Ok(Command::new(std::env::current_exe()?)
        .arg(seed.to_string())
        .args([
            "--seconds",
            &arguments.seconds.to_string(),
            "--log",
            &arguments.log,
        ])
        .stdout(Stdio::piped())
        .spawn()?)
}

fn lines(child: &mut Child) -> anyhow::Result<std::io::Split<BufReader<ChildStdout>>> {
    let out = child.stdout.take().context("its output is piped")?;
    Ok(BufReader::new(out).split(b'\n'))
}
