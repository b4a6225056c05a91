//! The folder of a run, as `candor-jepsen check` reads it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::Context as _;
use serde::Serialize;

use super::recorder::Taken;
use crate::check::Plan;

/// All that the checkers look at.
#[derive(Debug)]
pub struct Stored<'a> {
    /// What was planned.
    pub plan: &'a Plan,
    /// What was seen.
    pub taken: &'a Taken,
    /// The trust policy's text.
    pub policy: &'a str,
    /// Each node's entries at the end, lines without their LF.
    pub chains: BTreeMap<u64, Vec<Vec<u8>>>,
}

impl Stored<'_> {
    /// Writes the run. The plan comes last: a folder without one is no run, so what was cut off is never
    /// judged.
    ///
    /// # Errors
    /// The file that could not be written.
    pub fn write(&self, folder: &Path) -> anyhow::Result<()> {
        fs::create_dir_all(folder)?;
        let write = |name: &str, bytes: &[u8]| {
            let path = folder.join(name);
            fs::write(&path, bytes).with_context(|| path.display().to_string())
        };
        let history = &self.taken.history;
        write("history.edn", history.to_edn().as_bytes())?;
        write("history.jsonl", history.to_jsonl().as_bytes())?;
        write("checkpoints.jsonl", &lines(&self.taken.checkpoints)?)?;
        write("receipts.jsonl", &lines(&self.taken.receipts)?)?;
        write("policy", self.policy.as_bytes())?;
        for (node, entries) in &self.chains {
            let mut chain = entries.join(&b'\n');
            chain.push(b'\n');
            write(&format!("chain-{node}.jsonl"), &chain)?;
        }
        write("run.json", &serde_json::to_vec_pretty(self.plan)?)
    }
}

/// The whole lines of a file of entries, without their LF; what is cut off at its end is left out.
pub fn lines_of(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let lines = bytes.split_inclusive(|byte| *byte == b'\n');
    lines.filter_map(|line| line.strip_suffix(b"\n"))
}

fn lines<T: Serialize>(all: &[T]) -> anyhow::Result<Vec<u8>> {
    let mut text = Vec::new();
    for one in all {
        serde_json::to_writer(&mut text, one)?;
        text.push(b'\n');
    }
    Ok(text)
}
