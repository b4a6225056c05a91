//! Comparing the files of the ledger with what a walk from the first entry computes, and writing
//! back what differs.
//!
//! A [`Walk`] carries the frontier of the tree, so it knows what every node and every offset must be
//! once it knows the entries. Which entries are right the caller decides: it holds the root that
//! the walk grows into against a signed one. Files are repaired in place, because appending goes on
//! behind the place that is repaired; the bytes that were there are kept in `quarantine/`.

use std::collections::BTreeMap;

use candor_ledger::ids::{Seq, TreeSize};
use candor_ledger::tree::{Frontier, NodeHash, leaf_hash};

use super::register::Damage;
use super::tree::Grown;
use super::values::HashedValue;
use super::{LedgerReader, Shared, StoreError, bytes_of, names, u64_of};
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
    from: Walk,
    /// The walk behind them.
    pub to: Walk,
    entries: &'a [Vec<u8>],
    /// Start of the first line in its file.
    start: u64,
    ends: Vec<u64>,
    nodes: Grown,
}

/// A stretch of a file that was not what it must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repaired {
    /// The file, from the node's folder.
    pub file: String,
    /// Its first byte that was written anew.
    pub offset: u64,
}

impl<D: Disk> LedgerReader<D> {
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
        match self.shared().unchecked_run(from.0, until.0, bytes_max) {
            Ok(entries) => Ok(Some(entries)),
            Err(error) if Damage::of(&error).is_some() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Where the file ends that entry `from` lies in; a stretch does not go beyond.
    pub fn file_end(&self, from: TreeSize) -> TreeSize {
        let shared = self.shared();
        TreeSize(
            shared
                .entries
                .first_of(from.0)
                .saturating_add(shared.tree.per_file()),
        )
    }

    /// What the files must hold if these are the next entries.
    ///
    /// # Panics
    /// Never for entries of one file that are no longer than entries may be.
    pub fn stretch<'a>(&self, from: &Walk, entries: &'a [Vec<u8>]) -> Stretch<'a> {
        let mut to = from.clone();
        if from.size().0.is_multiple_of(self.shared().tree.per_file()) {
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
            from: from.clone(),
            to,
            entries,
            start,
            ends,
            nodes,
        }
    }

    /// Whether offsets and nodes are what a stretch of the files' own entries says.
    ///
    /// # Errors
    /// The system's.
    pub fn agrees(&self, stretch: &Stretch<'_>) -> Result<bool, StoreError> {
        for (file, offset, bytes) in stretch.derived(self.shared()) {
            if !self.shared().holds(&file, offset, &bytes)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Writes back what the files do not hold of a stretch, durably, and says what that was.
    ///
    /// # Errors
    /// The system's; what is durable is unknown then.
    pub fn repair(&self, stretch: &Stretch<'_>) -> Result<Vec<Repaired>, StoreError> {
        let mut repaired = Vec::new();
        let lines = stretch.lines(self.shared());
        for (file, offset, bytes) in std::iter::once(lines).chain(stretch.derived(self.shared())) {
            if self.shared().put_back(&file, offset, &bytes)? {
                repaired.push(Repaired { file, offset });
            }
        }
        Ok(repaired)
    }

    /// Writes a kept note back; `false` when it is not the one that was kept.
    ///
    /// # Errors
    /// The system's.
    pub fn repair_note(&self, size: TreeSize, note: &str) -> Result<bool, StoreError> {
        let kept = self.shared().checkpoints.crc(size);
        if kept != Some(crc32c::crc32c(note.as_bytes())) {
            return Ok(false);
        }
        let file = names::checkpoint(size.0);
        let shared = self.shared();
        if let Ok(Some(bytes)) = shared.disk.read(&file) {
            shared.quarantine(&file, 0, &bytes)?;
        }
        shared
            .disk
            .write_durable(&file, note.as_bytes(), MODE_PUBLIC)?;
        Ok(true)
    }

    /// Stores a value that was missing; `false` when it is here.
    ///
    /// # Errors
    /// The system's.
    pub fn repair_value(&self, tenant: &str, value: HashedValue<'_>) -> Result<bool, StoreError> {
        self.shared().put_value(tenant, value)
    }

    /// Notes where files that nobody could repair differ from each other behind a walk.
    pub fn note_differing(&self, walk: &Walk, own: Option<&[Vec<u8>]>, until: TreeSize) {
        // A read names the place itself, unless entries and leaves agree.
        let mut from = walk.size().0;
        while let Ok(entries) = self.entries(Seq(from)..Seq(until.0), 0) {
            from += u64_of(entries.len());
            if from >= until.0 || entries.is_empty() {
                break;
            }
        }
        if let Some(own) = own.filter(|_| from >= until.0) {
            let stretch = self.stretch(walk, own);
            for (file, offset, bytes) in stretch.derived(self.shared()) {
                if !self.shared().holds(&file, offset, &bytes).unwrap_or(false) {
                    self.note_repaired(walk, &Repaired { file, offset });
                }
            }
        }
    }

    /// Notes what was repaired behind a walk, for whoever watches; returns the damage as noted.
    pub fn note_repaired(&self, from: &Walk, repaired: &Repaired) -> Option<Damage> {
        let place = from.size().0;
        let found = format!("other bytes from byte `{}` on", repaired.offset);
        let error = StoreError::damaged(&*repaired.file, place, "what the ledger says", found);
        self.shared().register.note(&error);
        Damage::of(&error)
    }

    /// Takes damage out of the register that is no more.
    pub fn healed(&self, damages: &[Damage]) {
        self.shared().register.remove(damages);
    }
}

impl Stretch<'_> {
    /// The walk before it.
    pub fn from(&self) -> &Walk {
        &self.from
    }

    /// The first entry.
    pub fn first(&self) -> Seq {
        Seq(self.from.size().0)
    }

    fn lines<D: Disk>(&self, shared: &Shared<D>) -> (String, u64, Vec<u8>) {
        let mut bytes = Vec::with_capacity(self.entries.iter().map(|entry| entry.len() + 1).sum());
        for entry in self.entries {
            bytes.extend_from_slice(entry);
            bytes.push(b'\n');
        }
        let first = shared.entries.first_of(self.first().0);
        (names::lines(first), self.start, bytes)
    }

    /// Bytes that follow from the entries: file, place, content.
    fn derived<D: Disk>(&self, shared: &Shared<D>) -> Vec<(String, u64, Vec<u8>)> {
        let per_file = shared.tree.per_file();
        let seq = self.first().0;
        let ends = self.ends.iter().flat_map(|end| end.to_le_bytes()).collect();
        let offsets = names::offsets(shared.entries.first_of(seq));
        let mut derived = vec![(offsets, seq % per_file * 8, ends)];
        for (level, (first, nodes)) in &self.nodes {
            let mut by_file: BTreeMap<u64, (u64, Vec<u8>)> = BTreeMap::new();
            for (index, node) in (*first..).zip(nodes) {
                let at = index % per_file;
                let start = by_file
                    .entry(index - at)
                    .or_insert_with(|| (at * 32, Vec::new()));
                start.1.extend_from_slice(&node.0);
            }
            let files = by_file.into_iter();
            derived
                .extend(files.map(|(first, (at, bytes))| (names::nodes(*level, first), at, bytes)));
        }
        derived
    }
}

impl<D: Disk> Shared<D> {
    /// Whether a file holds these bytes at this place; one that cannot be read does not.
    fn holds(&self, file: &str, offset: u64, bytes: &[u8]) -> Result<bool, StoreError> {
        if self.disk.stat(file)?.is_none() {
            return Ok(false);
        }
        let mut found = vec![0; bytes.len()];
        let open = self.disk.open(file, OpenMode::Read)?;
        Ok(open.read_exact_at(&mut found, offset).is_ok() && found == bytes)
    }

    /// Makes a file hold these bytes, durably; `false` when it did.
    fn put_back(&self, file: &str, offset: u64, bytes: &[u8]) -> Result<bool, StoreError> {
        if self.holds(file, offset, bytes)? {
            return Ok(false);
        }
        let was_there = self.disk.stat(file)?.is_some();
        let open = self.disk.open(file, OpenMode::Create)?;
        let mut found = vec![0; bytes.len().min(QUARANTINE_BYTES_MAX)];
        let read = open.read_at(&mut found, offset).unwrap_or(0);
        found.truncate(read);
        self.quarantine(file, offset, &found)?;
        open.write_all_at(bytes, offset)?;
        open.sync_data()?;
        if !was_there && let Some((dir, _)) = file.rsplit_once('/') {
            self.disk.sync_dir(dir)?;
        }
        Ok(true)
    }

    /// Keeps bytes that are about to be replaced; the latest of a place stays.
    fn quarantine(&self, file: &str, offset: u64, bytes: &[u8]) -> Result<(), StoreError> {
        self.disk.create_dir_all(QUARANTINE)?;
        let name = format!("{QUARANTINE}/{}@{offset}", file.replace('/', "."));
        self.disk.write_durable(&name, bytes, MODE_PUBLIC)?;
        Ok(())
    }
}
