//! Reading a log again: what is there, what was torn, what is damaged.
//!
//! A group is written only when the one before it is durable. So a group that cannot be read may be
//! the torn last one, which nobody was told of, only as long as nothing says that a later one was
//! begun: neither a later header, nor a later segment, nor a vote. If something does, an
//! acknowledged group is damaged, and the log is left exactly as it was found.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use candor_ledger::planted;

use crate::env::{Disk, DiskFile, MODE_PUBLIC, OpenMode};

use super::frame::{self, HEADER_LEN, Header, HeaderError, LogId, Previous, Record, SECTOR_LEN};
use super::live::{Live, Location};
use super::vote::{Vote, VoteFile};
use super::{Limits, WalError};

/// What was found, and all that a writer needs to go on.
pub(super) struct Recovery<D: Disk> {
    pub(super) vote_file: VoteFile<D>,
    pub(super) vote: Option<Vote>,
    pub(super) committed: Option<Bytes>,
    pub(super) live: Live,
    pub(super) files: BTreeMap<u64, Arc<D::File>>,
    pub(super) end: End,
    pub(super) torn: Option<Torn>,
}

/// Where a log ends.
#[derive(Clone, Debug, Default)]
pub(super) struct End {
    /// `None` as long as nothing was ever written.
    pub(super) log_id: Option<LogId>,
    /// Of the last group; 0 without one.
    pub(super) sequence: u64,
    pub(super) previous: Previous,
    /// The oldest segment still needed.
    pub(super) floor: u64,
    /// The newest vote that the headers tell of.
    pub(super) votes: u64,
    /// Whether the last group holds neither entries nor truncations.
    pub(super) closed: bool,
}

/// A group that was not written to its end, and is cut off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Torn {
    /// The file that held it.
    pub file: String,
    /// Where it began.
    pub offset: u64,
    /// The length of the file that was cut.
    pub len: u64,
}

/// The name of the segment whose first group has this sequence number.
pub(super) fn segment_path(dir: &str, segment: u64) -> String {
    format!("{dir}/{segment:016}.wal")
}

/// Reads a log, cuts a torn group off, and makes durable what it read.
///
/// A sync that failed under the process before leaves bytes that are read from memory and are on no disk, and
/// another sync does not write them: to the system they are written. Only the last group can be such, and
/// the newest vote. So the last segment and the vote are written to new files that take their places; never
/// over themselves, as acknowledged bytes may not be what the next power cut tears. That takes room for one
/// segment.
///
/// # Errors
/// [`WalError::Corrupt`] leaves every file as it was.
pub(super) fn recover<D: Disk>(
    disk: &D,
    dir: &Arc<str>,
    limits: &Limits,
) -> Result<Recovery<D>, WalError> {
    make_dir(disk, dir)?;
    let mut vote_file = VoteFile::new(disk.clone(), Arc::clone(dir));
    let vote = vote_file.newest()?;
    let segments = open_segments(disk, dir)?;
    let floor = last_floor(&segments)?;
    let mut scan = Scan {
        dir,
        limits,
        durable_by_vote: vote.as_ref().map_or(0, |vote| vote.sequence),
        end: End {
            log_id: vote.as_ref().map(|vote| vote.log_id),
            floor,
            ..End::default()
        },
        live: Live::default(),
        committed: None,
    };
    let torn = scan.segments(&segments)?;
    scan.check_vote(vote.as_ref())?;
    let Scan {
        end,
        live,
        committed,
        ..
    } = scan;

    // From here on the log is whole, but for a group that nobody was told of.
    let mut files = segments;
    let obsolete: Vec<u64> = files
        .range(..end.floor)
        .map(|(segment, _)| *segment)
        .collect();
    for segment in obsolete {
        files.remove(&segment);
        disk.remove_file(&segment_path(dir, segment))?;
    }
    let torn = torn.map(|(segment, offset)| cut(disk, dir, &mut files, segment, offset));
    let torn = torn.transpose()?;
    let Previous {
        segment, end: len, ..
    } = end.previous;
    if let Some(last) = files.get_mut(&segment)
        && !planted!("last-segment-kept")
    {
        *last = write_anew(disk, &segment_path(dir, segment), &**last, len)?;
    }
    vote_file.write_anew()?;
    disk.sync_dir(dir)?;
    Ok(Recovery {
        vote_file,
        vote,
        committed,
        live,
        files,
        end,
        torn,
    })
}

/// Makes the directory; its names are synced each time, as the process before may not have come to
/// it.
fn make_dir<D: Disk>(disk: &D, dir: &str) -> io::Result<()> {
    disk.create_dir_all(dir)?;
    let mut made = dir;
    while let Some((parent, _)) = made.rsplit_once('/') {
        disk.sync_dir(parent)?;
        made = parent;
    }
    disk.sync_dir("")
}

fn open_segments<D: Disk>(disk: &D, dir: &str) -> io::Result<BTreeMap<u64, Arc<D::File>>> {
    let mut segments = BTreeMap::new();
    for entry in disk.list(dir)? {
        let number = entry
            .name
            .strip_suffix(".wal")
            .and_then(|name| name.parse().ok());
        // A name in another spelling is not ours.
        let path = number.map(|number| (number, segment_path(dir, number)));
        let path = path.filter(|(_, path)| path.ends_with(&entry.name) && !entry.is_dir);
        if let Some((number, path)) = path {
            segments.insert(number, Arc::new(disk.open(&path, OpenMode::ReadWrite)?));
        }
    }
    Ok(segments)
}

/// The oldest segment still needed, as the newest readable one states: its first group repeats what
/// was known, later ones may raise it. Segments before it may be gone, or be back after a crash.
fn last_floor<F: DiskFile>(segments: &BTreeMap<u64, Arc<F>>) -> Result<u64, WalError> {
    for file in segments.values().rev() {
        let len = file.len()?;
        let (mut offset, mut floor) = (0, None);
        while let Ok(group) = read_group(&**file, offset, len)? {
            let floors = group.records.iter().filter_map(|(_, record)| match record {
                Record::Floor(segment) => Some(*segment),
                _ => None,
            });
            floor = floor.max(floors.max());
            offset += group.header.group_len();
        }
        if let Some(floor) = floor {
            return Ok(floor);
        }
    }
    Ok(1)
}

/// Takes leave of the torn group at `offset` of the last segment. The segment goes with it if this was its
/// first, and else is about to be written anew without it.
fn cut<D: Disk>(
    disk: &D,
    dir: &str,
    files: &mut BTreeMap<u64, Arc<D::File>>,
    segment: u64,
    offset: u64,
) -> io::Result<Torn> {
    let file = segment_path(dir, segment);
    let len = disk.stat(&file)?.map_or(0, |stat| stat.len);
    if offset == 0 {
        files.remove(&segment);
        disk.remove_file(&file)?;
    }
    Ok(Torn { file, offset, len })
}

/// Puts a new file with the first `len` bytes in the place of this one.
fn write_anew<D: Disk>(disk: &D, path: &str, file: &D::File, len: u64) -> io::Result<Arc<D::File>> {
    let mut bytes = vec![0; usize::try_from(len).map_err(io::Error::other)?];
    file.read_exact_at(&mut bytes, 0)?;
    disk.write_durable(path, &bytes, MODE_PUBLIC)?;
    Ok(Arc::new(disk.open(path, OpenMode::ReadWrite)?))
}

/// A pass over all segments, oldest first.
struct Scan<'a> {
    dir: &'a str,
    limits: &'a Limits,
    /// The newest group that the vote file says was durable.
    durable_by_vote: u64,
    end: End,
    live: Live,
    committed: Option<Bytes>,
}

/// A whole group.
pub(super) struct Group {
    pub(super) header: Header,
    records: Vec<(usize, Record)>,
}

/// Why there is no group at a place.
#[derive(Clone, Copy)]
pub(super) enum NoGroup {
    /// What a torn write may leave.
    Bad(&'static str),
    /// Checksums hold, yet it makes no sense: never torn.
    Foreign(&'static str),
    /// Of a version this program does not know.
    Version(u16),
}

impl Scan<'_> {
    /// Where the torn group begins, if there is one.
    fn segments<F: DiskFile>(
        &mut self,
        segments: &BTreeMap<u64, Arc<F>>,
    ) -> Result<Option<(u64, u64)>, WalError> {
        let floor = self.end.floor;
        let needed = segments.range(floor..);
        let last = segments.last_key_value().map_or(0, |(segment, _)| *segment);
        let mut expected = floor;
        for (segment, file) in needed {
            if *segment != expected {
                return Err(self.corrupt(*segment, 0, "segments before this one are missing"));
            }
            if let Some(offset) = self.segment(*segment, &**file, *segment == last)? {
                return Ok(Some((*segment, offset)));
            }
            expected = self.end.sequence.saturating_add(1);
        }
        if last < floor && floor > 1 {
            return Err(self.corrupt(floor, 0, "this segment is missing"));
        }
        Ok(None)
    }

    /// Reads one segment; where its torn group begins, if it has one.
    fn segment<F: DiskFile>(
        &mut self,
        segment: u64,
        file: &F,
        is_last: bool,
    ) -> Result<Option<u64>, WalError> {
        let len = file.len()?;
        let mut offset = 0;
        // An empty file is the name of a segment whose first group never came.
        while offset < len || len == 0 {
            let group = match read_group(file, offset, len)? {
                Ok(group) => group,
                Err(NoGroup::Version(version)) => {
                    let file = segment_path(self.dir, segment);
                    return Err(WalError::UnknownVersion {
                        file,
                        offset,
                        version,
                    });
                }
                Err(NoGroup::Foreign(problem)) => {
                    return Err(self.corrupt(segment, offset, problem));
                }
                Err(NoGroup::Bad(problem)) => {
                    let refused = !is_last || planted!("torn-refused");
                    if refused || self.is_covered(file, offset, len)? {
                        return Err(self.corrupt(segment, offset, problem));
                    }
                    return Ok(Some(offset));
                }
            };
            self.check_place(segment, offset, &group.header)?;
            self.replay(segment, offset, &group)?;
            offset += group.header.group_len();
        }
        Ok(None)
    }

    /// Whether anything says that the group which should begin at `offset` was durable.
    fn is_covered<F: DiskFile>(&self, file: &F, offset: u64, len: u64) -> io::Result<bool> {
        if planted!("corruption-cut") {
            return Ok(false);
        }
        let bad = self.end.sequence.saturating_add(1);
        if self.durable_by_vote >= bad {
            return Ok(true);
        }
        let is_later = |header: &Header| {
            header.sequence > bad && self.end.log_id.is_none_or(|id| id == header.log_id)
        };
        let mut at = offset + SECTOR_LEN;
        while at < len {
            if read_header(file, at)?.is_ok_and(|header| is_later(&header)) {
                return Ok(true);
            }
            at += SECTOR_LEN;
        }
        Ok(false)
    }

    /// A whole group in the wrong place is not what was last written there.
    fn check_place(&self, segment: u64, offset: u64, header: &Header) -> Result<(), WalError> {
        let End {
            log_id,
            sequence,
            previous,
            floor,
            votes,
            ..
        } = self.end;
        let is_oldest = sequence == 0;
        let follows = if is_oldest {
            // What came before the oldest segment is gone, unless this is the first of all.
            header.sequence == floor && (floor > 1 || header.previous == Previous::default())
        } else {
            header.sequence == sequence + 1 && header.previous == previous
        };
        if log_id.is_some_and(|id| id != header.log_id) {
            return Err(self.corrupt(segment, offset, "the group is of another log"));
        }
        if !follows || header.votes < votes {
            return Err(self.corrupt(segment, offset, "the group does not follow the one before"));
        }
        Ok(())
    }

    fn replay(&mut self, segment: u64, offset: u64, group: &Group) -> Result<(), WalError> {
        let Group { header, records } = group;
        self.end.closed = true;
        for (at, record) in records {
            match record {
                Record::Committed(hint) => self.committed = Some(hint.clone()),
                Record::Entry { index, payload } => {
                    self.end.closed = false;
                    if !self.live.accepts(*index) {
                        return Err(self.corrupt(segment, offset, "an entry leaves a gap"));
                    }
                    let location = location(segment, offset, *at, payload);
                    self.live.push(*index, payload.clone());
                    self.live.written(*index, location);
                    self.live.evict(self.limits.cache_bytes);
                }
                Record::Floor(floor) => {
                    self.end.floor = self.end.floor.max(*floor);
                    self.live.drop_before(*floor);
                }
                Record::Truncate(from) => {
                    self.end.closed = false;
                    self.live.truncate(*from);
                }
            }
        }
        self.end.log_id = Some(header.log_id);
        self.end.sequence = header.sequence;
        self.end.votes = header.votes;
        let end = offset + header.group_len();
        self.end.previous = Previous {
            segment,
            end,
            digest: header.digest(),
        };
        Ok(())
    }

    /// Log and vote each know how far the other had come.
    fn check_vote(&self, vote: Option<&Vote>) -> Result<(), WalError> {
        let (number, sequence) = vote.map_or((0, 0), |vote| (vote.number, vote.sequence));
        let problem = if number < self.end.votes {
            "the newest vote is missing"
        } else if sequence > self.end.sequence {
            "the log ends before what was durable when the vote was saved"
        } else if vote.is_some_and(|vote| Some(vote.log_id) != self.end.log_id) {
            "the vote is of another log"
        } else {
            return Ok(());
        };
        Err(WalError::Corrupt {
            file: format!("{}/vote", self.dir),
            offset: 0,
            problem,
        })
    }

    fn corrupt(&self, segment: u64, offset: u64, problem: &'static str) -> WalError {
        WalError::Corrupt {
            file: segment_path(self.dir, segment),
            offset,
            problem,
        }
    }
}

/// Reads the group at `offset`; the outer error is the disk's.
pub(super) fn read_group<F: DiskFile>(
    file: &F,
    offset: u64,
    len: u64,
) -> io::Result<Result<Group, NoGroup>> {
    let header = match read_header(file, offset)? {
        Ok(header) => header,
        Err(HeaderError::Bad) => return Ok(Err(NoGroup::Bad("the header is damaged"))),
        Err(HeaderError::Version(version)) => return Ok(Err(NoGroup::Version(version))),
    };
    if header.group_len() > len - offset {
        return Ok(Err(NoGroup::Bad("the group is cut short")));
    }
    let body_len = usize::try_from(header.body_len).map_err(io::Error::other)?;
    let mut body = vec![0; body_len];
    let header_len = u64::try_from(HEADER_LEN).expect("invariant: 88 fits");
    file.read_exact_at(&mut body, offset + header_len)?;
    if crc32c::crc32c(&body) != header.body_crc && !planted!("checksum-unchecked") {
        return Ok(Err(NoGroup::Bad("the records are damaged")));
    }
    let records = frame::records(&Bytes::from(body), header.records);
    Ok(records
        .map(|records| Group { header, records })
        .ok_or(NoGroup::Foreign(
            "the records are not those of this version",
        )))
}

fn read_header<F: DiskFile>(file: &F, offset: u64) -> io::Result<Result<Header, HeaderError>> {
    let mut bytes = [0; HEADER_LEN];
    let read = file.read_at(&mut bytes, offset)?;
    Ok(if read == HEADER_LEN {
        Header::decode(&bytes)
    } else {
        Err(HeaderError::Bad)
    })
}

/// Where the record at `at` of the body lies, whose group begins at `offset`.
fn location(segment: u64, offset: u64, at: usize, payload: &Bytes) -> Location {
    let start = u32::try_from(offset)
        .ok()
        .zip(u32::try_from(HEADER_LEN + at).ok());
    let offset = start.and_then(|(offset, at)| offset.checked_add(at));
    let len = u32::try_from(payload.len()).ok();
    let expected = "invariant: a segment is below 4 GiB";
    Location {
        segment,
        offset: offset.expect(expected),
        len: len.expect(expected),
    }
}
