//! Checking an export with public keys alone.
//!
//! ```text
//! the checkpoint      policy: three signatures, quorum
//! each line           an entry in canonical form at its place, of whom the export says; or a leaf hash
//! each pair of them   chain, time, lifecycles, as far as both are shown
//! at the end          frontier + lines -> root at `to + 1` -> path -> the root that was signed
//! ```
//!
//! Whoever drives it brings bytes, and compares the digests of the small files
//! ([`ExportCheck::push_file`]). Memory holds the last event of each subject in the range.
//!
//! The rules of the ledger as a whole are not replayed: that takes all entries from the first on.

use std::collections::BTreeMap;

use super::{Export, GENESIS_FILE, parse_hidden};
use crate::digest::{ChainHash, TaggedDigest, sha3_256};
use crate::entry::{Entry, EntryError};
use crate::ids::{Seq, TreeSize};
use crate::policy::Policy;
use crate::receipt::Receipt;
use crate::time::{Micros, TimeError};
use crate::tree::{Frontier, NodeHash, leaf_hash, verify_inclusion};
use crate::verify::entries::{attestation_problem, fingerprint_problem, seal_problem};
use crate::verify::lifecycle::Walk;
use crate::verify::notes::{CheckedNote, check_note};
use crate::verify::{Fault, Finding, NoteReport, Outcome, Tests, quoted};

mod end;

/// One end of the range that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// This entry.
    Seq(Seq),
    /// Whatever happened at this time.
    Time(Micros),
}

impl Bound {
    /// Reads where a range starts: an entry's number, a time in UTC, or a day.
    ///
    /// # Errors
    /// Any other text.
    pub fn parse_start(text: &str) -> Result<Self, TimeError> {
        match text.parse() {
            Ok(seq) => Ok(Self::Seq(Seq(seq))),
            Err(_) => Micros::parse_typed(text).map(Self::Time),
        }
    }

    /// Reads where a range ends, itself included: a day is taken whole.
    ///
    /// # Errors
    /// Any other text.
    pub fn parse_end(text: &str) -> Result<Self, TimeError> {
        match text.parse() {
            Ok(seq) => Ok(Self::Seq(Seq(seq))),
            Err(_) => Micros::parse_typed_end(text).map(Self::Time),
        }
    }
}

/// What the auditor asked for. An export of something else is refused by name, however genuine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExportQuestion {
    /// The log.
    pub origin: Option<String>,
    /// Whose entries must be shown.
    pub tenant: Option<String>,
    /// From where on.
    pub from: Option<Bound>,
    /// Up to where, itself included.
    pub to: Option<Bound>,
}

/// Everything that checking an export gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportReport {
    /// What the whole comes to.
    pub outcome: Outcome,
    /// Which log it says it is of.
    pub origin: String,
    /// Whose entries are shown; `""` when all are.
    pub tenant: String,
    /// The first position.
    pub from: Seq,
    /// The last, itself included.
    pub to: Seq,
    /// Ledger size of the checkpoint.
    pub size: TreeSize,
    /// Entries shown.
    pub shown: u64,
    /// Positions shown as leaf hashes alone.
    pub hidden: u64,
    /// Time of the entry at the first position, where it is shown.
    pub first: Option<Micros>,
    /// Time of the entry at the last position, where it is shown.
    pub last: Option<Micros>,
    /// The checkpoint.
    pub checkpoint: Option<NoteReport>,
    /// The three tests.
    pub tests: Tests,
    /// What is wrong, in the order found.
    pub findings: Vec<Finding>,
    /// What the verdicts rest on and do not say.
    pub caveats: Vec<String>,
}

/// A check under way.
pub struct ExportCheck<'p> {
    policy: &'p Policy,
    export: Export,
    note: Vec<u8>,
    checkpoint: Option<CheckedNote>,
    /// The tree so far; `None` when the export's own frontier is none.
    frontier: Option<Frontier>,
    /// Hash of the line before, where it was an entry.
    before: Option<ChainHash>,
    /// Time of the newest entry shown.
    time: Option<Micros>,
    lives: BTreeMap<(String, String), Walk>,
    shown: u64,
    hidden: u64,
    first: Option<Micros>,
    genesis: Option<Vec<u8>>,
    /// Whether a pin of the policy lies in the range.
    compared: bool,
    findings: Vec<Finding>,
    /// What is wrong between entries: the cluster's doing where they are committed, and beside the point
    /// where they are not.
    broken_rules: Vec<Finding>,
    caveats: Vec<String>,
    stopped: bool,
}

impl<'p> ExportCheck<'p> {
    /// A check of the folder that this `export.json` describes. Bring the files of
    /// [`super::DIGESTED_FILES`] first, then the lines.
    pub fn new(export: Export, policy: &'p Policy) -> Self {
        let mut findings = Vec::new();
        let frontier = Frontier::from_nodes(TreeSize(export.from.0), export.frontier.clone());
        let frontier = frontier
            .map_err(|error| {
                let (code, place) = ("range-not-committed", "export.json: `frontier`");
                let finding = Finding::new(Fault::Tampered, code, place, error.to_string());
                findings.push(finding);
            })
            .ok();
        let mut check = Self {
            policy,
            export,
            note: Vec::new(),
            checkpoint: None,
            stopped: frontier.is_none(),
            frontier,
            before: None,
            time: None,
            lives: BTreeMap::new(),
            shown: 0,
            hidden: 0,
            first: None,
            genesis: None,
            compared: false,
            findings,
            broken_rules: Vec::new(),
            caveats: Vec::new(),
        };
        // The range before this one may have ended here, under a checkpoint that was pinned.
        check.compare_pins();
        check
    }

    /// Takes one of the files that `export.json` names by their digests.
    pub fn push_file(&mut self, name: &str, bytes: &[u8]) {
        let found = sha3_256(bytes);
        if let Some(expected) = self.export.files.get(name).filter(|hash| **hash != found) {
            let problem = "the file is not the one that export.json names";
            let finding = Finding::new(Fault::Tampered, "file-changed", name, problem);
            let [expected, found] = [*expected, found].map(TaggedDigest::sha3);
            self.findings.push(finding.but(expected, found));
        }
        match name {
            super::CHECKPOINT_FILE => self.take_checkpoint(name, bytes),
            GENESIS_FILE => self.genesis = Some(bytes.to_vec()),
            _ => (),
        }
    }

    /// Takes the next line, without LF. `false` when no more is taken: the findings say why.
    pub fn push_line(&mut self, line: &[u8]) -> bool {
        let Some(seq) = self.next_seq() else {
            return false;
        };
        if seq > self.export.to {
            let problem = format!("the range ends with entry {}", self.export.to);
            let code = "entry-out-of-order";
            self.stop(Finding::at(Fault::Tampered, code, seq, problem));
            return false;
        }
        match parse_hidden(line) {
            Some(leaf) => self.take_hidden(seq, leaf),
            None => match Entry::parse(line) {
                Ok(entry) => self.take_entry(seq, &entry, line),
                Err(error) => self.stop(unreadable(seq, &error)),
            },
        }
        !self.stopped
    }

    /// Reports something that whoever drives the check found.
    pub fn report(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    /// Adds to what the report says besides verdicts.
    pub fn remark(&mut self, caveat: String) {
        self.caveats.push(caveat);
    }

    /// The position of the next line.
    fn next_seq(&self) -> Option<Seq> {
        let frontier = self.frontier.as_ref().filter(|_| !self.stopped)?;
        Some(Seq(frontier.size().0))
    }

    fn take_checkpoint(&mut self, place: &str, note: &[u8]) {
        let checked = check_note(place.to_owned(), note, self.policy, &mut self.findings);
        if let Some(checkpoint) = &checked.checkpoint {
            let facts = [
                (
                    "origin",
                    quoted(&checkpoint.origin),
                    quoted(&self.export.origin),
                ),
                (
                    "size",
                    checkpoint.size.to_string(),
                    self.export.size.to_string(),
                ),
            ];
            for (what, expected, found) in facts {
                if expected != found {
                    let problem = format!("export.json states another {what} than the checkpoint");
                    let (code, place) = ("export-contradicts-checkpoint", "export.json");
                    let finding = Finding::new(Fault::Tampered, code, place, problem);
                    self.findings.push(finding.but(expected, found));
                }
            }
        }
        self.note = note.to_vec();
        self.checkpoint = Some(checked);
    }

    fn take_hidden(&mut self, seq: Seq, leaf: NodeHash) {
        if self.export.tenant.is_empty() {
            let problem = "only its hash is shown, though the export says that all entries are";
            let finding = Finding::at(Fault::Tampered, "entry-hidden", seq, problem);
            self.findings.push(finding);
        }
        self.hidden += 1;
        self.before = None;
        self.grow(leaf);
    }

    fn take_entry(&mut self, seq: Seq, entry: &Entry, line: &[u8]) {
        if entry.seq != seq {
            let problem = "another entry stands at this place";
            let finding = Finding::at(Fault::Tampered, "entry-out-of-order", seq, problem);
            return self.stop(finding.but(seq, entry.seq));
        }
        self.check_owner(entry);
        self.check_before(entry);
        self.check_lifecycle(entry);
        let own = fingerprint_problem(entry)
            .or_else(|| attestation_problem(entry, &self.export.origin))
            .or_else(|| seal_problem(entry, line, self.checkpoint.as_ref()?));
        self.broken_rules.extend(own);
        if seq == self.export.from {
            self.first = Some(entry.time);
        }
        self.shown += 1;
        self.time = Some(entry.time);
        self.before = Some(ChainHash::of(line));
        self.grow(leaf_hash(line));
    }

    /// Of the tenant that the export names, or the log's own.
    fn check_owner(&mut self, entry: &Entry) {
        let tenant = &self.export.tenant;
        if tenant.is_empty() || entry.tenant.is_empty() || entry.tenant == *tenant {
            return;
        }
        let problem = "the entry is another tenant's than the export says it shows";
        let finding = Finding::at(Fault::Tampered, "entry-foreign", entry.seq, problem);
        let [expected, found] = [tenant, &entry.tenant].map(|name| quoted(name));
        self.findings.push(finding.but(expected, found));
    }

    fn check_before(&mut self, entry: &Entry) {
        if let Some(before) = self.before.filter(|before| *before != entry.prev) {
            let changed = Seq(entry.seq.0.saturating_sub(1));
            let problem = format!(
                "its hash is not the one that entry {} names: entry {changed} was changed or replaced, \
                 or entry {} was",
                entry.seq, entry.seq
            );
            let finding = Finding::at(Fault::Tampered, "chain-broken", changed, problem);
            self.findings.push(finding.but(entry.prev, before));
        }
        if let Some(time) = self.time.filter(|time| entry.time < *time) {
            let problem = "rule broken by the cluster: time goes back";
            let finding = Finding::at(Fault::Tampered, "time-goes-back", entry.seq, problem);
            self.broken_rules
                .push(finding.but(format_args!("{time} or later"), entry.time));
        }
    }

    fn check_lifecycle(&mut self, entry: &Entry) {
        let key = (entry.tenant.clone(), entry.subject.to_string());
        let walk = self.lives.entry(key).or_default();
        let missing = entry
            .subject_prev
            .filter(|prev| *prev >= self.export.from && *prev < entry.seq)
            .filter(|prev| walk.last() < Some(*prev));
        if let Some(missing) = missing {
            let problem = format!(
                "entry {} of the same subject names it, so it is one to be shown; only its hash is",
                entry.seq
            );
            self.broken_rules.push(Finding::at(
                Fault::Tampered,
                "entry-hidden",
                missing,
                problem,
            ));
        }
        walk.next(entry, &mut self.broken_rules);
    }

    fn grow(&mut self, leaf: NodeHash) {
        let Some(frontier) = &mut self.frontier else {
            return;
        };
        frontier.push(leaf);
        self.compare_pins();
    }

    /// Holds the tree so far against what the policy pins of it.
    fn compare_pins(&mut self) {
        let Some(frontier) = &self.frontier else {
            return;
        };
        let (size, origin) = (frontier.size(), &self.export.origin);
        let Some(last) = size.last() else {
            return;
        };
        let here = |pin: &&crate::policy::Pin| pin.size == size && pin.origin == *origin;
        for pin in self.policy.pins().iter().filter(here) {
            self.compared = true;
            let root = frontier.root();
            if pin.root != root {
                let problem = format!("at size {size} the policy pins another root");
                let code = "history-rewritten";
                let finding = Finding::at(Fault::Tampered, code, last, problem);
                self.findings.push(finding.but(pin.root, root));
            }
        }
    }

    fn stop(&mut self, finding: Finding) {
        self.findings.push(finding);
        self.stopped = true;
    }
}

fn unreadable(seq: Seq, error: &EntryError) -> Finding {
    let (fault, code) = match error {
        EntryError::NotUnderstood { .. } => (Fault::NotUnderstood, "entry-not-understood"),
        _ => (Fault::Tampered, "entry-malformed"),
    };
    Finding::at(fault, code, seq, quoted(&error.to_string()))
}

/// Entry 0 of a receipt under this very checkpoint, or what is wrong with it.
fn receipt_entry(receipt: &[u8], note: &[u8], checkpoint: &CheckedNote) -> Result<Entry, String> {
    let receipt = Receipt::parse(receipt).map_err(|error| error.to_string())?;
    if receipt.note().encode().as_bytes() != note {
        return Err("it stands under another checkpoint than the export".to_owned());
    }
    let Some(checkpoint) = &checkpoint.checkpoint else {
        return Err("the checkpoint cannot be read".to_owned());
    };
    let (leaf, proof) = (leaf_hash(&receipt.entry), &receipt.proof);
    let (size, root) = (checkpoint.size, &checkpoint.root);
    verify_inclusion(&leaf, proof.index, size, &proof.path, root)
        .map_err(|error| error.to_string())?;
    let entry = Entry::parse(&receipt.entry).map_err(|error| error.to_string())?;
    // A log that lies may have committed another entry of this kind further on.
    if (proof.index, entry.seq) != (Seq(0), Seq(0)) {
        return Err(format!("it is of entry {}, not of the first", proof.index));
    }
    Ok(entry)
}
