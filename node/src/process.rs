//! A node as a process of its own: all of `candor node`, for every program that offers it.

use std::io;
use std::path::{Path, PathBuf};

use tracing_subscriber::EnvFilter;

use crate::config::{Config, ConfigError, LogFormat, LogSection};
use crate::env::process::{stopped, text_of};
use crate::env::real::RealEnv;
use crate::node::NodeError;
use crate::principal::{Tokens, TokensError};

/// The allocator of a program that runs a node, for its `#[global_allocator]`.
///
/// What a node holds comes and goes on other threads than it was made on; the C library's arenas keep
/// half as much again of it for ever.
pub use tikv_jemallocator::Jemalloc as Allocator;

/// Why a node's process does not start, or ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// The configuration is refused.
    #[error("`{}`", path.display())]
    Config {
        /// Its file.
        path: PathBuf,
        /// Which key, and what it wants.
        #[source]
        source: ConfigError,
    },
    /// The node's folder cannot be used.
    #[error("cannot open `{}`", path.display())]
    Folder {
        /// As configured.
        path: PathBuf,
        /// The system's word.
        #[source]
        source: io::Error,
    },
    /// `log.filter` is no filter.
    #[error("`log.filter`")]
    LogFilter(#[from] tracing_subscriber::filter::ParseError),
    /// The node did not start, or could not go on.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// No runtime.
    #[error("cannot start the runtime")]
    Runtime(#[source] io::Error),
    /// The token file is refused.
    #[error("`{}`", path.display())]
    Tokens {
        /// The file.
        path: PathBuf,
        /// Which line.
        #[source]
        source: TokensError,
    },
    /// A file that was named cannot be read.
    #[error("cannot read `{}`", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// The system's word.
        #[source]
        source: io::Error,
    },
}

/// Runs the node of a configuration file, on a runtime of its own, until SIGTERM, SIGINT or, where
/// asked, the end of standard input; a second signal ends the process at once. Paths in the file
/// count from its folder. Log lines go to standard error.
///
/// # Errors
/// [`ProcessError`]; the process should exit with a failure then.
pub fn run(config_file: &Path, exit_with_stdin: bool) -> Result<(), ProcessError> {
    let config = Config::parse(&read(config_file)?).map_err(|source| ProcessError::Config {
        path: config_file.to_owned(),
        source,
    })?;
    start_log(&config.log)?;
    let beside = config_file.parent().unwrap_or(Path::new("."));
    let folder = beside.join(&config.node.folder);
    let tokens_file = beside.join(&config.keys.tokens);
    let tokens = Tokens::parse(&read(&tokens_file)?).map_err(|source| ProcessError::Tokens {
        path: tokens_file,
        source,
    })?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(ProcessError::Runtime)?;
    runtime.block_on(async {
        let env = RealEnv::open(&folder).map_err(|source| ProcessError::Folder {
            path: folder,
            source,
        })?;
        Ok(crate::node::run(env, config, tokens, stopped(exit_with_stdin)).await?)
    })
}

fn read(path: &Path) -> Result<String, ProcessError> {
    text_of(path).map_err(|source| ProcessError::Unreadable {
        path: path.to_owned(),
        source,
    })
}

fn start_log(log: &LogSection) -> Result<(), ProcessError> {
    let lines = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_new(&log.filter)?)
        .with_writer(io::stderr);
    match log.format {
        LogFormat::Json => lines.json().init(),
        LogFormat::Text => lines.with_ansi(false).init(),
    }
    Ok(())
}
