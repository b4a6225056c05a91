//! What was fetched and is not installed: lines behind the node's own ledger, and notes.
//!
//! ```text
//! incoming/000000012345.jsonl            entries from this seq on, one a line
//! incoming/notes/0000000000000042        notes by size
//! incoming/install                       the manifest, once all is here and was checked
//! ```
//! Kept across retries, leaders and restarts. Nothing but `install` is synced before the end: after a
//! crash the lines are hashed again, and what does not join is cut off.

use std::io;

use bytes::Bytes;
use candor_ledger::digest::ChainHash;
use candor_ledger::entry::Entry;
use candor_ledger::ids::{Seq, TreeSize};
use candor_ledger::tree::{Frontier, NodeHash, leaf_hash};

use crate::env::{Disk, DiskFile, OpenMode};
use crate::store::{LedgerReader, StoreError};

pub(super) const FOLDER: &str = "incoming";
pub(super) const NOTES: &str = "incoming/notes";
pub(super) const INSTALL: &str = "incoming/install";

/// Bytes read at once.
const READ_BYTES: usize = 1 << 20;

/// Entries of the log itself are the only ones that a note's keys and members come from.
const OF_THE_LOG: &[u8] = b"\"op\":\"ledger.";

/// The lines behind a ledger of its own, and the tree that both make together.
pub struct Incoming<D: Disk> {
    disk: D,
    file: D::File,
    bytes: u64,
    frontier: Frontier,
    head: ChainHash,
    /// Entries of the log itself among them: genesis, members, keys.
    of_the_log: Vec<Entry>,
}

impl<D: Disk> Incoming<D> {
    /// Goes on behind what is there, if that joins the ledger, which is durable up to `base`.
    ///
    /// # Errors
    /// The disk's; damage in the ledger.
    pub fn open(disk: &D, ledger: &LedgerReader<D>, base: TreeSize) -> Result<Self, StoreError> {
        disk.create_dir_all(FOLDER)?;
        disk.create_dir_all(NOTES)?;
        let first = match lines_file(disk)? {
            Some(first) if first <= base.0 => first,
            Some(_) => {
                clear(disk)?;
                return Self::open(disk, ledger, base);
            }
            None => base.0,
        };
        let mut this = Self {
            disk: disk.clone(),
            file: disk.open(&path(first), OpenMode::Create)?,
            bytes: 0,
            frontier: ledger.frontier(TreeSize(first))?,
            head: ledger.head_at(TreeSize(first))?,
            of_the_log: Vec::new(),
        };
        for line in Lines::of(disk, first)? {
            this.took(&line?);
        }
        this.file.set_len(this.bytes)?;
        if this.size() < base {
            // The ledger has grown past it by the log.
            drop(this);
            clear(disk)?;
            return Self::open(disk, ledger, base);
        }
        Ok(this)
    }

    /// Entries, the ledger's own included.
    pub fn size(&self) -> TreeSize {
        self.frontier.size()
    }

    /// Root of the tree that ends here.
    pub fn root(&self) -> NodeHash {
        self.frontier.root()
    }

    /// The chain head here.
    pub fn head(&self) -> ChainHash {
        self.head
    }

    /// Root and head after these entries as well; nothing is kept.
    pub fn tried(&self, entries: &[Bytes]) -> (TreeSize, NodeHash) {
        let mut frontier = self.frontier.clone();
        for entry in entries {
            frontier.push(leaf_hash(entry));
        }
        (frontier.size(), frontier.root())
    }

    /// Keeps entries that follow.
    ///
    /// # Errors
    /// The disk's.
    pub fn append(&mut self, entries: &[Bytes]) -> io::Result<()> {
        let mut lines = Vec::new();
        for entry in entries {
            lines.extend_from_slice(entry);
            lines.push(b'\n');
        }
        self.file.write_all_at(&lines, self.bytes)?;
        for entry in entries {
            self.took(entry);
        }
        Ok(())
    }

    /// Entries of the log itself, in order.
    pub fn of_the_log(&self) -> &[Entry] {
        &self.of_the_log
    }

    /// Whether a note is here.
    ///
    /// # Errors
    /// The disk's.
    pub fn note(&self, size: TreeSize) -> io::Result<Option<String>> {
        note(&self.disk, size)
    }

    /// Keeps a note.
    ///
    /// # Errors
    /// The disk's.
    pub fn put_note(&self, size: TreeSize, text: &str) -> io::Result<()> {
        let file = self.disk.open(&note_path(size), OpenMode::Create)?;
        file.set_len(0)?;
        file.write_all_at(text.as_bytes(), 0)?;
        file.sync_data()
    }

    /// Makes all of it durable.
    ///
    /// # Errors
    /// The disk's.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_data()?;
        self.disk.sync_dir(NOTES)?;
        self.disk.sync_dir(FOLDER)?;
        self.disk.sync_dir("")
    }

    fn took(&mut self, entry: &[u8]) {
        self.frontier.push(leaf_hash(entry));
        self.head = ChainHash::of(entry);
        self.bytes += u64::try_from(entry.len()).unwrap_or(u64::MAX) + 1;
        let of_the_log = entry.windows(OF_THE_LOG.len()).any(|at| at == OF_THE_LOG);
        if of_the_log && let Ok(entry) = Entry::parse(entry) {
            self.of_the_log.push(entry);
        }
    }
}

/// Removes everything; what says that it is whole goes last, so that a start which finds it half done
/// does it again.
pub(super) fn clear<D: Disk>(disk: &D) -> io::Result<()> {
    if disk.stat(FOLDER)?.is_none() {
        return Ok(());
    }
    for found in disk.list(FOLDER)? {
        let path = format!("{FOLDER}/{}", found.name);
        if found.is_dir {
            disk.remove_dir_all(&path)?;
        } else if path != INSTALL {
            disk.remove_file(&path)?;
        }
    }
    disk.sync_dir(FOLDER)?;
    disk.remove_dir_all(FOLDER)?;
    disk.sync_dir("")
}

/// The lines from entry `from` on; none when they begin later or there are none.
pub(super) fn lines_from<D: Disk>(
    disk: &D,
    from: Seq,
) -> io::Result<Box<dyn Iterator<Item = io::Result<Vec<u8>>>>> {
    match lines_file(disk)? {
        Some(first) if first <= from.0 => {
            let skipped = usize::try_from(from.0 - first).unwrap_or(usize::MAX);
            Ok(Box::new(Lines::of(disk, first)?.skip(skipped)))
        }
        _ => Ok(Box::new(std::iter::empty())),
    }
}

pub(super) fn note<D: Disk>(disk: &D, size: TreeSize) -> io::Result<Option<String>> {
    let bytes = disk.read(&note_path(size))?;
    Ok(bytes.and_then(|bytes| String::from_utf8(bytes).ok()))
}

fn note_path(size: TreeSize) -> String {
    format!("{NOTES}/{:016}", size.0)
}

fn path(first: u64) -> String {
    format!("{FOLDER}/{first:012}.jsonl")
}

/// The first seq of the lines that are there.
fn lines_file<D: Disk>(disk: &D) -> io::Result<Option<u64>> {
    if disk.stat(FOLDER)?.is_none() {
        return Ok(None);
    }
    let names = disk.list(FOLDER)?.into_iter();
    let mut firsts = names.filter_map(|found| found.name.strip_suffix(".jsonl")?.parse().ok());
    Ok(firsts.next())
}

/// Reads whole lines, without their LF, until the last LF of the file.
struct Lines<F> {
    file: F,
    offset: u64,
    buffer: Vec<u8>,
    at: usize,
}

impl<F: DiskFile> Lines<F> {
    fn of<D: Disk<File = F>>(disk: &D, first: u64) -> io::Result<Self> {
        Ok(Self {
            file: disk.open(&path(first), OpenMode::Read)?,
            offset: 0,
            buffer: Vec::new(),
            at: 0,
        })
    }

    /// The rest of the buffer and one more piece of the file; `false` at its end.
    fn fill(&mut self) -> io::Result<bool> {
        self.buffer.drain(..self.at);
        self.at = 0;
        let held = self.buffer.len();
        self.buffer.resize(held + READ_BYTES, 0);
        let (_, free) = self.buffer.split_at_mut(held);
        let read = self.file.read_at(free, self.offset)?;
        self.buffer.truncate(held + read);
        self.offset += u64::try_from(read).unwrap_or(0);
        Ok(read > 0)
    }
}

impl<F: DiskFile> Iterator for Lines<F> {
    type Item = io::Result<Vec<u8>>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let rest = self.buffer.get(self.at..).unwrap_or_default();
            if let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                let line = rest.get(..end).unwrap_or_default().to_vec();
                self.at += end + 1;
                return Some(Ok(line));
            }
            match self.fill() {
                Ok(true) => {}
                Ok(false) => return None,
                Err(e) => return Some(Err(e)),
            }
        }
    }
}
