//! What the handles on a log and its lane share: the entries as readers see them.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::env::{Disk, DiskFile};

use super::frame::{self, Previous, RECORD_HEADER_LEN, Record};
use super::live::{Live, Location};
use super::times::WriteTimes;
use super::verify::Left;
use super::{Counters, Limits, ended};

/// What handles and lane share.
pub(super) struct Shared<D: Disk> {
    /// Held for memory operations only, never across a disk call. Taken before the sender of
    /// jobs, so that jobs are queued in the order in which they changed it.
    pub(super) state: Mutex<State<D>>,
    /// Bytes that may still be queued.
    pub(super) room: Arc<Semaphore>,
    pub(super) queue_bytes: usize,
}

pub(super) struct State<D: Disk> {
    pub(super) live: Live,
    pub(super) durable: Option<u64>,
    /// Truncations that readers see and the lane has not written: what it still writes of entries
    /// behind them is gone already.
    pub(super) truncations: VecDeque<u64>,
    pub(super) files: BTreeMap<u64, Arc<D::File>>,
    /// Where the newest durable group ends; zeros before the first.
    pub(super) end: Previous,
    pub(super) left: Option<Left>,
    pub(super) hint: Option<Bytes>,
    /// The vote saved last.
    pub(super) vote: Option<Bytes>,
    pub(super) counters: Counters,
    pub(super) writes: WriteTimes,
}

impl<D: Disk> Shared<D> {
    pub(super) fn new(
        live: Live,
        files: BTreeMap<u64, Arc<D::File>>,
        end: Previous,
        limits: &Limits,
    ) -> Self {
        let state = State {
            durable: live.last(),
            live,
            truncations: VecDeque::new(),
            files,
            end,
            left: None,
            hint: None,
            vote: None,
            counters: Counters::default(),
            writes: WriteTimes::default(),
        };
        let queue_bytes = limits.queue_bytes.min(Semaphore::MAX_PERMITS);
        let room = Arc::new(Semaphore::new(queue_bytes));
        Self {
            state: Mutex::new(state),
            room,
            queue_bytes,
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State<D>> {
        // A panic elsewhere leaves the node to end; nothing here is trusted after a restart.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) async fn room(&self, bytes: usize) -> io::Result<OwnedSemaphorePermit> {
        let wanted = u32::try_from(bytes.min(self.queue_bytes)).unwrap_or(u32::MAX);
        Arc::clone(&self.room)
            .acquire_many_owned(wanted)
            .await
            .map_err(|_| ended())
    }

    pub(super) fn has_hint(&self) -> bool {
        self.state().hint.is_some()
    }

    pub(super) fn take_hint(&self) -> Option<Bytes> {
        self.state().hint.take()
    }

    pub(super) fn count_sync(&self) {
        self.state().counters.syncs += 1;
    }

    /// A group is durable: its changes, in order.
    pub(super) fn written(
        &self,
        changes: impl Iterator<Item = Written>,
        end: Previous,
        bytes: u64,
        cache_bytes: usize,
    ) {
        let mut state = self.state();
        state.end = end;
        for change in changes {
            match change {
                Written::Entry(index, location) => state.entry_written(index, location),
                Written::Truncate => drop(state.truncations.pop_front()),
            }
        }
        state.live.evict(cache_bytes);
        state.counters.groups += 1;
        state.counters.syncs += 1;
        state.counters.bytes += bytes;
    }

    /// Forgets the segments before this one; returns which they were.
    pub(super) fn drop_before(&self, segment: u64) -> Vec<u64> {
        let mut state = self.state();
        state.live.drop_before(segment);
        state.left = state.left.filter(|left| left.segment > segment);
        let kept = state.files.split_off(&segment);
        std::mem::replace(&mut state.files, kept)
            .into_keys()
            .collect()
    }

    /// Where the payloads of a range are, as of one moment, until they reach `bytes_max`.
    pub(super) fn find(&self, range: Range<u64>, bytes_max: u64) -> Vec<(u64, Found<D>)> {
        let state = self.state();
        let held = state.live.range();
        let mut left = bytes_max;
        let mut found = Vec::new();
        for index in range.start.max(held.start)..range.end.min(held.end) {
            let (len, place) = state.find(index);
            if len > left && !found.is_empty() {
                break;
            }
            left = left.saturating_sub(len);
            found.push((index, place));
        }
        found
    }
}

impl<D: Disk> State<D> {
    fn entry_written(&mut self, index: u64, location: Location) {
        self.counters.entries += 1;
        // Readers may have seen it truncated, and even replaced, before it was written.
        if self.truncations.iter().all(|from| index < *from) {
            self.live.written(index, location);
            self.durable = Some(index);
        }
    }

    fn find(&self, index: u64) -> (u64, Found<D>) {
        if let Some(payload) = self.live.cached(index) {
            let len = u64::try_from(payload.len()).expect("invariant: a payload is bounded");
            return (len, Found::InMemory(payload));
        }
        let at = self
            .live
            .location(index)
            .expect("invariant: an entry is cached or written");
        let file = self
            .files
            .get(&at.segment)
            .expect("invariant: a location names a segment");
        (u64::from(at.len), Found::OnFile(at, Arc::clone(file)))
    }
}

/// Where a payload is.
pub(super) enum Found<D: Disk> {
    InMemory(Bytes),
    OnFile(Location, Arc<D::File>),
}

impl<D: Disk> Found<D> {
    pub(super) fn payload(self, index: u64) -> io::Result<Bytes> {
        let (at, file) = match self {
            Self::InMemory(payload) => return Ok(payload),
            Self::OnFile(at, file) => (at, file),
        };
        let len = usize::try_from(at.len).map_err(io::Error::other)?;
        let mut bytes = vec![0; RECORD_HEADER_LEN + len];
        file.read_exact_at(&mut bytes, u64::from(at.offset))?;
        match frame::record(&Bytes::from(bytes)) {
            Some((
                Record::Entry {
                    index: found,
                    payload,
                },
                _,
            )) if found == index => Ok(payload),
            _ => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("entry `{index}` of the raft log is damaged on disk"),
            )),
        }
    }
}

/// One change of a durable group.
pub(super) enum Written {
    Entry(u64, Location),
    Truncate,
}
