//! `candor.cluster.v1`: what operators ask of a node.
#![allow(
    clippy::unused_async,
    reason = "every method has the one shape that `methods!` awaits"
)]

use bytes::Bytes;
use candor_ledger::digest::TaggedDigest;
use candor_ledger::fold;
use candor_ledger::ids::NodeId;
use candor_ledger::policy::Policy;
use candor_proto::cluster_v1::cluster_service_server::ClusterService;
use candor_proto::cluster_v1::{
    self as wire, AddNodeRequest, AddNodeResponse, GetIdentityRequest, GetIdentityResponse,
    GetPolicyRequest, GetPolicyResponse, GetStatusRequest, GetStatusResponse, InitializeRequest,
    InitializeResponse, MemberStatus, Node, NodeRole, PrepareGenesisRequest,
    PrepareGenesisResponse, PromoteNodeRequest, PromoteNodeResponse, RemoveNodeRequest,
    RemoveNodeResponse, SettleRequest, SettleResponse, SettledNode, TransferLeadershipRequest,
    TransferLeadershipResponse,
};
use tonic::{Request, Response, Status};

use super::call::Call;
use super::status::{ApiError, ErrorCode};
use super::{Api, convert};
use crate::apply;
use crate::cluster::NewMember;
use crate::consensus::Role;
use crate::env::{Disk as _, Env};
use crate::peers::addresses;
use crate::principal::Right;
use crate::snapshot::Stage;
use crate::storage::Pace;
use crate::store::DamageKind;

impl<E: Env> Api<E> {
    async fn get_status(
        &self,
        _call: &Call,
        _m: GetStatusRequest,
    ) -> Result<GetStatusResponse, ApiError> {
        let status = self.cluster.consensus.status();
        let clock = self.clock.borrow().clone();
        let applying = *self.applying.borrow();
        let identity = self.cluster.introductions.identity();
        let log = fold::log(&*self.state.read())?;
        let cosigners = log.as_ref().map(apply::cosigners).unwrap_or_default();
        let members = status.peers.iter().map(|(id, peer)| {
            let (peer_address, client_address) = addresses(&peer.address);
            let cosigner = cosigners.iter().find(|cosigner| cosigner.node.0 == *id);
            let key = cosigner.map(|cosigner| Bytes::copy_from_slice(&cosigner.key));
            MemberStatus {
                node: Some(Node {
                    node_id: *id,
                    peer_address: peer_address.to_owned(),
                    client_address: client_address.to_owned(),
                    incarnation: String::new(),
                    cosigner_key: key.unwrap_or_default(),
                }),
                voter: status.voters.contains(id),
                cosigner: cosigner.is_some(),
                matched_index: peer.matched.map(|at| at.index),
                silent_ms: peer
                    .silent
                    .and_then(|silent| silent.as_millis().try_into().ok()),
                clock_offset_ms: clock.offsets_ms.get(id).copied(),
            }
        });
        let members: Vec<_> = members.collect();
        let role = match status.role {
            Role::Leader => NodeRole::Leader,
            Role::Follower => NodeRole::Follower,
            Role::Candidate => NodeRole::Candidate,
            Role::Stopped => NodeRole::Stopped,
            Role::Learner if members.is_empty() => NodeRole::Uninitialized,
            Role::Learner => NodeRole::Learner,
        };
        let leader = status.leader.and_then(|id| status.peers.get(&id));
        let sealed = applying.sealed.0;
        Ok(GetStatusResponse {
            node_id: self.cluster.node.0,
            role: role.into(),
            leader_id: status.leader,
            leader_address: leader
                .map(|l| addresses(&l.address).1.to_owned())
                .unwrap_or_default(),
            term: status.term,
            last_log_index: status.last_log.unwrap_or_default(),
            committed_index: status.committed.map_or(0, |at| at.index),
            applied_index: status.applied.map_or(0, |at| at.index),
            origin: identity.origin.unwrap_or_default(),
            ledger_size: applying.size.0,
            head: Bytes::copy_from_slice(&self.reader.head().0),
            sealed_size: sealed,
            sealed_time: (sealed > 0).then(|| convert::timestamp(applying.sealed_time)),
            ledger_time: (applying.size.0 > 0).then(|| convert::timestamp(applying.time)),
            members,
            queued: u64::try_from(self.proposer.waiting()).unwrap_or(u64::MAX),
            log_syncs: self.env.disk().syncs().files,
            entries_appended: applying.appended,
            checkpoints_applied: applying.checkpoints,
            uptime_s: self.started.elapsed().as_secs(),
            software_version: env!("CARGO_PKG_VERSION").to_owned(),
            trouble: self.status_trouble(),
            damages: self.damages(),
            catch_up: self.catch_up(),
            raft_log_bytes: self.cluster.wal.kept_bytes().unwrap_or_default(),
            purged_index: status.purged.map_or(0, |at| at.index),
        })
    }

    fn catch_up(&self) -> Option<wire::CatchUp> {
        let progress = self.cluster.shelf.progress();
        (progress.stage != Stage::Idle).then(|| wire::CatchUp {
            source_id: progress.source,
            entries_done: progress.done,
            entries_total: progress.total,
            bytes: progress.bytes,
            since: progress
                .since
                .map(|since| convert::timestamp(candor_ledger::time::Micros(since))),
            installing: progress.stage == Stage::Installing,
            refused: progress.refused,
        })
    }

    /// Not ready, or ready and yet something an operator must see to.
    fn status_trouble(&self) -> Vec<String> {
        let mut trouble = self.trouble();
        if self.storage.borrow().pace == Pace::Slow {
            trouble.push("the disk is slow: this node hands over when it leads".to_owned());
        }
        let damages = self.reader.damages();
        let damages = damages.borrow();
        trouble.extend(damages.iter().filter_map(|damage| {
            let what = match damage.kind {
                // One of these is enough to be not ready: it stands there already.
                DamageKind::Ledger => return None,
                DamageKind::Value => "a value is lost here",
                DamageKind::RaftLog => {
                    "a start would refuse the Raft log until a snapshot stands for it"
                }
            };
            Some(format!("{what}: {}", damage.problem))
        }));
        trouble
    }

    fn damages(&self) -> Vec<wire::Damage> {
        let damages = self.reader.damages();
        let damages = damages.borrow();
        let wire = damages.iter().map(|damage| wire::Damage {
            kind: match damage.kind {
                DamageKind::RaftLog => wire::DamageKind::RaftLog.into(),
                DamageKind::Ledger => wire::DamageKind::Ledger.into(),
                DamageKind::Value => wire::DamageKind::Value.into(),
            },
            file: damage.file.clone(),
            place: damage.place,
            problem: damage.problem.clone(),
        });
        wire.collect()
    }

    async fn get_identity(
        &self,
        _call: &Call,
        _m: GetIdentityRequest,
    ) -> Result<GetIdentityResponse, ApiError> {
        let identity = self.cluster.introductions.identity();
        let keys = &self.cluster.keys;
        let (peer_address, client_address) = self.cluster.own_addresses.clone();
        let cosigner = keys.cosigner.as_ref().map(|key| key.public().key);
        let log = keys.log.as_ref().map(|log| log.key_set());
        let digest = self.cluster.introductions.genesis_digest();
        Ok(GetIdentityResponse {
            node: Some(Node {
                node_id: identity.node_id,
                peer_address,
                client_address,
                incarnation: identity.incarnation,
                cosigner_key: cosigner
                    .map(|key| Bytes::copy_from_slice(&key))
                    .unwrap_or_default(),
            }),
            origin: log.map(|set| set.origin().to_owned()).unwrap_or_default(),
            cluster_id: identity.cluster_id.unwrap_or_default(),
            genesis_digest: digest
                .map(|d| TaggedDigest::sha3(d).to_string())
                .unwrap_or_default(),
            initialized: !self.cluster.consensus.status().voters.is_empty(),
            has_log_keys: log.is_some(),
            keyset_id: log
                .map(|s| TaggedDigest::sha3(s.id()).to_string())
                .unwrap_or_default(),
            log_keys: log.map(|set| set.vkeys().to_vec()).unwrap_or_default(),
            software_version: env!("CARGO_PKG_VERSION").to_owned(),
            genesis: self.cluster.genesis_bytes(),
        })
    }

    async fn get_policy(
        &self,
        _call: &Call,
        _m: GetPolicyRequest,
    ) -> Result<GetPolicyResponse, ApiError> {
        let log = self.log()?;
        let keys = apply::log_keys(&self.reader, &log.origin, log.keyset.seq)
            .map_err(|problem| ApiError::new(ErrorCode::StorageDamaged, problem.to_string()))?;
        // The ledger's rules let no key in that a policy could not hold.
        let policy = Policy::text_for_cluster(&keys, &apply::cosigners(&log))
            .map_err(|problem| ApiError::new(ErrorCode::Internal, problem.to_string()))?;
        Ok(GetPolicyResponse { policy })
    }

    async fn prepare_genesis(
        &self,
        _call: &Call,
        m: PrepareGenesisRequest,
    ) -> Result<PrepareGenesisResponse, ApiError> {
        let digest = self.cluster.prepare_genesis(&m.genesis)?;
        Ok(PrepareGenesisResponse {
            genesis_digest: TaggedDigest::sha3(digest).to_string(),
        })
    }

    async fn initialize(
        &self,
        _call: &Call,
        m: InitializeRequest,
    ) -> Result<InitializeResponse, ApiError> {
        let digest = TaggedDigest::parse(&m.genesis_digest)
            .map_err(|problem| ApiError::field("genesis_digest", problem.to_string()))?;
        let members: Vec<_> = m.members.iter().map(member).collect::<Result<_, _>>()?;
        let cluster_id = self.cluster.initialize(&members, digest.bytes).await?;
        Ok(InitializeResponse { cluster_id })
    }

    async fn add_node(&self, call: &Call, m: AddNodeRequest) -> Result<AddNodeResponse, ApiError> {
        let node = m.node.ok_or_else(|| ApiError::field("node", "missing"))?;
        let seq = self
            .cluster
            .add(&call.principal.actor, member(&node)?)
            .await?;
        Ok(AddNodeResponse {
            seq: seq.map_or(0, |seq| seq.0),
        })
    }

    async fn promote_node(
        &self,
        _call: &Call,
        m: PromoteNodeRequest,
    ) -> Result<PromoteNodeResponse, ApiError> {
        let voters = self.cluster.promote(m.node_id).await?;
        Ok(PromoteNodeResponse {
            voters: voters.into_iter().collect(),
        })
    }

    async fn remove_node(
        &self,
        call: &Call,
        m: RemoveNodeRequest,
    ) -> Result<RemoveNodeResponse, ApiError> {
        let (seq, voters) = self
            .cluster
            .remove(&call.principal.actor, m.node_id)
            .await?;
        Ok(RemoveNodeResponse {
            seq: seq.map_or(0, |seq| seq.0),
            voters: voters.into_iter().collect(),
        })
    }

    async fn transfer_leadership(
        &self,
        call: &Call,
        m: TransferLeadershipRequest,
    ) -> Result<TransferLeadershipResponse, ApiError> {
        let (leader_id, term) = self.cluster.transfer(m.to, call.deadline).await?;
        Ok(TransferLeadershipResponse { leader_id, term })
    }

    async fn settle(&self, call: &Call, _m: SettleRequest) -> Result<SettleResponse, ApiError> {
        let nodes = self.cluster.settle_all(call.deadline).await?;
        let nodes = nodes.into_iter().map(|(node_id, result)| match result {
            Ok(settled) => SettledNode {
                node_id,
                applied_index: settled.applied_index,
                ledger_size: settled.ledger_size,
                head: Bytes::copy_from_slice(&settled.head),
                sealed_size: settled.sealed_size,
                trouble: String::new(),
            },
            Err(trouble) => SettledNode {
                node_id,
                trouble,
                ..SettledNode::default()
            },
        });
        Ok(SettleResponse {
            nodes: nodes.collect(),
        })
    }
}

fn member(node: &Node) -> Result<NewMember, ApiError> {
    let cosigner = <[u8; 32]>::try_from(&node.cosigner_key[..])
        .map_err(|_| ApiError::field("node.cosigner_key", "want 32 bytes"))?;
    if node.node_id == 0 {
        return Err(ApiError::field("node.node_id", "want 1 or more"));
    }
    for (field, address) in [
        ("node.peer_address", &node.peer_address),
        ("node.client_address", &node.client_address),
    ] {
        if address.is_empty() || !address.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(ApiError::field(field, "want `host:port`"));
        }
    }
    Ok(NewMember {
        node: NodeId(node.node_id),
        peer_address: node.peer_address.clone(),
        client_address: node.client_address.clone(),
        cosigner,
    })
}

macro_rules! methods {
    ($($name:ident($request:ty) -> $response:ty, [$($right:ident),+];)*) => {
        #[tonic::async_trait]
        impl<E: Env> ClusterService for super::Service<E> {
            $(async fn $name(
                &self,
                request: Request<$request>,
            ) -> Result<Response<$response>, Status> {
                // Not sent on: a change of membership is asked of the leader itself.
                let method = concat!("/candor.cluster.v1.ClusterService/", stringify!($name));
                self.answer(request, method, &[$(Right::$right),+], async |api, call, message| {
                    api.$name(call, message).await
                })
                .await
            })*
        }
    };
}

methods! {
    get_status(GetStatusRequest) -> GetStatusResponse, [Operate, Audit, AuditAll];
    get_identity(GetIdentityRequest) -> GetIdentityResponse, [Operate, Read, Write, Audit, AuditAll];
    get_policy(GetPolicyRequest) -> GetPolicyResponse, [Operate, Read, Write, Audit, AuditAll];
    prepare_genesis(PrepareGenesisRequest) -> PrepareGenesisResponse, [Operate];
    initialize(InitializeRequest) -> InitializeResponse, [Operate];
    add_node(AddNodeRequest) -> AddNodeResponse, [Operate];
    promote_node(PromoteNodeRequest) -> PromoteNodeResponse, [Operate];
    remove_node(RemoveNodeRequest) -> RemoveNodeResponse, [Operate];
    transfer_leadership(TransferLeadershipRequest) -> TransferLeadershipResponse, [Operate];
    settle(SettleRequest) -> SettleResponse, [Operate];
}
