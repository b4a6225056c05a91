//! `candor.cache.v1`: gets, sets and the ends of results.

use std::time::Duration;

use bytes::Bytes;
use candor_ledger::digest::{TaggedDigest, sha3_256};
use candor_ledger::entry::MissReason;
use candor_ledger::fold::{Answer, Answered, Held, Operation, Outcome};
use candor_ledger::ids::{Seq, TreeSize};
use candor_ledger::time::Micros;
use candor_proto::audit_v1::{Acknowledgement, CheckpointProof, ItemError, Recorded, Refused};
use candor_proto::cache_v1::cache_service_server::CacheService;
use candor_proto::cache_v1::{
    BatchGetRequest, BatchGetResponse, BatchSetRequest, BatchSetResponse, Conflict, GetAsOfRequest,
    GetAsOfResponse, GetItem, GetRequest, GetResponse, GetResult, Hit, Miss, ReinstateRequest,
    ReinstateResponse, Reinstated, RevokeRequest, RevokeResponse, Revoked, SetItem, SetRequest,
    SetResponse, SetResult, SupersedeModelRequest, SupersedeModelResponse, SupersedeRequest,
    SupersedeResponse, Superseded, Withheld, WithheldReason, Written, get_result,
    reinstate_response, revoke_response, set_result, supersede_model_response, supersede_response,
};
use futures::future::join_all;
use tonic::{Request, Response, Status};

use super::call::Call;
use super::convert;
use super::proofs::Anchor;
use super::status::{ApiError, ErrorCode};
use super::{Api, Submitted};
use crate::env::Env;
use crate::principal::Right;

/// Items of one batch call.
pub(super) const BATCH_ITEMS_MAX: usize = 256;
/// A hit's checkpoint may be this old when the caller names no bound.
const MAX_AGE_DEFAULT: Duration = Duration::from_secs(10);

impl<E: Env> Api<E> {
    pub(super) async fn get(&self, call: &Call, m: GetRequest) -> Result<GetResponse, ApiError> {
        let item = m.item.ok_or_else(|| ApiError::field("item", "missing"))?;
        let asked = Asked::new(
            m.wait_for,
            m.known_size,
            m.max_age_ms,
            Acknowledgement::Committed,
        );
        let (mut results, checkpoint) = self.get_items(call, vec![item], &asked, "item").await?;
        let result = results.pop().unwrap_or_else(|| Err(internal()))?;
        Ok(GetResponse {
            result: Some(result),
            checkpoint,
        })
    }

    pub(super) async fn batch_get(
        &self,
        call: &Call,
        m: BatchGetRequest,
    ) -> Result<BatchGetResponse, ApiError> {
        batch_size(m.items.len())?;
        let asked = Asked::new(
            m.wait_for,
            m.known_size,
            m.max_age_ms,
            Acknowledgement::Committed,
        );
        let (results, checkpoint) = self.get_items(call, m.items, &asked, "items").await?;
        let results = results.into_iter().map(|result| {
            result.unwrap_or_else(|error| GetResult {
                recorded: None,
                outcome: Some(get_result::Outcome::Error(item_error(error))),
            })
        });
        Ok(BatchGetResponse {
            results: results.collect(),
            checkpoint,
        })
    }

    pub(super) async fn set(&self, call: &Call, m: SetRequest) -> Result<SetResponse, ApiError> {
        let item = m.item.ok_or_else(|| ApiError::field("item", "missing"))?;
        let asked = Asked::new(m.wait_for, m.known_size, 0, Acknowledgement::Sealed);
        let (mut results, checkpoint) = self.set_items(call, vec![item], &asked, "item").await?;
        let result = results.pop().unwrap_or_else(|| Err(internal()))?;
        Ok(SetResponse {
            result: Some(result),
            checkpoint,
        })
    }

    pub(super) async fn batch_set(
        &self,
        call: &Call,
        m: BatchSetRequest,
    ) -> Result<BatchSetResponse, ApiError> {
        batch_size(m.items.len())?;
        let asked = Asked::new(m.wait_for, m.known_size, 0, Acknowledgement::Sealed);
        let (results, checkpoint) = self.set_items(call, m.items, &asked, "items").await?;
        let results = results.into_iter().map(|result| {
            result.unwrap_or_else(|error| SetResult {
                recorded: None,
                outcome: Some(set_result::Outcome::Error(item_error(error))),
            })
        });
        Ok(BatchSetResponse {
            results: results.collect(),
            checkpoint,
        })
    }

    pub(super) async fn supersede(
        &self,
        call: &Call,
        m: SupersedeRequest,
    ) -> Result<SupersedeResponse, ApiError> {
        let operation = convert::supersede(&m)?;
        let successor = match &operation {
            Operation::Supersede(supersede) => supersede.successor.to_string(),
            _ => String::new(),
        };
        let asked = Asked::new(m.wait_for, m.known_size, 0, Acknowledgement::Sealed);
        let (recorded, outcome, checkpoint) =
            self.change(call, &m.request_id, operation, &asked).await?;
        let outcome = match outcome {
            Outcome::Answered(Answered {
                answer: Answer::Superseded { version },
                ..
            }) => supersede_response::Outcome::Superseded(Superseded { version, successor }),
            other => supersede_response::Outcome::Refused(refused(other)?),
        };
        Ok(SupersedeResponse {
            recorded: Some(recorded),
            outcome: Some(outcome),
            checkpoint,
        })
    }

    pub(super) async fn revoke(
        &self,
        call: &Call,
        m: RevokeRequest,
    ) -> Result<RevokeResponse, ApiError> {
        let operation = convert::revoke(&m)?;
        let output_hash = convert::named_output(&operation);
        let asked = Asked::new(m.wait_for, m.known_size, 0, Acknowledgement::Sealed);
        let (recorded, outcome, checkpoint) =
            self.change(call, &m.request_id, operation, &asked).await?;
        let outcome = match outcome {
            Outcome::Answered(Answered {
                answer: Answer::Revoked { version },
                ..
            }) => revoke_response::Outcome::Revoked(Revoked {
                version,
                output_hash,
            }),
            other => revoke_response::Outcome::Refused(refused(other)?),
        };
        Ok(RevokeResponse {
            recorded: Some(recorded),
            outcome: Some(outcome),
            checkpoint,
        })
    }

    pub(super) async fn reinstate(
        &self,
        call: &Call,
        m: ReinstateRequest,
    ) -> Result<ReinstateResponse, ApiError> {
        let operation = convert::reinstate(&m)?;
        let output_hash = convert::named_output(&operation);
        let asked = Asked::new(m.wait_for, m.known_size, 0, Acknowledgement::Sealed);
        let (recorded, outcome, checkpoint) =
            self.change(call, &m.request_id, operation, &asked).await?;
        let outcome = match outcome {
            Outcome::Answered(Answered {
                answer: Answer::Reinstated { version, state },
                ..
            }) => reinstate_response::Outcome::Reinstated(Reinstated {
                version,
                output_hash,
                state: convert::result_state(state).into(),
            }),
            other => reinstate_response::Outcome::Refused(refused(other)?),
        };
        Ok(ReinstateResponse {
            recorded: Some(recorded),
            outcome: Some(outcome),
            checkpoint,
        })
    }

    pub(super) async fn supersede_model(
        &self,
        call: &Call,
        m: SupersedeModelRequest,
    ) -> Result<SupersedeModelResponse, ApiError> {
        let operation = convert::supersede_model(&m)?;
        let asked = Asked::new(m.wait_for, m.known_size, 0, Acknowledgement::Sealed);
        let (recorded, outcome, checkpoint) =
            self.change(call, &m.request_id, operation, &asked).await?;
        let outcome = match outcome {
            Outcome::Answered(Answered {
                answer: Answer::ModelSuperseded,
                ..
            }) => supersede_model_response::Outcome::Superseded(
                candor_proto::cache_v1::ModelSuperseded {
                    from: m.from,
                    to: m.to,
                },
            ),
            other => supersede_model_response::Outcome::Refused(refused(other)?),
        };
        Ok(SupersedeModelResponse {
            recorded: Some(recorded),
            outcome: Some(outcome),
            checkpoint,
        })
    }

    /// Decides all items, then waits once for the checkpoint that all of their proofs need.
    async fn get_items(
        &self,
        call: &Call,
        items: Vec<GetItem>,
        asked: &Asked,
        at: &str,
    ) -> Result<(Vec<Result<GetResult, ApiError>>, Option<CheckpointProof>), ApiError> {
        let submissions = items.iter().enumerate().map(|(number, item)| async move {
            let path = item_path(at, number);
            let operation = convert::get(item, &path)?;
            self.submit(call, &item.request_id, operation, None, &path)
                .await
        });
        let decided = join_all(submissions).await;
        let hits: Vec<Seq> = decided
            .iter()
            .flatten()
            .filter_map(Submitted::write_seq)
            .collect();
        let not_before = (!hits.is_empty()).then(|| asked.not_before(self.env.wall()));
        let covers = hits.iter().copied().chain(asked.waits_for(&decided)).max();
        let covered = match covers {
            None => true,
            seq => self.sealed_by(seq, not_before, call.deadline).await,
        };
        let anchor = self.anchor(asked.known, covers.as_slice(), not_before)?;
        // A miss needs no proof, and has one all the same when its seal has overtaken the reply.
        let mut proved = covers.is_some();
        let results: Vec<_> = decided
            .into_iter()
            .map(|submitted| {
                let (recorded, outcome) = self.recorded(call, submitted?, anchor.as_ref())?;
                proved |= recorded.proof.as_ref().is_some_and(|proof| proof.size > 0);
                let outcome = self.get_outcome(call, outcome, anchor.as_ref(), covered)?;
                Ok(GetResult {
                    recorded: Some(recorded),
                    outcome: Some(outcome),
                })
            })
            .collect();
        leader_or(&results)?;
        let proof = anchor.filter(|_| proved);
        let proof = proof
            .map(|anchor| self.checkpoint_proof(&anchor, asked.known))
            .transpose()?;
        Ok((results, proof))
    }

    /// Beside the answer to a question about the past, the one place where a value leaves a node (INV-6,
    /// INV-9): its read has its entry, its write
    /// is under a checkpoint as young as the caller asked for, and its bytes hash to what the entry
    /// says. Anything else is withheld.
    fn get_outcome(
        &self,
        call: &Call,
        outcome: Outcome,
        anchor: Option<&Anchor>,
        covered: bool,
    ) -> Result<get_result::Outcome, ApiError> {
        let Held {
            write_seq,
            version,
            output_hash,
            media_type,
            ..
        } = match outcome {
            Outcome::Hit(hit) => hit.held,
            Outcome::Miss(miss) => return Ok(get_result::Outcome::Miss(wire_miss(miss.reason))),
            other => return Err(unexpected(&other)),
        };
        let withheld = |reason: WithheldReason| {
            let write_seq = write_seq.0;
            Ok(get_result::Outcome::Withheld(Withheld {
                reason: reason.into(),
                write_seq,
            }))
        };
        let Some(anchor) = anchor.filter(|anchor| anchor.size.covers(write_seq)) else {
            return withheld(WithheldReason::WriteNotSealed);
        };
        if !covered {
            return withheld(WithheldReason::CheckpointTooOld);
        }
        let value = match self.reader.value(&call.principal.tenant, &output_hash) {
            Ok(Some(value)) if sha3_256(&value) == output_hash => Bytes::from(value),
            Ok(_) | Err(_) => {
                self.metrics.withheld_damaged.inc();
                tracing::error!(%write_seq, "a value is missing or damaged here; withheld");
                return withheld(WithheldReason::ValueNotHere);
            }
        };
        Ok(get_result::Outcome::Hit(Hit {
            value,
            media_type,
            write_seq: write_seq.0,
            version,
            output_hash: TaggedDigest::sha3(output_hash).to_string(),
            write: Some(self.proof(write_seq, None, Some(anchor))?),
        }))
    }

    async fn set_items(
        &self,
        call: &Call,
        items: Vec<SetItem>,
        asked: &Asked,
        at: &str,
    ) -> Result<(Vec<Result<SetResult, ApiError>>, Option<CheckpointProof>), ApiError> {
        let submissions = items
            .into_iter()
            .enumerate()
            .map(|(number, item)| async move {
                let path = item_path(at, number);
                let request_id = item.request_id.clone();
                let (operation, value) = convert::set(item, self.value_len_max()?, &path)?;
                self.submit(call, &request_id, operation, Some(value), &path)
                    .await
            });
        let decided = join_all(submissions).await;
        let covers = asked.waits_for(&decided).max();
        if covers.is_some() {
            self.sealed_by(covers, None, call.deadline).await;
        }
        let anchor = self.anchor(asked.known, covers.as_slice(), None)?;
        let mut proved = false;
        let results: Vec<_> = decided
            .into_iter()
            .map(|submitted| {
                let (recorded, outcome) = self.recorded(call, submitted?, anchor.as_ref())?;
                proved |= recorded.proof.as_ref().is_some_and(|proof| proof.size > 0);
                let outcome = set_outcome(outcome)?;
                Ok(SetResult {
                    recorded: Some(recorded),
                    outcome: Some(outcome),
                })
            })
            .collect();
        leader_or(&results)?;
        let proof = anchor.filter(|_| proved);
        let proof = proof
            .map(|anchor| self.checkpoint_proof(&anchor, asked.known))
            .transpose()?;
        Ok((results, proof))
    }

    /// One state-changing operation, answered with its entry.
    pub(super) async fn change(
        &self,
        call: &Call,
        request_id: &str,
        operation: Operation,
        asked: &Asked,
    ) -> Result<(Recorded, Outcome, Option<CheckpointProof>), ApiError> {
        let submitted = self.submit(call, request_id, operation, None, "").await?;
        let covers = asked
            .waits_for(std::slice::from_ref(&Ok(submitted.clone())))
            .max();
        if covers.is_some() {
            self.sealed_by(covers, None, call.deadline).await;
        }
        let anchor = self.anchor(asked.known, covers.as_slice(), None)?;
        let (recorded, outcome) = self.recorded(call, submitted, anchor.as_ref())?;
        let sealed = recorded.proof.as_ref().is_some_and(|proof| proof.size > 0);
        let proof = anchor.filter(|_| sealed);
        let proof = proof
            .map(|anchor| self.checkpoint_proof(&anchor, asked.known))
            .transpose()?;
        Ok((recorded, outcome, proof))
    }
}

/// What a caller asked of the answer.
pub(super) struct Asked {
    sealed: bool,
    pub(super) known: TreeSize,
    max_age: Duration,
}

impl Asked {
    pub(super) fn new(
        wait_for: i32,
        known: u64,
        max_age_ms: u64,
        default: Acknowledgement,
    ) -> Self {
        let wait_for = match Acknowledgement::try_from(wait_for) {
            Ok(Acknowledgement::Unspecified) | Err(_) => default,
            Ok(asked) => asked,
        };
        let max_age = match max_age_ms {
            0 => MAX_AGE_DEFAULT,
            ms => Duration::from_millis(ms),
        };
        Self {
            sealed: wait_for == Acknowledgement::Sealed,
            known: TreeSize(known),
            max_age,
        }
    }

    fn not_before(&self, now: Micros) -> Micros {
        let age = u64::try_from(self.max_age.as_micros()).unwrap_or(u64::MAX);
        Micros(now.0.saturating_sub(age))
    }

    pub(super) fn waits_for<'a>(
        &'a self,
        decided: &'a [Result<Submitted, ApiError>],
    ) -> impl Iterator<Item = Seq> + 'a {
        decided
            .iter()
            .flatten()
            .filter(|_| self.sealed)
            .filter_map(|one| one.seq)
    }
}

/// A batch of which nothing was decided because another node leads is sent on as a whole.
fn leader_or<T>(results: &[Result<T, ApiError>]) -> Result<(), ApiError> {
    let elsewhere = |result: &Result<T, ApiError>| {
        result
            .as_ref()
            .is_err_and(|error| error.code == ErrorCode::NotLeader)
    };
    match results.first() {
        Some(Err(error)) if results.iter().all(elsewhere) => Err(error.clone()),
        _ => Ok(()),
    }
}

fn set_outcome(outcome: Outcome) -> Result<set_result::Outcome, ApiError> {
    let answer = match &outcome {
        Outcome::Answered(answered) => &answered.answer,
        other => return Err(unexpected(other)),
    };
    Ok(match *answer {
        Answer::Written {
            version,
            renewed,
            deadline,
        } => {
            let expires = Some(convert::timestamp(deadline));
            set_result::Outcome::Written(Written {
                version,
                renewed,
                expires,
            })
        }
        Answer::Conflict {
            held,
            offered,
            version,
            write_seq,
        } => set_result::Outcome::Conflict(Conflict {
            held_output_hash: TaggedDigest::sha3(held).to_string(),
            offered_output_hash: TaggedDigest::sha3(offered).to_string(),
            version,
            write_seq: write_seq.0,
        }),
        _ => set_result::Outcome::Refused(refused(outcome)?),
    })
}

pub(super) fn refused(outcome: Outcome) -> Result<Refused, ApiError> {
    match outcome {
        Outcome::Answered(Answered {
            answer: Answer::Refused { state, refusal },
            ..
        }) => Ok(Refused {
            reason: refusal.code().to_owned(),
            state: convert::result_state(state).into(),
            successor: refusal
                .successor()
                .map(|s| s.to_string())
                .unwrap_or_default(),
        }),
        other => Err(unexpected(&other)),
    }
}

pub(super) fn wire_miss(reason: MissReason) -> Miss {
    use candor_proto::cache_v1::MissReason as Wire;
    let (reason, successor) = match reason {
        MissReason::Absent => (Wire::Absent, String::new()),
        MissReason::Erased => (Wire::Erased, String::new()),
        MissReason::Expired => (Wire::Expired, String::new()),
        MissReason::Revoked => (Wire::Revoked, String::new()),
        MissReason::Superseded(successor) => (Wire::Superseded, successor.to_string()),
    };
    Miss {
        reason: reason.into(),
        successor,
    }
}

fn batch_size(items: usize) -> Result<(), ApiError> {
    if (1..=BATCH_ITEMS_MAX).contains(&items) {
        return Ok(());
    }
    Err(ApiError::field(
        "items",
        format!("{items} items; want 1 to {BATCH_ITEMS_MAX}"),
    ))
}

fn item_path(at: &str, number: usize) -> String {
    if at == "item" {
        "item.".to_owned()
    } else {
        format!("{at}[{number}].")
    }
}

fn item_error(error: ApiError) -> ItemError {
    ItemError {
        code: error.code.as_str().to_owned(),
        message: error.message,
        field: error.field.unwrap_or_default(),
        metadata: error.metadata.into_iter().collect(),
    }
}

fn internal() -> ApiError {
    ApiError::new(ErrorCode::Internal, "an item was not answered")
}

fn unexpected(outcome: &Outcome) -> ApiError {
    tracing::error!(?outcome, "an outcome that this operation cannot have");
    ApiError::new(
        ErrorCode::Internal,
        "the outcome does not fit the operation",
    )
}

macro_rules! methods {
    ($($name:ident($request:ty) -> $response:ty, $right:ident;)*) => {
        #[tonic::async_trait]
        impl<E: Env> CacheService for super::Service<E> {
            $(async fn $name(
                &self,
                request: Request<$request>,
            ) -> Result<Response<$response>, Status> {
                let method = concat!("/candor.cache.v1.CacheService/", stringify!($name));
                self.answer(request, method, &[Right::$right], async |api, call, message| {
                    api.$name(call, message).await
                })
                .await
            })*
        }

        impl<E: Env> Api<E> {
            /// Answers a cache call that another node sent on.
            pub(super) async fn forwarded_cache(
                &self,
                method: &str,
                call: &Call,
                message: Bytes,
            ) -> Option<Result<Bytes, ApiError>> {
                $(if method == concat!("/candor.cache.v1.CacheService/", stringify!($name)) {
                    return Some(super::relay(call, &[Right::$right], message, async |message| {
                        self.$name(call, message).await
                    }).await);
                })*
                None
            }
        }
    };
}

methods! {
    get(GetRequest) -> GetResponse, Read;
    batch_get(BatchGetRequest) -> BatchGetResponse, Read;
    get_as_of(GetAsOfRequest) -> GetAsOfResponse, Audit;
    set(SetRequest) -> SetResponse, Write;
    batch_set(BatchSetRequest) -> BatchSetResponse, Write;
    supersede(SupersedeRequest) -> SupersedeResponse, Write;
    revoke(RevokeRequest) -> RevokeResponse, Write;
    reinstate(ReinstateRequest) -> ReinstateResponse, Write;
    supersede_model(SupersedeModelRequest) -> SupersedeModelResponse, Write;
}
