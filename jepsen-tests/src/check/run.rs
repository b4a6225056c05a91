//! A stored run: everything that the checkers look at, read from a folder.
//!
//! ```text
//! run.json            what was planned: Plan
//! history.edn         the history in Jepsen's form
//! history.jsonl       the same; where both are there, they must be equal
//! chain-<node>.jsonl  the ledger's entries as the node's files held them at the end, a line each
//! checkpoints.jsonl   every checkpoint that anybody saw: {"node": .., "time": .., "note": ".."}
//! receipts.jsonl      every receipt that was given: {"index": of the operation, "receipt": ".."}
//! policy              the trust policy, under which all signatures must verify
//! ```

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::record::Record;
use crate::history::{F, History, Malformed, Operation, once_each};

/// What a run did, and what was meant to happen in it.
#[derive(Debug)]
pub struct Run {
    /// What was planned.
    pub plan: Plan,
    /// What happened.
    pub history: History,
    /// The same as questions with answers, or why that cannot be.
    pub operations: Result<Vec<Operation>, Malformed>,
    /// The same, each change once however often it was sent under one id.
    pub once: Vec<Operation>,
    /// Each node's ledger at the end, by node.
    pub chains: BTreeMap<u64, Vec<Record>>,
    /// Checkpoints that were seen.
    pub checkpoints: Vec<Seen>,
    /// Receipts that were given.
    pub receipts: Vec<Given>,
    /// The trust policy's text.
    pub policy: Option<String>,
}

/// What was planned, and what it takes to be satisfied.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Of all random choices.
    pub seed: u64,
    /// Whose ledgers must be there.
    pub nodes: Vec<u64>,
    /// Threads of clients: a process that got `:info` goes on as its number plus this.
    pub concurrency: u64,
    /// How long a call may take.
    pub timeout_ms: u64,
    /// How far the ledger's time may be from the harness's clock, in length: a deadline may come so
    /// much early or late.
    pub clock_error_ms: u64,
    /// How soon after the last fault a change must be answered.
    pub recovery_ms: u64,
    /// States that the search for an order may try, for each key.
    pub states_max: usize,
    /// The actors whose requests are in the history. Others, such as who founded the cluster, are not
    /// looked for there.
    pub actors: Vec<String>,
    /// What a run must have shown to say anything.
    pub demands: Demands,
}

/// What must have happened, lest a run pass in which nothing did.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Demands {
    /// Verified answers.
    pub ok: u64,
    /// Verified answers by operation.
    pub ok_of: BTreeMap<String, u64>,
    /// Verified answers of requests that were sent while the fault lasted, by fault.
    pub ok_during: BTreeMap<String, u64>,
}

/// A checkpoint that somebody saw.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Seen {
    /// Who showed it.
    pub node: u64,
    /// When, nanoseconds of the harness's clock.
    pub time: u64,
    /// The note.
    pub note: String,
}

/// A receipt that somebody was given.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Given {
    /// `:index` of the operation that brought it.
    pub index: u64,
    /// Its text.
    pub receipt: String,
}

/// A folder that holds no run.
#[derive(Debug, thiserror::Error)]
#[error("{}: {problem}", path.display())]
pub struct RunError {
    /// Which file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub problem: String,
}

impl Run {
    /// Reads a stored run.
    ///
    /// # Errors
    /// [`RunError`] when a file is missing that every run has, or one cannot be read.
    pub fn read(folder: &Path) -> Result<Self, RunError> {
        let folder = Folder(folder);
        let plan: Plan = folder.parse("run.json", |text| {
            serde_json::from_str(text).map_err(|error| error.to_string())
        })?;
        let history = folder.history()?;
        let mut chains = BTreeMap::new();
        for node in &plan.nodes {
            let name = format!("chain-{node}.jsonl");
            let records =
                folder.parse(&name, |text| Ok(lines(text).map(Record::read).collect()))?;
            chains.insert(*node, records);
        }
        let operations = history.operations();
        Ok(Self {
            once: once_each(operations.as_deref().unwrap_or_default()),
            operations,
            history,
            chains,
            checkpoints: folder.lines("checkpoints.jsonl")?,
            receipts: folder.lines("receipts.jsonl")?,
            policy: folder.text("policy")?,
            plan,
        })
    }

    /// The longest ledger: all others must be beginnings of it, which `chain` checks.
    pub fn ledger(&self) -> &[Record] {
        // Of several, that of the lowest node: the last that `rev` brings.
        let longest = self.chains.values().rev().max_by_key(|chain| chain.len());
        longest.map(Vec::as_slice).unwrap_or_default()
    }

    /// The operations, none when the history is malformed.
    pub fn all(&self) -> &[Operation] {
        self.operations.as_deref().unwrap_or_default()
    }

    /// The thread behind a process.
    pub fn thread(&self, process: u64) -> u64 {
        process % self.plan.concurrency.max(1)
    }
}

impl Demands {
    /// How many verified answers of an operation there must be.
    pub fn of(&self, f: F) -> u64 {
        self.ok_of.get(f.as_str()).copied().unwrap_or_default()
    }
}

/// What ends in LF; a CR before it belongs to the line.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.split_terminator('\n')
}

struct Folder<'a>(&'a Path);

impl Folder<'_> {
    fn history(&self) -> Result<History, RunError> {
        let edn = self.text("history.edn")?;
        let jsonl = self.text("history.jsonl")?;
        let read = |error: crate::history::HistoryError| error.to_string();
        let parsed = match (edn, jsonl) {
            (None, None) => Err("there is no history".to_owned()),
            (Some(edn), None) => History::parse_edn(&edn).map_err(read),
            (None, Some(jsonl)) => History::parse_jsonl(&jsonl).map_err(read),
            (Some(edn), Some(jsonl)) => History::parse_edn(&edn)
                .and_then(|edn| Ok((edn, History::parse_jsonl(&jsonl)?)))
                .map_err(read)
                .and_then(|(edn, jsonl)| {
                    let same = (edn == jsonl).then_some(edn);
                    same.ok_or_else(|| "history.edn and history.jsonl differ".to_owned())
                }),
        };
        parsed.map_err(|problem| self.wrong("history.edn", problem))
    }

    /// `None` when there is no such file.
    fn text(&self, name: &str) -> Result<Option<String>, RunError> {
        match fs::read_to_string(self.0.join(name)) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.wrong(name, error.to_string())),
        }
    }

    fn parse<T>(
        &self,
        name: &str,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Result<T, RunError> {
        let text = self.text(name)?;
        let text = text.ok_or_else(|| self.wrong(name, "is missing".to_owned()))?;
        read(&text).map_err(|problem| self.wrong(name, problem))
    }

    /// A JSON value on each line; no file is no lines.
    fn lines<T: for<'de> Deserialize<'de>>(&self, name: &str) -> Result<Vec<T>, RunError> {
        let text = self.text(name)?.unwrap_or_default();
        let read = |(at, line): (usize, &str)| {
            let value: Result<T, _> = serde_json::from_str::<Value>(line).and_then(T::deserialize);
            value.map_err(|error| self.wrong(name, format!("line {}: {error}", at + 1)))
        };
        lines(&text).enumerate().map(read).collect()
    }

    fn wrong(&self, name: &str, problem: String) -> RunError {
        let path = self.0.join(name);
        RunError { path, problem }
    }
}
