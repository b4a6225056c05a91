//! Consensus: the one place that knows which Raft library is used.
//!
//! The rest of the node hands in a write-ahead log, a [`Machine`] and a [`PeerTransport`], and gets
//! a [`Consensus`]: propose opaque bytes, learn who leads, change the membership, answer peers. What
//! a command means is decided by the machine, which sees every committed entry once per start, in
//! order, on every node.
//!
//! Rules held here and nowhere else:
//!
//! - A command is appended only by the leader of the term it was proposed in, so nothing decided
//!   under one leadership can enter the log under another.
//! - A leader may propose once its own blank entry is applied here ([`Leadership::Leader`]), because
//!   only then has it applied everything that was acknowledged before its term.
//! - A restarted leader stands for election again; a log that lost acknowledged entries is never
//!   fed back to its old id; a node that cannot win an election does not disturb those that run.
//! - What stops the machine or the log stops consensus on this node ([`Health`]).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use openraft::async_runtime::WatchReceiver;
use openraft::errors::{ClientWriteError, InitializeError, RaftError};
use openraft::impls::OneshotResponder;
use openraft::raft::{AppendEntriesResponse, ClientWriteResponse, ClientWriteResult};
use openraft::{ChangeMembers, Config, Raft, SnapshotPolicy};
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

pub use self::codec::{
    ADDRESS_LEN_MAX, APPEND_BYTES_MAX, APPEND_ENTRIES_MAX, COMMAND_LEN_MAX, CodecError,
    MEMBERS_MAX, PEER_MESSAGE_LEN_MAX,
};
pub use self::error::{ChangeError, HandleError, ProposeError, StartError};
use self::error::{change_error, not_leader};
use self::log_store::LogStore;
use self::network::Links;
pub use self::network::{APPEND_STALL_MAX, PeerError, PeerTransport, RaftCall, SNAPSHOT_STALL_MAX};
use self::observer::{Observer, failure, status};
use self::state_machine::Applier;
use self::types::{Command, LeaderId, TypeConfig};
pub use self::types::{
    Failure, Health, Leadership, LogPos, Machine, MachineError, Payload, Peer, PeerStatus,
    Receiving, Role, Snapshot, Snapshots, Status,
};
use crate::env::{Disk, Env, Task};
use crate::wal::{Recovered, Wal};

mod codec;
mod error;
mod log_store;
mod network;
mod observer;
mod state_machine;
#[cfg(test)]
pub(crate) mod testing;
mod types;

/// Longest election timeouts that a leader may be silent and still be called one.
const SILENT_ELECTIONS: u32 = 3;

/// openraft takes note of a snapshot in its own time; it is looked for this often and this long.
const SNAPSHOT_LOOK_EVERY: Duration = Duration::from_millis(20);
const SNAPSHOT_LOOKS: u32 = 500;

/// Timing and identity of one node's consensus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// This node's id; never used again once its log is lost.
    pub node: u64,
    /// Name of the cluster, for log lines only.
    pub cluster: String,
    /// Interval of the leader's heartbeats.
    pub heartbeat: Duration,
    /// Shortest silence of the leader after which a follower stands for election.
    pub election_min: Duration,
    /// Upper end of the range an election timeout is drawn from, above `election_min`. Also how
    /// long a leader goes on accepting proposals without hearing from a majority.
    pub election_max: Duration,
}

impl Settings {
    /// The timing for nodes within one region: 100 ms heartbeats, elections after 0.5 to 1 s.
    pub fn new(node: u64, cluster: impl Into<String>) -> Self {
        Self {
            node,
            cluster: cluster.into(),
            heartbeat: Duration::from_millis(100),
            election_min: Duration::from_millis(500),
            election_max: Duration::from_secs(1),
        }
    }
}

/// Why a node stands for no election.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Abstention {
    /// Files of its ledger are damaged.
    Damage,
}

/// A handle on this node's consensus; clones share it.
pub struct Consensus<M: Machine> {
    inner: Arc<Inner<M>>,
}

struct Inner<M: Machine> {
    node: u64,
    raft: Raft<TypeConfig<M::Reply>, Applier<M>>,
    leadership: watch::Receiver<Leadership>,
    health: watch::Receiver<Health>,
    /// Set before consensus is asked to stop, so that stopping unasked counts as a failure.
    stopping: Arc<AtomicBool>,
    /// When a leader was last heard; written by its messages, at first the start.
    heard: Mutex<Instant>,
    /// A leader that is silent for longer is not called one any more.
    silence_max: Duration,
    /// While there is one, this node stands for no election.
    abstains: Mutex<BTreeSet<Abstention>>,
    /// The observer, until somebody joins it.
    observer: Mutex<Option<Task>>,
    snapshots: Arc<dyn Snapshots>,
}

impl<M: Machine> Clone for Consensus<M> {
    fn clone(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
        }
    }
}

impl<M: Machine> Consensus<M> {
    /// Starts consensus on this node; it may stand for election at once.
    ///
    /// # Errors
    ///
    /// [`StartError`] when log and machine do not fit each other, which no retry mends.
    pub async fn start<E: Env, T: PeerTransport>(
        env: &E,
        settings: &Settings,
        (wal, recovered): (Wal<E::Disk>, &Recovered),
        machine: M,
        peers: T,
        snapshots: Arc<dyn Snapshots>,
    ) -> Result<Self, StartError> {
        let node = settings.node;
        let config = Arc::new(raft_config(settings)?);
        let log = LogStore::open(wal, recovered)
            .await
            .map_err(StartError::Log)?;
        check_log(machine.applied().0, &log)?;
        let purged = log.purged().is_some();
        let (applier, signals) = Applier::new(node, machine, Arc::clone(&snapshots), purged)
            .map_err(StartError::Membership)?;
        let failed = signals.failed.clone();
        let links = Links {
            node,
            transport: peers,
            snapshots: Arc::clone(&snapshots),
        };
        let raft = Raft::new(node, config, links, log, applier)
            .await
            .map_err(|fatal| StartError::Failed(failure(&fatal, &failed)))?;

        let stopping = Arc::new(AtomicBool::new(false));
        let (leadership_tx, leadership) = watch::channel(Leadership::None);
        let (health_tx, health) = watch::channel(Health::Running);
        let observer = Observer::<M> {
            node,
            server: raft.server_metrics(),
            metrics: raft.metrics(),
            signals,
            stopping: Arc::clone(&stopping),
            leadership: leadership_tx,
            health: health_tx,
        };
        let observer = Mutex::new(Some(env.spawn("consensus observer", observer.run())));
        let inner = Inner {
            node,
            raft,
            leadership,
            health,
            stopping,
            heard: Mutex::new(Instant::now()),
            silence_max: settings.election_max.saturating_mul(SILENT_ELECTIONS),
            abstains: Mutex::default(),
            observer,
            snapshots,
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// Proposes a command under this node's leadership of `term`, and waits until it is applied
    /// here.
    ///
    /// Durable on a majority when it returns. Without an answer from a majority it waits until
    /// there is one; a caller with a deadline drops the future, and the command may still take
    /// effect. Use [`submit`](Self::submit) to keep several commands in flight in a known order.
    ///
    /// # Errors
    ///
    /// After [`ProposeError::Unknown`] alone the command may take effect.
    pub async fn propose(
        &self,
        command: Bytes,
        term: u64,
    ) -> Result<Applied<M::Reply>, ProposeError> {
        self.submit(command, term).await?.outcome().await
    }

    /// Hands a command over; commands enter the log in the order of these calls.
    ///
    /// # Errors
    ///
    /// As [`propose`](Self::propose), but never `Unknown`.
    pub async fn submit(
        &self,
        command: Bytes,
        term: u64,
    ) -> Result<Proposal<M::Reply>, ProposeError> {
        if command.len() > COMMAND_LEN_MAX {
            return Err(ProposeError::TooLong(command.len()));
        }
        if *self.inner.health.borrow() != Health::Running {
            return Err(self.inner.stopped().await);
        }
        let (responder, outcome) = OneshotResponder::new_pair();
        let leader = LeaderId {
            term,
            node_id: self.inner.node,
        };
        let write = self.inner.raft.write(Command(command)).with_leader(leader);
        match write.responder(responder).await {
            Ok(()) => Ok(Proposal { outcome }),
            Err(_) => Err(self.inner.stopped().await),
        }
    }

    /// Founds a cluster: `members` become its voters, this node one of them.
    ///
    /// Called on one node, or on several with the same members.
    ///
    /// # Errors
    ///
    /// [`ChangeError::AlreadyInitialized`] on a node that has a log or has voted.
    pub async fn initialize(&self, members: BTreeMap<u64, Peer>) -> Result<(), ChangeError> {
        check_members(members.len(), members.values())?;
        if members.is_empty() {
            return Err(ChangeError::NoVoters);
        }
        self.inner
            .raft
            .initialize(members)
            .await
            .map_err(|e| match e {
                RaftError::APIError(InitializeError::NotAllowed(_)) => {
                    ChangeError::AlreadyInitialized
                }
                RaftError::APIError(InitializeError::NotInMembers(e)) => {
                    ChangeError::UnknownMember(e.node_id)
                }
                RaftError::Fatal(_) => ChangeError::Stopped,
            })
    }

    /// Adds a member that receives the log and has no vote; returns once that is committed.
    ///
    /// [`Status::peers`] shows how far it has got.
    ///
    /// # Errors
    ///
    /// [`ChangeError::OtherAddress`] for a node that is a member elsewhere.
    pub async fn add_learner(&self, id: u64, peer: Peer) -> Result<LogPos, ChangeError> {
        let known = self.status().peers;
        check_members(known.len() + usize::from(!known.contains_key(&id)), [&peer])?;
        if let Some(old) = known.get(&id).filter(|old| old.address != peer.address) {
            return Err(ChangeError::OtherAddress {
                node: id,
                address: old.address.clone(),
            });
        }
        let added = self.inner.raft.add_learner(id, peer, false).await;
        added.map(|done| done.log_id.into()).map_err(change_error)
    }

    /// Gives learners a vote, through joint consensus; returns once the new voters alone decide.
    ///
    /// # Errors
    ///
    /// [`ChangeError::UnknownMember`] for a node that is not a member.
    pub async fn promote(&self, ids: BTreeSet<u64>) -> Result<LogPos, ChangeError> {
        self.change(ChangeMembers::AddVoterIds(ids), true).await
    }

    /// Makes `voters`, all of them members, the voters; others stay members without a vote.
    ///
    /// # Errors
    ///
    /// As [`promote`](Self::promote).
    pub async fn change_voters(&self, voters: BTreeSet<u64>) -> Result<LogPos, ChangeError> {
        if voters.is_empty() {
            return Err(ChangeError::NoVoters);
        }
        self.change(ChangeMembers::ReplaceAllVoters(voters), true)
            .await
    }

    /// Removes a member, voter or not; a leader that removes itself hands over.
    ///
    /// # Errors
    ///
    /// [`ChangeError::UnknownMember`] for a node that is not a member.
    pub async fn remove(&self, id: u64) -> Result<LogPos, ChangeError> {
        let status = self.status();
        let ids = BTreeSet::from([id]);
        if status.voters.contains(&id) {
            self.change(ChangeMembers::RemoveVoters(ids), false).await
        } else if status.learners.contains(&id) {
            self.change(ChangeMembers::RemoveNodes(ids), true).await
        } else {
            Err(ChangeError::UnknownMember(id))
        }
    }

    /// Asks the voter `to` to take over; returns when the request is on its way.
    ///
    /// From here on this node refuses proposals and sends no heartbeats: `to` leads next or, if it
    /// cannot, whoever is elected after an election timeout. [`leadership`](Self::leadership) tells.
    ///
    /// # Errors
    ///
    /// [`ChangeError::NotLeader`] or [`ChangeError::UnknownMember`].
    pub async fn transfer_leader(&self, to: u64) -> Result<(), ChangeError> {
        let status = self.status();
        if status.role != Role::Leader {
            let leader = status
                .leader
                .and_then(|id| status.peers.get(&id).map(|peer| (id, peer.address.clone())));
            return Err(ChangeError::NotLeader { leader });
        }
        if !status.voters.contains(&to) {
            return Err(ChangeError::UnknownMember(to));
        }
        if to == self.inner.node {
            return Ok(());
        }
        self.inner
            .raft
            .trigger()
            .transfer_leader(to)
            .await
            .map_err(|_| ChangeError::Stopped)
    }

    /// From now on, until [`resume`](Self::resume), this node stands for no election, neither after
    /// a silence nor when a leader hands over to it. It goes on voting and following.
    ///
    /// A leader stays one until it has handed over.
    pub fn abstain(&self, why: Abstention) {
        let mut reasons = self.inner.abstains();
        reasons.insert(why);
        self.inner.raft.runtime_config().elect(false);
    }

    /// Ends an abstention; the node stands for elections again once no other is left.
    pub fn resume(&self, why: Abstention) {
        let mut reasons = self.inner.abstains();
        reasons.remove(&why);
        if reasons.is_empty() {
            self.inner.raft.runtime_config().elect(true);
        }
    }

    /// Drops the log up to index `upto`, or up to the newest snapshot if that is less; the files go a
    /// segment at a time, and on a leader once no member is being sent what is in them.
    ///
    /// # Errors
    ///
    /// [`ChangeError::Stopped`].
    pub async fn purge(&self, upto: u64) -> Result<(), ChangeError> {
        let raft = &self.inner.raft;
        let stopped = |_| ChangeError::Stopped;
        let known = || {
            let metrics = raft.metrics();
            let snapshot = metrics.borrow_watched().snapshot;
            snapshot.is_some_and(|at| at.index >= upto)
        };
        if !known() {
            raft.trigger().snapshot().await.map_err(stopped)?;
            for _ in 0..SNAPSHOT_LOOKS {
                if known() {
                    break;
                }
                tokio::time::sleep(SNAPSHOT_LOOK_EVERY).await;
            }
        }
        if known() {
            raft.trigger().purge_log(upto).await.map_err(stopped)?;
        }
        Ok(())
    }

    /// Who leads, as it changes.
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.inner.leadership.clone()
    }

    /// Whether consensus runs, as it changes; [`Health::Failed`] asks the owner to end the process.
    pub fn health(&self) -> watch::Receiver<Health> {
        self.inner.health.clone()
    }

    /// One look at this node's consensus.
    ///
    /// Raft remembers the leader of its term for ever; a node that nobody speaks to any more, because
    /// it is cut off or was removed, is told of none here.
    pub fn status(&self) -> Status {
        let metrics = self.inner.raft.metrics().borrow_watched().clone();
        let mut status = status(&metrics);
        let silent = self.inner.heard().elapsed() > self.inner.silence_max;
        if silent && status.role != Role::Leader {
            status.leader = None;
        }
        status
    }

    /// Answers a call of peer `from`, whose identity the peer service has established.
    ///
    /// # Errors
    ///
    /// [`HandleError`]; the peer service tells the peer that the call was refused.
    pub async fn handle(
        &self,
        call: RaftCall,
        from: u64,
        body: Bytes,
    ) -> Result<Bytes, HandleError> {
        if body.len() > PEER_MESSAGE_LEN_MAX {
            return Err(HandleError::TooLong(body.len()));
        }
        let raft = &self.inner.raft;
        match call {
            RaftCall::Append | RaftCall::Heartbeat => {
                let request = codec::decode_append::<M::Reply>(body)?;
                check_sender(from, request.vote.leader_id.node_id)?;
                let reply = raft
                    .append_entries(request)
                    .await
                    .map_err(|_| HandleError::Stopped)?;
                if !matches!(reply, AppendEntriesResponse::HigherVote(_)) {
                    *self.inner.heard() = Instant::now();
                }
                Ok(codec::encode_appended(&reply))
            }
            RaftCall::Vote => {
                let request = codec::decode_ballot::<M::Reply>(body)?;
                check_sender(from, request.vote.leader_id.node_id)?;
                let reply = raft.vote(request).await.map_err(|_| HandleError::Stopped)?;
                Ok(codec::encode_answer(&reply))
            }
            RaftCall::PreVote => {
                let request = codec::decode_ballot::<M::Reply>(body)?;
                check_sender(from, request.vote.leader_id.node_id)?;
                let reply = raft
                    .pre_vote(request)
                    .await
                    .map_err(|_| HandleError::Stopped)?;
                Ok(codec::encode_answer(&reply))
            }
            RaftCall::TransferLeader => {
                let request = codec::decode_transfer::<M::Reply>(body)?;
                check_sender(from, request.from_leader().leader_id.node_id)?;
                // openraft would stand for this election whatever its configuration says.
                let to_self = *request.to_node_id() == self.inner.node;
                if to_self && !self.inner.abstains().is_empty() {
                    return Err(HandleError::Abstains);
                }
                let reply = raft.handle_transfer_leader(request).await;
                Ok(codec::encode_transferred(
                    &reply.map_err(|_| HandleError::Stopped)?,
                ))
            }
            RaftCall::Snapshot => self.receive(from, codec::decode_offer(body)?),
        }
    }

    /// Stops consensus on this node and waits until its tasks have ended.
    ///
    /// The machine is dropped; the write-ahead log stays open for its owner to close.
    /// Proposals without a result end as [`ProposeError::Unknown`].
    pub async fn shutdown(&self) {
        self.inner.stopping.store(true, Ordering::SeqCst);
        // The join error carries nothing the observer does not report.
        let _ = self.inner.raft.shutdown().await;
        let observer = self
            .inner
            .observer
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(observer) = observer {
            let _ = observer.join().await;
        }
    }

    /// Answers a leader's question after its snapshot. openraft is not asked: what is received goes
    /// into force by a start of consensus behind it.
    fn receive(&self, from: u64, offer: codec::Offer) -> Result<Bytes, HandleError> {
        check_sender(from, offer.vote.leader_id.node_id)?;
        let metrics = self.inner.raft.metrics().borrow_watched().clone();
        if metrics.vote > offer.vote {
            return Ok(codec::encode_receiving(&metrics.vote, Receiving::Unknown));
        }
        *self.inner.heard() = Instant::now();
        let applied = metrics.last_applied.map(LogPos::from);
        let receiving = if applied >= Some(offer.at) {
            Receiving::Installed
        } else {
            let snapshots = &self.inner.snapshots;
            snapshots.offered(from, offer.at, offer.manifest)
        };
        Ok(codec::encode_receiving(&offer.vote, receiving))
    }

    async fn change(
        &self,
        change: ChangeMembers<u64, Peer>,
        retain: bool,
    ) -> Result<LogPos, ChangeError> {
        let changed = self.inner.raft.change_membership(change, retain).await;
        changed.map(|done| done.log_id.into()).map_err(change_error)
    }
}

impl<M: Machine> Inner<M> {
    fn abstains(&self) -> MutexGuard<'_, BTreeSet<Abstention>> {
        self.abstains.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn heard(&self) -> MutexGuard<'_, Instant> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What to tell somebody who found consensus stopped.
    async fn stopped(&self) -> ProposeError {
        let mut health = self.health.clone();
        let ended = health.wait_for(|health| *health != Health::Running).await;
        match ended.as_deref() {
            Ok(Health::Failed(failure)) => ProposeError::Fatal(failure.clone()),
            _ => ProposeError::Shutdown,
        }
    }
}

/// Position of the newest entry that is on this node's own disk, or that was and has been purged;
/// `None` for an empty log.
///
/// # Errors
///
/// The disk's, or `InvalidData` when the bytes are not ours.
pub fn last_on_disk<D: Disk>(wal: &Wal<D>) -> std::io::Result<Option<LogPos>> {
    let invalid = |e| std::io::Error::new(std::io::ErrorKind::InvalidData, e);
    let hard = wal.vote().map(codec::decode_hard_state).transpose();
    let purged = hard.map_err(invalid)?.and_then(|hard| hard.purged);
    let Some(index) = wal.durable_index() else {
        return Ok(purged.map(LogPos::from));
    };
    let newest = wal.read(index..index.saturating_add(1), u64::MAX)?.pop();
    let entry = newest
        .map(|(_, bytes)| codec::decode_entry(bytes))
        .transpose();
    let entry = entry.map_err(invalid)?.map(|entry| entry.log_id);
    Ok(entry.max(purged).map(LogPos::from))
}

/// The members that encoded membership bytes name, with their addresses.
///
/// # Errors
///
/// [`CodecError`] when the bytes are not ours.
pub fn members_of(membership: Bytes) -> Result<BTreeMap<u64, String>, CodecError> {
    let stored = codec::decode_stored_membership(membership)?;
    let nodes = stored.membership().nodes();
    Ok(nodes
        .map(|(id, peer)| (*id, peer.address.clone()))
        .collect())
}

/// The encoded membership of these voters.
#[cfg(test)]
pub(crate) fn membership_of(members: BTreeMap<u64, String>) -> Bytes {
    let voters: BTreeSet<u64> = members.keys().copied().collect();
    let peer = |(id, address)| (id, Peer { address });
    let nodes: BTreeMap<u64, Peer> = members.into_iter().map(peer).collect();
    #[expect(clippy::unwrap_used, reason = "test")]
    let membership = types::Membership::new(vec![voters], nodes).unwrap();
    codec::encode_stored_membership(&types::StoredMembership::new(None, membership))
}

/// Makes a log begin after `at`, where the ledger was made anew from a snapshot, unless it holds that
/// very entry. Called before [`Consensus::start`], and again after a crash within.
///
/// Nothing acknowledged is lost: an entry up to `at` is committed or never will be, and one behind
/// `at` in a log without `at` follows another history, so no majority has it.
///
/// # Errors
///
/// The disk's, or `InvalidData` when the bytes are not ours.
pub async fn begin_log_after<D: Disk>(
    wal: &Wal<D>,
    recovered: &mut Recovered,
    at: LogPos,
) -> std::io::Result<()> {
    let invalid = |e| std::io::Error::new(std::io::ErrorKind::InvalidData, e);
    let hard = recovered.vote.clone().map(codec::decode_hard_state);
    let hard = hard.transpose().map_err(invalid)?.unwrap_or_default();
    if hard.purged.map(LogPos::from) >= Some(at) {
        return Ok(());
    }
    let held = wal.read(at.index..at.index.saturating_add(1), u64::MAX)?;
    let held = held
        .into_iter()
        .map(|(_, bytes)| codec::decode_entry(bytes));
    let held: Result<Vec<_>, _> = held.collect();
    let is_held = |entry: &types::Entry| LogPos::from(entry.log_id) == at;
    if held.map_err(invalid)?.iter().any(is_held) {
        return Ok(());
    }
    // First the entries: a crash in between leaves an empty log, which this call then marks.
    wal.truncate_after(None).await?;
    let purged = Some(at.into());
    let vote = codec::encode_hard_state(&codec::HardState { purged, ..hard });
    wal.save_vote(vote.clone()).await?;
    (recovered.first, recovered.last) = (None, None);
    recovered.vote = Some(vote);
    Ok(())
}

/// A command that was handed over.
pub struct Proposal<R: Send + Sync + 'static> {
    outcome: oneshot::Receiver<ClientWriteResult<TypeConfig<R>>>,
}

impl<R: Send + Sync + 'static> Proposal<R> {
    /// Waits until the command is applied here, or it is known that this will not be learnt.
    ///
    /// # Errors
    ///
    /// As [`Consensus::propose`].
    pub async fn outcome(self) -> Result<Applied<R>, ProposeError> {
        match self.outcome.await {
            Ok(Ok(ClientWriteResponse { log_id, data, .. })) => Ok(Applied {
                at: log_id.into(),
                reply: data,
            }),
            Ok(Err(ClientWriteError::ForwardToLeader(forward))) => Err(not_leader(forward)),
            // Appended and then replaced, or cut off by the end of consensus: another node may
            // have it. The other errors belong to membership changes.
            Ok(Err(_)) | Err(_) => Err(ProposeError::Unknown),
        }
    }
}

/// A command that was applied on this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Applied<R> {
    /// Its place in the Raft log.
    pub at: LogPos,
    /// What the machine answered.
    pub reply: R,
}

fn raft_config(settings: &Settings) -> Result<Config, StartError> {
    let millis =
        |d: Duration| u64::try_from(d.as_millis()).map_err(|e| StartError::Settings(e.to_string()));
    let config = Config {
        cluster_name: settings.cluster.clone(),
        heartbeat_interval: millis(settings.heartbeat)?,
        election_timeout_min: millis(settings.election_min)?,
        election_timeout_max: millis(settings.election_max)?,
        max_payload_entries: APPEND_ENTRIES_MAX,
        // The owner says when, and how much of the log then goes.
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: u64::MAX,
        // Followers write while the leader does.
        broadcast_submitted_on_append: Some(true),
        enable_pre_vote: Some(true),
        // After a restart an election is what tells a leader that it still is one.
        enable_leader_restore: Some(false),
        // A log that went backwards has lost what it acknowledged.
        allow_log_reversion: None,
        ..Config::default()
    };
    config
        .validate()
        .map_err(|e| StartError::Settings(e.to_string()))
}

/// The log must still hold what the machine says was applied from it, or have purged just that.
fn check_log<D: Disk>(applied: Option<LogPos>, log: &LogStore<D>) -> Result<(), StartError> {
    let purged = log.purged().map(LogPos::from);
    if let Some(purged) = purged.filter(|purged| applied < Some(*purged)) {
        return Err(StartError::LogPurged { applied, purged });
    }
    let Some(applied) = applied else {
        return Ok(());
    };
    if purged == Some(applied) {
        return Ok(());
    }
    let last = log.last().map(LogPos::from);
    if last.is_none_or(|last| last.index < applied.index) {
        return Err(StartError::LogBehind { applied, last });
    }
    let found = LogPos::from(log.entry(applied.index).map_err(StartError::Log)?.log_id);
    if found != applied {
        return Err(StartError::LogDiffers { applied, found });
    }
    Ok(())
}

fn check_members<'a>(
    count: usize,
    peers: impl IntoIterator<Item = &'a Peer>,
) -> Result<(), ChangeError> {
    if count > MEMBERS_MAX {
        return Err(ChangeError::TooManyMembers(count));
    }
    let longest = peers
        .into_iter()
        .map(|peer| peer.address.len())
        .max()
        .unwrap_or(0);
    if longest > ADDRESS_LEN_MAX {
        return Err(ChangeError::AddressTooLong(longest));
    }
    Ok(())
}

fn check_sender(from: u64, claimed: u64) -> Result<(), HandleError> {
    if from == claimed {
        Ok(())
    } else {
        Err(HandleError::Impostor { from, claimed })
    }
}

#[cfg(test)]
mod tests;
