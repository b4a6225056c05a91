//! Clusters of real node processes on this machine.
//!
//! A node is this crate's own binary with its `node` command, which calls the function that
//! `candor node` calls. What a test sees is what an operator would: processes, folders, ports.
//!
//! ```no_run
//! # async fn story() -> anyhow::Result<()> {
//! use candor_jepsen::real::Setup;
//!
//! let mut cluster = Setup::new("target/debug/candor-jepsen").found().await?;
//! let client = cluster.client("service-a")?;
//! // ... load ...
//! let leader = cluster.leader().await?;
//! cluster.kill(leader)?;
//! cluster.start(leader).await?;
//! cluster.settle().await?;
//! let same = cluster.same_ledgers()?;
//! # Ok(())
//! # }
//! ```

mod cluster;
pub mod folders;
mod found;
pub(crate) mod http;
mod layout;
pub mod loop_disk;
pub mod network;
pub mod own;
mod ports;
mod processes;
mod programs;
mod setup;

pub use cluster::Cluster;
pub use folders::Same;
pub use found::{found, node_of};
pub use processes::Freezer;
pub use setup::{Principal, Setup};

use std::time::Duration;

/// Whatever a cluster is waited for takes less, on the slowest machine: a hang, not a slow step,
/// becomes a failure.
pub const PATIENCE: Duration = Duration::from_secs(90);
