//! gRPC: admission in front, proofs behind, and in between one way to the ledger.
//!
//! Each method is a plain function on [`Api`] that gets an admitted [`call::Call`] and a message; it
//! does not know whether the client or another node sent them.

mod admission;
mod audit;
mod cache;
pub mod call;
mod cluster;
mod convert;
mod past;
mod proofs;
pub mod status;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use candor_ledger::fold::{self, Item, LogState, Operation, Outcome, Request as LedgerRequest};
use candor_ledger::ids::{RequestId, Seq};
use candor_ledger::planted;
use candor_ledger::time::Micros;
use candor_proto::audit_v1::{Acknowledgement, Recorded};
use candor_proto::raft_v1::ForwardRequest;
use candor_proto::{error_domain, error_metadata};
use prost::Message;
use tokio::sync::watch;
use tokio::time::Instant;
use tonic::{Code, Request, Response, Status};
use tonic_types::StatusExt as _;
use tracing::Instrument as _;

pub(crate) use self::admission::NewSubjects;
use self::call::Call;
use self::proofs::Anchor;
use self::status::{ApiError, ErrorCode};
use crate::apply::Applying;
use crate::clock::{ClockVerdict, ClockView};
use crate::cluster::Cluster;
use crate::config::LimitsSection;
use crate::env::{Disk as _, Env};
use crate::fold::Fold;
use crate::keys::LOG_KEY_PATH;
use crate::metrics::Metrics;
use crate::outcome;
use crate::peers::{Forwarded, Peers};
use crate::principal::{Principal, Right, Tokens};
use crate::proposer::Proposer;
use crate::snapshot::Stage;
use crate::storage::{Pace, Room, Storage};
use crate::store::{LedgerReader, StoreError, ledger_damage};

/// Largest message a client may send: a batch of values as large as one command.
pub const MESSAGE_LEN_MAX: usize = 10 << 20;

/// What the public services share.
pub struct Api<E: Env> {
    /// The node's seams.
    pub env: E,
    /// Who may call.
    pub tokens: Tokens,
    /// Bounds of calls.
    pub limits: LimitsSection,
    /// The way to the ledger.
    pub proposer: Proposer,
    /// The ledger's files.
    pub reader: LedgerReader<E::Disk>,
    /// The fold.
    pub state: Fold,
    /// What is applied and sealed.
    pub applying: watch::Receiver<Applying>,
    /// The other nodes.
    pub peers: Peers<E>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// What each principal has lately brought into the state.
    pub(crate) new_subjects: NewSubjects,
    /// Membership and what operators may ask.
    pub cluster: Arc<Cluster<E>>,
    /// What this node thinks of its own clock.
    pub clock: watch::Receiver<ClockView>,
    /// Whether the disk takes more.
    pub storage: watch::Receiver<Storage>,
    /// The node is draining.
    pub stopping: watch::Receiver<bool>,
    /// When the process started.
    pub started: Instant,
}

/// The gRPC face of [`Api`]; cheap to clone, one per service.
pub struct Service<E: Env>(pub Arc<Api<E>>);

/// One operation, decided.
#[derive(Clone, Debug)]
struct Submitted {
    outcome: Outcome,
    seq: Option<Seq>,
    line: Option<Bytes>,
    ledger_time: Micros,
}

impl Submitted {
    /// The write whose checkpoint a hit's value has to wait for.
    fn write_seq(&self) -> Option<Seq> {
        match &self.outcome {
            Outcome::Hit(hit) => Some(hit.held.write_seq),
            _ => None,
        }
    }
}

impl<E: Env> Api<E> {
    /// Submits one operation and waits, within the deadline, until it is committed and applied.
    async fn submit(
        &self,
        call: &Call,
        request_id: &str,
        operation: Operation,
        value: Option<Bytes>,
        at: &str,
    ) -> Result<Submitted, ApiError> {
        let request_id = RequestId::parse(request_id)
            .map_err(|problem| ApiError::field(format!("{at}request_id"), problem.to_string()))?;
        let Principal { tenant, actor, .. } = call.principal.clone();
        let request = LedgerRequest {
            tenant,
            actor,
            request_id,
            operation,
        };
        let log = self.log()?;
        request
            .validate(&log.origin, &log.params)
            .map_err(|refused| {
                ApiError::field(format!("{at}{}", refused.field), refused.problem)
            })?;
        let now = self.env.monotonic();
        if now >= call.deadline {
            return Err(ApiError::new(
                ErrorCode::DeadlinePassed,
                "the deadline has passed",
            ));
        }
        let is_new = self.admit_subject(&call.principal, &request, now)?;
        let op = convert::operation_name(&request.operation);
        // Of a batch every item is an operation with an id of its own.
        let span = tracing::info_span!("operation", op, %request_id);
        let submitting = self.proposer.submit(Item::Client(request), value);
        let submitting = submitting.instrument(span.clone());
        let applied = tokio::time::timeout_at(call.deadline, submitting)
            .await
            .map_err(|_| {
                let problem = "the deadline passed while the outcome was awaited";
                let code = if planted!("refused-though-unknown") {
                    ErrorCode::DeadlinePassed
                } else {
                    ErrorCode::OutcomeUnknown
                };
                ApiError::new(code, problem)
            })?
            .map_err(|error| self.with_leader(error.into()))?;
        if is_new && applied.line.is_some() {
            self.new_subjects.count(&call.principal, now);
        }
        let ledger_time = applied.ledger_time;
        let seq = outcome::entry_of(&applied.outcome);
        span.in_scope(|| {
            tracing::debug!(?seq, outcome = outcome::name(&applied.outcome), "decided");
        });
        self.metrics
            .operations
            .get_or_create(&[("op", op), ("outcome", outcome::name(&applied.outcome))])
            .inc();
        refuse_unrecorded(&applied.outcome, ledger_time, at)?;
        let line = applied.line.map(|(_, line)| line);
        Ok(Submitted {
            outcome: applied.outcome,
            seq,
            line,
            ledger_time,
        })
    }

    /// Whether the request is about a subject never seen; refuses it when its principal has brought
    /// too many of those.
    fn admit_subject(
        &self,
        principal: &Principal,
        request: &LedgerRequest,
        now: Instant,
    ) -> Result<bool, ApiError> {
        let subject = request.subject();
        if fold::lifecycle(&*self.state.read(), &request.tenant, &subject)?.is_some() {
            return Ok(false);
        }
        let max = self.limits.subjects_per_hour;
        match self.new_subjects.wait(principal, max, now) {
            None => Ok(true),
            Some(wait) => {
                let seconds = wait.as_secs().saturating_add(1);
                let problem = format!(
                    "`{}` has brought {max} new subjects within the hour, the most it may; \
                     again in {seconds} s",
                    principal.actor
                );
                Err(ApiError::new(ErrorCode::SubjectLimit, problem))
            }
        }
    }

    /// What every reply says of the entry that its request made.
    fn recorded(
        &self,
        _call: &Call,
        submitted: Submitted,
        anchor: Option<&Anchor>,
    ) -> Result<(Recorded, Outcome), ApiError> {
        let Submitted {
            outcome,
            seq,
            line,
            ledger_time,
        } = submitted;
        let seq =
            seq.ok_or_else(|| ApiError::new(ErrorCode::Internal, "an outcome without its entry"))?;
        let proof = self.proof(seq, line, anchor)?;
        let acknowledgement = match proof.size {
            0 => Acknowledgement::Committed,
            _ => Acknowledgement::Sealed,
        };
        let subject = candor_ledger::entry::Entry::parse(&proof.entry)
            .map(|entry| entry.subject.to_string())
            .unwrap_or_default();
        let recorded = Recorded {
            seq: seq.0,
            acknowledgement: acknowledgement.into(),
            subject,
            ledger_time: Some(convert::timestamp(ledger_time)),
            replayed: outcome::is_replay(&outcome),
            proof: Some(proof),
        };
        Ok((recorded, outcome))
    }

    /// Why this node cannot serve, one sentence each; empty when it can.
    pub fn trouble(&self) -> Vec<String> {
        let mut trouble = Vec::new();
        let status = self.cluster.consensus.status();
        if *self.stopping.borrow() {
            trouble.push("the node is stopping".to_owned());
        }
        if self.cluster.keys.log.is_none() {
            let installed = self.env.disk().stat(LOG_KEY_PATH);
            trouble.push(
                match installed {
                    Ok(Some(_)) => "log keys were installed after the start: restart this node",
                    Ok(None) | Err(_) => "no log keys are installed",
                }
                .to_owned(),
            );
        }
        if status.voters.is_empty() {
            trouble.push("the cluster is not initialised".to_owned());
        } else if status.leader.is_none() {
            trouble.push("no leader is known".to_owned());
        } else if self.applying.borrow().sealed.0 == 0 {
            trouble.push("no checkpoint yet".to_owned());
        }
        if self.clock.borrow().verdict == ClockVerdict::Unsure && status.leader == Some(status.node)
        {
            trouble.push("no majority agrees with this node's clock".to_owned());
        }
        let catch_up = self.cluster.shelf.progress();
        if catch_up.stage != Stage::Idle {
            let (done, total) = (catch_up.done, catch_up.total);
            trouble.push(format!("catching up: {done} of {total} entries are here"));
        }
        let storage = *self.storage.borrow();
        if storage.room > Room::Enough {
            let free = storage.free;
            let gives_up = match storage.room {
                Room::Exhausted => "records nothing and stores nothing for others",
                Room::Enough | Room::Low => "records nothing",
            };
            trouble.push(format!(
                "the disk is nearly full, {free} bytes: this node {gives_up}"
            ));
        }
        if storage.pace == Pace::Stalled {
            trouble.push("a write of the disk does not end: this node records nothing".to_owned());
        }
        let damages = self.reader.damages();
        if let Some(damage) = ledger_damage(&damages.borrow()) {
            let given_up = "this node neither leads, seals nor cosigns";
            trouble.push(format!("{given_up}: {}", damage.problem));
        }
        trouble
    }

    fn log(&self) -> Result<LogState, ApiError> {
        fold::log(&*self.state.read())?.ok_or_else(|| {
            ApiError::new(ErrorCode::NotInitialized, "the cluster has no genesis yet")
        })
    }

    fn value_len_max(&self) -> Result<u64, ApiError> {
        Ok(self.log()?.params.value_len_max)
    }

    fn with_leader(&self, error: ApiError) -> ApiError {
        match leader_of(&error).and_then(|leader| self.cluster.address(leader)) {
            Some((_, client)) => error.with(error_metadata::LEADER_ADDRESS, client),
            None => error,
        }
    }

    /// Answers a client's call that another node received and sent here, as leader.
    ///
    /// # Errors
    /// The status the client gets.
    pub async fn forwarded(&self, forwarded: Forwarded) -> Result<Bytes, Status> {
        let rights = forwarded
            .rights
            .iter()
            .filter_map(|text| Right::parse(text))
            .collect();
        let left = call::time_to_answer(forwarded.timeout).unwrap_or_default();
        let call = Call {
            principal: Principal::forwarded(forwarded.tenant, forwarded.actor, rights),
            deadline: self.env.monotonic() + left,
            forwarded: true,
        };
        let (method, message) = (forwarded.method.as_str(), forwarded.message);
        let answer = async {
            let answer = match self.forwarded_cache(method, &call, message.clone()).await {
                Some(answer) => answer,
                None => self
                    .forwarded_audit(method, &call, message)
                    .await
                    .unwrap_or_else(|| Err(ApiError::field("method", "cannot be sent on"))),
            };
            answer.map_err(|error| self.count(error))
        };
        answer.instrument(call.span(method)).await
    }

    fn count(&self, error: ApiError) -> Status {
        self.note_refusal(&error);
        error.into()
    }

    /// Counts and logs what a caller is refused, over gRPC or HTTP.
    pub fn note_refusal(&self, error: &ApiError) {
        tracing::debug!(code = error.code.as_str(), field = error.field, "refused");
        self.metrics
            .errors
            .get_or_create(&[("code", error.code.as_str())])
            .inc();
    }
}

impl<E: Env> Service<E> {
    /// Admission, the method itself, and at most one hop to the leader.
    async fn answer<M, R>(
        &self,
        request: Request<M>,
        method: &'static str,
        rights: &[Right],
        run: impl AsyncFnOnce(&Api<E>, &Call, M) -> Result<R, ApiError>,
    ) -> Result<Response<R>, Status>
    where
        M: Message + Clone,
        R: Message + Default,
    {
        let api = &*self.0;
        let now = api.env.monotonic();
        let longest = Duration::from_millis(api.limits.deadline_max_ms);
        let call = Call::admit(request.metadata(), &api.tokens, rights, now, longest)
            .map_err(|error| api.count(error))?;
        let span = call.span(method);
        let message = request.into_inner();
        let kept = message.clone();
        let error = match run(api, &call, message).instrument(span.clone()).await {
            Ok(reply) => return Ok(Response::new(reply)),
            Err(error) => error,
        };
        let (Some(leader), ErrorCode::NotLeader, false) =
            (leader_of(&error), error.code, call.forwarded)
        else {
            return Err(span.in_scope(|| api.count(error)));
        };
        // A leader is heard of before the entry that makes it a member.
        let Some((address, _)) = api.cluster.address(leader) else {
            let problem = format!("the address of the leader, node {leader}, is not known yet");
            let error = ApiError::new(ErrorCode::NoLeader, problem);
            return Err(span.in_scope(|| api.count(error)));
        };
        let left = call.deadline.saturating_duration_since(api.env.monotonic());
        let request = ForwardRequest {
            session: Bytes::new(),
            tenant: call.principal.tenant.clone(),
            actor: call.principal.actor.clone(),
            scopes: call
                .principal
                .rights()
                .map(|right| right.as_str().to_owned())
                .collect(),
            method: method.to_owned(),
            message: Bytes::from(kept.encode_to_vec()),
        };
        span.in_scope(|| tracing::debug!(leader, "sent on"));
        let forwarded = api.peers.forward(leader, &address, request, left).await;
        let reply = forwarded.map_err(|status| match refused_here(&status) {
            Some(problem) => api.count(ApiError::new(ErrorCode::NoLeader, problem)),
            None => status,
        })?;
        let reply =
            R::decode(reply).map_err(|_| Status::internal("the leader's reply is garbled"))?;
        Ok(Response::new(reply))
    }
}

/// Who leads instead, when an error says so.
fn leader_of(error: &ApiError) -> Option<u64> {
    let id = error.metadata.get(error_metadata::LEADER_ID)?;
    id.parse().ok()
}

/// Whether the leader refused this node rather than the call: nothing was done, and any member can
/// do it. What a leader answers to the call itself carries a code.
fn refused_here(status: &Status) -> Option<String> {
    let details = status.get_error_details();
    let info = details.error_info();
    let by_session = match info.filter(|info| info.domain == error_domain::CANDOR) {
        Some(info) => info.reason == ErrorCode::PeerRefused.as_str(),
        None => status.code() == Code::FailedPrecondition,
    };
    by_session.then(|| format!("the leader refuses this node: {}", status.message()))
}

/// Decodes, answers and encodes a call that another node sent on.
async fn relay<M, R>(
    call: &Call,
    rights: &[Right],
    message: Bytes,
    run: impl AsyncFnOnce(M) -> Result<R, ApiError>,
) -> Result<Bytes, ApiError>
where
    M: Message + Default,
    R: Message,
{
    if !rights.iter().any(|right| call.principal.may(*right)) {
        return Err(ApiError::new(
            ErrorCode::PermissionDenied,
            "the sent-on call lacks the right",
        ));
    }
    let message = M::decode(message)
        .map_err(|_| ApiError::field("message", "a sent-on call that does not decode"))?;
    Ok(Bytes::from(run(message).await?.encode_to_vec()))
}

/// Outcomes that left no entry are errors to the caller: nothing happened.
fn refuse_unrecorded(outcome: &Outcome, ledger_time: Micros, at: &str) -> Result<(), ApiError> {
    let field = format!("{at}request_id");
    let (code, problem) = match outcome {
        Outcome::RequestIdAhead { .. } => (
            ErrorCode::RequestIdAhead,
            "its time is ahead of the ledger's by more than the skew",
        ),
        Outcome::RequestIdReused { .. } => (
            ErrorCode::RequestIdReused,
            "it was used for another request",
        ),
        Outcome::RequestIdStale { .. } => (
            ErrorCode::RequestIdStale,
            "it is older than the ledger remembers",
        ),
        Outcome::Malformed(refused) => {
            return Err(ApiError::field(
                format!("{at}{}", refused.field),
                &*refused.problem,
            ));
        }
        Outcome::NotInitialised => {
            let problem = "the cluster has no genesis yet";
            return Err(ApiError::new(ErrorCode::NotInitialized, problem));
        }
        Outcome::RulesMismatch { .. } => {
            let problem = "the rules changed on the way; try again";
            return Err(ApiError::new(ErrorCode::RulesMismatch, problem));
        }
        _ => return Ok(()),
    };
    let error = ApiError::at(code, field, problem);
    Err(error.with(error_metadata::LEDGER_TIME, ledger_time))
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        let code = match error {
            StoreError::Beyond { .. } => ErrorCode::Behind,
            _ => ErrorCode::StorageDamaged,
        };
        Self::new(code, error.to_string())
    }
}

impl From<fold::ViewError> for ApiError {
    fn from(error: fold::ViewError) -> Self {
        tracing::error!(%error, "the state cannot be read");
        Self::new(ErrorCode::StorageDamaged, error.to_string())
    }
}
