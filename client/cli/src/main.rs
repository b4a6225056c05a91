//! `candor`: one binary for everything but auditing.

use std::process::ExitCode;

use clap::Parser;

mod audit;
mod cache;
mod cluster;
mod commands;
#[cfg(feature = "server")]
mod config;
#[cfg(feature = "server")]
mod dev;
mod export;
mod failure;
mod fields;
mod keys;
mod lifecycle;
#[cfg(feature = "server")]
mod node;
mod output;
mod past;
mod replay;
mod session;
mod span;
mod trace;

#[cfg(feature = "server")]
#[global_allocator]
static ALLOCATOR: candor_node::process::Allocator = candor_node::process::Allocator;

fn main() -> ExitCode {
    let arguments = commands::Arguments::parse();
    let output = arguments.output;
    match commands::run(arguments) {
        Ok(code) => code,
        Err(problem) => failure::report(&problem, output),
    }
}
