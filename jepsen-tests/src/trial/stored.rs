//! The folder of a run, as `candor-jepsen check` reads it.

use std::fs;
use std::path::Path;

use anyhow::Context as _;
use serde::Serialize;

use super::recorder::Taken;
use crate::check::Plan;
use crate::real::Cluster;

/// Writes everything that the checkers look at. The cluster must stand still. The plan comes last: a folder without
/// one is no run, so what was cut off is never judged.
pub(super) fn store(
    folder: &Path,
    plan: &Plan,
    taken: &Taken,
    cluster: &Cluster,
) -> anyhow::Result<()> {
    fs::create_dir_all(folder)?;
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.join(name);
        fs::write(&path, bytes).with_context(|| path.display().to_string())
    };
    write("history.edn", taken.history.to_edn().as_bytes())?;
    write("history.jsonl", taken.history.to_jsonl().as_bytes())?;
    write("checkpoints.jsonl", &lines(&taken.checkpoints)?)?;
    write("receipts.jsonl", &lines(&taken.receipts)?)?;
    write("policy", cluster.policy().as_bytes())?;
    for node in cluster.nodes() {
        let mut chain = cluster.lines(node)?.join(&b'\n');
        chain.push(b'\n');
        write(&format!("chain-{node}.jsonl"), &chain)?;
    }
    write("run.json", &serde_json::to_vec_pretty(plan)?)
}

fn lines<T: Serialize>(all: &[T]) -> anyhow::Result<Vec<u8>> {
    let mut text = Vec::new();
    for one in all {
        serde_json::to_writer(&mut text, one)?;
        text.push(b'\n');
    }
    Ok(text)
}
