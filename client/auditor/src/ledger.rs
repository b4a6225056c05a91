//! `candor-audit ledger`.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::time::{Duration, SystemTime};

use candor_ledger::entry::Params;
use candor_ledger::ids::{Seq, TreeSize};
use candor_ledger::note::NOTE_LEN_MAX;
use candor_ledger::replay::{LedgerReport, Replay};
use candor_ledger::shown::shown;
use candor_ledger::time::Micros;
use candor_ledger::tree::NodeHash;
use candor_ledger::verify::{Fault, Finding};

use crate::Done;
use crate::args::{LedgerArgs, Output};
use crate::folder::{
    Derived, Difference, Folder, Line, Lines, checkpoint_file, entry_file, offsets_file, tree_file,
};
use crate::progress::Progress;
use crate::read::{self, CouldNotRead};
use crate::report;
use crate::trust::{self, TrustSummary};
#[cfg(feature = "online")]
use crate::{grpc, tiles};

/// A token has 71 characters.
#[cfg(feature = "online")]
const TOKEN_LEN_MAX: usize = 1_024;

pub(crate) fn run(args: &LedgerArgs, output: Output) -> Done {
    let distrust = args.distrust.algorithms();
    let policy = trust::policy(&args.trust, &distrust)?;
    let mut replay = Replay::new(&policy);
    if let Some(since) = &args.since {
        let note = read::file(since, NOTE_LEN_MAX)?;
        replay.since(&shown(&since.display().to_string()).to_string(), &note);
    }
    if let Some(max_age) = args.max_age {
        replay.require_sealed_since(before_now(max_age));
    }
    let (report, compared) = look(args, replay)?;
    let trust = TrustSummary::new(&args.trust, &policy, &distrust);
    read::print(&match output {
        Output::Json => format!("{:#}\n", report::ledger_json(&report, &trust)),
        Output::Text => report::ledger_text(&report, &trust, compared),
    });
    Ok(report.outcome.exit_code())
}

/// This machine's clock, so much earlier.
fn before_now(age: Duration) -> Micros {
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let micros = now.saturating_sub(age).as_micros();
    Micros(u64::try_from(micros).unwrap_or(u64::MAX))
}

/// What was looked at beside the entries, in words, and what came of it.
type Looked = Result<(LedgerReport, &'static str), CouldNotRead>;

#[cfg(not(feature = "online"))]
fn look(args: &LedgerArgs, replay: Replay<'_>) -> Looked {
    let place = args.dir.to_string_lossy();
    if place.starts_with("http://") || place.starts_with("grpc://") {
        let problem = "this build knows no network: it lacks the feature `online`";
        return Err(CouldNotRead::new(&args.dir, problem));
    }
    look_into_folder(args, replay)
}

#[cfg(feature = "online")]
fn look(args: &LedgerArgs, replay: Replay<'_>) -> Looked {
    let place = args.dir.to_string_lossy();
    let over_grpc = place.starts_with("grpc://");
    if !place.starts_with("http://") && !over_grpc {
        return look_into_folder(args, replay);
    }
    let token = match &args.token_file {
        None => None,
        Some(path) => {
            let text = String::from_utf8(read::file(path, TOKEN_LEN_MAX)?);
            let text = text.map_err(|_| CouldNotRead::new(path, "not UTF-8"))?;
            Some(text.trim().to_owned())
        }
    };
    if over_grpc && args.hashes_only {
        let problem = "leaf hashes alone are read from a node's HTTP port: http://host:port";
        return Err(CouldNotRead::new(&args.dir, problem));
    }
    if over_grpc {
        let node = grpc::Node::new(&place, token.as_deref())?;
        // What a folder holds beside the entries, and a node does not show.
        let compared = "chain, tree, rules (over gRPC: not the node's files of offsets and tree)";
        return Ok((grpc::audit(&node, replay)?, compared));
    }
    let remote = tiles::Remote::new(&place, token);
    if args.hashes_only {
        let report = tiles::rebuild(&remote, replay)?;
        return Ok((report, "hash tiles alone"));
    }
    Ok((
        tiles::audit(&remote, replay)?,
        "chain, tree, rules, hash tiles",
    ))
}

fn look_into_folder(args: &LedgerArgs, replay: Replay<'_>) -> Looked {
    let folder = Folder::open(&args.dir)?;
    let compared = "chain, tree, rules, stored tree and offsets";
    Ok((audit(&folder, replay), compared))
}

fn audit(folder: &Folder, replay: Replay<'_>) -> LedgerReport {
    let mut audit = Audit {
        folder,
        replay,
        tree: Tree::default(),
        checkpoints: folder.checkpoints.iter().copied().peekable(),
        progress: Progress::new(folder.entry_bytes()),
        entries_per_file: None,
    };
    audit.read_entries();
    audit.read_checkpoints_beyond();
    audit.compare_ends();
    audit.progress.finish();
    audit.remark_strangers();
    audit.replay.finish()
}

/// One pass over the folder.
struct Audit<'a, I: Iterator<Item = u64>> {
    folder: &'a Folder,
    replay: Replay<'a>,
    tree: Tree,
    checkpoints: std::iter::Peekable<I>,
    progress: Progress,
    entries_per_file: Option<u64>,
}

impl<I: Iterator<Item = u64>> Audit<'_, I> {
    fn read_entries(&mut self) {
        for first in &self.folder.entry_files {
            let size = self.replay.size();
            if *first != size.0 {
                let problem = format!("{} does not continue at entry {size}", entry_file(*first));
                let (fault, code) = (Fault::Tampered, "entries-missing");
                let finding = Finding::at(fault, code, Seq(size.0), problem);
                self.replay
                    .report(finding.but(entry_file(size.0), entry_file(*first)));
                self.replay.stop();
            }
            if self.replay.stopped().is_some() {
                return;
            }
            if let Err(error) = self.read_file(*first) {
                self.unreadable(&entry_file(*first), &error);
                self.replay.stop();
            }
        }
    }

    /// One file of entries, with its offsets.
    fn read_file(&mut self, first: u64) -> io::Result<()> {
        let mut lines = Lines::open(&self.folder.path(&entry_file(first)))?;
        let (mut offsets, problem) = Derived::open(self.folder, offsets_file(first));
        if let Some(problem) = problem {
            self.differs(&offsets.name, &problem, |_| Seq(first));
        }
        let mut line = Vec::new();
        while self.continues_in(first) {
            let read = lines.read(&mut line)?;
            match read {
                Line::End => break,
                Line::Torn if self.is_unsealed() => {
                    let size = self.replay.size();
                    let remark =
                        format!("entry {size} is cut off, as after a crash: not looked at");
                    self.replay.remark(remark);
                    return Ok(());
                }
                Line::Torn | Line::TooLong => {
                    self.no_line();
                    return Ok(());
                }
                Line::Entry => self.take(&line),
            }
            if self.replay.stopped().is_some() {
                return Ok(());
            }
            if let Some(problem) = offsets.expect(lines.end.to_le_bytes()) {
                self.differs(&offsets.name, &problem, |index| Seq(first + index));
            }
            self.progress.advance(line.len() + 1);
        }
        if let Some((name, problem)) = offsets.end() {
            self.differs(&name, &problem, |index| Seq(first + index));
        }
        if !self.continues_in(first) && !matches!(lines.read(&mut line)?, Line::End) {
            self.too_many(first);
        }
        Ok(())
    }

    fn take(&mut self, line: &[u8]) {
        let mut completed = Vec::new();
        let mut collect = |level, index, hash| completed.push((level, index, hash));
        if !self.replay.push_entry(line, &mut collect) {
            return;
        }
        let per_file = self.entries_per_file();
        for (level, index, hash) in completed {
            for (name, problem) in self
                .tree
                .expect(self.folder, per_file, (level, index), hash)
            {
                self.differs(&name, &problem, |_| last_below(level, index));
            }
        }
        self.read_checkpoints_here();
    }

    fn read_checkpoints_here(&mut self) {
        let size = self.replay.size().0;
        while let Some(size) = self.checkpoints.next_if(|at| *at <= size) {
            let name = checkpoint_file(size);
            match read::file(&self.folder.path(&name), NOTE_LEN_MAX) {
                Ok(note) => self.replay.push_checkpoint(&name, &note),
                Err(error) => self.unreadable(&name, &error),
            }
        }
    }

    fn read_checkpoints_beyond(&mut self) {
        if !self.folder.has_checkpoints() {
            let (problem, place) = ("there is no such folder", "checkpoints");
            let finding = Finding::new(Fault::NotUnderstood, "not-readable", place, problem);
            self.replay.report(finding);
        }
        if self.replay.stopped().is_some() {
            return;
        }
        while let Some(size) = self.checkpoints.next() {
            let name = checkpoint_file(size);
            match read::file(&self.folder.path(&name), NOTE_LEN_MAX) {
                Ok(note) => self.replay.push_beyond(&name, &note),
                Err(error) => self.unreadable(&name, &error),
            }
        }
    }

    /// Whether the stored tree ends where the entries do.
    fn compare_ends(&mut self) {
        if self.replay.stopped().is_some() {
            return;
        }
        let size = self.replay.size();
        let Tree { current, compared } = std::mem::take(&mut self.tree);
        for (level, first) in self.folder.tree_files.difference(&compared) {
            let (name, problem) = (tree_file(*level, *first), Difference::Long { pieces: 0 });
            self.differs(&name, &problem, |_| Seq(size.0));
        }
        for (name, problem) in current.into_values().filter_map(Derived::end) {
            self.differs(&name, &problem, |_| Seq(size.0));
        }
    }

    /// Reports a derived file that differs. A short end over entries that no checkpoint covers yet
    /// is what a crash leaves, and a start repairs.
    fn differs(&mut self, name: &str, problem: &Difference, seq_of: impl Fn(u64) -> Seq) {
        let (seq, words) = match problem {
            Difference::Unreadable(error) => return self.unreadable(name, error),
            Difference::Other { index } => (
                seq_of(*index),
                format!("{name} holds something else for it than it gives"),
            ),
            Difference::Short { index } => {
                let seq = seq_of(*index);
                if !self.replay.sealed().covers(seq) && self.is_unsealed() {
                    let remark = format!("{name} ends before entry {seq}, as after a crash");
                    return self.replay.remark(remark);
                }
                (seq, format!("{name} ends before it"))
            }
            Difference::Long { pieces } => {
                let seq = seq_of(*pieces);
                (
                    seq,
                    format!("{name} goes on where the entries end: entries were there once"),
                )
            }
        };
        let problem = format!("damaged derived file, or a changed entry: {words}");
        let finding = Finding::at(Fault::Tampered, "derived-file-differs", seq, problem);
        self.replay.report(finding);
    }

    fn unreadable(&mut self, name: &str, error: &dyn std::error::Error) {
        let problem = shown(&error.to_string()).to_string();
        let finding = Finding::new(Fault::NotUnderstood, "not-readable", name, problem);
        self.replay.report(finding);
    }

    /// The bytes at the next entry's place are no line.
    fn no_line(&mut self) {
        let problem = "its line does not end, or is longer than an entry can be";
        let seq = Seq(self.replay.size().0);
        self.replay.report(Finding::at(
            Fault::Tampered,
            "entry-malformed",
            seq,
            problem,
        ));
        self.replay.stop();
    }

    fn too_many(&mut self, first: u64) {
        let seq = Seq(self.replay.size().0);
        let problem = format!("it stands in {}, which ends before it", entry_file(first));
        self.replay.report(Finding::at(
            Fault::Tampered,
            "entry-out-of-order",
            seq,
            problem,
        ));
        self.replay.stop();
    }

    /// Whether the next entry belongs into the file that starts at `first`.
    fn continues_in(&mut self, first: u64) -> bool {
        self.replay.size().0 < first.saturating_add(self.entries_per_file())
    }

    /// Entries in a file of entries, and nodes in one of the tree. The genesis says how many, and
    /// that never changes.
    fn entries_per_file(&mut self) -> u64 {
        if self.entries_per_file.is_none() {
            self.entries_per_file = self.replay.log().map(|log| log.params.entries_per_file);
        }
        self.entries_per_file
            .unwrap_or(Params::DEFAULT.entries_per_file)
    }

    /// Whether every checkpoint kept was passed already.
    fn is_unsealed(&self) -> bool {
        let newest = self.folder.checkpoints.last().copied().unwrap_or(0);
        TreeSize(newest) <= self.replay.size()
    }

    fn remark_strangers(&mut self) {
        if !self.folder.strangers.is_empty() {
            let names = self.folder.strangers.join(", ");
            self.replay
                .remark(format!("no part of a ledger, not looked at: {names}"));
        }
    }
}

/// The last entry that a node of the tree stands over.
fn last_below(level: u8, index: u64) -> Seq {
    Seq(((index + 1) << level) - 1)
}

/// The stored nodes, of each level the file open in which the comparison stands.
#[derive(Default)]
struct Tree {
    current: BTreeMap<u8, Derived>,
    /// Every file opened so far.
    compared: BTreeSet<(u8, u64)>,
}

impl Tree {
    /// Compares the next node of a level; there may be a difference at the end of the file that the
    /// one before it filled, too.
    fn expect(
        &mut self,
        folder: &Folder,
        per_file: u64,
        (level, index): (u8, u64),
        hash: NodeHash,
    ) -> Vec<(String, Difference)> {
        let mut differences = Vec::new();
        let first = index - index % per_file;
        if index == first {
            let (derived, problem) = Derived::open(folder, tree_file(level, first));
            let name = derived.name.clone();
            differences.extend(problem.map(|problem| (name, problem)));
            self.compared.insert((level, first));
            let full = self.current.insert(level, derived);
            differences.extend(full.and_then(Derived::end));
        }
        if let Some(derived) = self.current.get_mut(&level) {
            let problem = derived.expect(hash.0);
            differences.extend(problem.map(|problem| (derived.name.clone(), problem)));
        }
        differences
    }
}
