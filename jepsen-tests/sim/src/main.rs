//! A whole Candor cluster in one process, decided by one number.
//!
//! Nodes, clients and the auditor's checks are the code that runs elsewhere. Only the world under them is
//! another: their disks lose what was not synced, their clocks and packets obey a nemesis, and every
//! choice comes from the seed, so that a run can be had again, byte for byte.
//!
//! | file | is |
//! | --- | --- |
//! | `swarm` | what the seed chooses: how many nodes, which faults exist at all |
//! | `host` | the world under one node |
//! | `nemesis` | what breaks, and when |
//! | `damage` | bytes that change silently, and whether a node has healed |
//! | `cluster` | founding, clients, observers, settling: all that a machine outside the nodes does |
//! | `membership` | nodes that join and leave |
//! | `canon` | the invariant that is looked at all the time: one ledger |
//! | `run` | one seed from start to verdict |
//! | `meta`, `sweep`, `shrink` | one seed twice; many seeds; fewer faults |
//! | `mutants` | which planted bugs are found, by what, and how soon |
#![forbid(unsafe_code)]

#[cfg(not(tokio_unstable))]
compile_error!(
    "build it by `cargo sim`: without `--cfg tokio_unstable` tokio makes choices that no seed decides"
);

#[cfg(not(candor_mutants))]
compile_error!("build it by `cargo sim`: without `--cfg candor_mutants` no bug can be planted");

mod canon;
mod clock;
mod cluster;
mod damage;
mod host;
mod membership;
mod meta;
mod mutants;
mod nemesis;
mod run;
mod shrink;
mod streams;
mod swarm;
mod sweep;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Runs a simulated Candor cluster under faults, and judges what its clients saw.
#[derive(Debug, Parser)]
#[command(name = "sim", args_conflicts_with_subcommands = true)]
struct Program {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    one: Option<run::Arguments>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs seeds twice and compares all that they say, trace and history, byte by byte.
    Meta(meta::Arguments),
    /// Plants one bug after another, and runs seeds until each is found.
    Mutants(mutants::Arguments),
    /// Runs many seeds, each in a process of its own.
    Sweep(sweep::Arguments),
    /// Looks for the fewest faults with which a seed still fails.
    Shrink(shrink::Arguments),
}

fn main() -> ExitCode {
    let program = Program::parse();
    let done = match (&program.command, &program.one) {
        (Some(Command::Meta(arguments)), _) => meta::run(arguments),
        (Some(Command::Mutants(arguments)), _) => mutants::run(arguments),
        (Some(Command::Sweep(arguments)), _) => sweep::run(arguments),
        (Some(Command::Shrink(arguments)), _) => shrink::run(arguments),
        (None, Some(arguments)) => run::run(arguments),
        (None, None) => Err(anyhow::anyhow!("name a seed; `--help` says more")),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(problem) => {
            eprintln!("{problem:#}");
            ExitCode::from(2)
        }
    }
}
