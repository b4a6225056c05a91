//! Many gets or sets in one call: one reply, one checkpoint, each item with its own id and outcome.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use candor_ledger::digest::sha3_256;
use candor_ledger::entry::{SemanticMatch, Subject};
use candor_ledger::fingerprint::{FieldError, Fingerprint, FingerprintFields};
use candor_ledger::ids::RequestId;
use candor_ledger::time::Micros;
use candor_proto::audit_v1::ItemError;
use candor_proto::cache_v1 as wire;
use candor_proto::{ErrorCode, error_metadata};
use tokio::time::Instant;

use super::{
    Attested, GetOptions, Lookup, SetOptions, WaitFor, acknowledgement, learn_time, millis,
    semantic_to_wire, set_item,
};
use crate::call::Kind;
use crate::client::{Client, Inner};
use crate::endpoint::Line;
use crate::error::{Doubt, Error, Unproven};
use crate::fields::Fields;
use crate::privacy::TenantKey;
use crate::retry::Backoff;
use crate::verify::own::Asked;
use crate::verify::{change, lookup};

/// Most items of one call; more are sent in several.
const ITEMS_MAX: usize = 256;

/// Output bytes after which a call is closed: one value of 8 MiB still fits beside the others.
const BYTES_MAX: usize = 8 * 1024 * 1024;

/// Rounds in which items that were not admitted are sent again.
const ROUNDS_MAX: u32 = 20;

/// One output to record.
#[derive(Clone, Debug)]
pub struct SetItem {
    pub(crate) fields: FingerprintFields,
    pub(crate) semantic: Option<SemanticMatch>,
    pub(crate) output: Bytes,
    pub(crate) output_hash: [u8; 32],
    pub(crate) ttl_ms: u64,
    pub(crate) options: SetOptions,
}

impl SetItem {
    /// An output under its conditions.
    ///
    /// # Errors
    /// [`FieldError`] names the field: also `ttl_ms`, which is at least a millisecond.
    pub fn new(
        fields: &(impl Fields + ?Sized),
        output: impl AsRef<[u8]>,
        ttl: Duration,
    ) -> Result<Self, FieldError> {
        let output = output.as_ref();
        let ttl_ms = u64::try_from(ttl.as_millis()).ok().filter(|ms| *ms > 0);
        Ok(Self {
            fields: fields.to_fingerprint_fields()?,
            semantic: fields.semantic_match()?,
            output_hash: sha3_256(output),
            output: Bytes::copy_from_slice(output),
            ttl_ms: ttl_ms.ok_or_else(|| FieldError {
                field: "ttl_ms",
                problem: format!("of {ttl:?} is no time to live: at least 1 ms is"),
            })?,
            options: SetOptions::default(),
        })
    }

    /// Media type and what is told; how to wait is the batch's to say.
    #[must_use]
    pub fn with_options(self, options: SetOptions) -> Self {
        Self { options, ..self }
    }

    /// The same as nodes may see it: pseudonyms and ciphertext.
    pub(crate) fn concealed(self, key: &TenantKey) -> Result<Self, FieldError> {
        let (media_type, output) = key.seal(self.media_type(), &self.output)?;
        Ok(Self {
            fields: key.conceal(self.fields)?,
            semantic: self.semantic.map(|semantic| key.conceal_match(semantic)),
            output_hash: sha3_256(&output),
            output,
            ttl_ms: self.ttl_ms,
            options: SetOptions {
                media_type: Some(media_type),
                told: key.conceal_told(self.options.told),
                ..self.options
            },
        })
    }

    pub(crate) fn media_type(&self) -> &str {
        match &self.options.media_type {
            Some(media_type) => media_type,
            None if std::str::from_utf8(&self.output).is_ok() => "text/plain; charset=utf-8",
            None => "application/octet-stream",
        }
    }

    pub(crate) fn asked<'a>(&'a self, asked: Asked<'a>) -> change::SetAsked<'a> {
        change::SetAsked {
            asked,
            fields: &self.fields,
            output_hash: self.output_hash,
            output_len: u64::try_from(self.output.len()).expect("invariant: 64 bits"),
            media_type: self.media_type(),
            ttl_ms: self.ttl_ms,
            told: &self.options.told,
            semantic: self.semantic.as_ref(),
        }
    }
}

/// One lookup of a batch.
struct GetOne {
    fingerprint: Fingerprint,
    semantic: Option<SemanticMatch>,
    subject: Subject,
}

/// One set of a batch.
struct SetOne {
    item: SetItem,
    subject: Subject,
}

/// What became of one item in one reply.
enum ItemOutcome<T> {
    Done(Result<T, Error>),
    NotAdmitted(ItemError),
}

/// Items of a round, by position, under their ids.
type Round = Vec<(usize, RequestId)>;

impl Client {
    /// Looks several results up; outcomes in the order of the fields.
    ///
    /// # Errors
    /// When a field is unusable, before anything is sent. Everything else is an item's outcome.
    pub async fn get_batch(
        &self,
        fields: &[&(dyn Fields + Sync)],
        options: GetOptions,
    ) -> Result<Vec<Result<Lookup, Error>>, Error> {
        let one = |fields: &&(dyn Fields + Sync)| {
            let fingerprint = self
                .inner
                .conceal(fields.to_fingerprint_fields()?)?
                .fingerprint();
            Ok(GetOne {
                fingerprint,
                semantic: self.inner.conceal_match(fields.semantic_match()?),
                subject: Subject::Fingerprint(fingerprint),
            })
        };
        let items: Vec<GetOne> = fields.iter().map(one).collect::<Result<_, FieldError>>()?;
        let mut outcomes = Vec::new();
        for items in items.chunks(ITEMS_MAX) {
            outcomes.extend(self.get_some(items, options).await);
        }
        Ok(outcomes)
    }

    /// Records several outputs; outcomes in the order of the items. An entry that is not sealed when
    /// `timeout` ends is returned without its proof.
    ///
    /// # Errors
    /// When a field is unusable, before anything is sent. Everything else is an item's outcome.
    pub async fn set_batch(
        &self,
        items: Vec<SetItem>,
        wait_for: Option<WaitFor>,
        timeout: Option<Duration>,
    ) -> Result<Vec<Result<Attested, Error>>, Error> {
        let one = |item: SetItem| {
            let item = self.inner.conceal_item(item)?;
            let subject = Subject::Fingerprint(item.fields.fingerprint());
            Ok(SetOne { item, subject })
        };
        let items: Vec<SetOne> = items
            .into_iter()
            .map(one)
            .collect::<Result<_, FieldError>>()?;
        let mut outcomes = Vec::new();
        let (mut chunk, mut bytes) = (Vec::new(), 0);
        for item in items {
            let len = item.item.output.len();
            if !chunk.is_empty() && (chunk.len() == ITEMS_MAX || bytes + len > BYTES_MAX) {
                let full = std::mem::take(&mut chunk);
                outcomes.extend(self.set_some(&full, wait_for, timeout).await);
                bytes = 0;
            }
            bytes += len;
            chunk.push(item);
        }
        outcomes.extend(self.set_some(&chunk, wait_for, timeout).await);
        Ok(outcomes)
    }

    async fn get_some(&self, items: &[GetOne], options: GetOptions) -> Vec<Result<Lookup, Error>> {
        let inner = &*self.inner;
        let max_age = options.max_age.unwrap_or(inner.max_age);
        let send = |line: Line, round: Round| {
            let of_item = |(at, id): &(usize, RequestId)| {
                let item = items.get(*at)?;
                Some(wire::GetItem {
                    request_id: id.to_string(),
                    fingerprint: item.fingerprint.to_string(),
                    semantic_match: item.semantic.as_ref().map(semantic_to_wire),
                })
            };
            let message = wire::BatchGetRequest {
                items: round.iter().filter_map(of_item).collect(),
                wait_for: acknowledgement(options.wait_for),
                known_size: line.known_size(),
                max_age_ms: millis(max_age),
            };
            async move { line.cache().batch_get(line.request(message)).await }
        };
        let judge = |line: Line, round: Round, reply: wire::BatchGetResponse| async move {
            let under = inner.establish(&line, reply.checkpoint.as_ref()).await?;
            complete(&round, reply.results.len())?;
            let mut outcomes = Vec::new();
            for ((at, request_id), result) in round.into_iter().zip(reply.results) {
                let Some(item) = items.get(at) else { continue };
                if let Some(wire::get_result::Outcome::Error(error)) = result.outcome {
                    outcomes.push(ItemOutcome::NotAdmitted(error));
                    continue;
                }
                learn_time(inner, result.recorded.as_ref());
                let asked = lookup::LookupAsked {
                    asked: inner.asked(&item.subject, request_id),
                    fingerprint: item.fingerprint,
                    semantic: item.semantic.as_ref(),
                    max_age,
                    now: inner.around.now(),
                };
                let found = lookup::lookup(&asked, result, under.as_deref());
                outcomes.push(done(
                    found.and_then(|found| inner.open(found).map_err(Doubt::Final)),
                )?);
            }
            Ok(outcomes)
        };
        let deadline = inner.deadline(options.timeout);
        inner
            .batch(Kind::Read, deadline, items.len(), send, judge)
            .await
    }

    async fn set_some(
        &self,
        items: &[SetOne],
        wait_for: Option<WaitFor>,
        timeout: Option<Duration>,
    ) -> Vec<Result<Attested, Error>> {
        let inner = &*self.inner;
        let send = |line: Line, round: Round| {
            let of_item =
                |(at, id): &(usize, RequestId)| Some(set_item(&items.get(*at)?.item, *id));
            let message = wire::BatchSetRequest {
                items: round.iter().filter_map(of_item).collect(),
                wait_for: acknowledgement(wait_for),
                known_size: line.known_size(),
            };
            async move { line.cache().batch_set(line.request(message)).await }
        };
        let judge = |line: Line, round: Round, reply: wire::BatchSetResponse| async move {
            let under = inner.establish(&line, reply.checkpoint.as_ref()).await?;
            complete(&round, reply.results.len())?;
            let mut outcomes = Vec::new();
            for ((at, request_id), result) in round.into_iter().zip(reply.results) {
                let Some(one) = items.get(at) else { continue };
                if let Some(wire::set_result::Outcome::Error(error)) = result.outcome {
                    outcomes.push(ItemOutcome::NotAdmitted(error));
                    continue;
                }
                learn_time(inner, result.recorded.as_ref());
                let asked = one.item.asked(inner.asked(&one.subject, request_id));
                let set = change::set(&asked, &result, under.as_deref());
                outcomes.push(done(set.map(|set| Attested::of(set, under.as_ref())))?);
            }
            Ok(outcomes)
        };
        let deadline = inner.deadline(timeout);
        let outcomes = inner
            .batch(Kind::Change, deadline, items.len(), send, judge)
            .await;
        let mut settled = Vec::new();
        for outcome in outcomes {
            settled.push(match outcome {
                Ok(attested) => {
                    let recorded = self
                        .settle(attested.recorded.clone(), wait_for, deadline)
                        .await;
                    recorded.map(|recorded| Attested {
                        recorded,
                        ..attested
                    })
                }
                Err(error) => Err(error),
            });
        }
        settled
    }
}

impl Inner {
    /// Rounds of calls until every item has its outcome. Items that were not admitted go into the
    /// next round under the same id, or under a new one where the ledger refused an id that was
    /// sent only once.
    async fn batch<R, T, SF, JF>(
        &self,
        kind: Kind,
        deadline: Instant,
        count: usize,
        send: impl Fn(Line, Round) -> SF + Send + Sync,
        judge: impl Fn(Line, Round, R) -> JF + Send + Sync,
    ) -> Vec<Result<T, Error>>
    where
        T: Send,
        SF: Future<Output = Result<tonic::Response<R>, tonic::Status>> + Send,
        JF: Future<Output = Result<Vec<ItemOutcome<T>>, Doubt>> + Send,
    {
        let mut done = BTreeMap::new();
        let mut pending: Round = (0..count)
            .map(|at| (at, self.ids.mint(&self.around)))
            .collect();
        let mut backoff = Backoff::default();
        for round in 0..ROUNDS_MAX {
            if pending.is_empty() {
                break;
            }
            let (send, judge, items) = (&send, &judge, &pending);
            let id = self.ids.mint(&self.around);
            let called = self.call(
                kind,
                deadline,
                id,
                |line, _| send(line, items.clone()),
                |line, _, reply| judge(line, items.clone(), reply),
            );
            let answer = match called.await {
                Ok(answer) => answer,
                Err(error) => {
                    let each = pending
                        .iter()
                        .map(|(at, id)| (*at, Err(for_item(&error, *id))));
                    done.extend(each);
                    pending.clear();
                    break;
                }
            };
            let mut again = Round::new();
            for ((at, id), outcome) in pending.into_iter().zip(answer.answer) {
                match outcome {
                    ItemOutcome::Done(outcome) => {
                        done.insert(at, outcome);
                    }
                    ItemOutcome::NotAdmitted(error) => {
                        let unknown = answer.tried_before && kind == Kind::Change;
                        match self.next_id(&error, id, unknown || round > 0) {
                            Ok(id) => again.push((at, id)),
                            Err(error) => {
                                done.insert(at, Err(error));
                            }
                        }
                    }
                }
            }
            pending = again;
            let wait = backoff.next(&self.around, Duration::ZERO);
            if !pending.is_empty() && Instant::now() + wait < deadline {
                tokio::time::sleep(wait).await;
            }
        }
        let last = "an item was not admitted".to_owned();
        let left = pending
            .into_iter()
            .map(|(at, _)| (at, Err(Error::Unavailable { last: last.clone() })));
        done.extend(left);
        done.into_values().collect()
    }

    /// The id under which an item that was not admitted is sent again.
    ///
    /// # Errors
    /// When it is not sent again.
    fn next_id(
        &self,
        error: &ItemError,
        id: RequestId,
        tried_before: bool,
    ) -> Result<RequestId, Error> {
        let code = ErrorCode::parse(&error.code);
        let time = error.metadata.get(error_metadata::LEDGER_TIME);
        if let Some(time) = time.and_then(|time| Micros::parse(time).ok()) {
            self.ids.learn(time, self.around.now());
        }
        match code {
            Some(ErrorCode::RequestIdAhead | ErrorCode::RequestIdStale) if !tried_before => {
                Ok(self.ids.mint(&self.around))
            }
            Some(ErrorCode::RequestIdStale) => Err(Error::OutcomeUnknown {
                request_id: id,
                last: error.message.clone(),
            }),
            Some(code) if code.is_retriable() || code == ErrorCode::RequestIdAhead => Ok(id),
            _ => Err(Error::Rejected {
                code: error.code.clone(),
                message: error.message.clone(),
                field: Some(error.field.clone()).filter(|field| !field.is_empty()),
                endpoint: "the batch".to_owned(),
            }),
        }
    }
}

/// An outcome for every item, else the reply is none.
fn complete(round: &Round, results: usize) -> Result<(), Unproven> {
    if round.len() == results {
        Ok(())
    } else {
        Err(Unproven::differs(
            "the number of results",
            round.len(),
            results,
        ))
    }
}

/// What concerns one item is its outcome; what concerns the answer as a whole is a doubt.
fn done<T>(judged: Result<T, Doubt>) -> Result<ItemOutcome<T>, Doubt> {
    match judged {
        Ok(answer) => Ok(ItemOutcome::Done(Ok(answer))),
        Err(Doubt::Final(error)) => Ok(ItemOutcome::Done(Err(error))),
        Err(Doubt::Withheld { write_seq }) => {
            Ok(ItemOutcome::Done(Err(Error::Withheld { write_seq })))
        }
        Err(doubt) => Err(doubt),
    }
}

/// The error of a whole call, as one item's.
fn for_item(error: &Error, id: RequestId) -> Error {
    match error {
        Error::OutcomeUnknown { last, .. } => Error::OutcomeUnknown {
            request_id: id,
            last: last.clone(),
        },
        other => other.clone(),
    }
}
