//! What every cut must leave true, checked from the nodes' files.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context as _, bail, ensure};
use candor_ledger::digest::TaggedDigest;
use candor_ledger::entry::{Entry, Op};
use candor_ledger::fold::{MemoryState, StateDigest, evolve};
use candor_ledger::ids::RequestId;
use candor_ledger::policy::Policy;
use candor_ledger::replay::Replay;
use candor_ledger::verify::Outcome;

use super::OTHER;
use crate::real::{Cluster, Same, folders};
use crate::workload::{Acknowledged, Asked};

/// What a node says when it has opened its ledger, with size and digest of its state.
pub(super) const OPENED: &str = "ledger opened";

/// What was checked behind a cut, all of it good.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Requests acknowledged so far; each has its entry.
    pub acknowledged: usize,
    /// Entries, the same on all nodes; those from before the cut are what they were.
    pub entries: usize,
    /// Checkpoints, signed and vouched for; those from before are what they were.
    pub checkpoints: usize,
    /// Files of each `ledger/`, the same on all nodes.
    pub files: usize,
}

/// One ledger as it was seen last, and what was acknowledged of it.
pub(crate) struct Checker<'p> {
    /// An auditor's replay, up to the newest checkpoint, if there is to be one.
    replay: Option<Replay<'p>>,
    replayed: usize,
    past: Past,
    notes: BTreeMap<u64, Vec<u8>>,
}

/// Entries that were settled, what they amount to, and what was acknowledged.
#[derive(Clone)]
pub(crate) struct Past {
    /// The fold, and its digest at each size.
    state: MemoryState,
    digests: Vec<StateDigest>,
    lines: Vec<Vec<u8>>,
    by_id: BTreeMap<RequestId, Vec<Op>>,
    acknowledged: Vec<Acknowledged>,
}

impl<'p> Checker<'p> {
    /// Goes on from a past; with an audit of all of it, or without.
    pub(crate) fn new(policy: &'p Policy, past: Past, audits: bool) -> Self {
        Self {
            replay: audits.then(|| Replay::new(policy)),
            replayed: 0,
            past,
            notes: BTreeMap::new(),
        }
    }

    /// More requests were acknowledged.
    pub(crate) fn acknowledged(&mut self, more: Vec<Acknowledged>) {
        self.past.acknowledged.extend(more);
    }

    /// The computations whose output is their name.
    pub(super) fn named_sets(&self) -> Vec<&String> {
        let sets = self.past.acknowledged.iter();
        let sets = sets.filter(|one| one.what == Asked::Set && !one.name.starts_with(OTHER));
        sets.map(|one| &one.name).collect()
    }

    /// Checks settled nodes.
    pub(crate) fn check(&mut self, cluster: &Cluster) -> anyhow::Result<Checked> {
        let Same { files, .. } = cluster.same_ledgers()?;
        self.past.follow(cluster.lines(1)?)?;
        self.compare_notes(cluster)?;
        self.audit()?;
        for node in cluster.nodes() {
            self.past.compare_fold(cluster, node)?;
        }
        self.past.find_acknowledged()?;
        Ok(Checked {
            acknowledged: self.past.acknowledged.len(),
            entries: self.past.lines.len(),
            checkpoints: self.notes.len(),
            files,
        })
    }

    /// The verdict of the auditor's replay.
    pub(crate) fn finish(self) -> anyhow::Result<()> {
        let Some(replay) = self.replay else {
            return Ok(());
        };
        let report = replay.finish();
        ensure!(
            report.outcome == Outcome::Proved,
            "the audit ends with {:?}: {:?}",
            report.outcome,
            report.findings
        );
        Ok(())
    }

    /// INV-4: checkpoints stay, and say what they said.
    fn compare_notes(&mut self, cluster: &Cluster) -> anyhow::Result<()> {
        let folder = cluster.folder(1).join("ledger/checkpoints");
        let mut notes = BTreeMap::new();
        for name in folders::files_below(&folder)? {
            let size: u64 = name.to_string_lossy().parse()?;
            notes.insert(size, fs::read(folder.join(&name))?);
        }
        for (size, note) in &self.notes {
            let now = notes.get(size);
            let now = now.with_context(|| format!("the checkpoint of size {size} was lost"))?;
            ensure!(now == note, "the checkpoint of size {size} is another now");
        }
        self.notes = notes;
        Ok(())
    }

    /// Each new entry and checkpoint verifies, up to the newest checkpoint.
    fn audit(&mut self) -> anyhow::Result<()> {
        let Some(replay) = &mut self.replay else {
            return Ok(());
        };
        let newest = self.notes.keys().next_back().copied().unwrap_or(0);
        let until = usize::try_from(newest)?;
        for line in self.past.lines.iter().take(until).skip(self.replayed) {
            ensure!(
                replay.push_entry(line, &mut |_, _, _| {}),
                "an auditor stops at entry {}",
                replay.size()
            );
            let size = replay.size().0;
            if let Some(note) = self.notes.get(&size) {
                replay.push_checkpoint(&format!("size {size}"), note);
                ensure!(
                    replay.sealed().0 == size,
                    "the checkpoint of size {size} does not verify"
                );
            }
        }
        self.replayed = until.max(self.replayed);
        Ok(())
    }
}

impl Past {
    pub(crate) fn new() -> Self {
        let state = MemoryState::new();
        Self {
            digests: vec![state.digest()],
            state,
            lines: Vec::new(),
            by_id: BTreeMap::new(),
            acknowledged: Vec::new(),
        }
    }

    /// A past of these entries and requests.
    pub(super) fn of(lines: Vec<Vec<u8>>, acknowledged: Vec<Acknowledged>) -> anyhow::Result<Self> {
        let mut past = Self {
            acknowledged,
            ..Self::new()
        };
        past.follow(lines)?;
        Ok(past)
    }

    /// INV-1 and INV-2: what was there stays, and what is new follows by the rules.
    fn follow(&mut self, lines: Vec<Vec<u8>>) -> anyhow::Result<()> {
        ensure!(
            lines.len() >= self.lines.len(),
            "{} entries are left of {}",
            lines.len(),
            self.lines.len()
        );
        let fork = self
            .lines
            .iter()
            .zip(&lines)
            .position(|(was, is)| was != is);
        if let Some(seq) = fork {
            bail!("a fork: entry {seq} was settled before the cut and is another now");
        }
        for line in lines.iter().skip(self.lines.len()) {
            let entry = Entry::parse(line)?;
            let changes = evolve(&self.state, &entry, line)?;
            self.state.apply(&changes);
            self.digests.push(self.state.digest());
            if let Some(id) = entry.request_id {
                self.by_id.entry(id).or_default().push(entry.op());
            }
        }
        self.lines = lines;
        Ok(())
    }

    /// INV-5: the state that a node began with is the fold of its entries.
    fn compare_fold(&self, cluster: &Cluster, node: u64) -> anyhow::Result<()> {
        let log = cluster.log_text(node);
        let line = log.lines().rfind(|line| line.contains(OPENED));
        let line = line.context("a node has not opened its ledger")?;
        let size = line
            .split_once("size `")
            .and_then(|(_, rest)| rest.split_once('`'));
        let size: usize = size.context("a size is missing")?.0.parse()?;
        let want = self.digests.get(size).context("a size beyond the ledger")?;
        let want = TaggedDigest::sha3(want.0).to_string();
        let digits = want.trim_start_matches("sha3-256:");
        ensure!(
            line.contains(digits),
            "the state of node {node} is not its fold, want {digits}: {line}"
        );
        Ok(())
    }

    /// INV-1 and INV-7: what was acknowledged is there, and a set once.
    fn find_acknowledged(&self) -> anyhow::Result<()> {
        for one in &self.acknowledged {
            let ops = self.by_id.get(&one.id);
            let ops = ops.with_context(|| format!("an acknowledged request was lost: {one:?}"))?;
            let is_found = match one.what {
                Asked::Set => ops[..] == [Op::CacheWrite],
                Asked::Get => ops.iter().all(|op| *op == Op::CacheReadHit),
                Asked::Miss => ops.iter().all(|op| *op == Op::CacheReadMiss),
            };
            ensure!(is_found, "{one:?} took effect otherwise: {ops:?}");
        }
        Ok(())
    }
}
