//! Requests as they travel, under ids that a test chooses.

use std::time::Duration;

use candor_client::Fields as _;
use candor_jepsen::real::Cluster;
use candor_jepsen::workload::{TTL, fields};
use candor_ledger::digest::{TaggedDigest, sha3_256};
use candor_ledger::fingerprint::{Fingerprint, FingerprintFields};
use candor_proto::audit_v1::Acknowledgement;
use candor_proto::cache_v1::cache_service_client::CacheServiceClient;
use candor_proto::cache_v1::{
    ExactFields, GetItem, GetRequest, GetResult, SemanticMatch, SetItem, SetRequest, SetResult,
    set_item,
};
use tonic::transport::Channel;
use tonic::{Request, Status};
use tonic_types::StatusExt as _;

/// One principal's connection to one node; nothing is verified or retried.
#[derive(Clone)]
pub struct Raw {
    channel: Channel,
    token: String,
}

impl Raw {
    pub fn new(cluster: &Cluster, actor: &str, node: u64) -> Self {
        let uri = format!("http://{}", cluster.client_address(node));
        Self {
            channel: Channel::from_shared(uri).unwrap().connect_lazy(),
            token: cluster.principal(actor).unwrap().token.clone(),
        }
    }

    pub async fn get(&self, request_id: &str, name: &str) -> Result<GetResult, Status> {
        self.look_up(request_id, fingerprint(name), None).await
    }

    pub async fn look_up(
        &self,
        request_id: &str,
        fingerprint: Fingerprint,
        semantic_match: Option<SemanticMatch>,
    ) -> Result<GetResult, Status> {
        let request = GetRequest {
            item: Some(GetItem {
                request_id: request_id.to_owned(),
                fingerprint: fingerprint.to_string(),
                semantic_match,
            }),
            ..GetRequest::default()
        };
        let reply = self.cache().get(self.timed(request)).await?;
        Ok(reply.into_inner().result.unwrap())
    }

    /// Sets; the answer comes when it is committed.
    pub async fn set(
        &self,
        request_id: &str,
        name: &str,
        output: &str,
    ) -> Result<SetResult, Status> {
        self.set_knowing(0, request_id, name, output).await
    }

    /// The same of a client that remembers the checkpoint of this size.
    pub async fn set_knowing(
        &self,
        known_size: u64,
        request_id: &str,
        name: &str,
        output: &str,
    ) -> Result<SetResult, Status> {
        let request = SetRequest {
            item: Some(item(request_id, name, output)),
            wait_for: Acknowledgement::Committed.into(),
            known_size,
        };
        let reply = self.cache().set(self.timed(request)).await?;
        Ok(reply.into_inner().result.unwrap())
    }

    fn cache(&self) -> CacheServiceClient<Channel> {
        CacheServiceClient::new(self.channel.clone())
    }

    fn timed<M>(&self, message: M) -> Request<M> {
        let mut request = Request::new(message);
        request.set_timeout(Duration::from_secs(20));
        let token = format!("Bearer {}", self.token).parse().unwrap();
        request.metadata_mut().insert("authorization", token);
        request
    }
}

pub fn new_id() -> String {
    uuid::Uuid::now_v7().to_string()
}

pub fn fingerprint(name: &str) -> Fingerprint {
    fields(name).to_fingerprint_fields().unwrap().fingerprint()
}

/// The stable code of a refusal.
pub fn code(status: &Status) -> String {
    let info = status.get_details_error_info();
    info.map_or_else(|| format!("{status:?}"), |info| info.reason)
}

fn item(request_id: &str, name: &str, output: &str) -> SetItem {
    let FingerprintFields::Exact(fields) = fields(name).to_fingerprint_fields().unwrap() else {
        panic!("these fields name their prompt");
    };
    SetItem {
        request_id: request_id.to_owned(),
        fields: Some(set_item::Fields::Exact(ExactFields {
            model_name: fields.model_name,
            model_version: fields.model_version,
            prompt_hash: fields.prompt_hash,
            temperature: fields.temperature,
            top_p: fields.top_p,
            system_prompt_hash: fields.system_prompt_hash,
            hardware_class: fields.hardware_class,
            parameters: fields.parameters,
        })),
        fingerprint: fingerprint(name).to_string(),
        output: output.as_bytes().to_vec().into(),
        output_hash: TaggedDigest::sha3(sha3_256(output.as_bytes())).to_string(),
        media_type: "text/plain".to_owned(),
        ttl_ms: u64::try_from(TTL.as_millis()).unwrap(),
        told: None,
        semantic_match: None,
    }
}
