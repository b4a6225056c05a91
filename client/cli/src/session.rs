//! What every command that talks to a cluster needs: its settings, a runtime, a client.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use candor_client::{Client, ClientBuilder, Config, find_config};
use candor_ledger::fingerprint::Fingerprint;
use clap::Args;

use crate::span;

/// How to reach the cluster, and which keys to trust.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Connection")]
pub(crate) struct Connection {
    /// Client configuration: endpoints, tenant, token, trust policy. Default: `$CANDOR_CONFIG`, else
    /// `./.candor-dev/client.toml`.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Give up after this long, all tries together. Default: `timeout_ms` of the configuration.
    #[arg(long, value_name = "SPAN", value_parser = span::parse_positive)]
    pub(crate) timeout: Option<Duration>,
}

impl Connection {
    /// The settings.
    pub(crate) fn settings(&self) -> anyhow::Result<Config> {
        let mut config = Config::read(&self.file()?)?;
        config.timeout = self.timeout.or(config.timeout);
        Ok(config)
    }

    /// The file that they come from.
    pub(crate) fn file(&self) -> anyhow::Result<PathBuf> {
        Ok(find_config(self.config.as_deref())?)
    }

    /// A client with these settings.
    pub(crate) fn client(&self) -> anyhow::Result<Client> {
        Ok(ClientBuilder::from(self.settings()?).build()?)
    }
}

/// Runs a command's asynchronous part.
pub(crate) fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(work)
}

/// The text of a file that the user named.
pub(crate) fn text_of(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read `{}`", path.display()))
}

/// The fingerprint that the user named: in any spelling, or by 8 or more of its first digits.
///
/// # Errors
/// Lists the candidates when several begin so.
pub(crate) async fn fingerprint(client: &Client, text: &str) -> anyhow::Result<Fingerprint> {
    match Fingerprint::parse(text) {
        Ok(fingerprint) => Ok(fingerprint),
        Err(_) => Ok(client.resolve(text).await?),
    }
}
