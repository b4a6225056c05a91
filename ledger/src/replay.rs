//! A full audit: every entry from the first on, replayed as the cluster must have made it.
//!
//! ```text
//! for each entry     canonical form, position, chain, then the rules of the fold (`evolve`)
//! for each checkpoint  policy, root, the copies of the seal, a majority of the members
//! at the end         every known root was met, nothing that was signed is missing
//! ```
//!
//! Whoever drives it brings bytes: entries in their order, and a kept checkpoint when its size is
//! reached. Nothing is read here and nothing is asked, so that the same audit runs over a folder,
//! an archive or a stream. Memory holds the fold's state and one hash a level of the tree.
//!
//! A full replay rests on both hash families: SHA3-256 through the chain, SHA-256 through the
//! tree. It is the only check that proves completeness, as of the newest checkpoint.

use std::collections::VecDeque;

use crate::checkpoint::{Checkpoint, CosignerPublic, majority, verify_note};
use crate::digest::ChainHash;
use crate::entry::{Body, Entry, EntryError, Genesis, Member, Params};
use crate::fold::{FoldError, Key, LogState, MemoryState, Record, StateView as _, evolve};
use crate::ids::{Seq, TreeSize};
use crate::note::Note;
use crate::policy::Policy;
use crate::signature::KeySet;
use crate::time::Micros;
use crate::tree::{Frontier, NodeHash, leaf_hash};
use crate::verify::notes::check_note;
use crate::verify::{Fault, Finding, NoteReport, quoted};

mod end;
mod hashes;

pub use end::LedgerReport;

/// An audit under way.
#[derive(Debug)]
pub struct Replay<'p> {
    policy: &'p Policy,
    state: MemoryState,
    frontier: Frontier,
    head: ChainHash,
    /// Roots that the auditor knows already, by ascending size, until they were met.
    known: VecDeque<KnownRoot>,
    /// The greatest of them, met or not.
    known_newest: Option<KnownRoot>,
    /// Whether one of them was met.
    compared: bool,
    /// Where the last entry was a seal: what its checkpoint must copy.
    seal: Option<SealFacts>,
    /// A good checkpoint for which not enough members have vouched so far.
    waiting: Option<Waiting>,
    newest: Option<(Checkpoint, NoteReport)>,
    checkpoints: u64,
    seals: u64,
    /// Seals without a kept checkpoint, as far back as none is thinned out.
    unkept: VecDeque<(TreeSize, Micros)>,
    /// The shortest time after which checkpoints were ever thinned out.
    thinned_after_ms: u64,
    /// See [`Replay::excuse_unkept`].
    unkept_excused: bool,
    /// See [`Replay::require_sealed_since`].
    sealed_since: Option<Micros>,
    findings: Vec<Finding>,
    caveats: Vec<String>,
    /// Why no entry is taken any more.
    stopped: Option<Seq>,
}

/// A root from the auditor's own hand.
#[derive(Clone, Debug, PartialEq, Eq)]
struct KnownRoot {
    origin: String,
    size: TreeSize,
    root: NodeHash,
    /// Where it comes from, such as `--since`.
    source: String,
}

#[derive(Clone, Debug)]
struct SealFacts {
    seq: Seq,
    keyset: [u8; 32],
    time: Micros,
}

#[derive(Debug)]
struct Waiting {
    note: Note,
    keys: KeySet,
    place: String,
    size: TreeSize,
}

impl<'p> Replay<'p> {
    /// An audit of the ledger that this policy is about, from the first entry on. The policy's
    /// pins are roots that must be met.
    pub fn new(policy: &'p Policy) -> Self {
        let mut replay = Self {
            policy,
            state: MemoryState::new(),
            frontier: Frontier::new(),
            head: ChainHash::EMPTY,
            known: VecDeque::new(),
            known_newest: None,
            compared: false,
            seal: None,
            waiting: None,
            newest: None,
            checkpoints: 0,
            seals: 0,
            unkept: VecDeque::new(),
            thinned_after_ms: Params::DEFAULT.thin_minute_after_ms,
            unkept_excused: false,
            sealed_since: None,
            findings: Vec::new(),
            caveats: Vec::new(),
            stopped: None,
        };
        for pin in policy.pins() {
            replay.known.push_back(KnownRoot {
                origin: pin.origin.clone(),
                size: pin.size,
                root: pin.root,
                source: "a pin of the policy".to_owned(),
            });
        }
        replay
    }

    /// Takes a checkpoint that the auditor kept from before: the ledger must continue it. Call it
    /// before the first entry.
    pub fn since(&mut self, place: &str, note: &[u8]) {
        let checked = check_note(place.to_owned(), note, self.policy, &mut self.findings);
        if let Some(checkpoint) = checked.checkpoint.filter(|_| checked.accepted) {
            self.known.push_back(KnownRoot {
                origin: checkpoint.origin,
                size: checkpoint.size,
                root: checkpoint.root,
                source: place.to_owned(),
            });
        }
    }

    /// The entries taken so far.
    pub fn size(&self) -> TreeSize {
        self.frontier.size()
    }

    /// Whether the last entry was a seal, so that a checkpoint may stand here.
    pub fn is_sealed_here(&self) -> bool {
        self.seal.is_some()
    }

    /// The entry after which nothing is taken any more, when there is one.
    pub fn stopped(&self) -> Option<Seq> {
        self.stopped
    }

    /// The log's state in force, once there is a genesis.
    pub fn log(&self) -> Option<LogState> {
        match self.state.get(&Key::Log) {
            Ok(Some(Record::Log(log))) => Some(*log),
            _ => None,
        }
    }

    /// Reports something that whoever drives the audit found.
    pub fn report(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    /// Adds to what the report says besides verdicts.
    pub fn remark(&mut self, caveat: String) {
        self.caveats.push(caveat);
    }

    /// The size that the newest kept checkpoint covers, 0 without one.
    pub fn sealed(&self) -> TreeSize {
        let newest = self.newest.as_ref();
        newest.map_or(TreeSize(0), |(checkpoint, _)| checkpoint.size)
    }

    /// Finds no fault with checkpoints that are not brought: they are asked for one by one from a log
    /// that goes on meanwhile, and thins out its older ones. Those that are brought are checked.
    pub fn excuse_unkept(&mut self) {
        self.unkept_excused = true;
    }

    /// Demands a checkpoint that was sealed then or later. A log seals at least every `max_silence`, so
    /// that an old one means a log that stands still, or a server that answers with the past.
    pub fn require_sealed_since(&mut self, time: Micros) {
        self.sealed_since = Some(time);
    }

    /// Takes no entry any more: what follows could not be read.
    pub fn stop(&mut self) {
        self.stopped.get_or_insert(Seq(self.frontier.size().0));
    }

    /// Takes the next entry, without LF, and reports every node of the tree that it completes.
    ///
    /// `false` when it cannot follow: the audit stops here, and the finding says why.
    pub fn push_entry(
        &mut self,
        line: &[u8],
        completed: &mut impl FnMut(u8, u64, NodeHash),
    ) -> bool {
        if self.stopped.is_some() {
            return false;
        }
        match self.follow(line) {
            Ok(entry) => {
                self.frontier.push_with(leaf_hash(line), completed);
                self.head = ChainHash::of(line);
                self.note_entry(&entry);
                true
            }
            Err(finding) => {
                self.stopped = finding.seq.or(Some(Seq(self.size().0)));
                self.findings.push(*finding);
                false
            }
        }
    }

    /// Takes the note of a kept checkpoint; call it when [`Replay::size`] is its size.
    pub fn push_checkpoint(&mut self, place: &str, note: &[u8]) {
        let checked = check_note(place.to_owned(), note, self.policy, &mut self.findings);
        self.checkpoints += 1;
        let Some(checkpoint) = &checked.checkpoint else {
            return;
        };
        self.unkept.retain(|(size, _)| *size != checkpoint.size);
        if self.agrees(place, checkpoint) && checked.accepted {
            self.count_members(place, note, checkpoint);
        }
        // The newest one counts, accepted or not: the findings say what it lacks.
        let newest = self.newest.as_ref().map(|(checkpoint, _)| checkpoint.size);
        if Some(checkpoint.size) > newest {
            self.newest = Some((checkpoint.clone(), checked.report));
        }
    }

    /// The entry, and its changes taken in.
    fn follow(&mut self, line: &[u8]) -> Result<Entry, Box<Finding>> {
        let seq = Seq(self.size().0);
        let entry = Entry::parse(line).map_err(|error| unreadable(seq, &error))?;
        if entry.seq != seq {
            let problem = format!("entry {seq} is missing or out of order: another stands here");
            let finding = Finding::at(Fault::Tampered, "entry-out-of-order", seq, problem);
            return Err(Box::new(finding.but(seq, entry.seq)));
        }
        if entry.prev != self.head {
            return Err(self.chain_broken(&entry));
        }
        let changes = evolve(&self.state, &entry, line).map_err(|error| broken(seq, &error))?;
        self.state.apply(&changes);
        Ok(entry)
    }

    fn chain_broken(&self, entry: &Entry) -> Box<Finding> {
        let before = entry.seq.0.checked_sub(1).map(Seq);
        let (seq, problem) = match before {
            None => (entry.seq, "the first entry names one before it".to_owned()),
            Some(before) => (
                before,
                format!(
                    "its hash is not the one that entry {} names: entry {before} was changed or \
                     replaced, or entry {} was",
                    entry.seq, entry.seq
                ),
            ),
        };
        let finding = Finding::at(Fault::Tampered, "chain-broken", seq, problem);
        Box::new(finding.but(entry.prev, self.head))
    }

    /// What an entry that was taken means for the audit itself.
    fn note_entry(&mut self, entry: &Entry) {
        self.seal = None;
        match &entry.body {
            Body::Genesis(genesis) => self.check_genesis(genesis),
            Body::Seal(seal) => {
                self.majority_is_due();
                self.note_seal(entry, seal.keyset);
            }
            Body::Member(_) => self.retry_members(),
            Body::Params(change) => {
                let after_ms = change.params.thin_minute_after_ms;
                self.thinned_after_ms = self.thinned_after_ms.min(after_ms);
            }
            _ => (),
        }
        self.check_known_roots();
    }

    /// The first key set must be one that the auditor trusts: all later ones follow from it.
    fn check_genesis(&mut self, genesis: &Genesis) {
        self.thinned_after_ms = genesis.params.thin_minute_after_ms;
        self.keep_known_of(&genesis.origin);
        let named = |id: [u8; 32]| self.policy.keysets().iter().any(|keys| keys.id() == id);
        let place = Seq(0);
        match genesis.keys.key_set(&genesis.origin) {
            Ok(keys) if named(keys.id()) => (),
            Ok(keys) => {
                let problem = format!(
                    "the policy does not name the key set that {} starts with",
                    quoted(&genesis.origin)
                );
                let (fault, code) = (Fault::PolicyNotMet, "keyset-not-named");
                let finding = Finding::at(fault, code, place, problem);
                let ids = self
                    .policy
                    .keysets()
                    .iter()
                    .map(|keys| hex::encode(keys.id()));
                let expected = ids.collect::<Vec<_>>().join(" or ");
                self.findings
                    .push(finding.but(expected, hex::encode(keys.id())));
            }
            Err(error) => {
                let (fault, code) = (Fault::Tampered, "entry-malformed");
                self.findings
                    .push(Finding::at(fault, code, place, error.to_string()));
            }
        }
    }

    /// Pins may be of several logs; a checkpoint that was brought is meant for this one.
    fn keep_known_of(&mut self, origin: &str) {
        let of_others = |known: &&KnownRoot| known.origin != origin;
        let of_pin = |known: &&KnownRoot| self.policy.pins().iter().any(|p| p.root == known.root);
        for known in self
            .known
            .iter()
            .filter(of_others)
            .filter(|known| !of_pin(known))
        {
            let problem = format!("{} is of another log", known.source);
            let (fault, code) = (Fault::OtherQuestion, "other-origin");
            let finding = Finding::new(fault, code, known.source.clone(), problem);
            let [expected, found] = [origin, &known.origin].map(quoted);
            self.findings.push(finding.but(expected, found));
        }
        self.known.retain(|known| known.origin == origin);
        self.known.make_contiguous().sort_by_key(|known| known.size);
        self.known_newest = self.known.back().cloned();
    }

    fn note_seal(&mut self, entry: &Entry, keyset: [u8; 32]) {
        self.seals += 1;
        self.seal = Some(SealFacts {
            seq: entry.seq,
            keyset,
            time: entry.time,
        });
        self.unkept.push_back((self.size(), entry.time));
        let thinned = |time: &Micros| time.plus_millis(self.thinned_after_ms) < entry.time;
        while self.unkept.front().is_some_and(|(_, time)| thinned(time)) {
            self.unkept.pop_front();
        }
    }

    /// Compares what is signed with what was replayed, line by line.
    fn agrees(&mut self, place: &str, checkpoint: &Checkpoint) -> bool {
        let size = self.size();
        let Some(seal) = self.seal.clone().filter(|_| checkpoint.size == size) else {
            let problem = "there is no seal at the size that it states";
            let code = "checkpoint-without-seal";
            let finding = Finding::new(Fault::Tampered, code, place, problem);
            self.findings
                .push(finding.but(format_args!("a seal at {size}"), checkpoint.size));
            return false;
        };
        let root = self.frontier.root();
        let lines = [
            ("root", root.to_string(), checkpoint.root.to_string()),
            ("chain", self.head.to_string(), checkpoint.chain.to_string()),
            (
                "keyset",
                hex::encode(seal.keyset),
                hex::encode(checkpoint.keyset),
            ),
            (
                "sealed",
                seal.time.to_string(),
                checkpoint.sealed.to_string(),
            ),
        ];
        let mut agrees = true;
        for (line, expected, found) in lines {
            if expected != found {
                let problem = format!("{place} states another {line} than the entries have");
                let code = "checkpoint-contradicts-ledger";
                let finding = Finding::at(Fault::Tampered, code, seal.seq, problem);
                self.findings.push(finding.but(expected, found));
                agrees = false;
            }
        }
        agrees
    }

    /// A majority of the members that the ledger names must have vouched: of the set at any size
    /// from the checkpoint's to the next seal's, for a node counts where the checkpoint is applied,
    /// and that place is in the Raft log alone.
    fn count_members(&mut self, place: &str, note: &[u8], checkpoint: &Checkpoint) {
        let keys = self
            .policy
            .keysets()
            .iter()
            .find(|keys| keys.id() == checkpoint.keyset);
        let (Some(keys), Ok(note)) = (keys.cloned(), Note::parse(note)) else {
            return;
        };
        let place = place.to_owned();
        let size = checkpoint.size;
        self.waiting = Some(Waiting {
            note,
            keys,
            place,
            size,
        });
        self.retry_members();
    }

    fn retry_members(&mut self) {
        let (Some(waiting), Some(log)) = (&self.waiting, self.log()) else {
            return;
        };
        let member =
            |member: &Member| CosignerPublic::new(&log.origin, member.node, member.cosigner);
        let cosigners: Vec<_> = log.members.iter().map(member).collect();
        match verify_note(&waiting.note, &waiting.keys, &cosigners) {
            Ok(verified) if verified.vouched.len() >= majority(cosigners.len()) => {
                self.waiting = None;
            }
            Ok(_) => (),
            Err(error) => {
                let (code, place) = ("signature-bad", waiting.place.clone());
                let finding = Finding::new(Fault::Tampered, code, place, error.to_string());
                self.findings.push(finding);
                self.waiting = None;
            }
        }
    }

    /// The next seal is there, or the end.
    fn majority_is_due(&mut self) {
        if let Some(Waiting { place, size, .. }) = self.waiting.take() {
            let problem =
                format!("no majority of the members that the ledger names vouched for size {size}");
            let code = "majority-not-met";
            self.findings
                .push(Finding::new(Fault::Tampered, code, place, problem));
        }
    }

    fn check_known_roots(&mut self) {
        let size = self.size();
        while self.known.front().is_some_and(|known| known.size == size) {
            let Some(known) = self.known.pop_front() else {
                return;
            };
            let root = self.frontier.root();
            self.compared = true;
            if known.root != root {
                let problem = format!(
                    "the ledger is no continuation of {}: at size {size} it has another root",
                    known.source
                );
                let code = "history-rewritten";
                let finding = Finding::at(Fault::Tampered, code, Seq(size.0 - 1), problem);
                self.findings.push(finding.but(known.root, root));
            }
        }
    }
}

fn unreadable(seq: Seq, error: &EntryError) -> Box<Finding> {
    let (fault, code) = match error {
        EntryError::NotUnderstood { .. } => (Fault::NotUnderstood, "entry-not-understood"),
        _ => (Fault::Tampered, "entry-malformed"),
    };
    let problem = quoted(&error.to_string());
    Box::new(Finding::at(fault, code, seq, problem))
}

fn broken(seq: Seq, error: &FoldError) -> Box<Finding> {
    let (fault, code) = match error {
        FoldError::Broken { .. } => (Fault::Tampered, "rule-broken"),
        FoldError::NotUnderstood { .. } => (Fault::NotUnderstood, "entry-not-understood"),
        FoldError::View(_) => (Fault::NotUnderstood, "state-not-readable"),
    };
    let problem = crate::shown::shown(&error.to_string()).to_string();
    Box::new(Finding::at(fault, code, seq, problem))
}
