//! `candor config`: a node's configuration file.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use candor_node::config::{Config, EXAMPLE};
use clap::Subcommand;

use crate::output::write_data;
use crate::session;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Read a node's configuration and say what is wrong with it, by key.
    Check {
        /// The file.
        file: PathBuf,
    },
    /// Print an example with every key, its default and what it does.
    Example,
}

/// Checks a file or prints the example.
pub(crate) fn run(command: &Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Check { file } => {
            let config = Config::parse(&session::text_of(file)?)
                .with_context(|| format!("`{}`", file.display()))?;
            let line = format!(
                "ok: node {}, clients on {}",
                config.node.id, config.listen.client
            );
            write_data(line.as_bytes(), true)?;
        }
        Command::Example => write_data(EXAMPLE.as_bytes(), false)?,
    }
    Ok(ExitCode::SUCCESS)
}
