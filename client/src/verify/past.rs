//! The answer to a question about the past.
//!
//! Two steps: what the reply shows by itself, and then whether the events of the fingerprint, which
//! are proved on their own, tell the same past.

use bytes::Bytes;
use candor_ledger::digest::sha3_256;
use candor_ledger::entry::{Body, MissReason, ReadAsOf, Write};
use candor_ledger::fold::{Effective, Held};
use candor_ledger::ids::{Seq, TreeSize};
use candor_ledger::time::Micros;
use candor_proto::cache_v1::get_as_of_response::Outcome;
use candor_proto::cache_v1::{GetAsOfResponse, PastResult};
use candor_proto::unix_us;

use super::lookup::{reason_of, tagged};
use super::own::{Asked, Own, own_entry, same};
use super::proof::{Shown, shown_entry};
use crate::audit::TrailEntry;
use crate::checkpoint::VerifiedCheckpoint;
use crate::error::{Doubt, Unproven};
use crate::history::Moment;

/// What a reply shows: the question's entry, the moment, and what the endpoint says stood then.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) own: Own,
    pub(crate) size: TreeSize,
    pub(crate) time: Micros,
    pub(crate) said: Said,
}

/// What an endpoint says stood at a moment.
#[derive(Clone, Debug)]
pub(crate) enum Said {
    Active(PastResult),
    /// In the words of entries.
    Nothing {
        reason: String,
        successor: String,
    },
}

/// Holds a reply against the question.
pub(crate) fn answer(
    asked: &Asked<'_>,
    moment: Moment,
    reply: GetAsOfResponse,
    under: &VerifiedCheckpoint,
) -> Result<Answer, Doubt> {
    let own = own_entry(asked, reply.recorded.as_ref(), Some(under))?;
    let Body::ReadAsOf(ReadAsOf { as_of, time: named }) = own.entry.body else {
        let found = own.entry.op();
        return Err(Unproven::differs("the operation", "cache.read_as_of", found).into());
    };
    same("the size of then", as_of, reply.size)?;
    if !under.size().covers(as_of.last().unwrap_or_default()) || as_of == TreeSize(0) {
        return Err(Unproven::Missing("a checkpoint of that past").into());
    }
    let shown_time = named.map(|time| time.to_string()).unwrap_or_default();
    let time = match moment {
        Moment::At(time) => {
            same("the time that is recorded", time, shown_time)?;
            time
        }
        Moment::After(seq) => {
            let size = seq.size_including().unwrap_or_default();
            same("the size of then", size, as_of)?;
            same("the time that is recorded", "", shown_time)?;
            let proof = reply.moment.as_ref();
            let proof = proof.ok_or(Unproven::Missing("the entry before then"))?;
            let entry = shown_entry(&Shown::of(proof)?, under)?;
            same("the entry before then", seq, entry.seq)?;
            entry.time
        }
    };
    let said_time = reply.time.as_ref().and_then(unix_us).unwrap_or_default();
    same("the time of then", time.0, said_time)?;
    let said = match reply.outcome {
        Some(Outcome::Active(result)) => Said::Active(result),
        Some(Outcome::Miss(miss)) => Said::Nothing {
            reason: reason_of(&miss),
            successor: miss.successor,
        },
        None => return Err(Unproven::Missing("an outcome").into()),
    };
    Ok(Answer {
        own,
        size: as_of,
        time,
        said,
    })
}

/// What stood then, proved.
#[derive(Clone, Debug)]
pub(crate) enum Stood {
    /// With the value, unless it is not kept.
    Active(Held, Option<Bytes>),
    Nothing(MissReason),
}

/// Holds what the endpoint says against what the events tell. `events` are those of the fingerprint
/// before the moment, `state` is what they tell.
pub(crate) fn stood(
    state: &Effective,
    events: &[TrailEntry],
    said: Said,
) -> Result<Stood, Unproven> {
    let expected = state.miss();
    match (said, state) {
        (Said::Active(result), Effective::Active(held)) => {
            let value = result_is_good(held, events, &result)?;
            Ok(Stood::Active(held.clone(), value))
        }
        (Said::Nothing { reason, successor }, _) => {
            let reason_then = expected.as_ref().map_or("active", MissReason::as_str);
            same("the state of then", reason_then, reason)?;
            let successor_then = match &expected {
                Some(MissReason::Superseded(successor)) => successor.to_string(),
                _ => String::new(),
            };
            same("the successor of then", successor_then, successor)?;
            expected
                .map(Stood::Nothing)
                .ok_or(Unproven::Missing("the result of then"))
        }
        (Said::Active(_), other) => {
            let state = other.state();
            Err(Unproven::differs("the state of then", state, "active"))
        }
    }
}

fn result_is_good(
    held: &Held,
    events: &[TrailEntry],
    result: &PastResult,
) -> Result<Option<Bytes>, Unproven> {
    let write = write_of(events, held.write_seq)?;
    same("the write of then", held.write_seq, Seq(result.write_seq))?;
    same("the version of then", held.version, result.version)?;
    same("the media type", &write.media_type, &result.media_type)?;
    let output_hash = tagged(&write.output_hash);
    same("the output of then", &output_hash, &result.output_hash)?;
    let Some(value) = &result.value else {
        return Ok(None);
    };
    same(
        "the hash of the value",
        output_hash,
        tagged(&sha3_256(value)),
    )?;
    Ok(Some(value.clone()))
}

fn write_of(events: &[TrailEntry], seq: Seq) -> Result<&Write, Unproven> {
    let write = events.iter().find(|event| event.entry.seq == seq);
    match write.map(|event| &event.entry.body) {
        Some(Body::Write(write)) => Ok(write),
        _ => Err(Unproven::Missing("the write of then")),
    }
}
