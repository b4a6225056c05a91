//! What time brings: results that follow a superseded model, then results that are overdue.

use super::decision::DecideError;
use super::outcome::Ticked;
use super::state::{
    Cascade, Key, Prefix, Record, StateView, get_model_superseded, get_result, wrong_kind,
};
use super::transaction::{Author, Transaction};
use crate::entry::{Body, Expire, Subject, Supersede, SupersedeBy};
use crate::fingerprint::Fingerprint;
use crate::ids::Seq;

/// Lets results follow their models, the oldest supersession first and by fingerprint; then expires
/// what is overdue, the earliest deadline first. At most `entries_max` entries in all.
pub(super) fn decide_tick<V: StateView>(
    transaction: &mut Transaction<'_, V>,
    entries_max: u64,
) -> Result<Ticked, DecideError> {
    let mut ticked = Ticked::default();
    let mut left = entries_max;
    while left > 0
        && let Some((Key::Cascade { cause }, _)) =
            transaction.view().next(&Prefix::cascades(), None)?
    {
        let followed = follow_cause(transaction, cause, left)?;
        ticked.superseded = ticked.superseded.saturating_add(followed);
        left = left.saturating_sub(followed);
    }
    while left > 0
        && let Some(overdue) = first_overdue(transaction)?
    {
        expire(transaction, overdue)?;
        ticked.expired = ticked.expired.saturating_add(1);
        left = left.saturating_sub(1);
    }
    let waiting = transaction.view().next(&Prefix::cascades(), None)?;
    ticked.more = waiting.is_some() || first_overdue(transaction)?.is_some();
    Ok(ticked)
}

/// Lets at most `left` results follow one supersession of their model, and says how many did.
pub(super) fn follow_cause<V: StateView>(
    transaction: &mut Transaction<'_, V>,
    cause: Seq,
    left: u64,
) -> Result<u64, DecideError> {
    let Cascade { tenant, model } = match transaction.view().get(&Key::Cascade { cause })? {
        None => return Ok(0),
        Some(Record::Cascade(cascade)) => cascade,
        Some(other) => return Err(wrong_kind("a cascade", &other).into()),
    };
    let superseded = get_model_superseded(transaction.view(), &tenant, &model)?;
    let successor = superseded
        .ok_or_else(|| missing("the superseded model"))?
        .to;
    let (within, mut followed) = (Prefix::by_model(&tenant, &model), 0_u64);
    while followed < left
        && let Some((Key::ByModel { fingerprint, .. }, _)) =
            transaction.view().next(&within, None)?
    {
        let record = get_result(transaction.view(), &tenant, fingerprint)?;
        let held = record.as_ref().and_then(|record| record.held());
        let body = Supersede {
            version: held
                .ok_or_else(|| missing("a result of the model"))?
                .version,
            by: SupersedeBy::Model {
                cause,
                successor: successor.clone(),
            },
        };
        let author = Author::log_about(&tenant, Subject::Fingerprint(fingerprint));
        transaction.append(author, Body::Supersede(body))?;
        followed = followed.saturating_add(1);
    }
    Ok(followed)
}

/// Whose result is overdue longest, if any is at the time of the next entry.
fn first_overdue<V: StateView>(
    transaction: &Transaction<'_, V>,
) -> Result<Option<(String, Fingerprint)>, DecideError> {
    let log = transaction.log()?;
    let now = transaction.time(log.as_ref());
    let first = transaction.view().next(&Prefix::deadlines(), None)?;
    Ok(match first {
        Some((
            Key::Deadline {
                deadline,
                tenant,
                fingerprint,
            },
            _,
        )) if deadline <= now => Some((tenant, fingerprint)),
        _ => None,
    })
}

fn expire<V: StateView>(
    transaction: &mut Transaction<'_, V>,
    (tenant, fingerprint): (String, Fingerprint),
) -> Result<(), DecideError> {
    let record = get_result(transaction.view(), &tenant, fingerprint)?;
    let held = record.as_ref().and_then(|record| record.held());
    let body = Expire {
        write_seq: held.ok_or_else(|| missing("an overdue result"))?.write_seq,
    };
    let author = Author::log_about(&tenant, Subject::Fingerprint(fingerprint));
    transaction.append(author, Body::Expire(body))?;
    Ok(())
}

fn missing(what: &str) -> DecideError {
    DecideError::Bug(format!("{what} is in an index and nowhere else"))
}
