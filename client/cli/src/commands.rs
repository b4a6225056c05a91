//! What the command line offers, and who does it.

use std::process::ExitCode;

use clap::{Args, CommandFactory as _, Parser, Subcommand};
use clap_complete::Shell;

use crate::output::{Output, write_data};
use crate::{audit, cache, cluster, export, keys, replay};
#[cfg(feature = "server")]
use crate::{config, dev, node};

/// A replicated, tamper-evident audit ledger with a verified result cache for AI inference.
///
/// Every write, hit and miss of the cache is one entry of one ledger, provable by itself under three
/// signatures of unrelated families. What a server says is verified here, against the public keys
/// in your trust policy, before it is shown.
///
/// Start with `candor dev`: three nodes on this machine, a recorded trace of real inferences, and
/// what happens when a node dies and when somebody edits the ledger.
#[derive(Parser)]
#[command(name = "candor", version, propagate_version = true, after_long_help = NOTES)]
pub(crate) struct Arguments {
    /// How results are printed: for people, or as JSON with stable names and a `schema_version`.
    #[arg(long, value_enum, default_value_t = Output::Table, global = true)]
    pub(crate) output: Output,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Attest(audit::AttestArgs),
    Auditlog(audit::AuditlogArgs),
    Checkpoint(audit::CheckpointArgs),
    /// Found a cluster, look at it, change who is in it.
    Cluster(cluster::Arguments),
    Completions(CompletionsArgs),
    /// Check a node's configuration, or print the commented example.
    #[cfg(feature = "server")]
    #[command(subcommand)]
    Config(config::Command),
    #[cfg(feature = "server")]
    Dev(dev::Arguments),
    Evidence(audit::EvidenceArgs),
    Export(export::Arguments),
    Get(cache::GetArgs),
    /// Make, install and show keys and tokens.
    #[command(subcommand)]
    Keys(keys::Command),
    #[cfg(feature = "server")]
    Node(node::Arguments),
    Receipt(audit::ReceiptArgs),
    Reinstate(cache::ReinstateArgs),
    Replay(replay::Arguments),
    Revoke(cache::RevokeArgs),
    Set(cache::SetArgs),
    Supersede(cache::SupersedeArgs),
    SupersedeModel(cache::SupersedeModelArgs),
}

/// Print what makes a shell complete commands and options.
///
/// bash: `candor completions bash > ~/.local/share/bash-completion/completions/candor`; zsh: into a
/// file `_candor` of a folder in `$fpath`; fish: into `~/.config/fish/completions/candor.fish`.
#[derive(Args)]
struct CompletionsArgs {
    /// Which shell.
    shell: Shell,
}

/// Does what was asked.
pub(crate) fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let output = arguments.output;
    match arguments.command {
        Command::Attest(args) => audit::attest(&args, output),
        Command::Auditlog(args) => audit::auditlog(&args, output),
        Command::Checkpoint(args) => audit::checkpoint(&args, output),
        Command::Cluster(args) => cluster::run(args, output),
        Command::Completions(args) => completions(&args),
        #[cfg(feature = "server")]
        Command::Config(command) => config::run(&command),
        #[cfg(feature = "server")]
        Command::Dev(args) => dev::run(&args),
        Command::Evidence(args) => audit::evidence(&args, output),
        Command::Export(args) => export::run(&args, output),
        Command::Get(args) => cache::get(&args, output),
        Command::Keys(command) => keys::run(command),
        #[cfg(feature = "server")]
        Command::Node(args) => node::run(&args),
        Command::Receipt(args) => audit::receipt(&args, output),
        Command::Reinstate(args) => cache::reinstate(&args, output),
        Command::Replay(args) => replay::run(&args, output),
        Command::Revoke(args) => cache::revoke(&args, output),
        Command::Set(args) => cache::set(&args, output),
        Command::Supersede(args) => cache::supersede(&args, output),
        Command::SupersedeModel(args) => cache::supersede_model(&args, output),
    }
}

/// `candor completions`
fn completions(args: &CompletionsArgs) -> anyhow::Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Arguments::command(), "candor", &mut script);
    write_data(&script, false)?;
    Ok(ExitCode::SUCCESS)
}

const NOTES: &str = "\
Connection settings come from the first of: --config FILE, $CANDOR_CONFIG, ./.candor-dev/client.toml.
Data goes to standard output, everything else to standard error.

Exit status:
  0  done, and verified where there was something to verify
  1  failed, refused by the ledger's rules, or not verified; a log that contradicts itself is
     written to a file, which is named
  2  wrong usage
  3  `get`: there is no result to serve, or with --as-of none was or its value is not kept any
     more; the reason is on standard error

Evidence and ledgers are checked by `candor-audit`, which needs the public keys alone.";
