//! The answering side of the peer service.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use candor_ledger::ids::TreeSize;
use candor_ledger::tree::NodeHash;
use candor_proto::raft_v1::peer_service_server::PeerService;
use candor_proto::raft_v1::{
    CallRequest, CallResponse, ClockRequest, ClockResponse, CosignRequest, CosignResponse, Differs,
    FetchCheckpointRequest, FetchCheckpointResponse, FetchEntriesRequest, FetchEntriesResponse,
    FetchValuesRequest, FetchValuesResponse, ForwardRequest, ForwardResponse, HandshakeRequest,
    HandshakeResponse, ListCheckpointsRequest, ListCheckpointsResponse, NotYet, SettleRequest,
    SettleResponse, cosign_response,
};
use tonic::{Request, Response, Status};

use super::{Introductions, files};
use crate::consensus::RaftCall;
use crate::env::Env;
use crate::grpc::status::{ApiError, ErrorCode};
use crate::sealer::CosignAnswer;
use crate::store::LedgerReader;

/// Sessions kept: one per lane of each peer and a few that are dying.
const SESSIONS_MAX: usize = 256;

/// A client's call as another node sends it on.
#[derive(Clone, Debug)]
pub struct Forwarded {
    /// From the token that the other node checked.
    pub tenant: String,
    /// From the same token.
    pub actor: String,
    /// From the same token.
    pub rights: Vec<String>,
    /// Full gRPC method.
    pub method: String,
    /// Encoded request.
    pub message: Bytes,
    /// Left of the caller's deadline.
    pub timeout: Duration,
}

/// Where a node stands after settling.
#[derive(Clone, Debug, Default)]
pub struct Settled {
    /// Log index its marker names.
    pub applied_index: u64,
    /// Entries in its ledger.
    pub ledger_size: u64,
    /// Chain head.
    pub head: [u8; 32],
    /// Newest checkpoint.
    pub sealed_size: u64,
}

/// What the node does with what its peers ask.
pub trait Handle: Send + Sync + 'static {
    /// A consensus message.
    fn raft(
        &self,
        kind: RaftCall,
        from: u64,
        body: Bytes,
    ) -> impl Future<Output = Result<Bytes, Status>> + Send;
    /// Whether the ledger has named this node and named it no more: it was removed for ever.
    fn is_removed(&self, node: u64) -> bool;
    /// A cosignature from own files.
    ///
    /// # Errors
    /// When this node must not cosign.
    fn cosign(&self, size: TreeSize, root: NodeHash) -> Result<CosignAnswer, Status>;
    /// A client's call, answered as leader.
    fn forwarded(&self, call: Forwarded) -> impl Future<Output = Result<Bytes, Status>> + Send;
    /// Apply up to an index and write the marker there.
    fn settle(&self, index: u64) -> impl Future<Output = Result<Settled, Status>> + Send;
}

/// The service itself: sessions in front of a [`Handle`].
pub struct PeerApi<E: Env, H> {
    env: E,
    own: Arc<Introductions<E>>,
    node: Arc<H>,
    reader: LedgerReader<E::Disk>,
    sessions: Mutex<BTreeMap<Bytes, u64>>,
}

impl<E: Env, H: Handle> PeerApi<E, H> {
    /// No session is open at first.
    pub fn new(
        env: E,
        own: Arc<Introductions<E>>,
        node: Arc<H>,
        reader: LedgerReader<E::Disk>,
    ) -> Self {
        Self {
            env,
            own,
            node,
            reader,
            sessions: Mutex::default(),
        }
    }

    fn known(&self, session: &Bytes) -> Result<u64, Status> {
        let sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        let node = sessions.get(session).copied();
        let node =
            node.ok_or_else(|| Status::unauthenticated("no such session; shake hands again"))?;
        drop(sessions);
        self.refuse_removed(node)?;
        Ok(node)
    }

    /// Its vote is gone by Raft's own rules; this ends everything else it might ask.
    fn refuse_removed(&self, node: u64) -> Result<(), Status> {
        if self.node.is_removed(node) {
            let problem = format!("node {node} was removed from this cluster");
            return Err(ApiError::new(ErrorCode::PeerRefused, problem).into());
        }
        Ok(())
    }
}

#[tonic::async_trait]
impl<E: Env, H: Handle> PeerService for PeerApi<E, H> {
    async fn handshake(
        &self,
        request: Request<HandshakeRequest>,
    ) -> Result<Response<HandshakeResponse>, Status> {
        let request = request.into_inner();
        let hello = request.hello.unwrap_or_default();
        let own = self.own.hello();
        if request.to != own.node_id {
            let problem = format!("this is node {}, not {}", own.node_id, request.to);
            return Err(Status::failed_precondition(problem));
        }
        let node = self.own.admit(&hello, None).map_err(|refused| {
            tracing::warn!(node = hello.node_id, %refused, "a peer was refused");
            Status::failed_precondition(refused.to_string())
        })?;
        self.refuse_removed(node)?;
        let mut name = [0; 16];
        self.env.fill_random(&mut name);
        let session = Bytes::copy_from_slice(&name);
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        if sessions.len() >= SESSIONS_MAX {
            sessions.clear();
        }
        sessions.insert(session.clone(), node);
        Ok(Response::new(HandshakeResponse {
            hello: Some(own),
            session,
        }))
    }

    async fn call(&self, request: Request<CallRequest>) -> Result<Response<CallResponse>, Status> {
        let request = request.into_inner();
        let from = self.known(&request.session)?;
        if from != request.from {
            return Err(Status::permission_denied("the session is another node's"));
        }
        let kind = u8::try_from(request.kind)
            .ok()
            .and_then(|number| RaftCall::try_from(number).ok())
            .ok_or_else(|| Status::invalid_argument("an unknown kind of message"))?;
        let body = self.node.raft(kind, from, request.body).await?;
        Ok(Response::new(CallResponse { body }))
    }

    async fn cosign(
        &self,
        request: Request<CosignRequest>,
    ) -> Result<Response<CosignResponse>, Status> {
        let request = request.into_inner();
        self.known(&request.session)?;
        let root = <[u8; 32]>::try_from(&request.root[..])
            .map_err(|_| Status::invalid_argument("a root is 32 bytes"))?;
        let answer = match self.node.cosign(TreeSize(request.size), NodeHash(root))? {
            CosignAnswer::Cosigned(line) => cosign_response::Answer::Line(line.to_string()),
            CosignAnswer::Differs(root) => cosign_response::Answer::Differs(Differs {
                root: Bytes::copy_from_slice(&root.0),
            }),
            CosignAnswer::NotYet => cosign_response::Answer::NotYet(NotYet { size: 0 }),
        };
        Ok(Response::new(CosignResponse {
            answer: Some(answer),
        }))
    }

    async fn clock(
        &self,
        request: Request<ClockRequest>,
    ) -> Result<Response<ClockResponse>, Status> {
        self.known(&request.into_inner().session)?;
        Ok(Response::new(ClockResponse {
            wall_us: self.env.wall().0,
        }))
    }

    async fn forward(
        &self,
        request: Request<ForwardRequest>,
    ) -> Result<Response<ForwardResponse>, Status> {
        let timeout = crate::grpc::call::timeout(request.metadata())?;
        let request = request.into_inner();
        self.known(&request.session)?;
        let call = Forwarded {
            tenant: request.tenant,
            actor: request.actor,
            rights: request.scopes,
            method: request.method,
            message: request.message,
            timeout,
        };
        let message = self.node.forwarded(call).await?;
        Ok(Response::new(ForwardResponse { message }))
    }

    async fn settle(
        &self,
        request: Request<SettleRequest>,
    ) -> Result<Response<SettleResponse>, Status> {
        let request = request.into_inner();
        self.known(&request.session)?;
        let settled = self.node.settle(request.index).await?;
        Ok(Response::new(SettleResponse {
            applied_index: settled.applied_index,
            ledger_size: settled.ledger_size,
            head: Bytes::copy_from_slice(&settled.head),
            sealed_size: settled.sealed_size,
        }))
    }
    async fn fetch_entries(
        &self,
        request: Request<FetchEntriesRequest>,
    ) -> Result<Response<FetchEntriesResponse>, Status> {
        let request = request.into_inner();
        self.known(&request.session)?;
        Ok(Response::new(files::entries(&self.reader, &request)?))
    }

    async fn fetch_checkpoint(
        &self,
        request: Request<FetchCheckpointRequest>,
    ) -> Result<Response<FetchCheckpointResponse>, Status> {
        let request = request.into_inner();
        self.known(&request.session)?;
        Ok(Response::new(files::note(&self.reader, request.size)?))
    }

    async fn list_checkpoints(
        &self,
        request: Request<ListCheckpointsRequest>,
    ) -> Result<Response<ListCheckpointsResponse>, Status> {
        let request = request.into_inner();
        self.known(&request.session)?;
        Ok(Response::new(files::sizes(&self.reader, request.after)))
    }

    async fn fetch_values(
        &self,
        request: Request<FetchValuesRequest>,
    ) -> Result<Response<FetchValuesResponse>, Status> {
        let request = request.into_inner();
        self.known(&request.session)?;
        Ok(Response::new(files::values(&self.reader, &request)?))
    }
}
