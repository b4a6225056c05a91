//! Our own versioned bytes for everything consensus stores or sends; nothing here is derived.
//!
//! Every message opens with [`VERSION`]. Integers are big-endian. An optional part is preceded by
//! 0 (absent) or 1 (present). Decoding accepts exactly what encoding writes: an unknown version or
//! tag, a length above its limit, sets out of order, and bytes left over are refused.
//!
//! ```text
//! log id      term u64 | leader u64 | index u64
//! vote        term u64 | node u64 | committed u8
//! entry       version | 0 blank, 1 command, 2 membership u8 | log id | payload to the end
//! membership  sets u8 ( count u16 | ids u64, ascending ) | nodes u16 ( id u64, ascending | len u16 | address )
//! stored      version | ?log id | membership
//! hard state  version | ?vote | ?purged log id
//! hint        version | log id
//! append      version | vote | ?previous log id | ?committed log id | count u32 ( len u32 | entry )
//! appended    version | 0 all, 1 up to ?log id, 2 conflict, 3 higher vote u8 | ..
//! ballot      version | vote | ?last log id | leadership transfer u8
//! answer      version | vote | granted u8 | ?last log id
//! offer       version | vote | log id | 0, or 1 and the manifest to the end
//! receiving   version | vote | 0 unknown, 1 fetching (done u64, total u64), 2 installing, 3 installed u8
//! transfer    version | leader's vote | to u64 | ?last log id
//! transferred version | 0 done, 1 vote changed (expected, actual), 2 log not flushed (?expected, ?actual) u8 | ..
//! ```

use std::collections::{BTreeMap, BTreeSet};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, TransferLeaderError, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};

use super::types::{
    Command, Entry, EntryPayload, LeaderId, LogId, LogPos, Membership, Peer, Receiving,
    StoredMembership, TypeConfig, Vote,
};

/// Longest command: twice the default value limit (8 MiB), so that one value of the largest size
/// and a whole batch of small operations fit beside each other.
pub const COMMAND_LEN_MAX: usize = 16 << 20;

/// Longest peer address: a DNS name (253) and `:65535` (6), rounded up.
pub const ADDRESS_LEN_MAX: usize = 260;

/// Most members, learners included. Consensus is meant for 3 to 7; the rest is head room.
pub const MEMBERS_MAX: usize = 64;

/// Most entries in one append; [`super::Settings`] hands the same number to openraft.
pub const APPEND_ENTRIES_MAX: u64 = 1024;

/// Bytes of entries after which an append is closed; a single longer entry travels alone.
pub const APPEND_BYTES_MAX: u64 = 2 << 20;

/// Longest message of the peer protocol: one entry of the largest size, plus what frames a full
/// append (fixed part below 128 bytes, 4 bytes per entry) rounded up to 64 KiB.
pub const PEER_MESSAGE_LEN_MAX: usize = ENTRY_LEN_MAX + (64 << 10);

/// An entry is its command and 26 bytes, or a membership: two sets of ids, ids with addresses.
const ENTRY_LEN_MAX: usize = COMMAND_LEN_MAX + ENTRY_HEADER_LEN;
const ENTRY_HEADER_LEN: usize = 1 + 1 + 24;
const HARD_STATE_LEN_MAX: usize = 1 + (1 + 17) + (1 + 24);
const MEMBERSHIP_LEN_MAX: usize =
    1 + 2 * (2 + MEMBERS_MAX * 8) + 2 + MEMBERS_MAX * (10 + ADDRESS_LEN_MAX);

const _: () = assert!(
    MEMBERSHIP_LEN_MAX < COMMAND_LEN_MAX,
    "a membership fits where a command does"
);
const _: () = assert!(
    ENTRY_LEN_MAX <= crate::wal::RECORD_LEN_MAX && HARD_STATE_LEN_MAX <= crate::wal::VOTE_LEN_MAX,
    "the write-ahead log takes whatever is encoded for it"
);
const _: () = assert!(
    APPEND_ENTRIES_MAX * 4 + 128 < 64 << 10,
    "framing of a full append fits"
);

/// First byte of every message and record.
const VERSION: u8 = 1;

/// Why bytes are not a message of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// The bytes end inside a field.
    #[error("the bytes end inside `{0}`")]
    Truncated(&'static str),
    /// Written by a version this program does not know.
    #[error("unknown version `{0}`")]
    Version(u8),
    /// A tag or flag that has no meaning.
    #[error("`{0}` cannot be `{1}`")]
    Tag(&'static str, u8),
    /// A count or length above its limit.
    #[error("`{what}` is `{len}`, the most is `{max}`")]
    TooLong {
        /// The field.
        what: &'static str,
        /// What it claims.
        len: u64,
        /// What is allowed.
        max: u64,
    },
    /// Well-formed fields that make no sense together.
    #[error("{0}")]
    Invalid(&'static str),
    /// Bytes after the end.
    #[error("`{0}` bytes are left over")]
    Trailing(usize),
}

/// What a node must remember beside the log: the vote of the write-ahead log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct HardState {
    pub(super) vote: Option<Vote>,
    pub(super) purged: Option<LogId>,
}

pub(super) fn encode_hard_state(state: &HardState) -> Bytes {
    let mut out = message(HARD_STATE_LEN_MAX);
    put_option(&mut out, state.vote.as_ref(), put_vote);
    put_option(&mut out, state.purged.as_ref(), put_log_id);
    out.freeze()
}

/// A lower bound of what is committed.
pub(super) fn encode_hint(committed: &LogId) -> Bytes {
    let mut out = message(24);
    put_log_id(&mut out, committed);
    out.freeze()
}

pub(super) fn decode_hint(bytes: Bytes) -> Result<LogId, CodecError> {
    let mut input = Reader::message(bytes)?;
    let committed = input.log_id()?;
    input.finish(committed)
}

pub(super) fn decode_hard_state(bytes: Bytes) -> Result<HardState, CodecError> {
    let mut input = Reader::message(bytes)?;
    let state = HardState {
        vote: input.option("vote", Reader::vote)?,
        purged: input.option("purged", Reader::log_id)?,
    };
    input.finish(state)
}

pub(super) fn encode_entry(entry: &Entry) -> Bytes {
    let mut out = message(entry_len(entry));
    put_entry(&mut out, entry);
    out.freeze()
}

pub(super) fn decode_entry(bytes: Bytes) -> Result<Entry, CodecError> {
    let mut input = Reader::message(bytes)?;
    let kind = input.u8("entry kind")?;
    let log_id = input.log_id()?;
    let payload = match kind {
        0 => EntryPayload::Blank,
        1 => EntryPayload::Normal(Command(input.rest("command", COMMAND_LEN_MAX)?)),
        2 => EntryPayload::Membership(input.membership()?),
        other => return Err(CodecError::Tag("entry kind", other)),
    };
    input.finish(Entry { log_id, payload })
}

pub(super) fn encode_stored_membership(stored: &StoredMembership) -> Bytes {
    let mut out = message(256);
    put_option(&mut out, stored.log_id().as_ref(), put_log_id);
    put_membership(&mut out, stored.membership());
    out.freeze()
}

pub(super) fn decode_stored_membership(bytes: Bytes) -> Result<StoredMembership, CodecError> {
    let mut input = Reader::message(bytes)?;
    let log_id = input.option("membership log id", Reader::log_id)?;
    let membership = input.membership()?;
    input.finish(StoredMembership::new(log_id, membership))
}

pub(super) fn encode_append<R: Reply>(request: &AppendEntriesRequest<TypeConfig<R>>) -> Bytes {
    let entries: usize = request
        .entries
        .iter()
        .map(|entry| 4 + entry_len(entry))
        .sum();
    let mut out = message(128 + entries);
    put_vote(&mut out, &request.vote);
    put_option(&mut out, request.prev_log_id.as_ref(), put_log_id);
    put_option(&mut out, request.leader_commit.as_ref(), put_log_id);
    put_len32(&mut out, request.entries.len());
    for entry in &request.entries {
        put_len32(&mut out, entry_len(entry));
        out.put_u8(VERSION);
        put_entry(&mut out, entry);
    }
    out.freeze()
}

pub(super) fn decode_append<R: Reply>(
    bytes: Bytes,
) -> Result<AppendEntriesRequest<TypeConfig<R>>, CodecError> {
    let mut input = Reader::message(bytes)?;
    let vote = input.vote()?;
    let prev_log_id = input.option("previous log id", Reader::log_id)?;
    let leader_commit = input.option("committed", Reader::log_id)?;
    let count = input.count32("entries", APPEND_ENTRIES_MAX)?;
    let mut entries = Vec::new();
    let mut next = prev_log_id.map_or(Some(0), |id| id.index.checked_add(1));
    for _ in 0..count {
        let len = input.count32("entry", len64(ENTRY_LEN_MAX))?;
        let len = usize::try_from(len).expect("invariant: an entry's length was checked");
        let entry = decode_entry(input.take("entry", len)?)?;
        if Some(entry.log_id.index) != next {
            return Err(CodecError::Invalid("entries do not follow each other"));
        }
        next = entry.log_id.index.checked_add(1);
        entries.push(entry);
    }
    input.finish(AppendEntriesRequest {
        vote,
        prev_log_id,
        entries,
        leader_commit,
    })
}

pub(super) fn encode_appended<R: Reply>(reply: &AppendEntriesResponse<TypeConfig<R>>) -> Bytes {
    let mut out = message(32);
    match reply {
        AppendEntriesResponse::Success => out.put_u8(0),
        AppendEntriesResponse::PartialSuccess(upto) => {
            out.put_u8(1);
            put_option(&mut out, upto.as_ref(), put_log_id);
        }
        AppendEntriesResponse::Conflict => out.put_u8(2),
        AppendEntriesResponse::HigherVote(vote) => {
            out.put_u8(3);
            put_vote(&mut out, vote);
        }
    }
    out.freeze()
}

pub(super) fn decode_appended<R: Reply>(
    bytes: Bytes,
) -> Result<AppendEntriesResponse<TypeConfig<R>>, CodecError> {
    let mut input = Reader::message(bytes)?;
    let reply = match input.u8("append reply")? {
        0 => AppendEntriesResponse::Success,
        1 => AppendEntriesResponse::PartialSuccess(input.option("matched", Reader::log_id)?),
        2 => AppendEntriesResponse::Conflict,
        3 => AppendEntriesResponse::HigherVote(input.vote()?),
        other => return Err(CodecError::Tag("append reply", other)),
    };
    input.finish(reply)
}

pub(super) fn encode_ballot<R: Reply>(request: &VoteRequest<TypeConfig<R>>) -> Bytes {
    let mut out = message(64);
    put_vote(&mut out, &request.vote);
    put_option(&mut out, request.last_log_id.as_ref(), put_log_id);
    out.put_u8(u8::from(request.leadership_transfer));
    out.freeze()
}

pub(super) fn decode_ballot<R: Reply>(
    bytes: Bytes,
) -> Result<VoteRequest<TypeConfig<R>>, CodecError> {
    let mut input = Reader::message(bytes)?;
    let vote = input.vote()?;
    let last_log_id = input.option("last log id", Reader::log_id)?;
    let leadership_transfer = input.flag("leadership transfer")?;
    input.finish(VoteRequest {
        vote,
        last_log_id,
        leadership_transfer,
    })
}

pub(super) fn encode_answer<R: Reply>(reply: &VoteResponse<TypeConfig<R>>) -> Bytes {
    let mut out = message(64);
    put_vote(&mut out, &reply.vote);
    out.put_u8(u8::from(reply.vote_granted));
    put_option(&mut out, reply.last_log_id.as_ref(), put_log_id);
    out.freeze()
}

pub(super) fn decode_answer<R: Reply>(
    bytes: Bytes,
) -> Result<VoteResponse<TypeConfig<R>>, CodecError> {
    let mut input = Reader::message(bytes)?;
    let vote = input.vote()?;
    let vote_granted = input.flag("granted")?;
    let last_log_id = input.option("last log id", Reader::log_id)?;
    input.finish(VoteResponse {
        vote,
        vote_granted,
        last_log_id,
    })
}

pub(super) fn encode_offer(vote: &Vote, at: LogPos, manifest: Option<&Bytes>) -> Bytes {
    let mut out = message(64 + manifest.map_or(0, Bytes::len));
    put_vote(&mut out, vote);
    put_log_id(&mut out, &at.into());
    out.put_u8(u8::from(manifest.is_some()));
    if let Some(manifest) = manifest {
        out.put_slice(manifest);
    }
    out.freeze()
}

/// A leader's snapshot, or its question after one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Offer {
    pub(super) vote: Vote,
    pub(super) at: LogPos,
    pub(super) manifest: Option<Bytes>,
}

pub(super) fn decode_offer(bytes: Bytes) -> Result<Offer, CodecError> {
    let mut input = Reader::message(bytes)?;
    let vote = input.vote()?;
    let at = input.log_id()?.into();
    let manifest = if input.flag("manifest")? {
        Some(input.rest("manifest", COMMAND_LEN_MAX)?)
    } else {
        None
    };
    input.finish(Offer { vote, at, manifest })
}

pub(super) fn encode_receiving(vote: &Vote, receiving: Receiving) -> Bytes {
    let mut out = message(64);
    put_vote(&mut out, vote);
    match receiving {
        Receiving::Unknown => out.put_u8(0),
        Receiving::Fetching { done, total } => {
            out.put_u8(1);
            out.put_u64(done);
            out.put_u64(total);
        }
        Receiving::Installing => out.put_u8(2),
        Receiving::Installed => out.put_u8(3),
    }
    out.freeze()
}

pub(super) fn decode_receiving(bytes: Bytes) -> Result<(Vote, Receiving), CodecError> {
    let mut input = Reader::message(bytes)?;
    let vote = input.vote()?;
    let receiving = match input.u8("receiving")? {
        0 => Receiving::Unknown,
        1 => Receiving::Fetching {
            done: input.u64("done")?,
            total: input.u64("total")?,
        },
        2 => Receiving::Installing,
        3 => Receiving::Installed,
        other => return Err(CodecError::Tag("receiving", other)),
    };
    input.finish((vote, receiving))
}

pub(super) fn encode_transfer<R: Reply>(request: &TransferLeaderRequest<TypeConfig<R>>) -> Bytes {
    let mut out = message(64);
    put_vote(&mut out, request.from_leader());
    out.put_u64(*request.to_node_id());
    put_option(&mut out, request.last_log_id(), put_log_id);
    out.freeze()
}

pub(super) fn decode_transfer<R: Reply>(
    bytes: Bytes,
) -> Result<TransferLeaderRequest<TypeConfig<R>>, CodecError> {
    let mut input = Reader::message(bytes)?;
    let from = input.vote()?;
    let to = input.u64("to")?;
    let last_log_id = input.option("last log id", Reader::log_id)?;
    input.finish(TransferLeaderRequest::new(from, to, last_log_id))
}

pub(super) fn encode_transferred<R: Reply>(reply: &TransferLeaderResponse<TypeConfig<R>>) -> Bytes {
    let mut out = message(64);
    match reply {
        Ok(()) => out.put_u8(0),
        Err(TransferLeaderError::VoteChanged { expected, actual }) => {
            out.put_u8(1);
            put_vote(&mut out, expected);
            put_vote(&mut out, actual);
        }
        Err(TransferLeaderError::LogNotFlushed { expected, actual }) => {
            out.put_u8(2);
            put_option(&mut out, expected.as_ref(), put_log_id);
            put_option(&mut out, actual.as_ref(), put_log_id);
        }
    }
    out.freeze()
}

pub(super) fn decode_transferred<R: Reply>(
    bytes: Bytes,
) -> Result<TransferLeaderResponse<TypeConfig<R>>, CodecError> {
    let mut input = Reader::message(bytes)?;
    let reply = match input.u8("transfer reply")? {
        0 => Ok(()),
        1 => Err(TransferLeaderError::VoteChanged {
            expected: input.vote()?,
            actual: input.vote()?,
        }),
        2 => Err(TransferLeaderError::LogNotFlushed {
            expected: input.option("expected", Reader::log_id)?,
            actual: input.option("actual", Reader::log_id)?,
        }),
        other => return Err(CodecError::Tag("transfer reply", other)),
    };
    input.finish(reply)
}

/// What openraft asks of a reply type.
pub(super) trait Reply: Send + Sync + 'static {}
impl<T: Send + Sync + 'static> Reply for T {}

fn message(capacity: usize) -> BytesMut {
    let mut out = BytesMut::with_capacity(capacity + 1);
    out.put_u8(VERSION);
    out
}

fn put_log_id(out: &mut BytesMut, id: &LogId) {
    out.put_u64(id.leader_id.term);
    out.put_u64(id.leader_id.node_id);
    out.put_u64(id.index);
}

fn put_vote(out: &mut BytesMut, vote: &Vote) {
    out.put_u64(vote.leader_id.term);
    out.put_u64(vote.leader_id.node_id);
    out.put_u8(u8::from(vote.committed));
}

/// The part after the version; [`entry_len`] counts the version in.
fn put_entry(out: &mut BytesMut, entry: &Entry) {
    let kind = match &entry.payload {
        EntryPayload::Blank => 0,
        EntryPayload::Normal(_) => 1,
        EntryPayload::Membership(_) => 2,
    };
    out.put_u8(kind);
    put_log_id(out, &entry.log_id);
    match &entry.payload {
        EntryPayload::Blank => {}
        EntryPayload::Normal(command) => out.put_slice(&command.0),
        EntryPayload::Membership(membership) => put_membership(out, membership),
    }
}

fn entry_len(entry: &Entry) -> usize {
    ENTRY_HEADER_LEN
        + match &entry.payload {
            EntryPayload::Blank => 0,
            EntryPayload::Normal(command) => command.0.len(),
            EntryPayload::Membership(membership) => {
                let ids: usize = membership
                    .get_joint_config()
                    .iter()
                    .map(|set| 2 + set.len() * 8)
                    .sum();
                let nodes: usize = membership
                    .nodes()
                    .map(|(_, peer)| 10 + peer.address.len())
                    .sum();
                1 + ids + 2 + nodes
            }
        }
}

fn put_membership(out: &mut BytesMut, membership: &Membership) {
    let sets = membership.get_joint_config();
    out.put_u8(u8::try_from(sets.len()).expect("invariant: at most two sets of voters"));
    for set in sets {
        put_len16(out, set.len());
        for id in set {
            out.put_u64(*id);
        }
    }
    put_len16(out, membership.nodes().count());
    for (id, peer) in membership.nodes() {
        out.put_u64(*id);
        put_len16(out, peer.address.len());
        out.put_slice(peer.address.as_bytes());
    }
}

fn put_option<T>(out: &mut BytesMut, value: Option<&T>, put: impl Fn(&mut BytesMut, &T)) {
    out.put_u8(u8::from(value.is_some()));
    if let Some(value) = value {
        put(out, value);
    }
}

fn put_len16(out: &mut BytesMut, len: usize) {
    out.put_u16(u16::try_from(len).expect("invariant: checked where the membership was made"));
}

fn put_len32(out: &mut BytesMut, len: usize) {
    out.put_u32(u32::try_from(len).expect("invariant: checked where the entry was made"));
}

fn len64(len: usize) -> u64 {
    u64::try_from(len).expect("invariant: usize is at most 64 bits")
}

/// Reads fields off the front; never past the end.
struct Reader(Bytes);

impl Reader {
    fn message(bytes: Bytes) -> Result<Self, CodecError> {
        let mut input = Self(bytes);
        match input.u8("version")? {
            VERSION => Ok(input),
            other => Err(CodecError::Version(other)),
        }
    }

    fn finish<T>(self, value: T) -> Result<T, CodecError> {
        match self.0.len() {
            0 => Ok(value),
            left => Err(CodecError::Trailing(left)),
        }
    }

    fn take(&mut self, what: &'static str, len: usize) -> Result<Bytes, CodecError> {
        if self.0.len() < len {
            return Err(CodecError::Truncated(what));
        }
        Ok(self.0.split_to(len))
    }

    fn rest(&mut self, what: &'static str, max: usize) -> Result<Bytes, CodecError> {
        let len = self.0.len();
        if len > max {
            return Err(CodecError::TooLong {
                what,
                len: len64(len),
                max: len64(max),
            });
        }
        self.take(what, len)
    }

    fn u8(&mut self, what: &'static str) -> Result<u8, CodecError> {
        Ok(self.take(what, 1)?.get_u8())
    }

    fn u16(&mut self, what: &'static str) -> Result<u16, CodecError> {
        Ok(self.take(what, 2)?.get_u16())
    }

    fn u32(&mut self, what: &'static str) -> Result<u32, CodecError> {
        Ok(self.take(what, 4)?.get_u32())
    }

    fn u64(&mut self, what: &'static str) -> Result<u64, CodecError> {
        Ok(self.take(what, 8)?.get_u64())
    }

    fn flag(&mut self, what: &'static str) -> Result<bool, CodecError> {
        match self.u8(what)? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(CodecError::Tag(what, other)),
        }
    }

    fn option<T>(
        &mut self,
        what: &'static str,
        read: impl Fn(&mut Self) -> Result<T, CodecError>,
    ) -> Result<Option<T>, CodecError> {
        if self.flag(what)? {
            read(self).map(Some)
        } else {
            Ok(None)
        }
    }

    fn count16(&mut self, what: &'static str, max: usize) -> Result<usize, CodecError> {
        let len = usize::from(self.u16(what)?);
        if len > max {
            return Err(CodecError::TooLong {
                what,
                len: len64(len),
                max: len64(max),
            });
        }
        Ok(len)
    }

    fn count32(&mut self, what: &'static str, max: u64) -> Result<u64, CodecError> {
        let len = u64::from(self.u32(what)?);
        if len > max {
            return Err(CodecError::TooLong { what, len, max });
        }
        Ok(len)
    }

    fn leader_id(&mut self) -> Result<LeaderId, CodecError> {
        Ok(LeaderId {
            term: self.u64("term")?,
            node_id: self.u64("node")?,
        })
    }

    fn log_id(&mut self) -> Result<LogId, CodecError> {
        Ok(LogId {
            leader_id: self.leader_id()?,
            index: self.u64("index")?,
        })
    }

    fn vote(&mut self) -> Result<Vote, CodecError> {
        Ok(Vote {
            leader_id: self.leader_id()?,
            committed: self.flag("committed")?,
        })
    }

    fn membership(&mut self) -> Result<Membership, CodecError> {
        let sets = self.u8("voter sets")?;
        // Joint consensus has the old and the new set; a node that never had a membership has none.
        if sets > 2 {
            return Err(CodecError::TooLong {
                what: "voter sets",
                len: u64::from(sets),
                max: 2,
            });
        }
        let voters = (0..sets)
            .map(|_| self.voters())
            .collect::<Result<Vec<_>, _>>()?;
        let nodes = self.nodes()?;
        Membership::new(voters, nodes)
            .map_err(|_| CodecError::Invalid("a set of voters is empty or names an unknown node"))
    }

    fn voters(&mut self) -> Result<BTreeSet<u64>, CodecError> {
        let mut ids = BTreeSet::new();
        for _ in 0..self.count16("voters", MEMBERS_MAX)? {
            let id = self.u64("voter")?;
            if ids.last().is_some_and(|last| *last >= id) {
                return Err(CodecError::Invalid("voters are not in ascending order"));
            }
            ids.insert(id);
        }
        Ok(ids)
    }

    fn nodes(&mut self) -> Result<BTreeMap<u64, Peer>, CodecError> {
        let mut nodes = BTreeMap::new();
        for _ in 0..self.count16("nodes", MEMBERS_MAX)? {
            let id = self.u64("node")?;
            if nodes.last_key_value().is_some_and(|(last, _)| *last >= id) {
                return Err(CodecError::Invalid("nodes are not in ascending order"));
            }
            let len = self.count16("address", ADDRESS_LEN_MAX)?;
            let address = String::from_utf8(self.take("address", len)?.to_vec())
                .map_err(|_| CodecError::Invalid("an address is not UTF-8"))?;
            nodes.insert(id, Peer { address });
        }
        Ok(nodes)
    }
}

#[cfg(test)]
mod tests;
