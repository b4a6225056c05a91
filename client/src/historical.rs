//! What a get met at a moment of the past, with the value.

use std::sync::Arc;

use bytes::Bytes;
use candor_ledger::entry::{MissReason, Subject};
use candor_ledger::fingerprint::Fingerprint;
use candor_ledger::fold::Held;
use candor_ledger::ids::{RequestId, TreeSize};
use candor_ledger::time::Micros;
use candor_proto::cache_v1::get_as_of_request::AsOf;
use candor_proto::{cache_v1 as wire, timestamp};
use tokio::time::Instant;

use crate::audit::{AuditTrail, TrailEntry};
use crate::cache::{acknowledgement, learn_time};
use crate::checkpoint::VerifiedCheckpoint;
use crate::client::{Client, Inner};
use crate::endpoint::Line;
use crate::error::{Error, Unproven};
use crate::history::{Moment, PastTrail};
use crate::recorded::Recorded;
use crate::verify::past::{Answer, Stood, answer, stood};

/// What a get was, or would have been, answered at a moment of the past. Not a result: what is in it
/// may have been revoked, superseded or set anew since, so nothing here converts into what a get
/// returns.
///
/// # What is proved
///
/// - The question is an entry of the log, [`Historical::read`]: who asked, about what, as of when.
/// - What stood then follows, by the rules of the ledger, from all events of the fingerprint before that
///   moment, and each of them is proved to lie in the log ([`Historical::past`]). That none was left
///   out, and so that nothing superseded, revoked or renewed the result in between, is proved by the next
///   event after that moment, which names the one before; the question itself is such an event as soon as it is
///   sealed.
/// - The value hashes to what the write of then recorded.
///
/// # What is the answering node's word
///
/// Whatever [`Historical::caveats`] lists: that the result's *model* had not given way by then (nothing
/// in the ledger names a model's absent end); where a moment was named by its time, that the ledger had
/// [`Historical::size`] entries then, on which nothing else in the answer rests; and that a value
/// is not kept any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Historical {
    fingerprint: Fingerprint,
    size: TreeSize,
    then: Then,
    read: Recorded,
    past: PastTrail,
    named_by_time: bool,
}

/// What stood at a moment of the past.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Then {
    /// A result was ACTIVE, and its value is still kept.
    Value(HistoricalValue),
    /// A result was ACTIVE. Its value is not kept any more, neither by the node that answered nor by
    /// a member that it asked.
    NotKept(Held),
    /// There was nothing to serve, for this reason.
    Nothing(MissReason),
}

/// A value that was ACTIVE once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoricalValue {
    /// The bytes of the output.
    pub bytes: Bytes,
    /// What its writer called it.
    pub media_type: String,
    /// The result as it stood then: version, write, deadline.
    pub held: Held,
}

impl Client {
    /// What a get of this fingerprint was, or would have been, answered at a moment of the past, with
    /// the value that was ACTIVE then if it is still kept; verified, see [`Historical`].
    ///
    /// Needs the right `audit` for the tenant, and leaves a `cache.read_as_of` entry, of which the
    /// seal is waited for.
    ///
    /// Cost: as [`Client::auditlog`], all events of the fingerprint.
    ///
    /// # Errors
    /// [`Error::Rejected`] with `INVALID_FIELD` for a moment that is not past or was before the first
    /// entry, and for a fingerprint of pattern `result-only`, which answers no lookup; with `ENTRY_NOT_FOUND`
    /// for an entry of another tenant, whose time only an auditor of the whole cluster is told. See
    /// [`Error`].
    pub async fn get_as_of(
        &self,
        fingerprint: Fingerprint,
        moment: Moment,
    ) -> Result<Historical, Error> {
        let deadline = self.inner.deadline(None);
        let (answer, under) = self.ask_as_of(fingerprint, moment, deadline).await?;
        let Answer {
            own,
            size,
            time,
            said,
        } = answer;
        let read = self
            .settle(Recorded::of(own, Some(&under)), None, deadline)
            .await?;
        let trail = self.auditlog(&fingerprint.to_string()).await?;
        let named_by_time = matches!(moment, Moment::At(_));
        if named_by_time {
            size_fits(&trail, size, time).map_err(unproven)?;
        }
        let past = self.past_trail(trail, size, time).await?;
        let state = past.past.as_ref().map(|past| &past.state);
        let state = state.ok_or(Unproven::Missing("the state of then"));
        let state = state.map_err(unproven)?;
        let stood = stood(state, &past.trail.entries, said).map_err(unproven)?;
        Ok(Historical {
            fingerprint,
            size,
            then: self.inner.opened(stood)?,
            read,
            past,
            named_by_time,
        })
    }

    /// Puts the question; the answer is verified as far as it shows by itself.
    async fn ask_as_of(
        &self,
        fingerprint: Fingerprint,
        moment: Moment,
        deadline: Instant,
    ) -> Result<(Answer, Arc<VerifiedCheckpoint>), Error> {
        let inner = &*self.inner;
        let subject = &Subject::Fingerprint(fingerprint);
        let as_of = match moment {
            Moment::At(time) => AsOf::Time(timestamp(time.0)),
            // No ledger has an entry of the greatest number, and the node says so.
            Moment::After(seq) => AsOf::Size(seq.0.saturating_add(1)),
        };
        let send = |line: Line, id: RequestId| {
            let request = line.request(wire::GetAsOfRequest {
                request_id: id.to_string(),
                fingerprint: fingerprint.to_string(),
                as_of: Some(as_of),
                wait_for: acknowledgement(None),
                known_size: line.known_size(),
            });
            async move { line.cache().get_as_of(request).await }
        };
        let judge = |line: Line, id: RequestId, reply: wire::GetAsOfResponse| async move {
            learn_time(inner, reply.recorded.as_ref());
            let under = inner.establish(&line, reply.checkpoint.as_ref()).await?;
            let under = under.ok_or(Unproven::Missing("a checkpoint"))?;
            let answer = answer(&inner.asked(subject, id), moment, reply, &under)?;
            Ok((answer, under))
        };
        inner.read(Some(deadline), send, judge).await
    }
}

impl Inner {
    /// With the value as the caller wants it: decrypted, where a tenant key is held.
    fn opened(&self, stood: Stood) -> Result<Then, Error> {
        let (held, value) = match stood {
            Stood::Active(held, Some(value)) => (held, value),
            Stood::Active(held, None) => return Ok(Then::NotKept(held)),
            Stood::Nothing(reason) => return Ok(Then::Nothing(reason)),
        };
        let (media_type, bytes) = match &self.tenant_key {
            None => (held.media_type.clone(), value),
            Some(key) => key.open(&held.media_type, &value).map_err(|problem| {
                let seq = held.write_seq;
                Error::NotOpened { seq, problem }
            })?,
        };
        Ok(Then::Value(HistoricalValue {
            bytes,
            media_type,
            held,
        }))
    }
}

impl Historical {
    /// What was asked about.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// How many entries the ledger had then.
    pub fn size(&self) -> TreeSize {
        self.size
    }

    /// The time of then, which deadlines were held against.
    pub fn time(&self) -> Micros {
        self.past.time
    }

    /// What stood then.
    pub fn then(&self) -> &Then {
        &self.then
    }

    /// The `cache.read_as_of` entry that this very question left.
    pub fn read(&self) -> &Recorded {
        &self.read
    }

    /// The events before that moment, and what follows from them.
    pub fn past(&self) -> &PastTrail {
        &self.past
    }

    /// What is not proved, one sentence each.
    pub fn caveats(&self) -> Vec<String> {
        let mut caveats = self.past.caveats();
        if self.named_by_time {
            caveats.push(format!(
                "that the ledger had {} entries by then is the answering node's word",
                self.size
            ));
        }
        if let Then::NotKept(_) = self.then {
            let told = "that the value is not kept any more is the answering node's word";
            caveats.push(told.to_owned());
        }
        caveats
    }
}

/// Every event shown lies on the side of the size on which its time puts it.
fn size_fits(trail: &AuditTrail, size: TreeSize, time: Micros) -> Result<(), Unproven> {
    let sides = |event: &TrailEntry| (size.covers(event.entry.seq), event.entry.time <= time);
    let wrong = trail.entries.iter().find(|event| {
        let (before, not_later) = sides(event);
        before != not_later
    });
    match wrong {
        None => Ok(()),
        Some(event) => Err(Unproven::differs(
            "the size at that time",
            "one that fits the events",
            format!(
                "{size}, with entry {} of {}",
                event.entry.seq, event.entry.time
            ),
        )),
    }
}

fn unproven(problem: Unproven) -> Error {
    let endpoint = "the answer about the past".to_owned();
    Error::Unproven { endpoint, problem }
}
