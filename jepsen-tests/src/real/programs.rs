//! Programs of the system that the harness needs.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, ensure};

/// Runs a program to its end.
///
/// # Errors
/// When it is not there; what it says when it fails.
pub(super) fn run(program: &str, words: &[&str], paths: &[&Path]) -> anyhow::Result<()> {
    let output = Command::new(program).args(words).args(paths).output();
    let output = output.with_context(|| format!("cannot run `{program}`"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    let line = words.join(" ");
    ensure!(
        output.status.success(),
        "`{program} {line}` failed: {}",
        said.trim()
    );
    Ok(())
}
