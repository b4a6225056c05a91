//! Calls to the other members, over a transport named elsewhere, and the answers to theirs.
//!
//! Appends go one at a time per member (openraft batches by itself while one is on its way), each
//! bounded in bytes by the log store. openraft's own time limit for an append is one heartbeat
//! interval: far too short for a large batch on a busy disk, and giving up there throws work away
//! that is then done again. So an append may stall for [`APPEND_STALL_MAX`]; votes and heartbeats
//! keep openraft's short limits. Heartbeats go by their own kind of call, so that the transport can
//! keep them from queueing behind a large append.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use candor_ledger::planted;
use openraft::errors::{
    NetworkError, RPCError, ReplicationClosed, StreamingError, Timeout, Unreachable,
};
use openraft::network::{RPCOption, RPCTypes};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::{RaftNetworkFactory, RaftNetworkV2};
use tokio::time::Instant;

use super::codec::{self, CodecError, Reply};
use super::state_machine::{Snapshot, SnapshotData};
use super::types::{LogPos, Peer, Receiving, Snapshots, TypeConfig, Vote};

/// How long one append may take before the member counts as unreachable.
pub const APPEND_STALL_MAX: Duration = Duration::from_secs(10);

/// How often a receiver of a snapshot is asked how far it is.
const SNAPSHOT_ASK_EVERY: Duration = Duration::from_millis(500);

/// How long one such question may take; the first one carries the manifest.
const SNAPSHOT_ASK_MAX: Duration = Duration::from_secs(5);

/// How long a receiver may make no progress before it is given up, and the log with it that is kept
/// for it. There is no bound on the whole: a ledger may take days.
pub const SNAPSHOT_STALL_MAX: Duration = Duration::from_mins(1);

/// The same while it installs: it folds all it has received, and says nothing meanwhile.
const INSTALL_STALL_MAX: Duration = Duration::from_hours(1);

/// What one call of a member asks; a `u8` on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RaftCall {
    /// Store these entries.
    Append,
    /// The same message without entries, to be carried apart from appends.
    Heartbeat,
    /// Vote for the sender.
    Vote,
    /// Would you vote for the sender?
    PreVote,
    /// Take over from the sender.
    TransferLeader,
    /// How far are you with this snapshot of the sender?
    Snapshot,
}

impl From<RaftCall> for u8 {
    fn from(call: RaftCall) -> Self {
        match call {
            RaftCall::Append => 1,
            RaftCall::Heartbeat => 2,
            RaftCall::Vote => 3,
            RaftCall::PreVote => 4,
            RaftCall::TransferLeader => 5,
            RaftCall::Snapshot => 6,
        }
    }
}

impl TryFrom<u8> for RaftCall {
    type Error = CodecError;

    fn try_from(number: u8) -> Result<Self, CodecError> {
        match number {
            1 => Ok(Self::Append),
            2 => Ok(Self::Heartbeat),
            3 => Ok(Self::Vote),
            4 => Ok(Self::PreVote),
            5 => Ok(Self::TransferLeader),
            6 => Ok(Self::Snapshot),
            other => Err(CodecError::Tag("raft call", other)),
        }
    }
}

/// Carries calls to the other members.
///
/// A call may be carried out any number of times, or after its caller gave up: Raft allows for it.
pub trait PeerTransport: Clone + Send + Sync + 'static {
    /// Sends `body` to node `to` at `address` and returns its answer, or fails within `timeout`.
    ///
    /// It must not return the answer of any other node, of another cluster, or of an earlier
    /// incarnation of this one. Bodies and answers are at most
    /// [`PEER_MESSAGE_LEN_MAX`](super::PEER_MESSAGE_LEN_MAX) bytes.
    fn call(
        &self,
        to: u64,
        address: &str,
        kind: RaftCall,
        body: Bytes,
        timeout: Duration,
    ) -> impl Future<Output = Result<Bytes, PeerError>> + Send;
}

/// Why a member did not answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PeerError {
    /// No connection, or it broke. Retried with growing pauses.
    #[error("unreachable: {0}")]
    Unreachable(String),
    /// The member refused this node or could not handle the call. Retried with growing pauses.
    #[error("refused: {0}")]
    Refused(String),
    /// No answer in time.
    #[error("no answer within `{0:?}`")]
    Timeout(Duration),
}

/// Makes a [`Link`] per member.
pub(super) struct Links<T> {
    pub(super) node: u64,
    pub(super) transport: T,
    pub(super) snapshots: Arc<dyn Snapshots>,
}

impl<T: PeerTransport> Links<T> {
    fn link(&self, to: u64, peer: &Peer, append: RaftCall) -> Link<T> {
        let address = peer.address.clone();
        Link {
            node: self.node,
            to,
            address,
            append,
            transport: self.transport.clone(),
            snapshots: Arc::clone(&self.snapshots),
        }
    }
}

impl<R: Reply, T: PeerTransport> RaftNetworkFactory<TypeConfig<R>> for Links<T> {
    type Network = Link<T>;

    async fn new_client(&mut self, to: u64, peer: &Peer) -> Link<T> {
        self.link(to, peer, RaftCall::Append)
    }

    async fn new_heartbeat_client(&mut self, to: u64, peer: &Peer) -> Link<T> {
        self.link(to, peer, RaftCall::Heartbeat)
    }
}

/// Calls to one member.
pub(super) struct Link<T> {
    node: u64,
    to: u64,
    address: String,
    /// How this link sends appends: as what they are, or as heartbeats.
    append: RaftCall,
    transport: T,
    snapshots: Arc<dyn Snapshots>,
}

impl<T: PeerTransport> Link<T> {
    async fn call<R: Reply, A>(
        &self,
        kind: RaftCall,
        body: Bytes,
        timeout: Duration,
        decode: impl Fn(Bytes) -> Result<A, CodecError> + Send,
    ) -> Result<A, RPCError<TypeConfig<R>>> {
        let answer = self
            .transport
            .call(self.to, &self.address, kind, body, timeout)
            .await;
        match answer {
            Ok(bytes) => decode(bytes).map_err(|e| RPCError::Network(NetworkError::from_string(e))),
            Err(PeerError::Timeout(timeout)) => Err(RPCError::Timeout(Timeout {
                action: action(kind),
                id: self.node,
                target: self.to,
                timeout,
            })),
            Err(e) => Err(RPCError::Unreachable(Unreachable::from_string(e))),
        }
    }
}

impl<T: PeerTransport> Link<T> {
    /// Offers a snapshot and asks after it until the member has applied it; returns the member's
    /// vote, or the one given.
    async fn carry<R: Reply>(
        &self,
        sending: &mut Sending,
        vote: &Vote,
        manifest: Bytes,
    ) -> Result<Vote, StreamingError<TypeConfig<R>>> {
        let (mut offer, mut last, mut moved) = (false, None, Instant::now());
        loop {
            let asked_again = offer;
            let manifest = offer.then_some(&manifest);
            let body = codec::encode_offer(vote, sending.at, manifest);
            let answer = self
                .call::<R, _>(
                    RaftCall::Snapshot,
                    body,
                    SNAPSHOT_ASK_MAX,
                    codec::decode_receiving,
                )
                .await;
            match answer {
                Ok((theirs, _)) if theirs > *vote => return Ok(theirs),
                Ok((_, Receiving::Installed)) => return Ok(*vote),
                Ok((_, receiving)) => {
                    offer = receiving == Receiving::Unknown;
                    if last != Some(receiving) {
                        (last, moved) = (Some(receiving), Instant::now());
                    }
                    sending.tell(receiving);
                }
                // It never answered: openraft tries again with growing pauses.
                Err(e) if last.is_none() => return Err(e.into()),
                Err(_) => {}
            }
            let stall = match last {
                Some(Receiving::Installing) => INSTALL_STALL_MAX,
                _ => SNAPSHOT_STALL_MAX,
            };
            if moved.elapsed() > stall {
                let why = format!("node {} makes no progress with a snapshot", self.to);
                tracing::warn!(at = %sending.at, "{why}");
                return Err(Unreachable::from_string(why).into());
            }
            if asked_again || last != Some(Receiving::Unknown) {
                tokio::time::sleep(SNAPSHOT_ASK_EVERY).await;
            }
        }
    }
}

/// A snapshot on its way; however it ends, the owner hears of it.
struct Sending {
    at: LogPos,
    to: u64,
    snapshots: Arc<dyn Snapshots>,
}

impl Sending {
    fn tell(&self, receiving: Receiving) {
        self.snapshots.sent(self.to, self.at, Some(receiving));
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        self.snapshots.sent(self.to, self.at, None);
    }
}

impl<R: Reply, T: PeerTransport> RaftNetworkV2<TypeConfig<R>> for Link<T> {
    type SnapshotData = SnapshotData;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<TypeConfig<R>>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig<R>>, RPCError<TypeConfig<R>>> {
        let timeout = match self.append {
            RaftCall::Heartbeat => option.hard_ttl(),
            _ => APPEND_STALL_MAX,
        };
        let body = codec::encode_append(&request);
        let reply = self
            .call(self.append, body, timeout, codec::decode_appended)
            .await;
        if planted!("ack-before-quorum") && reply.is_err() {
            return Ok(AppendEntriesResponse::Success);
        }
        let reply = reply?;
        if is_possible(&request, &reply) {
            Ok(reply)
        } else {
            Err(RPCError::Network(NetworkError::from_string(
                "an answer to another append",
            )))
        }
    }

    async fn vote(
        &mut self,
        request: VoteRequest<TypeConfig<R>>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig<R>>, RPCError<TypeConfig<R>>> {
        let body = codec::encode_ballot(&request);
        self.call(
            RaftCall::Vote,
            body,
            option.soft_ttl(),
            codec::decode_answer,
        )
        .await
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<TypeConfig<R>>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig<R>>, RPCError<TypeConfig<R>>> {
        let body = codec::encode_ballot(&request);
        self.call(
            RaftCall::PreVote,
            body,
            option.soft_ttl(),
            codec::decode_answer,
        )
        .await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig<R>>, StreamingError<TypeConfig<R>>> {
        let (Some(manifest), Some(at)) = (snapshot.snapshot, snapshot.meta.last_log_id) else {
            let why = "this node has no snapshot to offer yet";
            return Err(Unreachable::from_string(why).into());
        };
        let mut sending = Sending {
            at: at.into(),
            to: self.to,
            snapshots: Arc::clone(&self.snapshots),
        };
        tokio::select! {
            closed = cancel => Err(StreamingError::Closed(closed)),
            seen = self.carry(&mut sending, &vote, manifest) => {
                Ok(SnapshotResponse { vote: seen? })
            }
        }
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<TypeConfig<R>>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig<R>>, RPCError<TypeConfig<R>>> {
        let body = codec::encode_transfer(&request);
        let timeout = option.soft_ttl();
        self.call(
            RaftCall::TransferLeader,
            body,
            timeout,
            codec::decode_transferred,
        )
        .await
    }
}

/// Whether `reply` can be meant for `request`; openraft takes that for granted.
fn is_possible<R: Reply>(
    request: &AppendEntriesRequest<TypeConfig<R>>,
    reply: &AppendEntriesResponse<TypeConfig<R>>,
) -> bool {
    let last = request
        .entries
        .last()
        .map(|entry| entry.log_id)
        .or(request.prev_log_id);
    match reply {
        AppendEntriesResponse::Success | AppendEntriesResponse::HigherVote(_) => true,
        AppendEntriesResponse::PartialSuccess(upto) => (request.prev_log_id..=last).contains(upto),
        AppendEntriesResponse::Conflict => request.prev_log_id.is_some(),
    }
}

fn action(kind: RaftCall) -> RPCTypes {
    match kind {
        RaftCall::Append | RaftCall::Heartbeat => RPCTypes::AppendEntries,
        RaftCall::Vote | RaftCall::PreVote => RPCTypes::Vote,
        RaftCall::TransferLeader => RPCTypes::TransferLeader,
        RaftCall::Snapshot => RPCTypes::InstallSnapshot,
    }
}
