//! The words of consensus the rest of the node uses, and the type parameters openraft gets.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::time::Duration;

use bytes::Bytes;
use openraft::RaftTypeConfig;
use openraft::impls::leader_id_adv;

/// Place of one entry of the Raft log: who proposed it, in which term, at which index.
///
/// Ordered as Raft orders log ids: by term, then leader, then index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogPos {
    /// Term in which the entry was proposed.
    pub term: u64,
    /// Node that led the term and proposed the entry.
    pub leader: u64,
    /// Index in the Raft log, from 0, without gaps.
    pub index: u64,
}

impl fmt::Display for LogPos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.term, self.leader, self.index)
    }
}

impl From<LogId> for LogPos {
    fn from(id: LogId) -> Self {
        Self {
            term: id.leader_id.term,
            leader: id.leader_id.node_id,
            index: id.index,
        }
    }
}

impl From<LogPos> for LogId {
    fn from(at: LogPos) -> Self {
        Self {
            leader_id: LeaderId {
                term: at.term,
                node_id: at.leader,
            },
            index: at.index,
        }
    }
}

/// What the membership says about one node, beside its id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Peer {
    /// `host:port` where the node's peer service listens; at most [`ADDRESS_LEN_MAX`] bytes.
    ///
    /// [`ADDRESS_LEN_MAX`]: super::ADDRESS_LEN_MAX
    pub address: String,
}

/// The state machine Raft drives: the owner's apply step.
pub trait Machine: Send + Sync + 'static {
    /// What applying an entry answers to whoever proposed it.
    type Reply: Send + Sync + 'static;

    /// The last entry applied before this start, and the membership bytes kept with it.
    ///
    /// The bytes are those of the last [`Payload::Membership`] at or below that entry, unread. The
    /// position must be one the write-ahead log had on disk when it was recorded; every later
    /// entry is applied again, in the same order with the same bytes.
    fn applied(&self) -> (Option<LogPos>, Option<Bytes>);

    /// Applies one committed entry; called once per index, in order, one at a time.
    ///
    /// # Errors
    ///
    /// Any error stops this node's consensus for good: its state is unknown until the next start.
    fn apply(
        &mut self,
        at: LogPos,
        payload: Payload,
    ) -> impl Future<Output = Result<Self::Reply, MachineError>> + Send;
}

/// What a committed entry holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payload {
    /// The entry a leader opens its term with.
    Blank,
    /// The membership from here on, to be kept and handed back by [`Machine::applied`], unread.
    Membership(Bytes),
    /// A command, as it was proposed.
    Command(Bytes),
}

/// A snapshot: a place in the Raft log, and what lets another node make anew what the log up to there
/// made here. No state travels with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The last entry it stands for.
    pub at: LogPos,
    /// The membership there, as [`Machine::applied`] hands it back.
    pub membership: Bytes,
    /// What the receiver is told, unread here.
    pub manifest: Bytes,
}

/// How far a receiver of a snapshot has got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Receiving {
    /// It does not know of this snapshot: offer it.
    Unknown,
    /// It fetches what it lacks.
    Fetching {
        /// Entries it has of those the snapshot stands for, and behind them notes of checkpoints: only
        /// that it moves counts.
        done: u64,
        /// Entries the snapshot stands for.
        total: u64,
    },
    /// It has all, and makes it its own; it may not answer for a while.
    Installing,
    /// It has applied that entry.
    Installed,
}

/// Snapshots of this node and those that others offer it: the owner's business, behind Raft's back.
///
/// None of these may block.
pub trait Snapshots: Send + Sync + 'static {
    /// The newest snapshot that this node can stand for, at or below what it has applied durably.
    fn newest(&self) -> Option<Snapshot>;
    /// Node `from`, which leads, asks how far this node is with its snapshot at `at`; with a manifest
    /// it offers it.
    fn offered(&self, from: u64, at: LogPos, manifest: Option<Bytes>) -> Receiving;
    /// Node `to` receives this node's snapshot at `at`, or does so no more (`None`).
    fn sent(&self, to: u64, at: LogPos, receiving: Option<Receiving>);
}

/// Nothing to offer and nothing to receive.
impl Snapshots for () {
    fn newest(&self) -> Option<Snapshot> {
        None
    }
    fn offered(&self, _: u64, _: LogPos, _: Option<Bytes>) -> Receiving {
        Receiving::Unknown
    }
    fn sent(&self, _: u64, _: LogPos, _: Option<Receiving>) {}
}

/// Why the machine cannot go on. It stops the node.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct MachineError {
    /// What the operator is told.
    pub reason: String,
}

/// Who leads, as far as this node knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Leadership {
    /// Nobody is known to lead.
    None,
    /// Another node leads.
    Follower {
        /// The leader's term.
        term: u64,
        /// The leader's id.
        leader: u64,
        /// The leader's peer address, unless this node's membership does not name it yet.
        address: Option<String>,
    },
    /// This node leads.
    Leader {
        /// The term it leads, to be handed to `propose`.
        term: u64,
        /// Index of the blank entry of this term, once it was applied here; nothing may be
        /// proposed before. Every entry of earlier terms is applied by then.
        since: Option<u64>,
    },
}

/// Whether consensus still runs on this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// It runs.
    Running,
    /// It was asked to stop, and did.
    Stopped,
    /// It stopped by itself: the process must end, so that the next start recovers.
    Failed(Failure),
}

/// Why consensus stopped by itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The machine refused a committed entry.
    #[error("applying the entry at `{at}` failed: {error}")]
    Machine {
        /// The entry.
        at: LogPos,
        /// What the machine said.
        error: MachineError,
    },
    /// The write-ahead log failed, or held something else than was written.
    #[error("the raft log failed: {0}")]
    Log(String),
    /// A defect: a task of consensus, or the machine within, panicked.
    #[error("a task of consensus panicked")]
    Panicked,
}

/// What this node is in its cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Receives the log and has no vote, or belongs to no cluster yet.
    Learner,
    /// Votes and follows.
    Follower,
    /// Asks for votes.
    Candidate,
    /// Leads.
    Leader,
    /// Consensus has stopped.
    Stopped,
}

/// One look at consensus on this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// This node.
    pub node: u64,
    /// What it is.
    pub role: Role,
    /// Its current term.
    pub term: u64,
    /// The node it takes for the leader, possibly itself.
    pub leader: Option<u64>,
    /// Index of the last entry in its log, committed or not.
    pub last_log: Option<u64>,
    /// Last entry it knows to be committed.
    pub committed: Option<LogPos>,
    /// Last entry it has applied.
    pub applied: Option<LogPos>,
    /// Last entry that its log does not hold any more.
    pub purged: Option<LogPos>,
    /// Voters; while a change is under way those of both sides.
    pub voters: BTreeSet<u64>,
    /// Nodes that receive the log without a vote.
    pub learners: BTreeSet<u64>,
    /// True until the newest membership is committed and has one set of voters only.
    pub changing: bool,
    /// Every member, this node included.
    pub peers: BTreeMap<u64, PeerStatus>,
}

/// What the leader knows about one member; on other nodes the address alone is known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PeerStatus {
    /// Where its peer service listens.
    pub address: String,
    /// Last entry it has acknowledged to hold on disk.
    pub matched: Option<LogPos>,
    /// Time since the sending of the last request it acknowledged.
    pub silent: Option<Duration>,
}

/// The command of one log entry, opaque here.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Command(pub(super) Bytes);

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "command of {} bytes", self.0.len())
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// The type parameters of openraft; `R` is the machine's reply.
pub(super) struct TypeConfig<R>(PhantomData<fn() -> R>);

impl<R: Send + Sync + 'static> RaftTypeConfig for TypeConfig<R> {
    type D = Command;
    type R = R;
    type NodeId = u64;
    type Node = Peer;
    type Term = u64;
    type LeaderId = LeaderId;
    type Vote = Vote;
    type Payload = EntryPayload;
    type Entry = Entry;
    type AsyncRuntime = openraft_rt_tokio::TokioRuntime;
    type Responder<T>
        = openraft::impls::OneshotResponder<Self, T>
    where
        T: Send + 'static;
    type Batch<T>
        = openraft::impls::InlineBatch<T>
    where
        T: Send + 'static;
    type ErrorSource = openraft::impls::BoxedErrorSource;
}

pub(super) type LeaderId = leader_id_adv::LeaderId<u64, u64>;
pub(super) type LogId = openraft::LogId<LeaderId>;
pub(super) type Vote = openraft::Vote<LeaderId>;
pub(super) type EntryPayload = openraft::EntryPayload<Command, u64, Peer>;
pub(super) type Entry = openraft::Entry<LeaderId, EntryPayload>;
pub(super) type Membership = openraft::Membership<u64, Peer>;
pub(super) type StoredMembership = openraft::StoredMembership<LeaderId, u64, Peer>;

// openraft wants these of a type configuration; deriving them would ask the same of `R`.
impl<R> fmt::Debug for TypeConfig<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TypeConfig")
    }
}
impl<R> Clone for TypeConfig<R> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<R> Copy for TypeConfig<R> {}
impl<R> Default for TypeConfig<R> {
    fn default() -> Self {
        Self(PhantomData)
    }
}
impl<R> PartialEq for TypeConfig<R> {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}
impl<R> Eq for TypeConfig<R> {}
impl<R> PartialOrd for TypeConfig<R> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl<R> Ord for TypeConfig<R> {
    fn cmp(&self, _: &Self) -> std::cmp::Ordering {
        std::cmp::Ordering::Equal
    }
}
