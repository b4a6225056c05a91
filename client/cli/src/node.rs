//! `candor node`: one server process.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

/// Run one node of a cluster.
///
/// SIGTERM or SIGINT drains it and hands leadership over; a second signal ends it at once. After a
/// crash start it again on the same folder: it cuts its files to the last marker and goes on.
#[derive(Args)]
pub(crate) struct Arguments {
    /// The node's configuration; `candor config example` prints one.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Stop also when standard input ends, so that no node outlives the program that started it.
    #[arg(long)]
    exit_with_stdin: bool,
}

/// Runs a node until it is told to stop.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    candor_node::process::run(&arguments.config, arguments.exit_with_stdin)?;
    Ok(ExitCode::SUCCESS)
}
