//! Questions of readers, who change nothing.

use super::state::{
    Key, Lifecycle, LogState, Prefix, Record, ResultRecord, StateView, ViewError, get_lifecycle,
    get_log, get_result, wrong_kind,
};
use crate::entry::Subject;
use crate::fingerprint::Fingerprint;

/// The log; `None` before genesis.
///
/// # Errors
/// [`ViewError`] when the state cannot be read.
pub fn log<V: StateView>(view: &V) -> Result<Option<LogState>, ViewError> {
    get_log(view)
}

/// What is remembered of a fingerprint; [`super::effective`] tells its state at a time.
///
/// # Errors
/// [`ViewError`] when the state cannot be read.
pub fn lookup<V: StateView>(
    view: &V,
    tenant: &str,
    fingerprint: Fingerprint,
) -> Result<Option<ResultRecord>, ViewError> {
    get_result(view, tenant, fingerprint)
}

/// How many entries there are about a subject, and the newest; from there `subject_prev` leads to
/// all others. The tenant of the ledger itself is empty.
///
/// # Errors
/// [`ViewError`] when the state cannot be read.
pub fn lifecycle<V: StateView>(
    view: &V,
    tenant: &str,
    subject: &Subject,
) -> Result<Option<Lifecycle>, ViewError> {
    get_lifecycle(view, tenant, subject)
}

/// The tenant's fingerprints whose hex digits start with these, ascending, at most `limit`.
///
/// Cost: the fingerprints that share all full bytes of the prefix are walked.
///
/// # Errors
/// [`ViewError`] when the state cannot be read.
pub fn resolve_prefix<V: StateView>(
    view: &V,
    tenant: &str,
    hex_digits: &str,
    limit: usize,
) -> Result<Vec<Fingerprint>, ViewError> {
    let (mut found, mut after) = (Vec::new(), None);
    let whole = hex_digits.get(..hex_digits.len() & !1);
    let Some(head) = whole.and_then(|whole| hex::decode(whole).ok()) else {
        return Ok(found);
    };
    let within = Prefix::results(tenant, &head);
    while found.len() < limit
        && let Some((key, record)) = view.next(&within, after.as_ref())?
    {
        let (Key::Result { fingerprint, .. }, Record::Result(_)) = (&key, &record) else {
            return Err(wrong_kind("a result", &record));
        };
        if fingerprint.to_hex().starts_with(hex_digits) {
            found.push(*fingerprint);
        }
        after = Some(key);
    }
    Ok(found)
}
