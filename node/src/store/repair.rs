//! Comparing the files of the ledger with what a walk from the first entry computes, and writing
//! back what differs.
//!
//! A [`Walk`] carries the frontier of the tree, so it knows what every node and every offset must be
//! once it knows the entries. Which entries are right the caller decides: it holds the root that
//! the walk grows into against a signed one. Files are repaired in place, because appending goes on
//! behind the place that is repaired; what a crash cuts off there the next start does again
//! (`redo.rs`). The bytes that were there are kept in `quarantine/`.

use std::collections::BTreeMap;
use std::sync::Arc;

use candor_ledger::ids::{Seq, TreeSize};
use candor_ledger::tree::{Frontier, NodeHash, leaf_hash};

use super::entries::OFFSET_BYTES;
use super::marker;
use super::redo::{self, Redo};
use super::register::{Damage, DamageKind};
use super::tails::BLOCK_BYTES;
use super::tree::{Grown, NODE_BYTES};
use super::values::HashedValue;
use super::{LedgerReader, Shared, StoreError, bytes_of, locked, names, read_locked, u64_of};
use crate::env::{Disk, DiskFile, MODE_PUBLIC, OpenMode};

/// Where bytes that were replaced are kept for whoever wants to know how they came about.
const QUARANTINE: &str = "quarantine";

/// Most bytes kept of one damaged run; more of the same tells nothing more.
const QUARANTINE_BYTES_MAX: usize = 1 << 20;

/// A walk over the ledger: what all entries up to here amount to.
#[derive(Clone, Debug, Default)]
pub struct Walk {
    frontier: Frontier,
    /// Where the next line starts in its file.
    line: u64,
}

impl Walk {
    /// How many entries it has passed.
    pub fn size(&self) -> TreeSize {
        self.frontier.size()
    }

    /// The root over them.
    pub fn root(&self) -> NodeHash {
        self.frontier.root()
    }
}

/// Some entries, and what files must hold because of them.
pub struct Stretch<'a> {
    /// The walk behind them.
    pub to: Walk,
    entries: &'a [Vec<u8>],
    first: u64,
    /// Start of the first line in its file.
    start: u64,
    ends: Vec<u64>,
    nodes: Grown,
    per_file: u64,
}

/// A place in a file that was not what it must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repaired {
    /// The file, from the node's folder.
    pub file: String,
    /// The first byte that differed.
    pub offset: u64,
    /// The entry concerned: of a node the first that it covers.
    pub seq: Seq,
}

/// Bytes that a file must hold because of a stretch.
struct Due {
    file: String,
    /// The first entry of the file, or node of its level.
    first: u64,
    offset: u64,
    bytes: Vec<u8>,
    of: Of,
}

enum Of {
    Lines,
    Offsets,
    Nodes { level: u8 },
}

/// Compares files with what they must hold, and writes them anew; it shares a ledger with apply.
pub struct Repairer<D: Disk>(Arc<Shared<D>>);

impl<D: Disk> Clone for Repairer<D> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<D: Disk> Repairer<D> {
    pub(super) fn new(shared: Arc<Shared<D>>) -> Self {
        Self(shared)
    }

    /// Up to `bytes_max` bytes of entries as the files have them, at least one and all of one file;
    /// nothing is compared with the tree. `None` where the files hold no such entries.
    ///
    /// # Errors
    /// The system's, when it says nothing about what is on the disk.
    pub fn unchecked(
        &self,
        from: TreeSize,
        until: TreeSize,
        bytes_max: u64,
    ) -> Result<Option<Vec<Vec<u8>>>, StoreError> {
        match self.0.unchecked_run(from.0, until.0, bytes_max) {
            Ok(entries) => Ok(Some(entries)),
            Err(error) if Damage::of(&error).is_some() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Where the file ends that entry `from` lies in; a stretch does not go beyond.
    pub fn file_end(&self, from: TreeSize) -> TreeSize {
        let shared = &*self.0;
        TreeSize(
            shared
                .entries
                .first_of(from.0)
                .saturating_add(shared.tree.per_file()),
        )
    }

    /// What the files must hold if these are the next entries, all of one file.
    pub fn stretch<'a>(&self, from: &Walk, entries: &'a [Vec<u8>]) -> Stretch<'a> {
        let per_file = self.0.tree.per_file();
        let mut to = from.clone();
        if from.size().0.is_multiple_of(per_file) {
            to.line = 0;
        }
        let start = to.line;
        let (mut ends, mut nodes) = (Vec::with_capacity(entries.len()), Grown::new());
        for entry in entries {
            to.line += bytes_of(entry) + 1;
            ends.push(to.line);
            to.frontier
                .push_with(leaf_hash(entry), &mut |level, index, hash| {
                    let (_, grown) = nodes.entry(level).or_insert_with(|| (index, Vec::new()));
                    grown.push(hash);
                });
        }
        Stretch {
            first: from.size().0,
            to,
            entries,
            start,
            ends,
            nodes,
            per_file,
        }
    }

    /// Whether offsets and nodes are what a stretch of the files' own entries says.
    ///
    /// # Errors
    /// The system's.
    pub fn agrees(&self, stretch: &Stretch<'_>) -> Result<bool, StoreError> {
        for due in stretch.derived() {
            if self.0.differs(&due)?.is_some() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Writes back what the files do not hold of a stretch, durably, and says what that was. What
    /// stood there is in `quarantine/` before.
    ///
    /// # Errors
    /// [`StoreError::NotRepaired`], after which the process must end; the system's, with nothing
    /// written.
    pub fn repair(&self, stretch: &Stretch<'_>) -> Result<Vec<Repaired>, StoreError> {
        let mut repaired = Vec::new();
        for due in std::iter::once(stretch.lines()).chain(stretch.derived()) {
            if let Some(offset) = self.0.differs(&due)? {
                self.0.put_back(&due)?;
                repaired.push(stretch.place(due, offset));
            }
        }
        Ok(repaired)
    }

    /// Writes a kept note back; `false` when it is not the one that was kept.
    ///
    /// # Errors
    /// As [`Repairer::repair`].
    pub fn repair_note(&self, size: TreeSize, note: &str) -> Result<bool, StoreError> {
        if self.0.checkpoints.crc(size) != Some(crc32c::crc32c(note.as_bytes())) {
            return Ok(false);
        }
        let (disk, file) = (&self.0.disk, names::checkpoint(size.0));
        if let Ok(Some(bytes)) = disk.read(&file) {
            self.0.quarantine(&file, 0, &bytes)?;
        }
        disk.write_durable(&file, note.as_bytes(), MODE_PUBLIC)
            .map_err(|problem| StoreError::NotRepaired { file, problem })?;
        Ok(true)
    }

    /// Puts a value beside apply, one that no command of the Raft log brings; `false` when it is
    /// here. Durable with the next marker, and cut off by a crash before it.
    ///
    /// # Errors
    /// [`StoreError::BadValue`] for a tenant without a name; the disk's, after which what was written
    /// of it is overwritten by the next.
    pub fn put_value(&self, tenant: &str, value: HashedValue<'_>) -> Result<bool, StoreError> {
        self.0.put_value(tenant, value)
    }

    /// Notes where files differ from each other behind a walk, when nobody repairs them.
    pub fn note_differing(&self, walk: &Walk, own: Option<&[Vec<u8>]>, until: TreeSize) {
        // A read names the place itself, unless entries and leaves agree.
        let reader = LedgerReader::new(Arc::clone(&self.0));
        let mut from = walk.size().0;
        while from < until.0 {
            match reader.entries(Seq(from)..Seq(until.0), u64::MAX) {
                Ok(entries) => from += u64_of(entries.len()),
                Err(_) => return,
            }
        }
        let Some(own) = own else { return };
        let stretch = self.stretch(walk, own);
        for due in stretch.derived() {
            if let Ok(Some(offset)) = self.0.differs(&due) {
                self.note(&stretch.place(due, offset));
            }
        }
    }

    /// Notes a damaged place for whoever watches; returns it as noted.
    pub fn note(&self, place: &Repaired) -> Option<Damage> {
        let found = format!("other bytes from byte `{}` on", place.offset);
        let file = place.file.as_str();
        let error = StoreError::damaged(file, place.seq.0, "what the ledger says", found);
        self.0.register.note(&error);
        Damage::of(&error)
    }

    /// Notes damage to the Raft log; `None` when that place is known.
    pub fn note_log(&self, file: &str, offset: u64, problem: &str) -> Option<Damage> {
        let damage = Damage {
            kind: DamageKind::RaftLog,
            file: file.to_owned(),
            place: offset,
            problem: format!("`{file}` is damaged at byte `{offset}`: {problem}"),
        };
        self.0.register.put(damage.clone()).then_some(damage)
    }

    /// Reads both slots of the marker.
    ///
    /// # Errors
    /// Why one of them is not readable, or neither.
    pub fn check_marker(&self) -> Result<(), String> {
        let slots = marker::read(&self.0.disk).map_err(|problem| problem.to_string())?;
        match slots.map(|slots| slots.lost) {
            None => Err("both slots are gone".to_owned()),
            Some(None) => Ok(()),
            Some(Some(lost)) => Err(lost),
        }
    }

    /// Takes damage out of the register that is no more.
    pub fn healed(&self, damages: &[Damage]) {
        self.0.register.remove(damages);
    }
}

impl Stretch<'_> {
    fn lines(&self) -> Due {
        let mut bytes = Vec::with_capacity(self.entries.iter().map(|entry| entry.len() + 1).sum());
        for entry in self.entries {
            bytes.extend_from_slice(entry);
            bytes.push(b'\n');
        }
        let first = self.first - self.first % self.per_file;
        Due {
            file: names::lines(first),
            first,
            offset: self.start,
            bytes,
            of: Of::Lines,
        }
    }

    /// What follows from the entries.
    fn derived(&self) -> Vec<Due> {
        let at = self.first % self.per_file;
        let mut derived = vec![Due {
            file: names::offsets(self.first - at),
            first: self.first - at,
            offset: at * OFFSET_BYTES,
            bytes: self.ends.iter().flat_map(|end| end.to_le_bytes()).collect(),
            of: Of::Offsets,
        }];
        for (level, (first, nodes)) in &self.nodes {
            let mut by_file: BTreeMap<u64, (u64, Vec<u8>)> = BTreeMap::new();
            for (index, node) in (*first..).zip(nodes) {
                let at = index % self.per_file;
                let (_, bytes) = by_file
                    .entry(index - at)
                    .or_insert_with(|| (at * NODE_BYTES, Vec::new()));
                bytes.extend_from_slice(&node.0);
            }
            let level = *level;
            derived.extend(by_file.into_iter().map(|(first, (offset, bytes))| Due {
                file: names::nodes(level, first),
                first,
                offset,
                bytes,
                of: Of::Nodes { level },
            }));
        }
        derived
    }

    /// Which entry a byte of what is due belongs to.
    fn place(&self, due: Due, offset: u64) -> Repaired {
        let seq = match due.of {
            Of::Lines => self.first + u64_of(self.ends.partition_point(|end| *end <= offset)),
            Of::Offsets => self.first + (offset - due.offset) / OFFSET_BYTES,
            Of::Nodes { level } => (due.first + offset / NODE_BYTES) << level,
        };
        Repaired {
            file: due.file,
            offset,
            seq: Seq(seq),
        }
    }
}

impl<D: Disk> Shared<D> {
    /// The first byte of a file that is not what is due; all of a file that is not there or cannot
    /// be read.
    fn differs(&self, due: &Due) -> Result<Option<u64>, StoreError> {
        if self.disk.stat(&due.file)?.is_none() {
            return Ok(Some(due.offset));
        }
        let mut found = vec![0; due.bytes.len()];
        let open = self.disk.open(&due.file, OpenMode::Read)?;
        let read = open.read_at(&mut found, due.offset).unwrap_or(0);
        found.truncate(read);
        if found == due.bytes {
            return Ok(None);
        }
        let same = found.iter().zip(&due.bytes).take_while(|(a, b)| a == b);
        Ok(Some(due.offset + u64_of(same.count())))
    }

    /// Makes a file hold what is due, durably.
    ///
    /// What is true if we die here: the file is as it was, or the next start writes it again.
    fn put_back(&self, due: &Due) -> Result<(), StoreError> {
        let _no_marker = locked(&self.repairing);
        let mut found = vec![0; due.bytes.len()];
        let open = self.disk.open(&due.file, OpenMode::Read);
        let read = open.and_then(|open| open.read_at(&mut found, due.offset));
        found.truncate(read.unwrap_or(0));
        let kept = found.len().min(QUARANTINE_BYTES_MAX);
        self.quarantine(&due.file, due.offset, found.get(..kept).unwrap_or_default())?;
        let redo = self.redo(due, &found);
        redo.begin(&self.disk)?;
        let written = redo.write(&self.disk).and_then(|()| redo::end(&self.disk));
        let file = due.file.clone();
        written.map_err(|problem| StoreError::NotRepaired { file, problem })
    }

    /// What differs of what is due, and the rest of the blocks that this lies in.
    fn redo(&self, due: &Due, found: &[u8]) -> Redo {
        let len = due.bytes.len();
        let differs = |at: &usize| found.get(*at) != due.bytes.get(*at);
        let from = (0..len).find(differs).unwrap_or(0);
        let to = (0..len).rev().find(differs).map_or(len, |last| last + 1);
        let (start, end) = (due.offset + u64_of(from), due.offset + u64_of(to));
        let bytes = due.bytes.get(from..to).unwrap_or_default();
        let [before, behind] = [
            start - start % BLOCK_BYTES..start,
            end..self.settled(due, end),
        ];
        // What cannot be read cannot be made worse.
        let [before, behind] = [before, behind].map(|range| {
            let mut bytes = vec![0; usize::try_from(range.end - range.start).unwrap_or(0)];
            let open = self.disk.open(&due.file, OpenMode::Read);
            let read = open.and_then(|open| open.read_exact_at(&mut bytes, range.start));
            read.map_or(Vec::new(), |()| bytes)
        });
        Redo {
            file: due.file.clone(),
            offset: start - bytes_of(&before),
            bytes: [&*before, bytes, &*behind].concat(),
        }
    }

    /// Up to where the block that ends a repair holds what is never written again.
    ///
    /// In the last block of a file that grows that is not known here; but what of it counts stands in
    /// the marker, of which there is no newer one before the repair is done.
    fn settled(&self, due: &Due, end: u64) -> u64 {
        let block = end.next_multiple_of(BLOCK_BYTES);
        let stat = self.disk.stat(&due.file).ok().flatten();
        let len = stat.map_or(0, |stat| stat.len).max(end);
        let level = match due.of {
            Of::Lines | Of::Offsets => 0,
            Of::Nodes { level } => level,
        };
        let grown = read_locked(&self.published).size >> level;
        let whole = grown >= due.first + self.tree.per_file();
        if whole || len >= block {
            block.min(len)
        } else {
            end
        }
    }

    /// Keeps bytes that are about to be replaced, durably; the latest of a place stays.
    fn quarantine(&self, file: &str, offset: u64, bytes: &[u8]) -> Result<(), StoreError> {
        self.disk.create_dir_all(QUARANTINE)?;
        self.disk.sync_dir("")?;
        let name = format!("{QUARANTINE}/{}@{offset}", file.replace('/', "."));
        self.disk.write_durable(&name, bytes, MODE_PUBLIC)?;
        Ok(())
    }
}
