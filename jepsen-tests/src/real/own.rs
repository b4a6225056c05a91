//! What this process has for itself, so that nothing it does to a machine outlives it.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::{Context as _, ensure};

/// Set in the process that has what it asked for.
const ENTERED: &str = "CANDOR_OWN";
const MOUNTS: &str = "mounts";
const NETWORK: &str = "mounts and network";

/// What a process can have of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Own {
    /// Mounts: file systems may be mounted.
    Mounts,
    /// Mounts, and a network without any connection to that of the machine.
    MountsAndNetwork,
}

/// Has this process go on with mounts, or a network, of its own, which end with it however it ends: it
/// starts itself again, with the same arguments. Call it before anything else.
///
/// # Errors
/// When this is not root, or the system refuses.
pub fn enter(own: Own) -> anyhow::Result<()> {
    ensure!(
        fs::metadata("/proc/self")?.uid() == 0,
        "this mounts file systems and needs root; nothing was tested"
    );
    if std::env::var_os(ENTERED).is_some() {
        return Ok(());
    }
    let (network, entered): (&[&str], _) = match own {
        Own::Mounts => (&[], MOUNTS),
        Own::MountsAndNetwork => (&["--net"], NETWORK),
    };
    let refused = Command::new("unshare")
        .args(["--mount", "--propagation", "private"])
        .args(network)
        .arg("--")
        .arg(std::env::current_exe()?)
        .args(std::env::args_os().skip(1))
        .env(ENTERED, entered)
        .exec();
    Err(refused).context("cannot run `unshare`; nothing was tested")
}

/// Whether this process has entered a network of its own.
pub fn has_network() -> bool {
    std::env::var_os(ENTERED).is_some_and(|entered| entered == NETWORK)
}
