//! What an entry makes of a result, where the rules allow it.
//!
//! [`super::evolve`] asks this after it has found that they do; whoever reads the past of a ledger
//! that was verified otherwise asks this alone.

use super::state::{Held, Lifecycle, ResultKind, ResultRecord, Standing};
use crate::entry::{Body, Entry, MissReason, Revocation, Subject, Supersede, SupersedeBy, Write};
use crate::fingerprint::Pattern;
use crate::fold::rules::model_of;
use crate::planted;
use crate::time::Micros;

/// The record after an entry about it; `None` where the rules could not have allowed the entry.
pub(super) fn effect(before: &ResultRecord, entry: &Entry) -> Option<ResultRecord> {
    let mut after = before.clone();
    after.lifecycle = Lifecycle {
        n: entry.n,
        last: entry.seq,
    };
    match &entry.body {
        Body::Expire(_) => expire(&mut after)?,
        // An overdue result is EXPIRED by the first lookup that finds it so.
        Body::ReadMiss(body) if body.reason == MissReason::Expired => expire(&mut after)?,
        Body::Reinstate(body) => reinstate(&mut after, body, entry.time)?,
        Body::Revoke(_) => revoke(&mut after)?,
        Body::Supersede(body) => supersede(&mut after, body)?,
        Body::Write(body) => write(&mut after, body, entry),
        Body::ReadAsOf(_)
        | Body::ReadHit(_)
        | Body::ReadMiss(_)
        | Body::Refused(_)
        | Body::Verify(_)
        | Body::WriteConflict(_) => {}
        _ => return None,
    }
    Some(after)
}

fn write(after: &mut ResultRecord, body: &Write, entry: &Entry) {
    let pattern = body.fields.pattern();
    after.kind = Some(ResultKind {
        pattern,
        model: model_of(&body.fields),
    });
    after.version_max = after.version_max.max(body.version);
    if pattern == Pattern::ResultOnly {
        // Equal outputs are not the same result here, so revoking one forbids no other.
        after.revoked.clear();
    }
    // A renewal is proved by its own entry, which has time and ttl.
    after.standing = Standing::Active(Held {
        version: body.version,
        write_seq: entry.seq,
        written: entry.time,
        ttl_ms: body.ttl_ms,
        deadline: entry.time.plus_millis(body.ttl_ms),
        output_hash: body.output_hash,
        output_len: body.output_len,
        media_type: body.media_type.clone(),
    });
}

fn expire(after: &mut ResultRecord) -> Option<()> {
    after.standing = Standing::Expired(after.held()?.clone());
    Some(())
}

fn revoke(after: &mut ResultRecord) -> Option<()> {
    if planted!("revoked-served") {
        return Some(());
    }
    let held = after.held()?.clone();
    after.revoked.push(held);
    after.standing = Standing::Revoked;
    Some(())
}

/// The result comes back with the deadline that it had.
fn reinstate(after: &mut ResultRecord, body: &Revocation, time: Micros) -> Option<()> {
    let held = after.revoked(body.output_hash)?.clone();
    after.revoked.retain(|other| *other != held);
    after.standing = if time < held.deadline {
        Standing::Active(held)
    } else {
        Standing::Expired(held)
    };
    Some(())
}

fn supersede(after: &mut ResultRecord, body: &Supersede) -> Option<()> {
    if planted!("superseded-served") {
        return Some(());
    }
    let held = after.held()?.clone();
    let successor = match &body.by {
        SupersedeBy::Client { successor, .. } => Subject::Fingerprint(*successor),
        SupersedeBy::Model { successor, .. } => Subject::Model(successor.clone()),
    };
    after.standing = Standing::Superseded { held, successor };
    Some(())
}
