//! `candor-jepsen`: Candor under load and, later, under faults.
//!
//! Benchmarks are not tests: they print what one machine did, and nothing is asserted about time.

use clap::{Parser, Subcommand};

mod bench;

/// Load and faults for a Candor cluster.
#[derive(Parser)]
#[command(name = "candor-jepsen", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measure verified gets and sealed sets against a running cluster.
    Bench(bench::Arguments),
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Command::Bench(arguments) => {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .enable_all()
                .build()?;
            runtime.block_on(bench::run(&arguments))
        }
    }
}
