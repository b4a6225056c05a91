//! What the answer to a state-changing request says it did.

use candor_ledger::entry::{
    Attestation, Body, Entry, Model, ModelSupersede, Op, Revocation, SemanticMatch, SupersedeBy,
    Told, Write,
};
use candor_ledger::fingerprint::{Fingerprint, FingerprintFields};
use candor_proto::audit_v1::{Refused, ResultState};
use candor_proto::cache_v1::set_result::Outcome;
use candor_proto::cache_v1::{SetResult, Written};
use candor_proto::unix_us;

use super::lookup::tagged;
use super::own::{Asked, Own, own_entry, same};
use crate::checkpoint::VerifiedCheckpoint;
use crate::error::{Doubt, Error, Unproven};

/// A set as it was asked.
#[derive(Clone, Debug)]
pub(crate) struct SetAsked<'a> {
    pub(crate) asked: Asked<'a>,
    pub(crate) fields: &'a FingerprintFields,
    pub(crate) output_hash: [u8; 32],
    pub(crate) output_len: u64,
    pub(crate) media_type: &'a str,
    pub(crate) ttl_ms: u64,
    pub(crate) told: &'a Told,
    pub(crate) semantic: Option<&'a SemanticMatch>,
}

/// A set that was accepted.
#[derive(Clone, Debug)]
pub(crate) struct Set {
    pub(crate) own: Own,
    pub(crate) write: Write,
    pub(crate) renewed: bool,
}

/// Checks one result of a set or a batch. An error of an item is not for here.
pub(crate) fn set(
    asked: &SetAsked<'_>,
    result: &SetResult,
    under: Option<&VerifiedCheckpoint>,
) -> Result<Set, Doubt> {
    let own = own_entry(&asked.asked, result.recorded.as_ref(), under)?;
    match &result.outcome {
        Some(Outcome::Written(written)) => {
            let write = written_as_asked(asked, &own.entry, written)?;
            let renewed = written.renewed;
            Ok(Set {
                own,
                write,
                renewed,
            })
        }
        Some(Outcome::Conflict(conflict)) => {
            let Body::WriteConflict(found) = &own.entry.body else {
                return Err(operation("cache.write_conflict", &own.entry).into());
            };
            let (held, offered) = (tagged(&found.held), tagged(&found.offered));
            same("the offered output", tagged(&asked.output_hash), &offered)?;
            same(
                "the offered output",
                &offered,
                &conflict.offered_output_hash,
            )?;
            same("the held output", &held, &conflict.held_output_hash)?;
            if held == offered {
                return Err(Unproven::differs("the held output", "another", held).into());
            }
            let seq = own.entry.seq;
            Err(Error::Conflict { seq, held, offered }.into())
        }
        Some(Outcome::Refused(refused)) => Err(refusal(&own, refused, Op::CacheWrite)),
        Some(Outcome::Error(_)) | None => Err(Unproven::Missing("an outcome").into()),
    }
}

fn written_as_asked(
    asked: &SetAsked<'_>,
    entry: &Entry,
    written: &Written,
) -> Result<Write, Unproven> {
    let Body::Write(write) = &entry.body else {
        return Err(operation("cache.write", entry));
    };
    let recorded_otherwise = |what| Err(Unproven::differs(what, "as sent", "another"));
    if write.fields != *asked.fields {
        return recorded_otherwise("the recorded fields");
    }
    if write.told != *asked.told {
        return recorded_otherwise("what was told");
    }
    if write.semantic.as_ref() != asked.semantic {
        return recorded_otherwise("the recorded semantic match");
    }
    same(
        "the output hash",
        tagged(&asked.output_hash),
        tagged(&write.output_hash),
    )?;
    same("the output's length", asked.output_len, write.output_len)?;
    same("the media type", asked.media_type, &write.media_type)?;
    same("the time to live", asked.ttl_ms, write.ttl_ms)?;
    same("the version", write.version, written.version)?;
    let expires = entry.time.plus_millis(write.ttl_ms).0;
    let said = written
        .expires
        .as_ref()
        .and_then(unix_us)
        .unwrap_or_default();
    same("the deadline", expires, said)?;
    Ok(Write::clone(write))
}

/// The refusal of a request, verified: an error for the caller, else unproven.
pub(crate) fn refusal(own: &Own, refused: &Refused, op: Op) -> Doubt {
    checked_refusal(own, refused, op).map_or_else(Doubt::from, Doubt::from)
}

fn checked_refusal(own: &Own, refused: &Refused, op: Op) -> Result<Error, Unproven> {
    let Body::Refused(found) = &own.entry.body else {
        return Err(operation("cache.refused", &own.entry));
    };
    same("the refused operation", op, found.asked)?;
    same(
        "the reason of the refusal",
        found.refusal.code(),
        &refused.reason,
    )?;
    same(
        "the state",
        found.state.as_str(),
        state_word(refused.state()),
    )?;
    let successor = found
        .refusal
        .successor()
        .map(|successor| successor.to_string());
    same(
        "the successor",
        successor.as_deref().unwrap_or_default(),
        &refused.successor,
    )?;
    Ok(Error::Refused {
        seq: own.entry.seq,
        reason: found.refusal.code().to_owned(),
        successor,
    })
}

/// `RESULT_STATE_ACTIVE` as `active`... in the spelling of entries.
fn state_word(state: ResultState) -> String {
    state
        .as_str_name()
        .trim_start_matches("RESULT_STATE_")
        .to_lowercase()
}

/// The entry is of another operation than the outcome says.
pub(crate) fn operation(want: &'static str, entry: &Entry) -> Unproven {
    Unproven::differs("the operation", want, entry.op())
}

/// Checks the entry of a supersession.
pub(crate) fn superseded(
    entry: &Entry,
    successor: Fingerprint,
    reason: &str,
) -> Result<(), Unproven> {
    let Body::Supersede(found) = &entry.body else {
        return Err(operation("cache.supersede", entry));
    };
    let SupersedeBy::Client {
        successor: recorded,
        reason: why,
        ..
    } = &found.by
    else {
        return Err(Unproven::differs(
            "the supersession",
            "the client's",
            "the log's own",
        ));
    };
    same("the successor", successor, recorded)?;
    same("the reason", reason, why)
}

/// Checks the entry of a revocation or reinstatement, `op` saying which.
pub(crate) fn revocation(
    entry: &Entry,
    op: Op,
    output_hash: &[u8; 32],
    reason: &str,
) -> Result<Revocation, Unproven> {
    same("the operation", op, entry.op())?;
    let (Body::Revoke(found) | Body::Reinstate(found)) = &entry.body else {
        return Err(operation(op.as_str(), entry));
    };
    same(
        "the output",
        tagged(output_hash),
        tagged(&found.output_hash),
    )?;
    same("the reason", reason, &found.reason)?;
    Ok(found.clone())
}

/// Checks the entry of a model's supersession.
pub(crate) fn model_superseded(
    entry: &Entry,
    from: &Model,
    to: &Model,
    reason: &str,
) -> Result<(), Unproven> {
    let Body::ModelSupersede(ModelSupersede {
        from: gone,
        to: next,
        reason: why,
        ..
    }) = &entry.body
    else {
        return Err(operation("model.supersede", entry));
    };
    same("the model", from, gone)?;
    same("the model's successor", to, next)?;
    same("the reason", reason, why)
}

/// Checks the entry of an attestation.
pub(crate) fn attested(entry: &Entry, sent: &Attestation) -> Result<(), Unproven> {
    let Body::Verify(found) = &entry.body else {
        return Err(operation("cache.verify", entry));
    };
    let Attestation {
        result,
        size,
        root,
        auditor,
        signature,
        request: _,
    } = &**found;
    let as_sent = (result, size, root, auditor, signature)
        == (
            &sent.result,
            &sent.size,
            &sent.root,
            &sent.auditor,
            &sent.signature,
        );
    if as_sent {
        Ok(())
    } else {
        Err(Unproven::differs(
            "the recorded attestation",
            "as sent",
            "another",
        ))
    }
}
