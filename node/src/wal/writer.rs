//! The lane that writes: takes what waits, writes it as one group, makes it durable, answers.
//!
//! No timer gathers a group: it is whatever arrived while the last one was being made durable. The
//! one timer closes an idle log, so that its last entries too are covered by a later header.
//!
//! Any error here ends the process. After a failed sync nobody knows what is on the disk; a
//! start reads it again.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use candor_ledger::planted;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::timeout;

use crate::env::{Disk, DiskFile, Env, OpenMode};

use super::frame::{self, HEADER_LEN, Header, LogId, Previous, Record};
use super::live::Location;
use super::recover::{End, segment_path};
use super::shared::{Shared, Written};
use super::verify::Left;
use super::vote::{Vote, VoteFile};
use super::{AppendDone, EXIT_DISK, Limits};

/// What the lane is asked for, in the order it was asked.
pub(super) enum Job {
    Append {
        records: Vec<(u64, Bytes)>,
        done: AppendDone,
        room: OwnedSemaphorePermit,
    },
    Purge {
        upto: u64,
        done: oneshot::Sender<()>,
    },
    Truncate {
        from: u64,
        done: oneshot::Sender<()>,
    },
    Leave {
        segment: u64,
        done: oneshot::Sender<()>,
    },
    VerifyVote {
        mend: bool,
        done: oneshot::Sender<bool>,
    },
    Vote {
        payload: Bytes,
        done: oneshot::Sender<()>,
    },
}

pub(super) struct Writer<E: Env> {
    pub(super) env: E,
    pub(super) dir: Arc<str>,
    pub(super) limits: Limits,
    pub(super) shared: Arc<Shared<E::Disk>>,
    pub(super) log_id: LogId,
    pub(super) end: End,
    /// The segment written to; `None` before the first group.
    pub(super) segment: Option<(u64, Arc<<E::Disk as Disk>::File>)>,
    pub(super) vote_file: VoteFile<E::Disk>,
    /// Number of the newest vote.
    pub(super) votes: u64,
    /// The newest vote.
    pub(super) vote: Option<Bytes>,
    /// The newest hint written, for the first group of the next segment.
    pub(super) committed: Option<Bytes>,
    /// The next group begins a segment, however long this one is.
    pub(super) leaving: bool,
    pub(super) group: Group,
}

/// A group being gathered.
#[derive(Default)]
pub(super) struct Group {
    body: Vec<u8>,
    records: u32,
    /// What it does to the log, in order; places are those in the body.
    changes: Vec<Change>,
    answers: Vec<Answer>,
}

enum Change {
    Entry { index: u64, at: usize, len: usize },
    Truncate,
}

/// Whom to tell when a group is durable.
enum Answer {
    Append {
        done: AppendDone,
        _room: OwnedSemaphorePermit,
    },
    Purge {
        floor: u64,
        done: oneshot::Sender<()>,
    },
    Truncate {
        done: oneshot::Sender<()>,
    },
}

impl<E: Env> Writer<E> {
    /// Runs until every handle on the log is gone or it was closed.
    pub(super) async fn run(mut self, mut jobs: UnboundedReceiver<Job>) {
        loop {
            let job = if self.is_covered() {
                jobs.recv().await
            } else if let Ok(job) = timeout(self.limits.idle, jobs.recv()).await {
                job
            } else {
                self.or_exit(Self::flush);
                continue;
            };
            let Some(job) = job else { break };
            self.or_exit(|writer| writer.gather(job, &mut jobs));
        }
        if !self.is_covered() || self.shared.has_hint() {
            self.or_exit(Self::flush);
        }
    }

    /// Covers what the process before wrote last, before any of it is reported as durable: if a
    /// failed sync left it to the page cache alone, its loss will show as damage, never as an end.
    pub(super) fn cover(&mut self) -> io::Result<()> {
        if self.is_covered() {
            Ok(())
        } else {
            self.flush()
        }
    }

    fn is_covered(&self) -> bool {
        (self.end.closed || self.end.sequence == 0) && self.end.votes == self.votes
    }

    fn or_exit(&mut self, step: impl FnOnce(&mut Self) -> io::Result<()>) {
        if let Err(error) = step(self) {
            self.env.exit(
                EXIT_DISK,
                &format!("the raft log cannot be written: {error}"),
            );
        }
    }

    fn gather(&mut self, job: Job, jobs: &mut UnboundedReceiver<Job>) -> io::Result<()> {
        let mut next = Some(job);
        while let Some(job) = next {
            self.take(job)?;
            next = jobs.try_recv().ok();
        }
        self.flush_gathered()
    }

    fn take(&mut self, job: Job) -> io::Result<()> {
        match job {
            Job::Append {
                records,
                done,
                room,
            } => {
                for (index, payload) in records {
                    self.group.push(&Record::Entry { index, payload });
                    if self.group.body.len() >= self.limits.group_bytes {
                        self.flush_gathered()?;
                    }
                }
                self.group
                    .answers
                    .push(Answer::Append { done, _room: room });
            }
            Job::Purge { upto, done } => {
                self.flush_gathered()?;
                let floor = self.floor_for(upto);
                if floor > self.end.floor {
                    self.group.push(&Record::Floor(floor));
                }
                self.group.answers.push(Answer::Purge { floor, done });
            }
            Job::Truncate { from, done } => {
                self.group.push(&Record::Truncate(from));
                self.group.answers.push(Answer::Truncate { done });
            }
            Job::Leave { segment, done } => {
                self.leave(segment)?;
                let _ = done.send(());
            }
            Job::VerifyVote { mend, done } => {
                let _ = done.send(self.verify_vote(mend)?);
            }
            Job::Vote { payload, done } => {
                // Never before the appends it was asked after.
                self.flush_gathered()?;
                self.write_vote(payload)?;
                // Whoever asked may have gone.
                let _ = done.send(());
            }
        }
        Ok(())
    }

    fn write_vote(&mut self, payload: Bytes) -> io::Result<()> {
        let number = self.votes + 1;
        let (log_id, sequence) = (self.log_id, self.end.sequence);
        let began = self.env.monotonic();
        self.shared.state().writes.begin(began);
        self.vote_file.write(&Vote {
            log_id,
            number,
            sequence,
            payload: payload.clone(),
        })?;
        let ended = self.env.monotonic();
        self.shared.state().writes.end(ended);
        self.votes = number;
        self.vote = Some(payload);
        self.shared.count_sync();
        Ok(())
    }

    /// Goes on in a new segment, unless this one goes already.
    fn leave(&mut self, segment: u64) -> io::Result<()> {
        self.flush_gathered()?;
        let goes = |left: Left| segment < left.segment;
        if self.shared.state().left.is_some_and(goes) {
            return Ok(());
        }
        self.leaving = true;
        self.flush()?;
        self.leaving = false;
        let mut state = self.shared.state();
        state.left = Some(Left {
            segment: self.end.previous.segment,
            upto: state.durable.unwrap_or(0),
        });
        Ok(())
    }

    /// Whether both slots are what was written last; what is not is written again.
    fn verify_vote(&mut self, mend: bool) -> io::Result<bool> {
        let Some(payload) = self.vote.clone() else {
            return Ok(true);
        };
        if self.vote_file.holds(self.votes, &payload) {
            return Ok(true);
        }
        if mend {
            self.flush_gathered()?;
            self.write_vote(payload.clone())?;
            self.write_vote(payload)?;
        }
        Ok(false)
    }

    /// The oldest segment that must stay when entries up to `upto` may go.
    fn floor_for(&self, upto: u64) -> u64 {
        let current = self.segment.as_ref().map_or(1, |(segment, _)| *segment);
        let needed = self.shared.state().live.oldest_segment_above(upto);
        needed.unwrap_or(current).max(self.end.floor)
    }

    fn flush_gathered(&mut self) -> io::Result<()> {
        if self.group.records > 0 {
            self.flush()?;
        }
        // A purge may have had nothing to write.
        let answers = std::mem::take(&mut self.group.answers);
        answers
            .into_iter()
            .try_for_each(|answer| self.answer(answer))
    }

    /// Writes what is gathered, or an empty group, and returns when it is durable and known to be.
    fn flush(&mut self) -> io::Result<()> {
        let hint = self.shared.take_hint();
        let group = std::mem::take(&mut self.group);
        let rolls = self.rolls(group.body.len());
        let (prefix, prefix_records) = self.prefix(rolls, hint);
        let header = Header {
            log_id: self.log_id,
            sequence: self.end.sequence + 1,
            body_len: fits(prefix.len() + group.body.len()),
            records: prefix_records + group.records,
            body_crc: crc32c::crc32c_append(crc32c::crc32c(&prefix), &group.body),
            votes: self.votes,
            previous: self.end.previous,
        };
        let began = self.env.monotonic();
        self.shared.state().writes.begin(began);
        let file = self.current_file(rolls, header.sequence)?;
        let segment = self
            .segment
            .as_ref()
            .map_or(header.sequence, |(segment, _)| *segment);
        let start = if rolls { 0 } else { self.end.previous.end };
        file.write_all_at(&assemble(&header, &prefix, &group.body), start)?;
        sync(&*file)?;
        let ended = self.env.monotonic();
        self.shared.state().writes.end(ended);

        // Durable. A crash from here on loses nothing but the answers.
        let end = start + header.group_len();
        let digest = header.digest();
        self.end.previous = Previous {
            segment,
            end,
            digest,
        };
        self.end.sequence = header.sequence;
        self.end.votes = header.votes;
        self.end.closed = group.changes.is_empty();
        let body_at = fits_u64(start).checked_add(fits(HEADER_LEN + prefix.len()));
        let body_at = body_at.expect("invariant: a segment is below 4 GiB");
        let changes = group
            .changes
            .iter()
            .map(|change| change.written(segment, body_at));
        self.shared.written(
            changes,
            self.end.previous,
            header.group_len(),
            self.limits.cache_bytes,
        );
        group
            .answers
            .into_iter()
            .try_for_each(|answer| self.answer(answer))
    }

    /// Whether a body of this length begins a new segment.
    fn rolls(&self, body_len: usize) -> bool {
        // The hint of a prefix is small and may lead a segment beyond its length.
        let len = u64::from(fits(HEADER_LEN + body_len));
        self.segment.is_none()
            || self.leaving
            || self.end.previous.end + len > self.limits.segment_bytes
    }

    /// The records that stand before the gathered ones: the hint, and in a segment's first group
    /// what must not be lost with the segments before it.
    fn prefix(&mut self, rolls: bool, hint: Option<Bytes>) -> (Vec<u8>, u32) {
        let (mut prefix, mut records) = (Vec::new(), 0);
        if rolls {
            self.end.floor = self.end.floor.max(1);
            frame::put_record(&mut prefix, &Record::Floor(self.end.floor));
            records += 1;
        }
        let is_new = hint.is_some();
        self.committed = hint.or_else(|| self.committed.take());
        if let Some(hint) = self.committed.clone().filter(|_| is_new || rolls) {
            frame::put_record(&mut prefix, &Record::Committed(hint));
            records += 1;
        }
        (prefix, records)
    }

    fn current_file(
        &mut self,
        rolls: bool,
        sequence: u64,
    ) -> io::Result<Arc<<E::Disk as Disk>::File>> {
        if let Some((_, file)) = self.segment.as_ref().filter(|_| !rolls) {
            return Ok(Arc::clone(file));
        }
        let path = segment_path(&self.dir, sequence);
        let file = Arc::new(self.env.disk().open(&path, OpenMode::CreateNew)?);
        if !planted!("segment-unlisted") {
            self.env.disk().sync_dir(&self.dir)?;
        }
        self.segment = Some((sequence, Arc::clone(&file)));
        self.shared
            .state()
            .files
            .insert(sequence, Arc::clone(&file));
        Ok(file)
    }

    fn answer(&mut self, answer: Answer) -> io::Result<()> {
        // Whoever asked may have gone.
        match answer {
            Answer::Append { done, .. } => done(Ok(())),
            Answer::Purge { floor, done } => {
                self.remove_before(floor)?;
                let _ = done.send(());
            }
            Answer::Truncate { done } => {
                let _ = done.send(());
            }
        }
        Ok(())
    }

    /// Removes segments that a durable floor no longer needs; one that comes back after a crash is
    /// removed at the next start.
    fn remove_before(&mut self, floor: u64) -> io::Result<()> {
        self.end.floor = self.end.floor.max(floor);
        for segment in self.shared.drop_before(floor) {
            self.env
                .disk()
                .remove_file(&segment_path(&self.dir, segment))?;
        }
        Ok(())
    }
}

impl Change {
    /// Where it went, given where the gathered records begin in the segment.
    fn written(&self, segment: u64, body_at: u32) -> Written {
        match self {
            Self::Entry { index, at, len } => {
                let offset = body_at + fits(*at);
                Written::Entry(
                    *index,
                    Location {
                        segment,
                        offset,
                        len: fits(*len),
                    },
                )
            }
            Self::Truncate => Written::Truncate,
        }
    }
}

impl Group {
    fn push(&mut self, record: &Record) {
        let at = self.body.len();
        match record {
            Record::Entry { index, payload } => {
                self.changes.push(Change::Entry {
                    index: *index,
                    at,
                    len: payload.len(),
                });
            }
            Record::Truncate(_) => {
                self.changes.push(Change::Truncate);
                if planted!("truncation-unwritten") {
                    return;
                }
            }
            Record::Committed(_) | Record::Floor(_) => {}
        }
        self.records += 1;
        frame::put_record(&mut self.body, record);
    }
}

/// Returns when the file is durable.
fn sync<F: DiskFile>(file: &F) -> io::Result<()> {
    if planted!("ack-before-sync") {
        return Ok(());
    }
    let synced = file.sync_data();
    if planted!("failed-sync-retried") {
        return synced.or_else(|_| file.sync_data());
    }
    synced
}

fn assemble(header: &Header, prefix: &[u8], body: &[u8]) -> Vec<u8> {
    let len = usize::try_from(header.group_len()).expect("invariant: a group is bounded");
    let mut bytes = Vec::with_capacity(len);
    bytes.extend_from_slice(&header.encode());
    bytes.extend_from_slice(prefix);
    bytes.extend_from_slice(body);
    bytes.resize(len, 0);
    bytes
}

fn fits(len: usize) -> u32 {
    u32::try_from(len).expect("invariant: a group is below 4 GiB")
}

fn fits_u64(offset: u64) -> u32 {
    u32::try_from(offset).expect("invariant: a segment is below 4 GiB")
}
