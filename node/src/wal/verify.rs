//! Reading a running log again, and leaving the part of it that is damaged.
//!
//! Nobody else has this node's log, so a damaged group is not repaired: the log goes on in a new
//! segment, and the segments before it are removed once a snapshot stands for all their entries. Until
//! then a start refuses the log, as it must: what it acknowledged cannot be read.

use std::io;
use std::sync::Arc;

use tokio::sync::oneshot;

use crate::env::{Disk, DiskFile};

use super::frame::Previous;
use super::recover::{Group, NoGroup, read_group, segment_path};
use super::writer::Job;
use super::{Wal, WalError, ended};

/// How far a walk over the durable groups has come; begins with the oldest.
#[derive(Debug, Default)]
pub struct Walk {
    segment: u64,
    offset: u64,
    /// Sequence and place of the group before, when it was read.
    before: Option<(u64, Previous)>,
}

/// Segments that are to be removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Left {
    /// The first that stays.
    pub(super) segment: u64,
    /// No entry before it is newer.
    pub(super) upto: u64,
}

impl<D: Disk> Wal<D> {
    /// Reads the next durable group from its file, holds it against the one before and returns its
    /// length in bytes; `None` behind the newest.
    ///
    /// # Errors
    /// [`WalError`] for a group that is not what was written; the walk stays before it.
    pub fn verify_next(&self, walk: &mut Walk) -> Result<Option<usize>, WalError> {
        loop {
            let (segment, file, durable) = {
                let state = self.shared.state();
                let Some((segment, file)) = state.files.range(walk.segment..).next() else {
                    return Ok(None);
                };
                (*segment, Arc::clone(file), state.end)
            };
            if segment > durable.segment {
                return Ok(None);
            }
            if segment != walk.segment {
                walk.enter(segment);
            }
            let end = if segment == durable.segment {
                durable.end
            } else {
                file.len()?
            };
            if walk.offset < end {
                return self.verify_group(walk, &*file, end).map(Some);
            }
            if segment == durable.segment {
                return Ok(None);
            }
            walk.segment = segment.saturating_add(1);
            walk.offset = 0;
        }
    }

    /// Begins a new segment, so that this one and those before it can go; nothing if it is to go
    /// already. What may be purged for its sake is [`Wal::left`].
    ///
    /// # Errors
    /// `BrokenPipe` when the log is closed.
    pub async fn leave(&self, segment: u64) -> io::Result<()> {
        let (done, left) = oneshot::channel();
        self.send(Job::Leave { segment, done })?;
        left.await.map_err(|_| ended())
    }

    /// The newest entry of segments that were left and are not removed yet.
    pub fn left(&self) -> Option<u64> {
        self.shared.state().left.map(|left| left.upto)
    }

    /// Reads both slots of the vote again, and says whether they are what was written; with `mend`
    /// the vote is saved anew, durably, where they are not.
    ///
    /// # Errors
    /// `BrokenPipe` when the log is closed.
    pub async fn verify_vote(&self, mend: bool) -> io::Result<bool> {
        let (done, whole) = oneshot::channel();
        self.send(Job::VerifyVote { mend, done })?;
        whole.await.map_err(|_| ended())
    }

    fn verify_group(&self, walk: &mut Walk, file: &D::File, end: u64) -> Result<usize, WalError> {
        let problem = match read_group(file, walk.offset, end) {
            Ok(Ok(group)) if walk.follows(&group) => return Ok(walk.pass(&group)),
            Ok(Ok(_)) => "the group does not follow the one before",
            Ok(Err(NoGroup::Bad(problem) | NoGroup::Foreign(problem))) => problem,
            Ok(Err(NoGroup::Version(_))) => "the version is another",
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => "the file ends before",
            Err(_) => "it cannot be read",
        };
        Err(WalError::Corrupt {
            file: segment_path(&self.dir, walk.segment),
            offset: walk.offset,
            problem,
        })
    }
}

impl Walk {
    /// The segment that the walk stands in.
    pub fn segment(&self) -> u64 {
        self.segment
    }

    /// Goes on with a segment; those between may have been removed.
    fn enter(&mut self, segment: u64) {
        self.before = self
            .before
            .filter(|(sequence, _)| sequence.checked_add(1) == Some(segment));
        (self.segment, self.offset) = (segment, 0);
    }

    fn follows(&self, group: &Group) -> bool {
        let header = &group.header;
        match self.before {
            Some((sequence, previous)) => {
                header.sequence == sequence + 1 && header.previous == previous
            }
            None => header.sequence == self.segment,
        }
    }

    fn pass(&mut self, group: &Group) -> usize {
        self.offset += group.header.group_len();
        let previous = Previous {
            segment: self.segment,
            end: self.offset,
            digest: group.header.digest(),
        };
        self.before = Some((group.header.sequence, previous));
        usize::try_from(group.header.group_len()).expect("invariant: a group is bounded")
    }
}
