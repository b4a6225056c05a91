//! Questions the node itself asks of the fold, beside those of the rules.

use candor_ledger::entry::Model;
use candor_ledger::fold::{Key, Prefix, Record, StateView, ViewError};
use candor_ledger::ids::{RequestId, Seq};
use candor_ledger::time::Micros;

/// The entry of a state-changing request that is still remembered.
///
/// # Errors
/// When the state cannot be read.
pub fn request_entry<V: StateView>(
    view: &V,
    tenant: &str,
    request_id: RequestId,
    actor: &str,
) -> Result<Option<Seq>, ViewError> {
    let (tenant, actor) = (tenant.to_owned(), actor.to_owned());
    Ok(
        match view.get(&Key::Request {
            tenant,
            request_id,
            actor,
        })? {
            Some(Record::Request(request)) => Some(request.seq),
            _ => None,
        },
    )
}

/// The entry by which a model gave way, if it did.
///
/// # Errors
/// When the state cannot be read.
pub fn model_gave_way<V: StateView>(
    view: &V,
    tenant: &str,
    model: &Model,
) -> Result<Option<Seq>, ViewError> {
    let (tenant, model) = (tenant.to_owned(), model.clone());
    Ok(match view.get(&Key::ModelSuperseded { tenant, model })? {
        Some(Record::ModelSuperseded(gone)) => Some(gone.seq),
        _ => None,
    })
}

/// When a tick next has something to do: at once after a model was superseded, else at the
/// earliest deadline.
///
/// # Errors
/// When the state cannot be read.
pub fn next_work<V: StateView>(view: &V) -> Result<Option<Micros>, ViewError> {
    if view.next(&Prefix::cascades(), None)?.is_some() {
        return Ok(Some(Micros(0)));
    }
    Ok(match view.next(&Prefix::deadlines(), None)? {
        Some((Key::Deadline { deadline, .. }, _)) => Some(deadline),
        _ => None,
    })
}
