//! The dialling side: one session per peer, kept while it works.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use candor_ledger::ids::{NodeId, TreeSize};
use candor_ledger::note::NoteSignature;
use candor_ledger::tree::NodeHash;
use candor_proto::raft_v1::peer_service_client::PeerServiceClient;
use candor_proto::raft_v1::{
    CallRequest, ClockRequest, CosignRequest, ForwardRequest, HandshakeRequest, SettleRequest,
    SettleResponse, cosign_response,
};
use hyper_util::rt::TokioIo;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Code, Request, Status};

use super::{Introductions, MESSAGE_LEN_MAX};
use crate::consensus::{PeerError, PeerTransport, RaftCall};
use crate::env::Env;
use crate::sealer::{AskCosign, COSIGN_TIMEOUT, CosignAnswer};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// A link that is silent for so long is asked whether it lives, and given up after as long again: after a
/// partition TCP may wait for much longer before it sends anything.
const KEEPALIVE: Duration = Duration::from_secs(5);

/// Where each node listens for its peers, kept current from the membership.
pub(crate) type AddressBook = Arc<Mutex<BTreeMap<u64, String>>>;

/// Calls to the other nodes.
#[derive(Clone)]
pub struct Peers<E: Env> {
    shared: Arc<SharedPeers<E>>,
}

struct SharedPeers<E: Env> {
    env: E,
    own: Arc<Introductions<E>>,
    addresses: AddressBook,
    /// Keyed by node and lane: a heartbeat must not queue behind a large append.
    links: Mutex<BTreeMap<(u64, Lane), Link>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Lane {
    Bulk,
    Prompt,
}

#[derive(Clone)]
struct Link {
    address: String,
    client: PeerServiceClient<Channel>,
    session: Arc<tokio::sync::Mutex<Option<Bytes>>>,
}

impl<E: Env> Peers<E> {
    /// Nobody is dialled before the first call.
    pub fn new(env: E, own: Arc<Introductions<E>>, addresses: AddressBook) -> Self {
        let links = Mutex::new(BTreeMap::new());
        Self {
            shared: Arc::new(SharedPeers {
                env,
                own,
                addresses,
                links,
            }),
        }
    }

    /// A peer's wall clock in microseconds.
    pub async fn clock(&self, node: u64) -> Option<u64> {
        let answer = self
            .ask(
                node,
                None,
                Lane::Prompt,
                Duration::from_secs(1),
                |mut client, session| async move { client.clock(ClockRequest { session }).await },
            )
            .await;
        answer.ok().map(|reply| reply.wall_us)
    }

    /// Asks a peer to apply the log up to an index and write its marker.
    ///
    /// # Errors
    /// The peer's status.
    pub async fn settle(
        &self,
        node: u64,
        index: u64,
        timeout: Duration,
    ) -> Result<SettleResponse, Status> {
        self.ask(node, None, Lane::Prompt, timeout, |mut client, session| async move {
            client.settle(SettleRequest { session, index }).await
        })
        .await
    }

    /// Sends a client's call on to the leader, whose peer address this is, and returns the encoded reply.
    ///
    /// # Errors
    /// The status the client gets.
    pub async fn forward(
        &self,
        node: u64,
        address: &str,
        request: ForwardRequest,
        timeout: Duration,
    ) -> Result<Bytes, Status> {
        let reply = self
            .ask(
                node,
                Some(address),
                Lane::Bulk,
                timeout,
                |mut client, session| {
                    let mut request = Request::new(ForwardRequest {
                        session,
                        ..request.clone()
                    });
                    request.set_timeout(timeout);
                    async move { client.forward(request).await }
                },
            )
            .await?;
        Ok(reply.message)
    }

    /// One call in a session; a session the peer does not know is opened anew, once.
    pub(super) async fn ask<T, F>(
        &self,
        node: u64,
        address: Option<&str>,
        lane: Lane,
        timeout: Duration,
        call: impl Fn(PeerServiceClient<Channel>, Bytes) -> F,
    ) -> Result<T, Status>
    where
        F: Future<Output = Result<tonic::Response<T>, Status>>,
    {
        let work = async {
            let link = self.link(node, address, lane)?;
            let session = self.session(node, &link, None).await?;
            match call(link.client.clone(), session.clone()).await {
                Err(status) if status.code() == Code::Unauthenticated => {
                    let session = self.session(node, &link, Some(&session)).await?;
                    call(link.client.clone(), session).await
                }
                other => other,
            }
        };
        match tokio::time::timeout(timeout, work).await {
            Ok(result) => result.map(tonic::Response::into_inner),
            Err(_) => Err(Status::deadline_exceeded("the peer did not answer in time")),
        }
    }

    fn link(&self, node: u64, address: Option<&str>, lane: Lane) -> Result<Link, Status> {
        let address = match address {
            Some(address) => address.to_owned(),
            None => lock(&self.shared.addresses)
                .get(&node)
                .cloned()
                .ok_or_else(|| Status::unavailable(format!("node {node} has no known address")))?,
        };
        let mut links = lock(&self.shared.links);
        if let Some(link) = links
            .get(&(node, lane))
            .filter(|link| link.address == address)
        {
            return Ok(link.clone());
        }
        let link = self.dial(address)?;
        links.insert((node, lane), link.clone());
        Ok(link)
    }

    fn dial(&self, address: String) -> Result<Link, Status> {
        let endpoint = Endpoint::from_shared(format!("http://{address}"))
            .map_err(|_| Status::unavailable(format!("`{address}` is no address")))?
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(KEEPALIVE)
            .keep_alive_timeout(KEEPALIVE)
            .keep_alive_while_idle(true)
            .initial_stream_window_size(4 << 20)
            .initial_connection_window_size(8 << 20);
        let env = self.shared.env.clone();
        let channel = endpoint.connect_with_connector_lazy(tower::service_fn(move |uri: Uri| {
            let env = env.clone();
            async move {
                let address = uri.authority().map_or("", |authority| authority.as_str());
                env.connect(address).await.map(TokioIo::new)
            }
        }));
        let client = PeerServiceClient::new(channel)
            .max_decoding_message_size(MESSAGE_LEN_MAX)
            .max_encoding_message_size(MESSAGE_LEN_MAX);
        Ok(Link {
            address,
            client,
            session: Arc::default(),
        })
    }

    /// The link's session, opened when there is none or when `stale` is what it has.
    async fn session(
        &self,
        node: u64,
        link: &Link,
        stale: Option<&Bytes>,
    ) -> Result<Bytes, Status> {
        let mut held = link.session.lock().await;
        if let Some(session) = held.as_ref().filter(|session| Some(*session) != stale) {
            return Ok(session.clone());
        }
        *held = None;
        let request = HandshakeRequest {
            hello: Some(self.shared.own.hello()),
            to: node,
        };
        let reply = link
            .client
            .clone()
            .handshake(Request::new(request))
            .await?
            .into_inner();
        let hello = reply.hello.unwrap_or_default();
        self.shared
            .own
            .admit(&hello, Some(node))
            .map_err(|refused| Status::failed_precondition(format!("node {node}: {refused}")))?;
        *held = Some(reply.session.clone());
        Ok(reply.session)
    }
}

impl<E: Env> PeerTransport for Peers<E> {
    async fn call(
        &self,
        to: u64,
        address: &str,
        kind: RaftCall,
        body: Bytes,
        timeout: Duration,
    ) -> Result<Bytes, PeerError> {
        let lane = match kind {
            RaftCall::Append => Lane::Bulk,
            _ => Lane::Prompt,
        };
        let (peer, _) = super::addresses(address);
        let own = self.shared.own.identity().node_id;
        let result = self
            .ask(to, Some(peer), lane, timeout, |mut client, session| {
                let kind = i32::from(u8::from(kind));
                let request = CallRequest {
                    session,
                    kind,
                    from: own,
                    body: body.clone(),
                };
                async move { client.call(request).await }
            })
            .await;
        result
            .map(|reply| reply.body)
            .map_err(|status| match status.code() {
                Code::DeadlineExceeded => PeerError::Timeout(timeout),
                Code::Unavailable => PeerError::Unreachable(status.message().to_owned()),
                _ => PeerError::Refused(status.message().to_owned()),
            })
    }
}

impl<E: Env> AskCosign for Peers<E> {
    async fn cosign(&self, member: NodeId, size: TreeSize, root: NodeHash) -> Option<CosignAnswer> {
        let reply = self
            .ask(
                member.0,
                None,
                Lane::Prompt,
                COSIGN_TIMEOUT,
                |mut client, session| {
                    let root = Bytes::copy_from_slice(&root.0);
                    async move {
                        client
                            .cosign(CosignRequest {
                                session,
                                size: size.0,
                                root,
                            })
                            .await
                    }
                },
            )
            .await
            .ok()?;
        match reply.answer? {
            cosign_response::Answer::NotYet(_) => Some(CosignAnswer::NotYet),
            cosign_response::Answer::Differs(differs) => {
                let root = <[u8; 32]>::try_from(&differs.root[..]).ok()?;
                Some(CosignAnswer::Differs(NodeHash(root)))
            }
            cosign_response::Answer::Line(line) => {
                NoteSignature::parse(&line).ok().map(CosignAnswer::Cosigned)
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
