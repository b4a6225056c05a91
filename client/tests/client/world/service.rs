//! The cluster's two services, as a node would answer, and then as the test wants it.

use candor_ledger::decimal::Decimal;
use candor_ledger::digest::{TaggedDigest, sha3_256};
use candor_ledger::entry::{MissReason, Model, SemanticMatch, State, Subject, Told, Verdict};
use candor_ledger::fingerprint::{ExactFields, Fingerprint, FingerprintFields, ResultOnlyFields};
use candor_ledger::fold::{self, Answer, Answered, Operation, Outcome, Request};
use candor_ledger::ids::{RequestId, TreeSize};
use candor_proto::audit_v1 as audit;
use candor_proto::audit_v1::audit_service_server::{AuditService, AuditServiceServer};
use candor_proto::audit_v1::{Acknowledgement, CheckpointProof, Recorded};
use candor_proto::cache_v1 as cache;
use candor_proto::cache_v1::cache_service_server::{CacheService, CacheServiceServer};
use candor_proto::{ErrorCode, error_domain, error_metadata, timestamp};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request as Rpc, Response, Status};
use tonic_types::{ErrorDetails, StatusExt};

use super::{ACTOR, Shared, TENANT, World, lock};

const LEN_MAX: usize = 64 << 20;

/// Serves a world on a free port until the runtime ends; returns where.
pub async fn serve(world: &Shared) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let cache = CacheServiceServer::new(Node(world.clone())).max_decoding_message_size(LEN_MAX);
    let audit = AuditServiceServer::new(Node(world.clone()));
    let server = tonic::transport::Server::builder()
        .add_service(cache)
        .add_service(audit);
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    format!("http://{address}")
}

struct Node(Shared);

impl World {
    /// A status as nodes make it.
    pub fn refused(&self, code: ErrorCode) -> Status {
        self.refused_with(code, &[])
    }

    pub fn refused_with(&self, code: ErrorCode, facts: &[(&str, &str)]) -> Status {
        let time = self.now.to_string();
        let time = (error_metadata::LEDGER_TIME, time.as_str());
        let facts = facts.iter().copied().chain([time]);
        let facts: std::collections::HashMap<_, _> = facts
            .map(|(key, fact)| (key.to_owned(), fact.to_owned()))
            .collect();
        let details = ErrorDetails::with_error_info(code.as_str(), error_domain::CANDOR, facts);
        Status::with_error_details(code.grpc(), "as the test wants it", details)
    }

    pub(super) fn enter(&mut self, method: &str, request: Option<&Request>) -> Result<(), Status> {
        if let Some(request) = request {
            self.requests.push((method.to_owned(), request.request_id));
        }
        let Some(mut gate) = self.gate.take() else {
            return Ok(());
        };
        let refused = gate(self, method, request);
        self.gate = Some(gate);
        refused.map_or(Ok(()), Err)
    }

    /// The checkpoint a reply is proved under: the known one when it covers and is young, else the
    /// newest, else a new one.
    fn choose(&mut self, known: u64, covers: u64, max_age_ms: u64) -> Option<u64> {
        let young = |world: &Self, size: u64| {
            let sealed = world.entry(size - 1).time.plus_millis(max_age_ms);
            covers < size && sealed >= world.now
        };
        if self.notes.contains_key(&known) && young(self, known) {
            return Some(known);
        }
        let newest = self.sealed_size();
        if young(self, newest) {
            return Some(newest);
        }
        self.seals.then(|| self.seal())
    }

    pub(super) fn recorded(
        &self,
        seq: u64,
        size: u64,
        subject: &Subject,
        replayed: bool,
    ) -> Recorded {
        let proof = self.proof(seq, size);
        let acknowledgement = if proof.size == 0 {
            Acknowledgement::Committed
        } else {
            Acknowledgement::Sealed
        };
        Recorded {
            seq,
            acknowledgement: acknowledgement.into(),
            subject: subject.to_string(),
            ledger_time: Some(timestamp(self.now.0)),
            replayed,
            proof: Some(proof),
        }
    }

    fn get(&mut self, get: &cache::GetRequest) -> Result<cache::GetResponse, Status> {
        let item = get.item.clone().unwrap();
        let fingerprint = Fingerprint::parse(&item.fingerprint).unwrap();
        let request = Request {
            tenant: TENANT.to_owned(),
            actor: ACTOR.to_owned(),
            request_id: RequestId::parse(&item.request_id).unwrap(),
            operation: Operation::Get(fold::Get {
                fingerprint,
                semantic: item.semantic_match.as_ref().map(semantic_of),
            }),
        };
        self.enter("get", Some(&request))?;
        let subject = Subject::Fingerprint(fingerprint);
        let wait = get.wait_for() == Acknowledgement::Sealed;
        let mut reply = match self.request(request) {
            Outcome::Hit(hit) => {
                let covers = if wait { hit.seq } else { hit.held.write_seq };
                let size = self.choose(get.known_size, covers.0, get.max_age_ms);
                let outcome = match size {
                    None => cache::get_result::Outcome::Withheld(cache::Withheld {
                        reason: cache::WithheldReason::WriteNotSealed.into(),
                        write_seq: hit.held.write_seq.0,
                    }),
                    Some(size) => cache::get_result::Outcome::Hit(cache::Hit {
                        value: self.values[&hit.held.output_hash].clone().into(),
                        media_type: hit.held.media_type.clone(),
                        write_seq: hit.held.write_seq.0,
                        version: hit.held.version,
                        output_hash: tagged(&hit.held.output_hash),
                        write: Some(self.proof(hit.held.write_seq.0, size)),
                    }),
                };
                cache::GetResponse {
                    result: Some(cache::GetResult {
                        recorded: Some(self.recorded(
                            hit.seq.0,
                            size.unwrap_or(0),
                            &subject,
                            false,
                        )),
                        outcome: Some(outcome),
                    }),
                    checkpoint: size.map(|size| self.checkpoint(size, get.known_size)),
                }
            }
            Outcome::Miss(miss) => cache::GetResponse {
                result: Some(cache::GetResult {
                    recorded: Some(self.recorded(miss.seq.0, 0, &subject, false)),
                    outcome: Some(cache::get_result::Outcome::Miss(miss_of(&miss.reason))),
                }),
                checkpoint: None,
            },
            other if self.lie_get.is_none() => return Err(self.not_admitted(&other)),
            _ => cache::GetResponse {
                result: Some(cache::GetResult {
                    recorded: Some(self.recorded(self.size() - 1, 0, &subject, false)),
                    outcome: None,
                }),
                checkpoint: None,
            },
        };
        if let Some(mut lie) = self.lie_get.take() {
            lie(self, &mut reply);
            self.lie_get = Some(lie);
        }
        Ok(reply)
    }

    fn set(&mut self, set: &cache::SetRequest) -> Result<cache::SetResponse, Status> {
        let item = set.item.clone().unwrap();
        let fields = fields_of(item.fields.unwrap());
        let subject = Subject::Fingerprint(fields.fingerprint());
        assert_eq!(item.fingerprint, subject.to_string());
        let output_hash = sha3_256(&item.output);
        assert_eq!(item.output_hash, tagged(&output_hash));
        self.values.insert(output_hash, item.output.to_vec());
        let operation = Operation::Set(Box::new(fold::Set {
            fields,
            output_hash,
            output_len: u64::try_from(item.output.len()).unwrap(),
            media_type: item.media_type,
            ttl_ms: item.ttl_ms,
            told: told_of(item.told.unwrap()),
            semantic: item.semantic_match.as_ref().map(semantic_of),
        }));
        let waits = (set.wait_for(), set.known_size);
        let (answered, recorded, checkpoint) =
            self.change("set", &item.request_id, &subject, operation, waits)?;
        let outcome = match answered.answer {
            Answer::Written {
                version,
                renewed,
                deadline,
            } => cache::set_result::Outcome::Written(cache::Written {
                version,
                renewed,
                expires: Some(timestamp(deadline.0)),
            }),
            Answer::Conflict {
                held,
                offered,
                version,
                write_seq,
            } => cache::set_result::Outcome::Conflict(cache::Conflict {
                held_output_hash: tagged(&held),
                offered_output_hash: tagged(&offered),
                version,
                write_seq: write_seq.0,
            }),
            other => cache::set_result::Outcome::Refused(refused_of(other)),
        };
        let mut reply = cache::SetResponse {
            result: Some(cache::SetResult {
                recorded: Some(recorded),
                outcome: Some(outcome),
            }),
            checkpoint,
        };
        if let Some(mut lie) = self.lie_set.take() {
            lie(self, &mut reply);
            self.lie_set = Some(lie);
        }
        Ok(reply)
    }

    /// Decides a state-changing request and waits for what was asked.
    fn change(
        &mut self,
        method: &str,
        request_id: &str,
        subject: &Subject,
        operation: Operation,
        (wait_for, known): (Acknowledgement, u64),
    ) -> Result<(Answered, Recorded, Option<CheckpointProof>), Status> {
        let request = Request {
            tenant: TENANT.to_owned(),
            actor: ACTOR.to_owned(),
            request_id: RequestId::parse(request_id).unwrap(),
            operation,
        };
        self.enter(method, Some(&request))?;
        let answered = match self.request(request) {
            Outcome::Answered(answered) => answered,
            other => return Err(self.not_admitted(&other)),
        };
        self.enter(&format!("{method} decided"), None)?;
        let sealed = wait_for != Acknowledgement::Committed && self.seals;
        let size = if !sealed {
            0
        } else if answered.seq.0 < self.sealed_size() {
            self.sealed_size()
        } else {
            self.seal()
        };
        let recorded = self.recorded(answered.seq.0, size, subject, answered.replayed);
        let checkpoint = (size > 0).then(|| self.checkpoint(size, known));
        Ok((answered, recorded, checkpoint))
    }

    pub(super) fn not_admitted(&self, outcome: &Outcome) -> Status {
        match outcome {
            Outcome::RequestIdAhead { .. } => self.refused(ErrorCode::RequestIdAhead),
            Outcome::RequestIdReused { .. } => self.refused(ErrorCode::RequestIdReused),
            Outcome::RequestIdStale { .. } => self.refused(ErrorCode::RequestIdStale),
            other => Status::invalid_argument(format!("{other:?}")),
        }
    }

    fn list(
        &mut self,
        list: &audit::ListLifecycleRequest,
    ) -> Result<audit::ListLifecycleResponse, Status> {
        self.enter("list", None)?;
        let subject = Subject::parse(&list.subject).unwrap();
        let newest = fold::lifecycle(&self.state, TENANT, &subject).unwrap();
        let (mut next, size) = match list.page_token.split_once(' ') {
            Some((next, size)) => (Some(next.parse().unwrap()), size.parse().unwrap()),
            None => (newest.map(|newest| newest.last.0), self.sealed_size()),
        };
        let mut entries = Vec::new();
        while let Some(seq) = next.filter(|_| entries.len() < self.page) {
            entries.push(self.proof(seq, size));
            next = self.entry(seq).subject_prev.map(|seq| seq.0);
        }
        let mut reply = audit::ListLifecycleResponse {
            subject: subject.to_string(),
            entries,
            checkpoint: Some(self.checkpoint(size, list.known_size)),
            next_page_token: next
                .map(|next| format!("{next} {size}"))
                .unwrap_or_default(),
        };
        if let Some(mut lie) = self.lie_list.take() {
            lie(self, &mut reply);
            self.lie_list = Some(lie);
        }
        Ok(reply)
    }

    fn one(&self, seq: u64, known: u64) -> (audit::Proof, Option<CheckpointProof>) {
        let size = self.sealed_size();
        let proof = self.proof(seq, size);
        let checkpoint = (proof.size > 0).then(|| self.checkpoint(size, known));
        (proof, checkpoint)
    }
}

pub(super) fn tagged(digest: &[u8; 32]) -> String {
    TaggedDigest::sha3(*digest).to_string()
}

fn semantic_of(semantic: &cache::SemanticMatch) -> SemanticMatch {
    SemanticMatch {
        original_prompt_hash: TaggedDigest::parse(&semantic.original_prompt_hash).unwrap(),
        similarity: Decimal::parse(&semantic.similarity).unwrap(),
    }
}

fn fields_of(fields: cache::set_item::Fields) -> FingerprintFields {
    let exact = |f: cache::ExactFields| ExactFields {
        model_name: f.model_name,
        model_version: f.model_version,
        prompt_hash: f.prompt_hash,
        temperature: f.temperature,
        top_p: f.top_p,
        system_prompt_hash: f.system_prompt_hash,
        hardware_class: f.hardware_class,
        parameters: f.parameters,
    };
    let fields = match fields {
        cache::set_item::Fields::Exact(fields) => FingerprintFields::Exact(exact(fields)),
        cache::set_item::Fields::Semantic(fields) => FingerprintFields::Semantic(exact(fields)),
        cache::set_item::Fields::ResultOnly(f) => FingerprintFields::ResultOnly(ResultOnlyFields {
            model_version: f.model_version,
            computation_type: f.computation_type,
            parameters: f.parameters,
            hardware_class: f.hardware_class,
        }),
    };
    fields.validate().unwrap();
    fields
}

fn told_of(told: cache::Told) -> Told {
    let text = |text: String| Some(text).filter(|text| !text.is_empty());
    let digest = |text: String| TaggedDigest::parse(&text).ok();
    Told {
        decision: text(told.decision),
        input_tokens: told.input_tokens,
        latency_ms: told.latency_ms,
        model_checksum: digest(told.model_checksum),
        observed_model_version: text(told.observed_model_version),
        output_tokens: told.output_tokens,
        person: digest(told.person),
        trace_id: text(told.trace_id),
    }
}

pub(super) fn miss_of(reason: &MissReason) -> cache::Miss {
    let (reason, successor) = match reason {
        MissReason::Absent => (cache::MissReason::Absent, None),
        MissReason::Erased => (cache::MissReason::Erased, None),
        MissReason::Expired => (cache::MissReason::Expired, None),
        MissReason::Revoked => (cache::MissReason::Revoked, None),
        MissReason::Superseded(by) => (cache::MissReason::Superseded, Some(by.to_string())),
    };
    cache::Miss {
        reason: reason.into(),
        successor: successor.unwrap_or_default(),
    }
}

fn refused_of(answer: Answer) -> audit::Refused {
    let Answer::Refused { state, refusal } = answer else {
        panic!("no refusal: {answer:?}")
    };
    let state = match state {
        State::Absent => audit::ResultState::Absent,
        State::Active => audit::ResultState::Active,
        State::Erased => audit::ResultState::Erased,
        State::Expired => audit::ResultState::Expired,
        State::Revoked => audit::ResultState::Revoked,
        State::Superseded => audit::ResultState::Superseded,
    };
    audit::Refused {
        reason: refusal.code().to_owned(),
        state: state.into(),
        successor: refusal
            .successor()
            .map(|s| s.to_string())
            .unwrap_or_default(),
    }
}

#[tonic::async_trait]
impl CacheService for Node {
    async fn get(
        &self,
        rpc: Rpc<cache::GetRequest>,
    ) -> Result<Response<cache::GetResponse>, Status> {
        lock(&self.0).get(rpc.get_ref()).map(Response::new)
    }

    async fn batch_get(
        &self,
        rpc: Rpc<cache::BatchGetRequest>,
    ) -> Result<Response<cache::BatchGetResponse>, Status> {
        let mut world = lock(&self.0);
        let batch = rpc.into_inner();
        // Decided first, then read under one checkpoint: known is 0, so that the note is there.
        world.seal();
        let mut reply = cache::BatchGetResponse::default();
        for item in batch.items {
            let one = world.get(&cache::GetRequest {
                item: Some(item),
                wait_for: batch.wait_for,
                known_size: batch.known_size,
                max_age_ms: batch.max_age_ms,
            })?;
            reply.checkpoint = one.checkpoint.or(reply.checkpoint);
            reply.results.push(one.result.unwrap());
        }
        Ok(Response::new(reply))
    }

    async fn get_as_of(
        &self,
        rpc: Rpc<cache::GetAsOfRequest>,
    ) -> Result<Response<cache::GetAsOfResponse>, Status> {
        lock(&self.0).get_as_of(rpc.get_ref()).map(Response::new)
    }

    async fn set(
        &self,
        rpc: Rpc<cache::SetRequest>,
    ) -> Result<Response<cache::SetResponse>, Status> {
        lock(&self.0).set(rpc.get_ref()).map(Response::new)
    }

    async fn batch_set(
        &self,
        rpc: Rpc<cache::BatchSetRequest>,
    ) -> Result<Response<cache::BatchSetResponse>, Status> {
        let mut world = lock(&self.0);
        let mut reply = cache::BatchSetResponse::default();
        for item in rpc.into_inner().items {
            let one = world.set(&cache::SetRequest {
                item: Some(item),
                wait_for: Acknowledgement::Committed.into(),
                known_size: 0,
            });
            reply.results.push(match one {
                Ok(one) => one.result.unwrap(),
                Err(status) => cache::SetResult {
                    recorded: None,
                    outcome: Some(cache::set_result::Outcome::Error(item_error(&status))),
                },
            });
        }
        world.seal();
        Ok(Response::new(reply))
    }

    async fn supersede(
        &self,
        rpc: Rpc<cache::SupersedeRequest>,
    ) -> Result<Response<cache::SupersedeResponse>, Status> {
        let rpc = rpc.into_inner();
        let waits = (rpc.wait_for(), rpc.known_size);
        let fingerprint = Fingerprint::parse(&rpc.fingerprint).unwrap();
        let subject = Subject::Fingerprint(fingerprint);
        let operation = Operation::Supersede(fold::Supersede {
            fingerprint,
            successor: Fingerprint::parse(&rpc.successor).unwrap(),
            reason: rpc.reason,
        });
        let mut world = lock(&self.0);
        let (answered, recorded, checkpoint) =
            world.change("supersede", &rpc.request_id, &subject, operation, waits)?;
        let outcome = match answered.answer {
            Answer::Superseded { version } => {
                cache::supersede_response::Outcome::Superseded(cache::Superseded {
                    version,
                    successor: rpc.successor,
                })
            }
            other => cache::supersede_response::Outcome::Refused(refused_of(other)),
        };
        Ok(Response::new(cache::SupersedeResponse {
            recorded: Some(recorded),
            outcome: Some(outcome),
            checkpoint,
        }))
    }

    async fn revoke(
        &self,
        rpc: Rpc<cache::RevokeRequest>,
    ) -> Result<Response<cache::RevokeResponse>, Status> {
        let rpc = rpc.into_inner();
        let waits = (rpc.wait_for(), rpc.known_size);
        let revoke = revoke_of(&rpc.fingerprint, &rpc.output_hash, rpc.reason);
        let subject = Subject::Fingerprint(revoke.fingerprint);
        let operation = Operation::Revoke(revoke);
        let mut world = lock(&self.0);
        let (answered, recorded, checkpoint) =
            world.change("revoke", &rpc.request_id, &subject, operation, waits)?;
        let outcome = match answered.answer {
            Answer::Revoked { version } => {
                cache::revoke_response::Outcome::Revoked(cache::Revoked {
                    version,
                    output_hash: rpc.output_hash,
                })
            }
            other => cache::revoke_response::Outcome::Refused(refused_of(other)),
        };
        Ok(Response::new(cache::RevokeResponse {
            recorded: Some(recorded),
            outcome: Some(outcome),
            checkpoint,
        }))
    }

    async fn reinstate(
        &self,
        rpc: Rpc<cache::ReinstateRequest>,
    ) -> Result<Response<cache::ReinstateResponse>, Status> {
        let rpc = rpc.into_inner();
        let waits = (rpc.wait_for(), rpc.known_size);
        let revoke = revoke_of(&rpc.fingerprint, &rpc.output_hash, rpc.reason);
        let subject = Subject::Fingerprint(revoke.fingerprint);
        let operation = Operation::Reinstate(revoke);
        let mut world = lock(&self.0);
        let (answered, recorded, checkpoint) =
            world.change("reinstate", &rpc.request_id, &subject, operation, waits)?;
        let outcome = match answered.answer {
            Answer::Reinstated { version, .. } => {
                cache::reinstate_response::Outcome::Reinstated(cache::Reinstated {
                    version,
                    output_hash: rpc.output_hash,
                    state: audit::ResultState::Active.into(),
                })
            }
            other => cache::reinstate_response::Outcome::Refused(refused_of(other)),
        };
        Ok(Response::new(cache::ReinstateResponse {
            recorded: Some(recorded),
            outcome: Some(outcome),
            checkpoint,
        }))
    }

    async fn supersede_model(
        &self,
        rpc: Rpc<cache::SupersedeModelRequest>,
    ) -> Result<Response<cache::SupersedeModelResponse>, Status> {
        let rpc = rpc.into_inner();
        let waits = (rpc.wait_for(), rpc.known_size);
        let model = |model: cache::ModelVersion| Model {
            name: model.name,
            version: model.version,
        };
        let (from, to) = (rpc.from.unwrap(), rpc.to.unwrap());
        let supersede = fold::ModelSupersede {
            from: model(from.clone()),
            to: model(to.clone()),
            reason: rpc.reason,
        };
        let subject = Subject::Model(supersede.from.clone());
        let operation = Operation::ModelSupersede(Box::new(supersede));
        let mut world = lock(&self.0);
        let (answered, recorded, checkpoint) = world.change(
            "supersede_model",
            &rpc.request_id,
            &subject,
            operation,
            waits,
        )?;
        let outcome = match answered.answer {
            Answer::ModelSuperseded => {
                cache::supersede_model_response::Outcome::Superseded(cache::ModelSuperseded {
                    from: Some(from),
                    to: Some(to),
                })
            }
            other => cache::supersede_model_response::Outcome::Refused(refused_of(other)),
        };
        Ok(Response::new(cache::SupersedeModelResponse {
            recorded: Some(recorded),
            outcome: Some(outcome),
            checkpoint,
        }))
    }
}

fn revoke_of(fingerprint: &str, output_hash: &str, reason: String) -> fold::Revoke {
    fold::Revoke {
        fingerprint: Fingerprint::parse(fingerprint).unwrap(),
        output_hash: TaggedDigest::parse(output_hash).unwrap().bytes,
        reason,
    }
}

fn item_error(status: &Status) -> audit::ItemError {
    let info = status.get_error_details().error_info().cloned().unwrap();
    audit::ItemError {
        code: info.reason,
        message: status.message().to_owned(),
        field: String::new(),
        metadata: info.metadata.into_iter().collect(),
    }
}

#[tonic::async_trait]
impl AuditService for Node {
    async fn attest(
        &self,
        rpc: Rpc<audit::AttestRequest>,
    ) -> Result<Response<audit::AttestResponse>, Status> {
        let rpc = rpc.into_inner();
        let waits = (rpc.wait_for(), rpc.known_size);
        let subject = Subject::parse(&rpc.subject).unwrap();
        let operation = Operation::Attest(Box::new(fold::Attest {
            subject: subject.clone(),
            result: match rpc.finding() {
                audit::Finding::Proved => Verdict::Proved,
                audit::Finding::Refuted => Verdict::Refuted,
                _ => Verdict::NotProved,
            },
            size: TreeSize(rpc.size),
            root: rpc.root.as_ref().try_into().unwrap(),
            auditor: rpc.auditor_key.as_ref().try_into().unwrap(),
            signature: rpc.signature.as_ref().try_into().unwrap(),
        }));
        let mut world = lock(&self.0);
        let (answered, recorded, checkpoint) =
            world.change("attest", &rpc.request_id, &subject, operation, waits)?;
        let refused = match answered.answer {
            Answer::Attested => None,
            other => Some(refused_of(other)),
        };
        Ok(Response::new(audit::AttestResponse {
            recorded: Some(recorded),
            refused,
            checkpoint,
        }))
    }

    async fn get_entry(
        &self,
        rpc: Rpc<audit::GetEntryRequest>,
    ) -> Result<Response<audit::GetEntryResponse>, Status> {
        let (proof, checkpoint) = lock(&self.0).one(rpc.get_ref().seq, rpc.get_ref().known_size);
        Ok(Response::new(audit::GetEntryResponse {
            proof: Some(proof),
            checkpoint,
        }))
    }

    async fn get_receipt(
        &self,
        rpc: Rpc<audit::GetReceiptRequest>,
    ) -> Result<Response<audit::GetReceiptResponse>, Status> {
        let (rpc, mut world) = (rpc.into_inner(), lock(&self.0));
        world.enter("receipt", None)?;
        let seq = match rpc.entry.unwrap() {
            audit::get_receipt_request::Entry::Seq(seq) => seq,
            audit::get_receipt_request::Entry::RequestId(id) => {
                let made_by = |seq: &u64| {
                    world
                        .entry(*seq)
                        .request_id
                        .is_some_and(|found| found.to_string() == id)
                };
                let found = (0..world.size()).find(made_by);
                found.ok_or_else(|| world.refused(ErrorCode::UnknownRequest))?
            }
        };
        let (proof, checkpoint) = world.one(seq, rpc.known_size);
        if checkpoint.is_none() {
            return Err(world.refused(ErrorCode::NotSealed));
        }
        Ok(Response::new(audit::GetReceiptResponse {
            proof: Some(proof),
            checkpoint,
        }))
    }

    async fn list_lifecycle(
        &self,
        rpc: Rpc<audit::ListLifecycleRequest>,
    ) -> Result<Response<audit::ListLifecycleResponse>, Status> {
        lock(&self.0).list(rpc.get_ref()).map(Response::new)
    }

    async fn resolve_fingerprint(
        &self,
        rpc: Rpc<audit::ResolveFingerprintRequest>,
    ) -> Result<Response<audit::ResolveFingerprintResponse>, Status> {
        let world = lock(&self.0);
        let found = fold::resolve_prefix(&world.state, TENANT, &rpc.get_ref().prefix, 17).unwrap();
        Ok(Response::new(audit::ResolveFingerprintResponse {
            more: found.len() > 16,
            candidates: found.iter().take(16).map(ToString::to_string).collect(),
        }))
    }

    async fn get_checkpoint(
        &self,
        rpc: Rpc<audit::GetCheckpointRequest>,
    ) -> Result<Response<audit::GetCheckpointResponse>, Status> {
        let mut world = lock(&self.0);
        let mut checkpoint = world.checkpoint(world.sealed_size(), 0);
        checkpoint.consistency = world.consistency(checkpoint.size, rpc.get_ref().known_size);
        if let Some(mut lie) = world.lie_checkpoint.take() {
            lie(&mut world, &mut checkpoint);
            world.lie_checkpoint = Some(lie);
        }
        Ok(Response::new(audit::GetCheckpointResponse {
            checkpoint: Some(checkpoint),
        }))
    }

    async fn get_consistency(
        &self,
        rpc: Rpc<audit::GetConsistencyRequest>,
    ) -> Result<Response<audit::GetConsistencyResponse>, Status> {
        let path = lock(&self.0).consistency(rpc.get_ref().old_size, rpc.get_ref().new_size);
        Ok(Response::new(audit::GetConsistencyResponse { path }))
    }

    async fn list_range(
        &self,
        rpc: Rpc<audit::ListRangeRequest>,
    ) -> Result<Response<audit::ListRangeResponse>, Status> {
        let mut world = lock(&self.0);
        world.enter("range", None)?;
        let mut reply = world.range(rpc.get_ref());
        if let Some(mut lie) = world.lie_range.take() {
            lie(&mut world, &mut reply);
            world.lie_range = Some(lie);
        }
        Ok(Response::new(reply))
    }

    async fn list_entries(
        &self,
        _: Rpc<audit::ListEntriesRequest>,
    ) -> Result<Response<audit::ListEntriesResponse>, Status> {
        Err(Status::unimplemented("no client asks for it"))
    }
}
