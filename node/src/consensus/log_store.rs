//! The Raft log and vote as openraft wants them, over our own write-ahead log.
//!
//! The write-ahead log knows indices and bytes; this file gives them meaning. What is appended can
//! be read at once and is acknowledged once it is on disk; votes are on disk before they count; and
//! everything is written in the order it was asked for.
//!
//! The commit index goes along with whatever is written next, as a lower bound: a restart applies
//! that far before it hears a leader. Nothing waits for it and nothing relies on it.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, Range, RangeBounds};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use candor_ledger::planted;
use futures::stream::{self, Stream};
use openraft::LogState;
use openraft::storage::{IOFlushed, RaftLogReader, RaftLogStorage};

use super::codec::{self, APPEND_BYTES_MAX, HardState, Reply};
use super::types::{Entry, LogId, TypeConfig, Vote};
use crate::env::Disk;
use crate::wal::{Recovered, Wal};

/// Bytes read at once when committed entries are applied; the same as one append, so that catching
/// up after a restart holds no more than that in memory.
const APPLY_BYTES_MAX: u64 = APPEND_BYTES_MAX;

/// A handle on the log; clones read and write the same one.
pub(super) struct LogStore<D: Disk> {
    shared: Arc<Shared<D>>,
}

struct Shared<D: Disk> {
    wal: Wal<D>,
    /// Owned by openraft's core, which alone writes; read by its replication tasks.
    known: Mutex<Known>,
}

#[derive(Clone, Copy, Default)]
struct Known {
    hard: HardState,
    committed: Option<LogId>,
    /// Last entry, or the purged one when there is none.
    last: Option<LogId>,
}

impl<D: Disk> Clone for LogStore<D> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<D: Disk> LogStore<D> {
    /// Takes over an opened write-ahead log.
    ///
    /// # Errors
    ///
    /// `InvalidData` when the bytes are not ours.
    pub(super) async fn open(wal: Wal<D>, recovered: &Recovered) -> io::Result<Self> {
        let hard = recovered
            .vote
            .clone()
            .map(codec::decode_hard_state)
            .transpose();
        let hard = hard.map_err(invalid_data)?.unwrap_or_default();
        let committed = recovered
            .committed
            .clone()
            .map(codec::decode_hint)
            .transpose();
        let committed = committed.map_err(invalid_data)?;
        let store = Self {
            shared: Arc::new(Shared {
                wal,
                known: Mutex::default(),
            }),
        };
        let last = recovered.last.map(|index| store.entry(index)).transpose()?;
        let last = last.map(|entry| entry.log_id);
        if hard.purged.is_some() && hard.purged >= last {
            // A crash after the purge was recorded, before what it covers was dropped.
            store.shared.wal.truncate_after(None).await?;
        }
        *store.known() = Known {
            hard,
            committed,
            last: last.max(hard.purged),
        };
        Ok(store)
    }

    /// The id of the last entry.
    pub(super) fn last(&self) -> Option<LogId> {
        self.known().last
    }

    /// The id of the last entry that was dropped for good.
    pub(super) fn purged(&self) -> Option<LogId> {
        self.known().hard.purged
    }

    /// One entry that must be there.
    pub(super) fn entry(&self, index: u64) -> io::Result<Entry> {
        let next = index.checked_add(1).ok_or_else(|| gap(index))?;
        self.read(index..next, u64::MAX)?
            .pop()
            .ok_or_else(|| gap(index))
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // Every critical section is a copy, so a panic elsewhere leaves nothing half written.
        self.shared
            .known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Entries from the front of `range`, at least one if the first is there, until `bytes_max`.
    fn read(&self, range: Range<u64>, bytes_max: u64) -> io::Result<Vec<Entry>> {
        if range.is_empty() {
            return Ok(Vec::new());
        }
        let records = self.shared.wal.read(range, bytes_max)?;
        let mut entries: Vec<Entry> = Vec::with_capacity(records.len());
        for (index, bytes) in records {
            let entry = codec::decode_entry(bytes).map_err(invalid_data)?;
            let follows = entries
                .last()
                .is_none_or(|last| last.log_id.index + 1 == index);
            if entry.log_id.index != index || !follows {
                return Err(gap(index));
            }
            entries.push(entry);
        }
        Ok(entries)
    }

    /// The part of `range` that the log has.
    fn clamp(&self, range: &impl RangeBounds<u64>) -> Range<u64> {
        let known = *self.known();
        let first = known.hard.purged.map_or(0, |id| id.index + 1);
        let end = known.last.map_or(0, |id| id.index + 1);
        let from = match range.start_bound() {
            Bound::Included(start) => *start,
            Bound::Excluded(start) => start.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let to = match range.end_bound() {
            Bound::Included(last) => last.saturating_add(1),
            Bound::Excluded(end) => *end,
            Bound::Unbounded => u64::MAX,
        };
        from.max(first)..to.min(end)
    }

    async fn save(&self, hard: HardState) -> io::Result<()> {
        self.shared
            .wal
            .save_vote(codec::encode_hard_state(&hard))
            .await?;
        self.known().hard = hard;
        Ok(())
    }
}

impl<R: Reply, D: Disk> RaftLogReader<TypeConfig<R>> for LogStore<D> {
    async fn try_get_log_entries<B>(&mut self, range: B) -> io::Result<Vec<Entry>>
    where
        B: RangeBounds<u64> + Clone + Debug + Send,
    {
        self.read(self.clamp(&range), u64::MAX)
    }

    async fn entries_stream<B>(&mut self, range: B) -> impl Stream<Item = io::Result<Entry>> + Send
    where
        B: RangeBounds<u64> + Clone + Debug + Send,
    {
        let cursor = Cursor {
            store: self.clone(),
            left: self.clamp(&range),
            page: VecDeque::new(),
        };
        stream::unfold(cursor, |mut cursor| async move {
            let item = cursor.next()?;
            Some((item, cursor))
        })
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        Ok(self.known().hard.vote)
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<Entry>> {
        // Under a leader that was just replaced, replication reads on until it hears of it, while
        // the log is cut. What is gone then is no error; openraft drops what it read.
        let entries = self.read(self.clamp(&(start..end)), APPEND_BYTES_MAX)?;
        match entries.first() {
            Some(entry) if entry.log_id.index == start => Ok(entries),
            _ => Ok(Vec::new()),
        }
    }
}

impl<R: Reply, D: Disk> RaftLogStorage<TypeConfig<R>> for LogStore<D> {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<TypeConfig<R>>> {
        let known = *self.known();
        Ok(LogState {
            last_purged_log_id: known.hard.purged,
            last_log_id: known.last,
        })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        let hard = HardState {
            vote: Some(*vote),
            ..self.known().hard
        };
        if planted!("vote-unsaved") {
            self.known().hard = hard;
            return Ok(());
        }
        self.save(hard).await
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        self.known().committed = committed;
        match committed {
            Some(committed) => self
                .shared
                .wal
                .save_committed(codec::encode_hint(&committed)),
            None => Ok(()),
        }
    }

    /// Believed only when the log holds that very entry. It may be on disk before the entry is, or
    /// before what the entry replaced is gone: then the end of the log may never be committed.
    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        let Some(committed) = self.known().committed else {
            return Ok(None);
        };
        let held = self.read(self.clamp(&(committed.index..=committed.index)), u64::MAX)?;
        Ok(held
            .first()
            .map(|entry| entry.log_id)
            .filter(|held| *held == committed))
    }

    async fn append<I>(&mut self, entries: I, done: IOFlushed<TypeConfig<R>>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + Send,
        I::IntoIter: Send,
    {
        let mut last = self.known().last;
        let mut records = Vec::new();
        for entry in entries {
            // An empty log may begin anywhere; after that there is no gap.
            if last.is_some_and(|last| last.index + 1 != entry.log_id.index) {
                return Err(gap(entry.log_id.index));
            }
            last = Some(entry.log_id);
            records.push((entry.log_id.index, codec::encode_entry(&entry)));
        }
        let done = Box::new(move |result| done.io_completed(result));
        self.shared.wal.append(records, done).await?;
        self.known().last = last;
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> io::Result<()> {
        let known = *self.known();
        let last = last.max(known.hard.purged);
        if last < known.last {
            self.shared
                .wal
                .truncate_after(last.map(|id| id.index))
                .await?;
            self.known().last = last;
        }
        Ok(())
    }

    /// Recorded at once, so that the entries are gone for every reader; the write-ahead log drops
    /// their files in its own time.
    async fn purge(&mut self, upto: LogId) -> io::Result<()> {
        let known = *self.known();
        self.save(HardState {
            purged: Some(upto),
            ..known.hard
        })
        .await?;
        if known.last <= Some(upto) {
            self.shared.wal.truncate_after(None).await?;
            self.known().last = Some(upto);
            return Ok(());
        }
        self.shared.wal.purge(upto.index).await
    }
}

/// Reads a range page by page.
struct Cursor<D: Disk> {
    store: LogStore<D>,
    left: Range<u64>,
    page: VecDeque<Entry>,
}

impl<D: Disk> Cursor<D> {
    /// The next entry; an error ends the range.
    fn next(&mut self) -> Option<io::Result<Entry>> {
        if self.page.is_empty() && !self.left.is_empty() {
            match self.turn() {
                Ok(page) => self.page = page,
                Err(e) => {
                    self.left.start = self.left.end;
                    return Some(Err(e));
                }
            }
        }
        let entry = self.page.pop_front()?;
        self.left.start = entry.log_id.index + 1;
        Some(Ok(entry))
    }

    /// The next page. The range is committed and the log has it: a short read would count as
    /// applied, so it is an error.
    fn turn(&self) -> io::Result<VecDeque<Entry>> {
        let page = self.store.read(self.left.clone(), APPLY_BYTES_MAX)?;
        match page.first() {
            Some(entry) if entry.log_id.index == self.left.start => Ok(page.into()),
            _ => Err(gap(self.left.start)),
        }
    }
}

fn gap(index: u64) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("the raft log has a gap at `{index}`"),
    )
}

fn invalid_data(error: codec::CodecError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

#[cfg(test)]
mod tests;
