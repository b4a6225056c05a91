//! Entry files: each entry and its LF, and beside them where each line ends.
//!
//! ```text
//! ledger/entries/<first seq, 12 digits>.jsonl     entry LF entry LF ...
//! ledger/entries/<first seq, 12 digits>.offsets   u64 little-endian per entry: end of its line,
//!                                                 LF included, in the file beside it
//! ```
//!
//! A file exists from its first entry on, so that equal ledgers have equal folders.

use std::io;
use std::sync::Arc;

use super::dirty::Dirty;
use super::open_files::OpenFiles;
use super::{StoreError, bytes_of, names, u64_of};
use crate::env::{Disk, DiskFile, OpenMode};
use candor_ledger::ids::Seq;

/// Entries in one file: at 600 bytes each a file of 40 MiB, and 15,000 files in a ledger of 10^9.
pub const ENTRIES_PER_FILE: u64 = 65_536;

/// Longest entry without its LF.
pub const ENTRY_BYTES_MAX: u64 = 65_535;

/// Entries one read looks at: 8 KiB of offsets.
const READ_ENTRIES_MAX: u64 = 1_024;

/// Pairs of files held open for readers.
const OPEN_FILES_MAX: usize = 64;

/// Bytes of one offset.
pub(super) const OFFSET_BYTES: u64 = 8;

/// The end of the entry files; owned by apply.
pub(super) struct EntryWriter<D: Disk> {
    disk: D,
    per_file: u64,
    size: u64,
    /// Bytes in the lines file that entry `size` goes to.
    end: u64,
    current: Option<Pair<D::File>>,
}

struct Pair<F> {
    lines: (Arc<str>, Arc<F>),
    offsets: (Arc<str>, Arc<F>),
}

impl<D: Disk> EntryWriter<D> {
    /// Continues at `size`, where the lines of the last file take `end` bytes.
    pub(super) fn new(disk: D, per_file: u64, size: u64, end: u64) -> Self {
        Self {
            disk,
            per_file,
            size,
            end,
            current: None,
        }
    }

    /// Where the last line of the last file ends.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// Appends entries that [`check`] has passed.
    pub(super) fn append<B: AsRef<[u8]>>(
        &mut self,
        dirty: &Dirty<D>,
        entries: &[B],
    ) -> Result<(), StoreError> {
        let mut rest = entries;
        while !rest.is_empty() {
            let room = self.per_file - self.size % self.per_file;
            let fits = usize::try_from(room).unwrap_or(usize::MAX).min(rest.len());
            let (run, later) = rest.split_at(fits);
            self.append_run(dirty, run)?;
            rest = later;
        }
        Ok(())
    }

    /// Appends entries that go to one file.
    fn append_run<B: AsRef<[u8]>>(
        &mut self,
        dirty: &Dirty<D>,
        run: &[B],
    ) -> Result<(), StoreError> {
        let at = self.size % self.per_file;
        if at == 0 {
            (self.current, self.end) = (None, 0);
        }
        let mut lines = Vec::new();
        let mut offsets = Vec::new();
        let mut end = self.end;
        for entry in run {
            lines.extend_from_slice(entry.as_ref());
            lines.push(b'\n');
            end += bytes_of(entry.as_ref()) + 1;
            offsets.extend_from_slice(&end.to_le_bytes());
        }
        let start = self.end;
        let pair = self.pair(dirty)?;
        pair.lines.1.write_all_at(&lines, start)?;
        pair.offsets.1.write_all_at(&offsets, at * OFFSET_BYTES)?;
        dirty.file(&pair.lines.0, &pair.lines.1);
        dirty.file(&pair.offsets.0, &pair.offsets.1);
        self.size += u64_of(run.len());
        self.end = end;
        Ok(())
    }

    fn pair(&mut self, dirty: &Dirty<D>) -> Result<&Pair<D::File>, StoreError> {
        if self.current.is_none() {
            let first = self.size - self.size % self.per_file;
            let pair = Pair::open(&self.disk, first, OpenMode::Create)?;
            dirty.dir(names::ENTRIES);
            self.current = Some(pair);
        }
        Ok(self
            .current
            .as_ref()
            .expect("invariant: the branch above has opened it"))
    }
}

impl<F: DiskFile> Pair<F> {
    fn open<D: Disk<File = F>>(disk: &D, first: u64, mode: OpenMode) -> io::Result<Self> {
        let open = |path: String| -> io::Result<(Arc<str>, Arc<F>)> {
            let file = Arc::new(disk.open(&path, mode)?);
            Ok((path.into(), file))
        };
        Ok(Self {
            lines: open(names::lines(first))?,
            offsets: open(names::offsets(first))?,
        })
    }
}

/// Whether a byte string can be a line.
pub(super) fn check(seq: Seq, entry: &[u8]) -> Result<(), StoreError> {
    let problem = if entry.is_empty() {
        "it is empty".to_owned()
    } else if bytes_of(entry) > ENTRY_BYTES_MAX {
        format!("its `{}` bytes are above {ENTRY_BYTES_MAX}", entry.len())
    } else if entry.contains(&b'\n') {
        "it holds a line feed".to_owned()
    } else {
        return Ok(());
    };
    Err(StoreError::BadEntry { seq, problem })
}

/// Reads entry files; shared by all readers.
///
/// The caller asks only for entries that have been appended entirely.
pub(super) struct EntryFiles<D: Disk> {
    disk: D,
    per_file: u64,
    /// By first seq.
    open: OpenFiles<u64, Pair<D::File>>,
}

/// Why a run was not read.
#[derive(Debug)]
pub(super) enum NotRead {
    /// A file is damaged, or the system refused.
    Store(StoreError),
    /// The bytes between the offsets of this entry are not one line: either file may be damaged.
    NoLine(u64),
}

impl From<StoreError> for NotRead {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// What the offsets say about one line, its LF included.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) start: u64,
    pub(super) end: u64,
}

impl<D: Disk> EntryFiles<D> {
    pub(super) fn new(disk: D, per_file: u64) -> Self {
        Self {
            disk,
            per_file,
            open: OpenFiles::new(OPEN_FILES_MAX),
        }
    }

    /// The first entry of the file that holds `seq`.
    pub(super) fn first_of(&self, seq: u64) -> u64 {
        seq - seq % self.per_file
    }

    /// Entries from `from` on: at least one, then as many as lie in the same file, below `until`
    /// and within `bytes_max`.
    pub(super) fn run(
        &self,
        from: u64,
        until: u64,
        bytes_max: u64,
    ) -> Result<Vec<Vec<u8>>, NotRead> {
        let file_end = self.first_of(from).saturating_add(self.per_file);
        let count = until.min(file_end).saturating_sub(from);
        let spans = self.spans(from, count.min(READ_ENTRIES_MAX))?;
        let Some(first) = spans.first().copied() else {
            return Ok(Vec::new());
        };
        let fits = |span: &&Span| span.end - first.start <= bytes_max || span.start == first.start;
        let spans: Vec<Span> = spans.iter().take_while(fits).copied().collect();
        self.lines(from, &spans)
    }

    /// Where the line of one entry stands.
    pub(super) fn span(&self, seq: u64) -> Result<Span, StoreError> {
        let spans = self.spans(seq, 1)?;
        Ok(*spans
            .first()
            .expect("invariant: one offset was asked for and read"))
    }

    /// Where the lines of up to `count` entries of one file stand; at least one.
    fn spans(&self, from: u64, count: u64) -> Result<Vec<Span>, StoreError> {
        let pair = self.pair(from)?;
        let at = from % self.per_file;
        let before = at.saturating_sub(1);
        let bytes = (at - before + count) * OFFSET_BYTES;
        let mut buffer = vec![0; usize_of(bytes)];
        let read = pair.offsets.1.read_at(&mut buffer, before * OFFSET_BYTES)?;
        if read != buffer.len() {
            let found = format!("only `{read}` of them");
            let expected = format!("`{bytes}` bytes of offsets");
            return Err(StoreError::damaged(&*pair.offsets.0, from, expected, found));
        }
        let mut ends = buffer.as_chunks().0.iter().copied().map(u64::from_le_bytes);
        let mut start = if at == 0 { Some(0) } else { ends.next() }.unwrap_or(0);
        let mut spans = Vec::new();
        for end in ends {
            let len = end.checked_sub(start);
            if len.is_none_or(|len| !(2..=ENTRY_BYTES_MAX + 1).contains(&len)) {
                // What precedes is read first: this start may be the end that is wrong.
                if spans.is_empty() {
                    return Err(self.misfit(from, start, end));
                }
                break;
            }
            spans.push(Span { start, end });
            start = end;
        }
        Ok(spans)
    }

    /// No line reaches from `start` to `end`: one of these two offsets is damaged.
    fn misfit(&self, seq: u64, start: u64, end: u64) -> StoreError {
        let before = self.bytes(seq, start.saturating_sub(1), 1);
        let starts = start == 0 || before.is_ok_and(|byte| byte == b"\n");
        let (at, found) = if starts { (seq, end) } else { (seq - 1, start) };
        let file = names::offsets(self.first_of(seq));
        StoreError::damaged(file, at, "the end of its line", format!("`{found}`"))
    }

    /// The entries at spans that follow each other; each must be one whole line.
    fn lines(&self, from: u64, spans: &[Span]) -> Result<Vec<Vec<u8>>, NotRead> {
        let (Some(first), Some(last)) = (spans.first(), spans.last()) else {
            return Ok(Vec::new());
        };
        // The byte before shows that the first line starts where the one before it ends.
        let start = first.start.saturating_sub(1);
        let bytes = self.bytes(from, start, last.end - start)?;
        let mut rest = bytes.as_slice();
        if first.start > 0 {
            rest = match rest.split_first() {
                Some((b'\n', rest)) => rest,
                _ => return Err(NotRead::NoLine(from)),
            };
        }
        let mut entries = Vec::with_capacity(spans.len());
        for (seq, span) in (from..).zip(spans) {
            let (line, later) = rest
                .split_at_checked(usize_of(span.end - span.start))
                .ok_or(NotRead::NoLine(seq))?;
            match line.split_last() {
                Some((b'\n', entry)) if !entry.contains(&b'\n') => entries.push(entry.to_vec()),
                _ => return Err(NotRead::NoLine(seq)),
            }
            rest = later;
        }
        Ok(entries)
    }

    /// Bytes of the lines file of `seq`; fewer than asked for where it ends early.
    pub(super) fn bytes(&self, seq: u64, start: u64, len: u64) -> Result<Vec<u8>, StoreError> {
        let mut buffer = vec![0; usize_of(len)];
        let read = self.pair(seq)?.lines.1.read_at(&mut buffer, start)?;
        buffer.truncate(read);
        Ok(buffer)
    }

    fn pair(&self, seq: u64) -> Result<Arc<Pair<D::File>>, StoreError> {
        let first = self.first_of(seq);
        let open = || Pair::open(&self.disk, first, OpenMode::Read);
        let pair = self.open.file(first, open);
        pair.map_err(|error| absent(error, first))
    }
}

fn absent(error: io::Error, first: u64) -> StoreError {
    if error.kind() == io::ErrorKind::NotFound {
        let file = names::lines(first);
        return StoreError::damaged(file, first, "this file and its offsets", "nothing");
    }
    error.into()
}

fn usize_of(bytes: u64) -> usize {
    usize::try_from(bytes).expect("invariant: a u64 fits a usize on a 64-bit machine")
}
