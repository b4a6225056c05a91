//! The write-ahead log: numbered entries and a vote, durable in the order they were given.
//!
//! It knows nothing of Raft: an entry is an index and bytes, a vote is bytes. Appends wait in
//! memory, where they can be read at once; one lane writes whatever waits as one group, syncs it
//! and then calls back, in order. So a log under load pays one sync for many entries, and an idle
//! one pays no delay.
//!
//! ```text
//! raft/<sequence of its first group, 16 digits>.wal     groups of records, see `frame`
//! raft/vote                                             two slots, see `vote`
//! ```
//!
//! Files only grow; removing the newest entries is a record like any other, and removing the oldest
//! removes whole segments. A group names the one before it and is written only when that one is
//! durable: the torn end of a log, which nobody was told of, is cut off at the next start, while
//! damage to what was acknowledged is reported as [`WalError::Corrupt`] and changes nothing. A node
//! that finds it must neither vote nor truncate.
//!
//! A failed write or sync ends the process: what is on the disk then is known only after reading it
//! again.

mod frame;
mod live;
mod recover;
mod shared;
#[cfg(test)]
mod tests;
mod times;
mod verify;
mod vote;
mod writer;

use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::sync::{Semaphore, oneshot};

use crate::env::{Disk, Env, Task};

use frame::{BODY_LEN_MAX, RECORD_HEADER_LEN};
use recover::{Recovery, recover};
use shared::Shared;
use writer::{Group, Job, Writer};

pub use frame::RECORD_LEN_MAX;
pub use recover::Torn;
pub use times::WriteTimes;
pub use verify::Walk;
pub use vote::VOTE_LEN_MAX;

/// Called once the entries of an append are durable; entries are called back in order.
pub type AppendDone = Box<dyn FnOnce(io::Result<()>) + Send>;

/// What the process ends with when the log cannot be written: `EX_IOERR` of sysexits.
pub const EXIT_DISK: i32 = 74;

/// How much a log may hold where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// A segment is closed rather than grow beyond this; one group longer than it stands alone.
    pub segment_bytes: u64,
    /// A group is closed once it is this long, and may pass it by one record.
    pub group_bytes: usize,
    /// Payloads of written entries kept in memory.
    pub cache_bytes: usize,
    /// Payloads waiting to be written; an append that would pass it waits, one longer than all of
    /// it waits for an empty queue.
    pub queue_bytes: usize,
    /// How long nothing was asked for when an idle log covers its last group.
    pub idle: Duration,
}

impl Default for Limits {
    /// Segments of 64 MiB: a few thousand groups, read in well under a second. Groups of 4 MiB: a
    /// disk of 400 MB/s writes one in 10 ms, so that a vote never waits long. A cache of 32 MiB:
    /// sixteen appends of the largest size to a follower that lags. A queue of 64 MiB: three
    /// commands of the largest size, or what the same disk writes in 160 ms.
    fn default() -> Self {
        Self {
            segment_bytes: 64 << 20,
            group_bytes: GROUP_BYTES_MAX,
            cache_bytes: 32 << 20,
            queue_bytes: 64 << 20,
            idle: Duration::from_millis(100),
        }
    }
}

impl Limits {
    /// With what the formats can hold.
    fn clamped(self) -> Self {
        let segment_bytes = self.segment_bytes.min(SEGMENT_BYTES_MAX);
        Self {
            segment_bytes,
            group_bytes: self.group_bytes.min(GROUP_BYTES_MAX),
            ..self
        }
    }
}

/// Where a group is closed at the latest.
const GROUP_BYTES_MAX: usize = 4 << 20;

/// Longest segment: offsets in memory are 32 bits, and one group may pass the limit.
const SEGMENT_BYTES_MAX: u64 = 1 << 30;

/// Bytes that a group may hold beside the gathered records: two records, of which the hint is
/// bounded like a vote.
const PREFIX_LEN_MAX: usize = 2 * RECORD_HEADER_LEN + VOTE_LEN_MAX;

const _: () = assert!(
    GROUP_BYTES_MAX + RECORD_HEADER_LEN + RECORD_LEN_MAX + PREFIX_LEN_MAX <= BODY_LEN_MAX,
    "a record of the largest size fits behind a group that was just not full"
);

/// An open log; a clone is another handle on the same one.
pub struct Wal<D: Disk> {
    dir: Arc<str>,
    shared: Arc<Shared<D>>,
    /// Ends the lane when the last handle is dropped.
    jobs: Jobs,
    lane: Arc<Mutex<Option<Task>>>,
}

type Jobs = Arc<Mutex<Option<UnboundedSender<Job>>>>;

impl<D: Disk> Clone for Wal<D> {
    fn clone(&self) -> Self {
        let (shared, jobs) = (Arc::clone(&self.shared), Arc::clone(&self.jobs));
        Self {
            dir: Arc::clone(&self.dir),
            shared,
            jobs,
            lane: Arc::clone(&self.lane),
        }
    }
}

/// What a log held when it was opened; all of it is durable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// The vote saved last.
    pub vote: Option<Bytes>,
    /// A hint saved at some time, not always the last.
    pub committed: Option<Bytes>,
    /// Index of the oldest entry; entries purged may still be there, as segments go whole.
    pub first: Option<u64>,
    /// Index of the newest entry.
    pub last: Option<u64>,
    /// The unacknowledged group that was cut off, if there was one.
    pub torn: Option<Torn>,
}

/// What was done since the log was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Groups written.
    pub groups: u64,
    /// Entries written.
    pub entries: u64,
    /// Bytes written to segments, padding included.
    pub bytes: u64,
    /// Syncs of segments and of the vote.
    pub syncs: u64,
}

/// Why a log cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum WalError {
    /// The disk lost or changed what it had acknowledged. Nothing was changed; the node must not
    /// vote, and rejoins as a new one.
    #[error(
        "`{file}` is damaged at byte `{offset}`: {problem}; this node may not vote with it, \
         remove its folder and let it join as a new node"
    )]
    Corrupt {
        /// Path inside the node's folder.
        file: String,
        /// Where the group or slot begins.
        offset: u64,
        /// What does not hold.
        problem: &'static str,
    },
    /// The disk failed; nothing is known about the log.
    #[error("the raft log cannot be read: {0}")]
    Io(#[from] io::Error),
    /// A later program wrote this.
    #[error(
        "`{file}` has version `{version}` at byte `{offset}`, which this program is too old for"
    )]
    UnknownVersion {
        /// Path inside the node's folder.
        file: String,
        /// Where the group or slot begins.
        offset: u64,
        /// The version found.
        version: u16,
    },
}

impl<D: Disk> Wal<D> {
    /// Reads the log in a directory, made if need be, and starts its lane.
    ///
    /// Blocks for as long as it takes to read the log. A torn end is cut off; what is returned is
    /// durable, even if the process before died between write and sync.
    ///
    /// # Errors
    /// [`WalError::Corrupt`] when acknowledged bytes are missing or changed.
    pub fn open<E: Env<Disk = D>>(
        env: &E,
        dir: &str,
        limits: Limits,
    ) -> Result<(Self, Recovered), WalError> {
        let (dir, limits): (Arc<str>, _) = (dir.into(), limits.clamped());
        let found = recover(env.disk(), &dir, &limits)?;
        let recovered = Recovered {
            vote: found.vote.as_ref().map(|vote| vote.payload.clone()),
            committed: found.committed.clone(),
            first: found.live.first(),
            last: found.live.last(),
            torn: found.torn.clone(),
        };
        let Recovery {
            vote_file,
            vote,
            committed,
            live,
            files,
            end,
            ..
        } = found;
        let segment = files
            .last_key_value()
            .map(|(segment, file)| (*segment, Arc::clone(file)));
        let shared = Arc::new(Shared::new(live, files, end.previous, &limits));
        let log_id = end.log_id.unwrap_or_else(|| {
            let mut id = [0; 16];
            env.fill_random(&mut id);
            id
        });
        let mut writer = Writer {
            env: env.clone(),
            dir: Arc::clone(&dir),
            limits,
            shared: Arc::clone(&shared),
            log_id,
            end,
            segment,
            vote_file,
            votes: vote.as_ref().map_or(0, |vote| vote.number),
            vote: vote.map(|vote| vote.payload),
            committed,
            leaving: false,
            group: Group::default(),
        };
        writer.cover()?;
        let (sender, receiver) = unbounded_channel();
        let room = Room(Arc::clone(&shared.room));
        let lane = env.lane("wal", move || async move {
            let _room = room;
            writer.run(receiver).await;
        });
        let jobs = Arc::new(Mutex::new(Some(sender)));
        shared.state().vote.clone_from(&recovered.vote);
        Ok((
            Self {
                dir,
                shared,
                jobs,
                lane: Arc::new(Mutex::new(Some(lane))),
            },
            recovered,
        ))
    }

    /// Appends entries without a gap behind the last; an empty log begins anywhere.
    ///
    /// They can be read when this returns, and are durable when `done` is called. Waits while the
    /// queue is full.
    ///
    /// # Errors
    /// `InvalidInput` for a gap or a payload above [`RECORD_LEN_MAX`], `BrokenPipe` when the log is
    /// closed; nothing was appended, and `done` is dropped.
    pub async fn append(&self, records: Vec<(u64, Bytes)>, done: AppendDone) -> io::Result<()> {
        let bytes = check(&records)?;
        let room = self.shared.room(bytes).await?;
        let mut state = self.shared.state();
        if let Some((first, _)) = records
            .first()
            .filter(|(first, _)| !state.live.accepts(*first))
        {
            let last = state.live.last();
            return Err(invalid(format!(
                "entry `{first}` does not follow entry `{last:?}`"
            )));
        }
        let jobs = self.jobs()?;
        for (index, payload) in &records {
            state.live.push(*index, payload.clone());
        }
        jobs.send(Job::Append {
            records,
            done,
            room,
        })
        .map_err(|_| ended())
    }

    /// How long the newest writes took, and how long the one under way has.
    pub fn write_times(&self) -> WriteTimes {
        self.shared.state().writes.clone()
    }

    /// Saves the vote, in order with appends: durable on return, and so is every entry appended
    /// before.
    ///
    /// # Errors
    /// `InvalidInput` above [`VOTE_LEN_MAX`] bytes, `BrokenPipe` when the log is closed.
    pub async fn save_vote(&self, payload: Bytes) -> io::Result<()> {
        if payload.len() > VOTE_LEN_MAX {
            return Err(invalid(format!(
                "the vote is longer than {VOTE_LEN_MAX} bytes"
            )));
        }
        let (done, saved) = oneshot::channel();
        let vote = payload.clone();
        self.send(Job::Vote { payload, done })?;
        saved.await.map_err(|_| ended())?;
        self.shared.state().vote = Some(vote);
        Ok(())
    }

    /// The vote saved last; durable.
    pub fn vote(&self) -> Option<Bytes> {
        self.shared.state().vote.clone()
    }

    /// Bytes of the segments that are kept.
    ///
    /// # Errors
    /// The disk's.
    pub fn kept_bytes(&self) -> io::Result<u64> {
        let files: Vec<_> = self.shared.state().files.values().cloned().collect();
        files
            .iter()
            .map(|file| crate::env::DiskFile::len(&**file))
            .sum()
    }

    /// Keeps a hint that is written with some later group and never synced for its own sake.
    ///
    /// # Errors
    /// `InvalidInput` above [`VOTE_LEN_MAX`] bytes.
    pub fn save_committed(&self, hint: Bytes) -> io::Result<()> {
        if hint.len() > VOTE_LEN_MAX {
            return Err(invalid(format!(
                "the hint is longer than {VOTE_LEN_MAX} bytes"
            )));
        }
        self.shared.state().hint = Some(hint);
        Ok(())
    }

    /// Removes every entry behind `last`, or all: for readers at once, durable on return.
    ///
    /// # Errors
    /// `BrokenPipe` when the log is closed.
    pub async fn truncate_after(&self, last: Option<u64>) -> io::Result<()> {
        let from = last.map_or(0, |last| last.saturating_add(1));
        let (done, truncated) = oneshot::channel();
        {
            let mut state = self.shared.state();
            let is_there = state.live.last().is_some_and(|last| last >= from);
            // Behind a truncation that is still queued, durable means waiting for it too.
            if !is_there && state.truncations.is_empty() {
                return Ok(());
            }
            let jobs = self.jobs()?;
            state.live.truncate(from);
            state.durable = state.durable.min(from.checked_sub(1));
            state.truncations.push_back(from);
            jobs.send(Job::Truncate { from, done })
                .map_err(|_| ended())?;
        }
        truncated.await.map_err(|_| ended())
    }

    /// Removes the segments all of whose entries have an index up to `upto`, or were truncated.
    ///
    /// Entries beside others that stay are kept, and may be there again after a restart.
    ///
    /// # Errors
    /// `BrokenPipe` when the log is closed.
    pub async fn purge(&self, upto: u64) -> io::Result<()> {
        let (done, purged) = oneshot::channel();
        self.send(Job::Purge { upto, done })?;
        purged.await.map_err(|_| ended())
    }

    /// The entries of `range` that exist, from its front, until their payloads reach `bytes_max`;
    /// at least one if there is any.
    ///
    /// Served from memory, or from the page cache for entries that left it.
    ///
    /// # Errors
    /// The disk's, or `InvalidData` when a record is no longer what was written.
    pub fn read(&self, range: Range<u64>, bytes_max: u64) -> io::Result<Vec<(u64, Bytes)>> {
        let found = self.shared.find(range, bytes_max);
        found
            .into_iter()
            .map(|(index, found)| Ok((index, found.payload(index)?)))
            .collect()
    }

    /// Index of the oldest entry.
    pub fn first_index(&self) -> Option<u64> {
        self.shared.state().live.first()
    }

    /// Index of the newest entry, durable or not.
    pub fn last_index(&self) -> Option<u64> {
        self.shared.state().live.last()
    }

    /// The greatest index such that it and every entry before it is durable.
    pub fn durable_index(&self) -> Option<u64> {
        self.shared.state().durable
    }

    /// What was done since the log was opened.
    pub fn counters(&self) -> Counters {
        self.shared.state().counters
    }

    /// How often segments and the vote were synced since the log was opened.
    pub fn syncs(&self) -> u64 {
        self.counters().syncs
    }

    /// Writes what waits, covers it, and ends the lane; later calls on any handle fail.
    pub async fn close(&self) {
        drop(
            self.jobs
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take(),
        );
        let lane = self
            .lane
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(lane) = lane {
            lane.join().await;
        }
    }

    /// The sender of jobs, while the lane runs.
    fn jobs(&self) -> io::Result<UnboundedSender<Job>> {
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        jobs.as_ref()
            .filter(|jobs| !jobs.is_closed())
            .cloned()
            .ok_or_else(ended)
    }

    fn send(&self, job: Job) -> io::Result<()> {
        self.jobs()?.send(job).map_err(|_| ended())
    }
}

/// The room that an append takes in the queue, if its entries are what they must be.
fn check(records: &[(u64, Bytes)]) -> io::Result<usize> {
    let mut expected = records.first().map(|(index, _)| *index);
    let mut bytes = 0;
    for (index, payload) in records {
        if payload.len() > RECORD_LEN_MAX {
            return Err(invalid(format!(
                "entry `{index}` is longer than {RECORD_LEN_MAX} bytes"
            )));
        }
        if expected != Some(*index) || *index == u64::MAX {
            return Err(invalid(format!("entry `{index}` leaves a gap")));
        }
        expected = index.checked_add(1);
        bytes += RECORD_HEADER_LEN + payload.len();
    }
    Ok(bytes)
}

/// Lets no append wait for room when the lane is gone.
struct Room(Arc<Semaphore>);

impl Drop for Room {
    fn drop(&mut self) {
        self.0.close();
    }
}

fn invalid(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, why)
}

fn ended() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "the raft log is closed")
}
