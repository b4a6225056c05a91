//! Looking results up, recording them, ending their lives.

use std::sync::Arc;
use std::time::Duration;

use candor_ledger::entry::{
    Entry, MissReason, Model, Op, Revocation, SemanticMatch, Subject, Told,
};
use candor_ledger::fingerprint::{FieldError, Fingerprint, FingerprintFields, Pattern};
use candor_ledger::ids::{RequestId, Seq};
use candor_ledger::time::Micros;
use candor_proto::audit_v1::{self, Acknowledgement, CheckpointProof};
use candor_proto::cache_v1 as wire;
use tokio::time::Instant;

use crate::call::Kind;
use crate::checkpoint::VerifiedCheckpoint;
use crate::client::{Client, Inner};
use crate::endpoint::Line;
use crate::error::{Doubt, Error, Unproven};
use crate::fields::Fields;
use crate::output::{FromOutput, Verified};
use crate::recorded::Recorded;
use crate::verify::own::{Asked, own_entry};
use crate::verify::{change, lookup};

mod batch;
mod wire_form;

pub use batch::SetItem;
pub(crate) use wire_form::{learn_time, semantic_to_wire, set_item};

/// Until when a reply waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitFor {
    /// On the disks of a quorum.
    Committed,
    /// Under a checkpoint with all signatures; the reply brings the proof.
    Sealed,
}

/// How to get.
#[derive(Clone, Copy, Debug, Default)]
pub struct GetOptions {
    /// Wait for the read's own entry; `Committed` when not said. `Sealed` has the cluster's majority
    /// vouch that the result was ACTIVE when it was read.
    pub wait_for: Option<WaitFor>,
    /// How old the checkpoint may be; the client's setting when not said.
    pub max_age: Option<Duration>,
    /// How long the call may take; the client's setting when not said.
    pub timeout: Option<Duration>,
}

/// How to set.
#[derive(Clone, Debug, Default)]
pub struct SetOptions {
    /// Media type; when not said, `text/plain; charset=utf-8` for UTF-8 and
    /// `application/octet-stream` for other bytes.
    pub media_type: Option<String>,
    /// What the caller says about how the output came about.
    pub told: Told,
    /// `Sealed` when not said.
    pub wait_for: Option<WaitFor>,
    /// How long the call may take; the client's setting when not said.
    pub timeout: Option<Duration>,
}

/// How to change the state of a result.
#[derive(Clone, Copy, Debug, Default)]
pub struct ChangeOptions {
    /// `Sealed` when not said.
    pub wait_for: Option<WaitFor>,
    /// How long the call may take; the client's setting when not said.
    pub timeout: Option<Duration>,
}

/// What a get found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// A verified value.
    Hit(Box<Verified>),
    /// Nothing to serve.
    Miss(Box<Missed>),
}

/// A get that found nothing to serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missed {
    /// The `cache.read_miss` entry.
    pub seq: Seq,
    /// Why.
    pub reason: MissReason,
    /// The entry.
    pub entry: Entry,
}

/// A set that was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attested {
    /// The computation's fingerprint.
    pub fingerprint: Fingerprint,
    /// Version of the result under it.
    pub version: u64,
    /// The same bytes were held already; their deadline is new.
    pub renewed: bool,
    /// When it expires.
    pub expires: Micros,
    /// The `cache.write` entry, with its proof once sealed.
    pub recorded: Recorded,
}

/// A revocation or reinstatement that took effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revoked {
    /// Version of the result.
    pub version: u64,
    /// SHA3-256 of the bytes that are refused, or accepted again.
    pub output_hash: [u8; 32],
    /// The entry, with its proof once sealed.
    pub recorded: Recorded,
}

impl Client {
    /// Looks a result up and returns its value only if every check holds; `None` when there is
    /// nothing to serve, whatever the reason.
    ///
    /// The caller's type says what comes back: `String`, `Vec<u8>`, [`bytes::Bytes`], or [`Verified`] with
    /// what the value rests on.
    ///
    /// Every call leaves an entry in the ledger, hit or miss.
    ///
    /// # Errors
    /// Anything that stands between the caller and a verified answer; see [`Error`].
    pub async fn get_verified<T: FromOutput>(
        &self,
        fields: &impl Fields,
    ) -> Result<Option<T>, Error> {
        match self.get(fields, GetOptions::default()).await? {
            Lookup::Hit(verified) => T::from_output(*verified).map(Some),
            Lookup::Miss(_) => Ok(None),
        }
    }

    /// Records an output under its conditions, for a time to live, and waits until it is sealed.
    ///
    /// A deadline that comes between commit and seal is no error: then
    /// [`Recorded::sealed`] is `None`, and [`Client::receipt`] brings the proof later.
    ///
    /// # Errors
    /// [`Error::Conflict`] when other bytes are held under the fingerprint, [`Error::Refused`] when
    /// the state forbids it, [`Error::OutcomeUnknown`] when nobody can say.
    pub async fn set_attested(
        &self,
        fields: &impl Fields,
        output: impl AsRef<[u8]>,
        ttl: Duration,
    ) -> Result<Attested, Error> {
        self.set(fields, output, ttl, SetOptions::default()).await
    }

    /// As [`Client::get_verified`], and says why there is nothing.
    ///
    /// # Errors
    /// As there.
    pub async fn get(&self, fields: &impl Fields, options: GetOptions) -> Result<Lookup, Error> {
        let semantic = fields.semantic_match()?;
        let fields = self.concealed(fields)?;
        if fields.pattern() == Pattern::ResultOnly {
            let problem = "has pattern `result-only`, which does not name its input".to_owned();
            let field = "fingerprint";
            return Err(FieldError { field, problem }.into());
        }
        self.look_up(fields.fingerprint(), semantic, options).await
    }

    /// As [`Client::get`], by a fingerprint that is known already.
    ///
    /// # Errors
    /// As there.
    pub async fn look_up(
        &self,
        fingerprint: Fingerprint,
        semantic: Option<SemanticMatch>,
        options: GetOptions,
    ) -> Result<Lookup, Error> {
        let inner = &*self.inner;
        let subject = Subject::Fingerprint(fingerprint);
        let max_age = options.max_age.unwrap_or(inner.max_age);
        let semantic = inner.conceal_match(semantic);
        let (semantic, subject) = (semantic.as_ref(), &subject);
        let send = |line: Line, id: RequestId| {
            let message = wire::GetRequest {
                item: Some(wire::GetItem {
                    request_id: id.to_string(),
                    fingerprint: fingerprint.to_string(),
                    semantic_match: semantic.map(semantic_to_wire),
                }),
                wait_for: acknowledgement(options.wait_for),
                known_size: line.known_size(),
                max_age_ms: millis(max_age),
            };
            async move { line.cache().get(line.request(message)).await }
        };
        let judge = |line: Line, request_id: RequestId, reply: wire::GetResponse| async move {
            let under = inner.establish(&line, reply.checkpoint.as_ref()).await?;
            let result = reply.result.ok_or(Unproven::Missing("a result"))?;
            learn_time(inner, result.recorded.as_ref());
            let asked = lookup::LookupAsked {
                asked: inner.asked(subject, request_id),
                fingerprint,
                semantic,
                max_age,
                now: inner.around.now(),
            };
            let found = lookup::lookup(&asked, result, under.as_deref())?;
            inner.open(found).map_err(Doubt::Final)
        };
        let (deadline, id) = (
            inner.deadline(options.timeout),
            inner.ids.mint(&inner.around),
        );
        let answer = inner.call(Kind::Read, deadline, id, send, judge).await?;
        Ok(answer.answer)
    }

    /// As [`Client::set_attested`], with everything that can be said.
    ///
    /// # Errors
    /// As there.
    pub async fn set(
        &self,
        fields: &impl Fields,
        output: impl AsRef<[u8]>,
        ttl: Duration,
        options: SetOptions,
    ) -> Result<Attested, Error> {
        let item = SetItem {
            options: options.clone(),
            ..SetItem::new(fields, output, ttl)?
        };
        let inner = &*self.inner;
        let item = &inner.conceal_item(item)?;
        let subject = &Subject::Fingerprint(item.fields.fingerprint());
        let send = |line: Line, id: RequestId| {
            let message = wire::SetRequest {
                item: Some(set_item(item, id)),
                wait_for: acknowledgement(options.wait_for),
                known_size: line.known_size(),
            };
            async move { line.cache().set(line.request(message)).await }
        };
        let judge = |line: Line, request_id: RequestId, reply: wire::SetResponse| async move {
            let under = inner.establish(&line, reply.checkpoint.as_ref()).await?;
            let result = reply.result.ok_or(Unproven::Missing("a result"))?;
            learn_time(inner, result.recorded.as_ref());
            let asked = item.asked(inner.asked(subject, request_id));
            let set = change::set(&asked, &result, under.as_deref())?;
            Ok(Attested::of(set, under.as_ref()))
        };
        let (deadline, id) = (
            inner.deadline(options.timeout),
            inner.ids.mint(&inner.around),
        );
        let mut attested = inner
            .call(Kind::Change, deadline, id, send, judge)
            .await?
            .answer;
        attested.recorded = self
            .settle(attested.recorded, options.wait_for, deadline)
            .await?;
        Ok(attested)
    }

    /// Ends a result in favour of another's.
    ///
    /// # Errors
    /// [`Error::Refused`] when the state forbids it; and see [`Error`].
    pub async fn supersede(
        &self,
        fingerprint: Fingerprint,
        successor: Fingerprint,
        reason: &str,
        options: ChangeOptions,
    ) -> Result<Recorded, Error> {
        let send = |line: Line, id: RequestId| {
            let message = wire::SupersedeRequest {
                request_id: id.to_string(),
                fingerprint: fingerprint.to_string(),
                successor: successor.to_string(),
                reason: reason.to_owned(),
                wait_for: acknowledgement(options.wait_for),
                known_size: line.known_size(),
            };
            async move { line.cache().supersede(line.request(message)).await }
        };
        let read = |reply: wire::SupersedeResponse| Made {
            recorded: reply.recorded,
            checkpoint: reply.checkpoint,
            refused: match reply.outcome {
                Some(wire::supersede_response::Outcome::Refused(refused)) => Some(refused),
                _ => None,
            },
        };
        let check = |entry: &Entry| change::superseded(entry, successor, reason);
        let subject = Subject::Fingerprint(fingerprint);
        let made = self
            .change(Op::CacheSupersede, &subject, options, send, read, check)
            .await?;
        Ok(made.0)
    }

    /// Withdraws the newest result, named by its bytes: they are refused for the fingerprint until
    /// reinstated. [`crate::AuditTrail::newest_write`] tells which they are.
    ///
    /// # Errors
    /// [`Error::Refused`] when the state forbids it; and see [`Error`].
    pub async fn revoke(
        &self,
        fingerprint: Fingerprint,
        output_hash: [u8; 32],
        reason: &str,
        options: ChangeOptions,
    ) -> Result<Revoked, Error> {
        let send = |line: Line, id: RequestId| {
            let message = wire::RevokeRequest {
                request_id: id.to_string(),
                fingerprint: fingerprint.to_string(),
                output_hash: lookup::tagged(&output_hash),
                reason: reason.to_owned(),
                wait_for: acknowledgement(options.wait_for),
                known_size: line.known_size(),
            };
            async move { line.cache().revoke(line.request(message)).await }
        };
        let read = |reply: wire::RevokeResponse| Made {
            recorded: reply.recorded,
            checkpoint: reply.checkpoint,
            refused: match reply.outcome {
                Some(wire::revoke_response::Outcome::Refused(refused)) => Some(refused),
                _ => None,
            },
        };
        let op = Op::CacheRevoke;
        let check = |entry: &Entry| change::revocation(entry, op, &output_hash, reason);
        let subject = Subject::Fingerprint(fingerprint);
        let made = self
            .change(op, &subject, options, send, read, check)
            .await?;
        Ok(Revoked::of(made))
    }

    /// Takes a revocation back.
    ///
    /// # Errors
    /// [`Error::Refused`] when the state forbids it; and see [`Error`].
    pub async fn reinstate(
        &self,
        fingerprint: Fingerprint,
        output_hash: [u8; 32],
        reason: &str,
        options: ChangeOptions,
    ) -> Result<Revoked, Error> {
        let send = |line: Line, id: RequestId| {
            let message = wire::ReinstateRequest {
                request_id: id.to_string(),
                fingerprint: fingerprint.to_string(),
                output_hash: lookup::tagged(&output_hash),
                reason: reason.to_owned(),
                wait_for: acknowledgement(options.wait_for),
                known_size: line.known_size(),
            };
            async move { line.cache().reinstate(line.request(message)).await }
        };
        let read = |reply: wire::ReinstateResponse| Made {
            recorded: reply.recorded,
            checkpoint: reply.checkpoint,
            refused: match reply.outcome {
                Some(wire::reinstate_response::Outcome::Refused(refused)) => Some(refused),
                _ => None,
            },
        };
        let op = Op::CacheReinstate;
        let check = |entry: &Entry| change::revocation(entry, op, &output_hash, reason);
        let subject = Subject::Fingerprint(fingerprint);
        let made = self
            .change(op, &subject, options, send, read, check)
            .await?;
        Ok(Revoked::of(made))
    }

    /// Ends all results of a model version, at once for every lookup.
    ///
    /// # Errors
    /// [`Error::Refused`] when the state forbids it; and see [`Error`].
    pub async fn supersede_model(
        &self,
        from: &Model,
        to: &Model,
        reason: &str,
        options: ChangeOptions,
    ) -> Result<Recorded, Error> {
        let model = |model: &Model| wire::ModelVersion {
            name: model.name.clone(),
            version: model.version.clone(),
        };
        let send = |line: Line, id: RequestId| {
            let message = wire::SupersedeModelRequest {
                request_id: id.to_string(),
                from: Some(model(from)),
                to: Some(model(to)),
                reason: reason.to_owned(),
                wait_for: acknowledgement(options.wait_for),
                known_size: line.known_size(),
            };
            async move { line.cache().supersede_model(line.request(message)).await }
        };
        let read = |reply: wire::SupersedeModelResponse| Made {
            recorded: reply.recorded,
            checkpoint: reply.checkpoint,
            refused: match reply.outcome {
                Some(wire::supersede_model_response::Outcome::Refused(refused)) => Some(refused),
                _ => None,
            },
        };
        let check = |entry: &Entry| change::model_superseded(entry, from, to, reason);
        let subject = Subject::Model(from.clone());
        let made = self
            .change(Op::ModelSupersede, &subject, options, send, read, check)
            .await?;
        Ok(made.0)
    }

    /// A state-changing request whose outcome is one entry or a refusal; `check` compares the entry
    /// with what was asked and says what it did.
    pub(crate) async fn change<R, T, SF>(
        &self,
        op: Op,
        subject: &Subject,
        options: ChangeOptions,
        send: impl Fn(Line, RequestId) -> SF + Send,
        read: impl Fn(R) -> Made + Send + Sync,
        check: impl Fn(&Entry) -> Result<T, Unproven> + Send + Sync,
    ) -> Result<(Recorded, T), Error>
    where
        R: Send,
        T: Send,
        SF: Future<Output = Result<tonic::Response<R>, tonic::Status>> + Send,
    {
        let inner = &*self.inner;
        let (read, check) = (&read, &check);
        let judge = |line: Line, request_id: RequestId, reply: R| async move {
            let made = read(reply);
            learn_time(inner, made.recorded.as_ref());
            let under = inner.establish(&line, made.checkpoint.as_ref()).await?;
            let asked = inner.asked(subject, request_id);
            let own = own_entry(&asked, made.recorded.as_ref(), under.as_deref())?;
            if let Some(refused) = &made.refused {
                return Err(change::refusal(&own, refused, op));
            }
            let did = check(&own.entry)?;
            Ok::<_, Doubt>((Recorded::of(own, under.as_ref()), did))
        };
        let (deadline, id) = (
            inner.deadline(options.timeout),
            inner.ids.mint(&inner.around),
        );
        let (recorded, did) = inner
            .call(Kind::Change, deadline, id, send, judge)
            .await?
            .answer;
        Ok((
            self.settle(recorded, options.wait_for, deadline).await?,
            did,
        ))
    }

    /// Waits for the seal that was asked for, as long as there is time. What is committed stays so:
    /// when the seal does not come, the entry is returned without it.
    pub(crate) async fn settle(
        &self,
        recorded: Recorded,
        wait_for: Option<WaitFor>,
        deadline: Instant,
    ) -> Result<Recorded, Error> {
        let wanted = wait_for.unwrap_or(WaitFor::Sealed) == WaitFor::Sealed;
        if !wanted || recorded.sealed.is_some() {
            return Ok(recorded);
        }
        let replayed = recorded.replayed;
        match self.receipt_by(recorded.seq(), deadline).await {
            Ok(sealed) if sealed.line == recorded.line => Ok(Recorded { replayed, ..sealed }),
            // Another entry is proved to stand there: the first answer was false.
            Ok(_) => match recorded.entry.request_id {
                Some(request_id) => Err(Error::OutcomeUnknown {
                    request_id,
                    last: format!("entry {} was shown in two versions", recorded.seq()),
                }),
                None => Ok(recorded),
            },
            Err(error @ Error::Misbehaviour(_)) => Err(error),
            Err(_) => Ok(recorded),
        }
    }
}

/// The parts that replies to changes have in common.
pub(crate) struct Made {
    pub(crate) recorded: Option<audit_v1::Recorded>,
    pub(crate) checkpoint: Option<CheckpointProof>,
    pub(crate) refused: Option<audit_v1::Refused>,
}

impl Client {
    /// The fingerprint under which this client looks a computation up. With a tenant key it is
    /// another one than without.
    ///
    /// # Errors
    /// [`FieldError`] names the first field that has no one spelling.
    pub fn fingerprint(&self, fields: &impl Fields) -> Result<Fingerprint, FieldError> {
        Ok(self.concealed(fields)?.fingerprint())
    }

    fn concealed(&self, fields: &impl Fields) -> Result<FingerprintFields, FieldError> {
        self.inner.conceal(fields.to_fingerprint_fields()?)
    }
}

impl Inner {
    /// Fields as the nodes may see them.
    pub(crate) fn conceal(
        &self,
        fields: FingerprintFields,
    ) -> Result<FingerprintFields, FieldError> {
        match &self.tenant_key {
            Some(key) => key.conceal(fields),
            None => Ok(fields),
        }
    }

    pub(crate) fn conceal_match(&self, semantic: Option<SemanticMatch>) -> Option<SemanticMatch> {
        match &self.tenant_key {
            Some(key) => semantic.map(|semantic| key.conceal_match(semantic)),
            None => semantic,
        }
    }

    pub(crate) fn conceal_item(&self, item: SetItem) -> Result<SetItem, FieldError> {
        match &self.tenant_key {
            Some(key) => item.concealed(key),
            None => Ok(item),
        }
    }

    /// A verified value as the caller wants it: decrypted, where a tenant key is held.
    pub(crate) fn open(&self, found: Lookup) -> Result<Lookup, Error> {
        let Some(key) = &self.tenant_key else {
            return Ok(found);
        };
        let mut hit = match found {
            Lookup::Hit(hit) => hit,
            miss @ Lookup::Miss(_) => return Ok(miss),
        };
        let opened = key.open(&hit.about.media_type, &hit.value);
        let (media_type, value) = opened.map_err(|problem| {
            let seq = hit.about.write_seq;
            Error::NotOpened { seq, problem }
        })?;
        hit.about.media_type = media_type;
        hit.value = value;
        Ok(Lookup::Hit(hit))
    }

    pub(crate) fn asked<'a>(&'a self, subject: &'a Subject, request_id: RequestId) -> Asked<'a> {
        Asked {
            tenant: &self.tenant,
            subject,
            request_id,
        }
    }
}

impl Attested {
    fn of(set: change::Set, under: Option<&Arc<VerifiedCheckpoint>>) -> Self {
        Self {
            fingerprint: set.write.fields.fingerprint(),
            version: set.write.version,
            renewed: set.renewed,
            expires: set.own.entry.time.plus_millis(set.write.ttl_ms),
            recorded: Recorded::of(set.own, under),
        }
    }
}

impl Revoked {
    fn of((recorded, did): (Recorded, Revocation)) -> Self {
        Self {
            version: did.version,
            output_hash: did.output_hash,
            recorded,
        }
    }
}

pub(crate) fn acknowledgement(wait_for: Option<WaitFor>) -> i32 {
    let acknowledgement = match wait_for {
        None => Acknowledgement::Unspecified,
        Some(WaitFor::Committed) => Acknowledgement::Committed,
        Some(WaitFor::Sealed) => Acknowledgement::Sealed,
    };
    acknowledgement.into()
}

/// 0 would ask for the server's default.
fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis())
        .unwrap_or(u64::MAX)
        .max(1)
}
