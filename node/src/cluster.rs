//! Membership, and the few things an operator may ask of a node.
//!
//! The ledger names a member before Raft gives it a vote and stops naming it after Raft took the
//! vote away, so that the members whose cosignatures count are never fewer than the voters.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use candor_ledger::canonical::Value;
use candor_ledger::entry::{Genesis, Member, MemberChange};
use candor_ledger::fold::{Admin, Change, Item, Outcome, RULES_V1, Stamp};
use candor_ledger::ids::{NodeId, Seq};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use crate::apply::{Applier, Applying};
use crate::command::{Batch, Command};
use crate::consensus::{ChangeError, Consensus, Leadership, Peer, Status};
use crate::env::Env;
use crate::fold::Fold;
use crate::genesis::StoredGenesis;
use crate::grpc::status::{ApiError, ErrorCode};
use crate::keys::Keys;
use crate::outcome;
use crate::peers::{Introductions, Peers, Settled, address_text, addresses};
use crate::proposer::Proposer;
use crate::snapshot::Shelf;
use crate::store::LedgerReader;
use crate::wal::Wal;
use candor_proto::error_metadata;

/// Longest wait for a node to write its marker.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(20);
/// A learner may be promoted when it lacks at most this many log entries.
const PROMOTE_LAG_MAX: u64 = 64;

/// What operators and peers do with a node.
pub struct Cluster<E: Env> {
    /// The node's seams.
    pub env: E,
    /// This node's number.
    pub node: NodeId,
    /// This node's own addresses: peer, client.
    pub own_addresses: (String, String),
    /// Identity and what is remembered of peers.
    pub introductions: Arc<Introductions<E>>,
    /// Secret keys.
    pub keys: Keys,
    /// The stored genesis body.
    pub genesis: watch::Sender<Option<Arc<Genesis>>>,
    /// Raft.
    pub consensus: Consensus<Applier<E>>,
    /// The way to the ledger.
    pub proposer: Proposer,
    /// The other nodes.
    pub peers: Peers<E>,
    /// What is applied.
    pub applying: watch::Receiver<Applying>,
    /// The ledger's files.
    pub reader: LedgerReader<E::Disk>,
    /// The fold.
    pub state: Fold,
    /// Asks the marker lane.
    pub markers: mpsc::Sender<MarkerRequest>,
    /// Snapshots offered and received.
    pub shelf: Shelf,
    /// The Raft log's files, for their length.
    pub wal: Wal<E::Disk>,
}

/// What the marker lane is asked for.
#[derive(Debug)]
pub enum MarkerRequest {
    /// A marker at or above a log index.
    At {
        /// At least this index.
        index: u64,
        /// Answered with the index it names, once it is durable.
        reply: oneshot::Sender<u64>,
    },
    /// The newest marker, into both slots again.
    Again {
        /// Answered once it is durable.
        reply: oneshot::Sender<()>,
    },
}

/// A member as an operator sees it.
#[derive(Clone, Debug)]
pub struct NewMember {
    /// Its number.
    pub node: NodeId,
    /// `host:port` for peers.
    pub peer_address: String,
    /// `host:port` for clients.
    pub client_address: String,
    /// Its raw Ed25519 cosigner key.
    pub cosigner: [u8; 32],
}

impl<E: Env> Cluster<E> {
    /// Stores the genesis body and binds the folder to the cluster, durably.
    ///
    /// # Errors
    /// `BOOTSTRAP_REFUSED`; nothing was changed.
    pub fn prepare_genesis(&self, bytes: &[u8]) -> Result<[u8; 32], ApiError> {
        let refused = |problem: String| ApiError::new(ErrorCode::BootstrapRefused, problem);
        let stored = StoredGenesis::prepare(&self.env, bytes, self.node, &self.keys)
            .map_err(|problem| refused(problem.to_string()))?;
        self.introductions
            .bind(
                &stored.body.cluster_id.to_string(),
                &stored.body.origin,
                stored.digest,
            )
            .map_err(|problem| refused(problem.to_string()))?;
        self.genesis.send_replace(Some(Arc::clone(&stored.body)));
        Ok(stored.digest)
    }

    /// The stored genesis body, as it is hashed; empty before there is one.
    pub fn genesis_bytes(&self) -> Bytes {
        let genesis = self.genesis.borrow();
        genesis.as_ref().map_or_else(Bytes::new, |body| {
            Value::Object(body.to_object()).to_bytes().into()
        })
    }

    /// Starts Raft among the members that genesis names.
    ///
    /// # Errors
    /// `BOOTSTRAP_REFUSED`.
    pub async fn initialize(
        &self,
        members: &[NewMember],
        digest: [u8; 32],
    ) -> Result<String, ApiError> {
        let refused = |problem: String| ApiError::new(ErrorCode::BootstrapRefused, problem);
        if self.introductions.genesis_digest() != Some(digest) {
            return Err(refused("this node has not stored that genesis".to_owned()));
        }
        let genesis = self.genesis.borrow().clone();
        let genesis = genesis.ok_or_else(|| refused("no genesis is stored".to_owned()))?;
        let named: BTreeSet<NodeId> = genesis.members.iter().map(|member| member.node).collect();
        let given: BTreeSet<NodeId> = members.iter().map(|member| member.node).collect();
        if named != given {
            return Err(refused(format!(
                "genesis names the members {named:?}, not {given:?}"
            )));
        }
        let peers: BTreeMap<u64, Peer> = members
            .iter()
            .map(|member| (member.node.0, peer(member)))
            .collect();
        match self.consensus.initialize(peers).await {
            // A repeated init finds its own work done.
            Ok(()) | Err(ChangeError::AlreadyInitialized) => Ok(genesis.cluster_id.to_string()),
            Err(problem) => Err(refused(problem.to_string())),
        }
    }

    /// Adds a node as a learner whose cosignature counts from its entry on.
    ///
    /// # Errors
    /// `MEMBERSHIP_REFUSED`, or what a submission may end with.
    pub async fn add(&self, actor: &str, member: NewMember) -> Result<Option<Seq>, ApiError> {
        self.need_leader()?;
        let change = MemberChange::Join(Member {
            node: member.node,
            cosigner: member.cosigner,
        });
        let seq = self.record(actor, change).await?;
        let added = self
            .consensus
            .add_learner(member.node.0, peer(&member))
            .await;
        added.map_err(|problem| self.change_refused(&problem))?;
        Ok(seq)
    }

    /// Gives a learner that has caught up its vote.
    ///
    /// # Errors
    /// `MEMBERSHIP_REFUSED` while it lags.
    pub async fn promote(&self, node: u64) -> Result<BTreeSet<u64>, ApiError> {
        self.need_leader()?;
        let status = self.consensus.status();
        let matched = status
            .peers
            .get(&node)
            .and_then(|peer| peer.matched)
            .map_or(0, |at| at.index);
        let lag = status.last_log.unwrap_or(0).saturating_sub(matched);
        if lag > PROMOTE_LAG_MAX {
            let problem = format!("node {node} still lacks {lag} log entries");
            return Err(ApiError::new(ErrorCode::MembershipRefused, problem).with("lag", lag));
        }
        let changed = self.consensus.promote(BTreeSet::from([node])).await;
        changed.map_err(|problem| self.change_refused(&problem))?;
        Ok(self.consensus.status().voters)
    }

    /// Takes a node's vote and then its place in the ledger, for ever.
    ///
    /// # Errors
    /// `MEMBERSHIP_REFUSED`, or what a submission may end with.
    pub async fn remove(
        &self,
        actor: &str,
        node: u64,
    ) -> Result<(Option<Seq>, BTreeSet<u64>), ApiError> {
        self.need_leader()?;
        if node == self.node.0 {
            let problem = "this node leads; transfer leadership first";
            return Err(ApiError::new(ErrorCode::MembershipRefused, problem));
        }
        match self.consensus.remove(node).await {
            // A repeated removal goes on with the ledger's half.
            Ok(_) | Err(ChangeError::UnknownMember(_)) => {}
            Err(problem) => return Err(self.change_refused(&problem)),
        }
        let seq = self
            .record(actor, MemberChange::Leave(NodeId(node)))
            .await?;
        Ok((seq, self.consensus.status().voters))
    }

    /// Hands leadership to `to`, or to the voter that is furthest, and waits until another leads.
    ///
    /// # Errors
    /// `MEMBERSHIP_REFUSED`; `LEADER_UNKNOWN` when nobody took over before the deadline.
    pub async fn transfer(&self, to: u64, deadline: Instant) -> Result<(u64, u64), ApiError> {
        self.need_leader()?;
        let status = self.consensus.status();
        let to = match to {
            0 => furthest(&status, self.node.0).ok_or_else(|| {
                ApiError::new(ErrorCode::MembershipRefused, "there is no other voter")
            })?,
            to => to,
        };
        self.consensus
            .transfer_leader(to)
            .await
            .map_err(|problem| self.change_refused(&problem))?;
        let mut leadership = self.consensus.leadership();
        let own = self.node.0;
        let other = leadership
            .wait_for(|now| matches!(now, Leadership::Follower { leader, .. } if *leader != own));
        if let Ok(Ok(now)) = tokio::time::timeout_at(deadline, other).await
            && let Leadership::Follower { term, leader, .. } = &*now
        {
            return Ok((*leader, *term));
        }
        Err(ApiError::new(
            ErrorCode::NoLeader,
            "nobody has taken over yet",
        ))
    }

    /// Brings every member to one log index with its marker there.
    ///
    /// # Errors
    /// `NOT_LEADER`; `NOT_SEALED` when the last group is not sealed before the deadline.
    pub async fn settle_all(
        &self,
        deadline: Instant,
    ) -> Result<Vec<(u64, Result<Settled, String>)>, ApiError> {
        self.need_leader()?;
        let mut applying = self.applying.clone();
        let quiet =
            applying.wait_for(|now| now.waiting_seal().is_none() && !now.unsealed_entries());
        if !matches!(tokio::time::timeout_at(deadline, quiet).await, Ok(Ok(_))) {
            let problem = "entries were still being written and sealed at the deadline";
            return Err(ApiError::new(ErrorCode::NotSealed, problem));
        }
        let index = self.boundary().await?;
        let members: BTreeSet<u64> = self.consensus.status().peers.into_keys().collect();
        let left = deadline.saturating_duration_since(self.env.monotonic());
        let asks = members.into_iter().map(|member| async move {
            let result = if member == self.node.0 {
                self.settle(index)
                    .await
                    .map_err(|problem| problem.to_string())
            } else {
                let reply = self
                    .peers
                    .settle(member, index, left.min(SETTLE_TIMEOUT))
                    .await;
                reply
                    .map_err(|status| status.message().to_owned())
                    .map(|reply| Settled {
                        applied_index: reply.applied_index,
                        ledger_size: reply.ledger_size,
                        head: <[u8; 32]>::try_from(&reply.head[..]).unwrap_or_default(),
                        sealed_size: reply.sealed_size,
                    })
            };
            (member, result)
        });
        Ok(futures::future::join_all(asks).await)
    }

    /// An empty command: it changes nothing and makes every node offer a marker at its index.
    async fn boundary(&self) -> Result<u64, ApiError> {
        let Leadership::Leader { term, .. } = *self.consensus.leadership().borrow() else {
            return Err(ApiError::new(ErrorCode::NoLeader, "leadership is changing"));
        };
        let stamp = Stamp {
            time: self.env.wall(),
            seed: [0; 32],
            rules: RULES_V1,
        };
        let batch = Batch {
            stamp,
            closes: false,
            items: Vec::new(),
        };
        let proposed = self
            .consensus
            .propose(Command::Batch(batch).encode(), term)
            .await;
        proposed.map(|done| done.at.index).map_err(|problem| {
            ApiError::new(
                ErrorCode::NoLeader,
                format!("nothing can be proposed: {problem}"),
            )
        })
    }

    /// Applies up to an index and writes the marker there.
    ///
    /// # Errors
    /// When that did not happen in time.
    pub async fn settle(&self, index: u64) -> Result<Settled, ApiError> {
        let late = || {
            ApiError::new(
                ErrorCode::DeadlinePassed,
                "the marker was not written in time",
            )
        };
        let work = async {
            let mut applying = self.applying.clone();
            applying
                .wait_for(|now| now.index >= index)
                .await
                .map_err(|_| late())?;
            let (reply, written) = oneshot::channel();
            self.markers
                .send(MarkerRequest::At { index, reply })
                .await
                .map_err(|_| late())?;
            written.await.map_err(|_| late())
        };
        let applied_index = tokio::time::timeout(SETTLE_TIMEOUT, work)
            .await
            .map_err(|_| late())??;
        Ok(Settled {
            applied_index,
            ledger_size: self.reader.size().0,
            head: self.reader.head().0,
            sealed_size: self.applying.borrow().sealed.0,
        })
    }

    /// Peer and client address of every member, from the membership.
    pub fn addresses(&self) -> BTreeMap<u64, (String, String)> {
        let peers = self.consensus.status().peers;
        let split = |text: &str| {
            let (peer, client) = addresses(text);
            (peer.to_owned(), client.to_owned())
        };
        peers
            .into_iter()
            .map(|(id, peer)| (id, split(&peer.address)))
            .collect()
    }

    /// Peer and client address of one member; `None` as long as this node has not heard of it.
    pub fn address(&self, node: u64) -> Option<(String, String)> {
        self.addresses().remove(&node)
    }

    /// `None`: the ledger says so already.
    async fn record(&self, actor: &str, change: MemberChange) -> Result<Option<Seq>, ApiError> {
        let change = Change::Member(change);
        let admin = Admin {
            actor: actor.to_owned(),
            request_id: None,
            change,
        };
        let applied = self
            .proposer
            .submit(Item::Admin(Box::new(admin)), None)
            .await?;
        match applied.outcome {
            Outcome::Done { seq } => Ok(seq),
            Outcome::ChangeRefused(problem) => Err(ApiError::new(
                ErrorCode::MembershipRefused,
                problem.to_string(),
            )),
            other => {
                let problem = format!("the ledger answers `{}`", outcome::name(&other));
                Err(ApiError::new(ErrorCode::MembershipRefused, problem))
            }
        }
    }

    /// # Errors
    /// `NOT_LEADER` or `NO_LEADER` on a node that does not lead.
    pub fn need_leader(&self) -> Result<(), ApiError> {
        let status = self.consensus.status();
        match status.leader {
            Some(leader) if leader == self.node.0 => Ok(()),
            Some(leader) => {
                let error = ApiError::new(ErrorCode::NotLeader, "this node does not lead");
                let error = error.with(error_metadata::LEADER_ID, leader);
                Err(match status.peers.get(&leader) {
                    Some(peer) => {
                        error.with(error_metadata::LEADER_ADDRESS, addresses(&peer.address).1)
                    }
                    None => error,
                })
            }
            None => Err(ApiError::new(
                ErrorCode::NoLeader,
                "no leader is known here",
            )),
        }
    }

    fn change_refused(&self, problem: &ChangeError) -> ApiError {
        match problem {
            ChangeError::NotLeader { .. } => match self.need_leader() {
                Err(error) => error,
                Ok(()) => ApiError::new(ErrorCode::NoLeader, "leadership is changing"),
            },
            ChangeError::NoQuorum => ApiError::new(ErrorCode::NoLeader, problem.to_string()),
            ChangeError::Unknown => ApiError::new(ErrorCode::OutcomeUnknown, problem.to_string()),
            ChangeError::Stopped => ApiError::new(ErrorCode::ShuttingDown, problem.to_string()),
            other => ApiError::new(ErrorCode::MembershipRefused, other.to_string()),
        }
    }
}

fn peer(member: &NewMember) -> Peer {
    Peer {
        address: address_text(&member.peer_address, &member.client_address),
    }
}

fn furthest(status: &Status, own: u64) -> Option<u64> {
    let others = status.voters.iter().copied().filter(|voter| *voter != own);
    others.max_by_key(|voter| status.peers.get(voter).and_then(|peer| peer.matched))
}
