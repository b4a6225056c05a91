//! `candor-jepsen`: Candor under load, and the nodes of the clusters that tests are cruel to.
//!
//! Benchmarks are not tests: they print what one machine did, and nothing is asserted about time.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

mod bench;
mod enduring;
mod growing;
mod growth;
mod powering;
mod superseding;

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
    /// Put a cluster under load until its Raft log was purged many times; then have a node that was away
    /// and a new one catch up from sources that lie, leaders killed on the way. Fails if a promise is
    /// broken.
    Long(enduring::Arguments),
    /// Grow three nodes to many subjects under sustained load; print memory, Raft log, start and latency.
    /// Fails if memory or log grow beyond their bounds, or an acknowledged entry is not there.
    Grow(growing::Arguments),
    /// Supersede a model version with many results under load, the leader killed on the way; print
    /// what other operations noticed. Fails if a promise is broken.
    Supersede(superseding::Arguments),
    /// Cut the power of all nodes at once, again and again, while they purge, install, roll or write
    /// their state. Fails if anything acknowledged is lost or forked. Needs root and loop devices.
    Power(powering::Arguments),
    /// Run one node, exactly as `candor node` does.
    Node(NodeArguments),
    /// Measure one node's state as its subjects grow: memory, disk, start, latency of decide.
    State(growth::Arguments),
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
        Command::Bench(arguments) => {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .enable_all()
                .build()?;
            runtime.block_on(bench::run(&arguments))
        }
        Command::Long(arguments) => {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .enable_all()
                .build()?;
            runtime.block_on(enduring::run(&arguments))
        }
        Command::Grow(arguments) => {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .enable_all()
                .build()?;
            runtime.block_on(growing::run(&arguments))
        }
        Command::State(arguments) => growth::run(&arguments),
        Command::Supersede(arguments) => {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .enable_all()
                .build()?;
            runtime.block_on(superseding::run(&arguments))
        }
        Command::Power(arguments) => {
            powering::prepare()?;
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .enable_all()
                .build()?;
            runtime.block_on(powering::run(&arguments))
        }
        Command::Node(arguments) => Ok(candor_node::process::run(
            &arguments.config,
            arguments.exit_with_stdin,
        )?),
    }
}
