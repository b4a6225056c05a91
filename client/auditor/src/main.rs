//! `candor-audit`: check a Candor ledger, or evidence from one, with public keys alone.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};

mod args;
mod export;
mod folder;
#[cfg(feature = "online")]
mod grpc;
mod ledger;
mod policy;
mod progress;
mod read;
mod report;
#[cfg(feature = "online")]
mod tiles;
mod trust;
mod verify;

use args::{Args, Command, CompletionsArgs};
use read::CouldNotRead;

/// The exit status for a file that cannot be read, or is not what it should be: could not check.
const COULD_NOT_CHECK: u8 = 3;

fn main() -> ExitCode {
    let args = Args::parse();
    let done = match &args.command {
        Command::Completions(completions) => Ok(print_completions(completions)),
        Command::Export(export) => export::run(export, args.output),
        Command::Ledger(ledger) => ledger::run(ledger, args.output),
        Command::Policy(policy) => policy::run(policy, args.output),
        Command::Verify(verify) => verify::run(verify, args.output),
    };
    match done {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            eprintln!("candor-audit: could not check: {error}");
            ExitCode::from(COULD_NOT_CHECK)
        }
    }
}

fn print_completions(args: &CompletionsArgs) -> u8 {
    let mut script = Vec::new();
    clap_complete::generate(
        args.shell,
        &mut Args::command(),
        "candor-audit",
        &mut script,
    );
    read::print(&String::from_utf8_lossy(&script));
    0
}

/// What every command comes to: an exit status, or why it never got to a verdict.
type Done = Result<u8, CouldNotRead>;
