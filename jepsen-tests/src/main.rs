//! `candor-jepsen`: Candor under load, and the nodes of the clusters that tests are cruel to.
//!
//! Benchmarks are not tests: they print what one machine did, and nothing is asserted about time.

use std::path::PathBuf;

use candor_jepsen::real::own::{self, Own};
use clap::{Args, Parser, Subcommand};

mod commands;

use commands::{bench, check, full, grow, long, power, smoke, state, volume};

#[global_allocator]
static ALLOCATOR: candor_node::process::Allocator = candor_node::process::Allocator;

/// Load and faults for a Candor cluster.
#[derive(Parser)]
#[command(name = "candor-jepsen", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measure verified gets and sealed sets, on a cluster of its own or a running one.
    Bench(bench::Arguments),
    /// Judge a stored run again, without a cluster. Fails unless every verdict is `true`.
    Check(check::Arguments),
    /// Put a cluster under load until its Raft log was purged many times; then have a node that was away
    /// and a new one catch up from sources that lie, leaders killed on the way. Fails if a promise is
    /// broken.
    Long(long::Arguments),
    /// Grow three nodes to many subjects under sustained load; print memory, Raft log, start and latency.
    /// Fails if memory or log grow beyond their bounds, or an acknowledged entry is not there.
    Grow(grow::Arguments),
    /// Supersede a model version with many results under load, or let many results expire at once, the
    /// leader killed on the way; print what other operations noticed. Fails if a promise is broken.
    Volume(volume::Arguments),
    /// Cut the power of all nodes at once, again and again, while they purge, install, roll or write
    /// their state. Fails if anything acknowledged is lost or forked. Needs root and loop devices.
    Power(power::Arguments),
    /// Fill the disk of all nodes, again and again, nearly and to the last byte. Fails if anything
    /// acknowledged is lost or a node ends otherwise than it should. Needs root and loop devices.
    Full(full::Arguments),
    /// Break a cluster of real nodes in every way at hand, for a minute and a half, while clients ask everything
    /// there is to ask; store what everybody saw and judge it. Fails unless every verdict is `true`. Needs root
    /// and loop devices.
    Smoke(smoke::Arguments),
    /// Run one node, exactly as `candor node` does.
    Node(NodeArguments),
    /// Measure one node's state as its subjects grow: memory, disk, start, latency of decide.
    State(state::Arguments),
}

#[derive(Args)]
struct NodeArguments {
    /// The node's configuration.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Stop also when standard input ends.
    #[arg(long)]
    exit_with_stdin: bool,
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Command::Bench(arguments) => block_on(bench::run(&arguments)),
        Command::Check(arguments) => check::run(&arguments),
        Command::Long(arguments) => block_on(long::run(&arguments)),
        Command::Grow(arguments) => block_on(grow::run(&arguments)),
        Command::Volume(arguments) => block_on(volume::run(&arguments)),
        Command::Power(arguments) => {
            own::enter(Own::Mounts)?;
            block_on(power::run(&arguments))
        }
        Command::Full(arguments) => {
            own::enter(Own::Mounts)?;
            block_on(full::run(&arguments))
        }
        Command::Smoke(arguments) => {
            own::enter(Own::MountsAndNetwork)?;
            block_on(smoke::run(&arguments))
        }
        Command::State(arguments) => state::run(&arguments),
        Command::Node(arguments) => Ok(candor_node::process::run(
            &arguments.config,
            arguments.exit_with_stdin,
        )?),
    }
}

fn block_on(run: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(run)
}
