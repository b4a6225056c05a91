//! Running a cluster: what operators ask of one node.
//!
//! These answers are the node's own statements about itself; none of them is verified, and none of
//! them is what an auditor needs.

use std::time::Duration;

use candor_proto::audit_v1::{ListEntriesRequest, ListEntriesResponse};
use candor_proto::cluster_v1 as wire;
use candor_proto::cluster_v1::cluster_service_client::ClusterServiceClient;
use tonic::transport::Channel;
use tonic::{Response, Status};
use tonic_types::StatusExt;

use crate::endpoint::{Endpoints, Line};
use crate::error::Error;
use crate::surroundings::Surroundings;

/// The messages of `candor.cluster.v1`, as they travel.
pub use candor_proto::cluster_v1 as messages;

/// A connection to one node for its operator.
pub struct Operator {
    endpoints: Endpoints,
    timeout: Duration,
}

impl Operator {
    /// Connects when first used. Call it within a Tokio runtime.
    ///
    /// # Errors
    /// [`Error::Config`] for an address that is no `http://host:port`, or an unusable token.
    pub fn new(uri: &str, token: Option<&str>, timeout: Duration) -> Result<Self, Error> {
        Self::within(Surroundings::real(), uri, token, timeout)
    }

    /// The same with another network; for simulators and tests.
    ///
    /// # Errors
    /// As [`Operator::new`].
    pub fn within(
        surroundings: Surroundings,
        uri: &str,
        token: Option<&str>,
        timeout: Duration,
    ) -> Result<Self, Error> {
        let endpoints = Endpoints::new(&[uri.to_owned()], token, surroundings)?;
        Ok(Self { endpoints, timeout })
    }

    /// The node's view of the cluster.
    ///
    /// # Errors
    /// [`Error::Rejected`] by the node, [`Error::Unavailable`] when it does not answer; so with all
    /// methods here.
    pub async fn status(&self) -> Result<wire::GetStatusResponse, Error> {
        let request = wire::GetStatusRequest {};
        self.ask(request, async |mut c, r| c.get_status(r).await)
            .await
    }

    /// Who the node is.
    ///
    /// # Errors
    /// As [`Operator::status`].
    pub async fn identity(&self) -> Result<wire::GetIdentityResponse, Error> {
        let request = wire::GetIdentityRequest {};
        self.ask(request, async |mut c, r| c.get_identity(r).await)
            .await
    }

    /// The cluster's public keys as a trust policy: trust on first use, so compare the text with
    /// one that came another way.
    ///
    /// # Errors
    /// As [`Operator::status`].
    pub async fn policy(&self) -> Result<String, Error> {
        let request = wire::GetPolicyRequest {};
        Ok(self
            .ask(request, async |mut c, r| c.get_policy(r).await)
            .await?
            .policy)
    }

    /// Has the node store the genesis body durably; returns its digest.
    ///
    /// # Errors
    /// As [`Operator::status`].
    pub async fn prepare_genesis(&self, genesis: Vec<u8>) -> Result<String, Error> {
        let request = wire::PrepareGenesisRequest {
            genesis: genesis.into(),
        };
        Ok(self
            .ask(request, async |mut c, r| c.prepare_genesis(r).await)
            .await?
            .genesis_digest)
    }

    /// Starts the consensus; returns the cluster's id.
    ///
    /// # Errors
    /// As [`Operator::status`].
    pub async fn initialize(&self, request: wire::InitializeRequest) -> Result<String, Error> {
        Ok(self
            .ask(request, async |mut c, r| c.initialize(r).await)
            .await?
            .cluster_id)
    }

    /// Adds a node as a learner; returns its `ledger.member` entry's place.
    ///
    /// # Errors
    /// As [`Operator::status`].
    pub async fn add_node(&self, node: wire::Node) -> Result<u64, Error> {
        let request = wire::AddNodeRequest { node: Some(node) };
        Ok(self
            .ask(request, async |mut c, r| c.add_node(r).await)
            .await?
            .seq)
    }

    /// Makes a learner a voter; returns the voters.
    ///
    /// # Errors
    /// As [`Operator::status`].
    pub async fn promote_node(&self, node_id: u64) -> Result<Vec<u64>, Error> {
        let request = wire::PromoteNodeRequest { node_id };
        Ok(self
            .ask(request, async |mut c, r| c.promote_node(r).await)
            .await?
            .voters)
    }

    /// Removes a node for ever.
    ///
    /// # Errors
    /// As [`Operator::status`].
    pub async fn remove_node(&self, node_id: u64) -> Result<wire::RemoveNodeResponse, Error> {
        let request = wire::RemoveNodeRequest { node_id };
        self.ask(request, async |mut c, r| c.remove_node(r).await)
            .await
    }

    /// Hands leadership over, to the voter that is furthest when none is named.
    ///
    /// # Errors
    /// As [`Operator::status`].
    pub async fn transfer_leadership(
        &self,
        to: Option<u64>,
    ) -> Result<wire::TransferLeadershipResponse, Error> {
        let to = to.unwrap_or(0);
        let request = wire::TransferLeadershipRequest { to };
        self.ask(request, async |mut c, r| c.transfer_leadership(r).await)
            .await
    }

    /// Brings all nodes to one place.
    ///
    /// # Errors
    /// As [`Operator::status`].
    pub async fn settle(&self) -> Result<Vec<wire::SettledNode>, Error> {
        let request = wire::SettleRequest {};
        Ok(self
            .ask(request, async |mut c, r| c.settle(r).await)
            .await?
            .nodes)
    }

    /// A page of the whole ledger, entries of all tenants, as this node holds them; it ends at
    /// 2 MiB, and is empty at the end of the ledger. It needs the right `audit-all`.
    ///
    /// # Errors
    /// As [`Operator::status`].
    pub async fn list_entries(&self, start: u64) -> Result<ListEntriesResponse, Error> {
        let line = self.endpoints.line(0, self.timeout);
        let page_size = 0;
        let request = line.request(ListEntriesRequest { start, page_size });
        answer(&line, self.timeout, line.audit().list_entries(request)).await
    }

    async fn ask<M, R>(
        &self,
        message: M,
        send: impl AsyncFnOnce(
            ClusterServiceClient<Channel>,
            tonic::Request<M>,
        ) -> Result<Response<R>, Status>,
    ) -> Result<R, Error> {
        let line = self.endpoints.line(0, self.timeout);
        let request = line.request(message);
        answer(&line, self.timeout, send(line.cluster(), request)).await
    }
}

/// One node's answer to one try.
pub(crate) async fn answer<R>(
    line: &Line,
    timeout: Duration,
    call: impl Future<Output = Result<Response<R>, Status>>,
) -> Result<R, Error> {
    match tokio::time::timeout(timeout, call).await {
        Ok(Ok(reply)) => Ok(reply.into_inner()),
        Ok(Err(status)) => Err(refused(&status, line)),
        Err(_) => {
            let last = format!("`{}` did not answer in {timeout:?}", line.uri);
            Err(Error::Unavailable { last })
        }
    }
}

fn refused(status: &Status, line: &Line) -> Error {
    let details = status.get_error_details();
    let violation = details
        .bad_request()
        .and_then(|bad| bad.field_violations.first());
    match details.error_info() {
        Some(info) => Error::Rejected {
            code: info.reason.clone(),
            message: status.message().to_owned(),
            field: violation.map(|violation| violation.field.clone()),
            endpoint: line.uri.clone(),
        },
        None => Error::Unavailable {
            last: format!("`{}`: {}", line.uri, status.message()),
        },
    }
}

/// Whether all nodes are at one place, by their own word, and nothing waits for its checkpoint
/// there: until somebody asks for something, or the ledger has been silent for `max_silence`, no
/// file of a ledger changes then.
pub fn is_settled(nodes: &[wire::SettledNode]) -> bool {
    let Some(first) = nodes.first() else {
        return false;
    };
    nodes.iter().all(|node| {
        node.trouble.is_empty()
            && node.sealed_size == node.ledger_size
            && node.applied_index == first.applied_index
            && node.ledger_size == first.ledger_size
            && node.head == first.head
    })
}
