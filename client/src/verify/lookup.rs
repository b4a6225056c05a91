//! A get's answer.

use std::time::Duration;

use candor_ledger::digest::{TaggedDigest, sha3_256};
use candor_ledger::entry::{Body, Entry, MissReason, ReadHit, SemanticMatch, Subject, Write};
use candor_ledger::fingerprint::{Fingerprint, Pattern};
use candor_ledger::ids::Seq;
use candor_ledger::time::Micros;
use candor_proto::cache_v1::get_result::Outcome;
use candor_proto::cache_v1::{GetResult, Hit, Miss};

use super::own::{Asked, Own, own_entry, same};
use super::proof::{Shown, shown_entry};
use super::{CLOCK_TOLERANCE, after, fresh};
use crate::cache::{Lookup, Missed};
use crate::checkpoint::VerifiedCheckpoint;
use crate::error::{Doubt, Unproven};
use crate::output::{About, Verified};

/// A get as it was asked.
#[derive(Clone, Debug)]
pub(crate) struct LookupAsked<'a> {
    pub(crate) asked: Asked<'a>,
    pub(crate) fingerprint: Fingerprint,
    pub(crate) semantic: Option<&'a SemanticMatch>,
    pub(crate) max_age: Duration,
    pub(crate) now: Micros,
}

/// Checks one result of a get or a batch. An error of an item is not for here.
pub(crate) fn lookup(
    asked: &LookupAsked<'_>,
    result: GetResult,
    under: Option<&VerifiedCheckpoint>,
) -> Result<Lookup, Doubt> {
    let own = own_entry(&asked.asked, result.recorded.as_ref(), under)?;
    match result.outcome {
        Some(Outcome::Hit(hit)) => {
            let under = under.ok_or(Unproven::Missing("the checkpoint of the write"))?;
            let verified = hit_is_good(asked, &own, hit, under)?;
            Ok(Lookup::Hit(Box::new(verified)))
        }
        Some(Outcome::Miss(miss)) => Ok(Lookup::Miss(Box::new(missed(own, &miss)?))),
        Some(Outcome::Withheld(withheld)) => {
            let read = read_hit(&own.entry)?;
            same(
                "the withheld write",
                Seq(withheld.write_seq),
                read.write_seq,
            )?;
            let write_seq = read.write_seq;
            Err(Doubt::Withheld { write_seq })
        }
        Some(Outcome::Error(_)) | None => Err(Unproven::Missing("an outcome").into()),
    }
}

/// Every check that stands between a value and its caller.
fn hit_is_good(
    asked: &LookupAsked<'_>,
    own: &Own,
    hit: Hit,
    under: &VerifiedCheckpoint,
) -> Result<Verified, Doubt> {
    let read = read_hit(&own.entry)?;
    if read.semantic.as_ref() != asked.semantic {
        return Err(Unproven::differs("the read's semantic match", "as asked", "another").into());
    }
    let proof = hit
        .write
        .as_ref()
        .ok_or(Unproven::Missing("the entry of the write"))?;
    let shown = Shown::of(proof)?;
    let entry = shown_entry(&shown, under)?;
    let write = the_write(asked, read, &entry)?;
    same("the write's place", Seq(hit.write_seq), entry.seq)?;
    same("the write's version", hit.version, write.version)?;
    same("the media type", &hit.media_type, &write.media_type)?;
    same(
        "the output hash",
        &hit.output_hash,
        tagged(&write.output_hash),
    )?;
    same(
        "the hash of the value",
        tagged(&write.output_hash),
        tagged(&sha3_256(&hit.value)),
    )?;
    if own.entry.seq <= entry.seq || own.entry.time < entry.time {
        return Err(Unproven::differs("the read's place", "after the write", own.entry.seq).into());
    }
    let expires = entry.time.plus_millis(write.ttl_ms);
    if own.entry.time >= expires || after(expires, CLOCK_TOLERANCE) <= asked.now {
        return Err(Unproven::differs("the deadline", "in the future", expires).into());
    }
    fresh(under, asked.max_age, asked.now)?;
    Ok(Verified {
        value: hit.value,
        about: About {
            fingerprint: asked.fingerprint,
            version: write.version,
            media_type: write.media_type.clone(),
            write_seq: entry.seq,
            writer: entry.actor.clone(),
            written: entry.time,
            expires,
            read_seq: own.entry.seq,
            request_id: asked.asked.request_id,
            read_sealed: own.path.is_some(),
            as_of: under.as_of(),
            input_tokens: write.told.input_tokens,
            output_tokens: write.told.output_tokens,
            latency_ms: write.told.latency_ms,
        },
    })
}

fn read_hit(entry: &Entry) -> Result<&ReadHit, Unproven> {
    match &entry.body {
        Body::ReadHit(read) => Ok(read),
        other => Err(Unproven::differs(
            "the operation",
            "cache.read_hit",
            other.op(),
        )),
    }
}

/// The write that the read names, recorded under exactly what was asked.
fn the_write<'e>(
    asked: &LookupAsked<'_>,
    read: &ReadHit,
    entry: &'e Entry,
) -> Result<&'e Write, Unproven> {
    let Body::Write(write) = &entry.body else {
        return Err(Unproven::differs(
            "the operation",
            "cache.write",
            entry.op(),
        ));
    };
    same("the write's tenant", asked.asked.tenant, &entry.tenant)?;
    same(
        "the write's subject",
        Subject::Fingerprint(asked.fingerprint),
        &entry.subject,
    )?;
    same(
        "the fingerprint of the fields",
        asked.fingerprint,
        write.fields.fingerprint(),
    )?;
    if write.fields.pattern() == Pattern::ResultOnly {
        // Its fingerprint does not name the input, so it answers no question.
        return Err(Unproven::differs(
            "the pattern",
            "exact or semantic",
            "result-only",
        ));
    }
    same("the write that was read", read.write_seq, entry.seq)?;
    same("the version that was read", read.version, write.version)?;
    same(
        "the output that was read",
        tagged(&read.output_hash),
        tagged(&write.output_hash),
    )?;
    Ok(write)
}

fn missed(own: Own, miss: &Miss) -> Result<Missed, Unproven> {
    let Body::ReadMiss(read) = &own.entry.body else {
        return Err(Unproven::differs(
            "the operation",
            "cache.read_miss",
            own.entry.op(),
        ));
    };
    same(
        "the reason of the miss",
        read.reason.as_str(),
        reason_of(miss),
    )?;
    let successor = match &read.reason {
        MissReason::Superseded(successor) => successor.to_string(),
        _ => String::new(),
    };
    same("the successor", successor, &miss.successor)?;
    Ok(Missed {
        seq: own.entry.seq,
        reason: read.reason.clone(),
        entry: own.entry,
    })
}

/// `MISS_REASON_ABSENT` as `absent`... in the spelling of entries.
pub(crate) fn reason_of(miss: &Miss) -> String {
    miss.reason()
        .as_str_name()
        .trim_start_matches("MISS_REASON_")
        .to_lowercase()
}

/// `sha3-256:<hex>`.
pub(crate) fn tagged(digest: &[u8; 32]) -> String {
    TaggedDigest::sha3(*digest).to_string()
}
