//! `candor node`: one server process.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use candor_node::config::{Config, LogFormat};
use candor_node::env::real::RealEnv;
use candor_node::principal::Tokens;
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use crate::session;

/// Exit status of a process that a second signal ended: 128 + SIGINT, as shells have it.
const INTERRUPTED: i32 = 130;

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
    let file = &arguments.config;
    let config =
        Config::parse(&session::text_of(file)?).with_context(|| format!("`{}`", file.display()))?;
    start_log(&config)?;
    let beside = file.parent().unwrap_or(Path::new("."));
    let folder = beside.join(&config.node.folder);
    let tokens_file = beside.join(&config.keys.tokens);
    let tokens = Tokens::parse(&session::text_of(&tokens_file)?)
        .with_context(|| format!("`{}`", tokens_file.display()))?;
    let follow_stdin = arguments.exit_with_stdin;
    session::block_on(async {
        let env = RealEnv::open(&folder)
            .with_context(|| format!("cannot open `{}`", folder.display()))?;
        candor_node::node::run(env, config, tokens, stopped(follow_stdin)).await?;
        Ok(ExitCode::SUCCESS)
    })
}

async fn stopped(follow_stdin: bool) {
    let (Ok(mut term), Ok(mut int)) = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    ) else {
        return;
    };
    let stdin_ends = async {
        if follow_stdin {
            end_of_stdin().await;
        } else {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! { _ = term.recv() => {}, _ = int.recv() => {}, () = stdin_ends => {} }
    // A second signal: whoever sends it does not want to wait.
    tokio::spawn(async move {
        tokio::select! { _ = term.recv() => {}, _ = int.recv() => {} }
        std::process::exit(INTERRUPTED);
    });
}

/// Resolves when standard input ends. A thread of its own: a read of it cannot be cancelled, and
/// must not hold up the end of the runtime.
async fn end_of_stdin() {
    let (sender, ended) = oneshot::channel();
    std::thread::spawn(move || {
        let mut byte = [0; 64];
        while matches!(std::io::stdin().read(&mut byte), Ok(1..)) {}
        let _ = sender.send(());
    });
    let _ = ended.await;
}

fn start_log(config: &Config) -> anyhow::Result<()> {
    use tracing_subscriber::EnvFilter;
    let filter = EnvFilter::try_new(&config.log.filter).context("`log.filter`")?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match config.log.format {
        LogFormat::Json => lines.json().init(),
        LogFormat::Text => lines.with_ansi(false).init(),
    }
    Ok(())
}
