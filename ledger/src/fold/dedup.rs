//! Each state-changing request takes effect once.
//!
//! Per tenant the last requests are remembered, by (request id, actor) in the order of ids. Above
//! the window the smallest id is forgotten, and `floor` becomes the greatest id ever forgotten: an
//! unknown id above the floor was never seen, of one at or below it nobody knows.

use super::outcome::{Answered, Outcome};
use super::state::{
    Changes, DedupFloor, Key, LogState, Prefix, Record, RequestRecord, StateView, ViewError,
    wrong_kind,
};
use crate::ids::RequestId;
use crate::planted;
use crate::time::Micros;

/// The most requests that one more makes forgotten: one in the course of things, two while a
/// window that was made smaller fills up.
const FORGET_MAX: usize = 2;

/// Who asked under which name.
#[derive(Clone, Copy)]
pub(super) struct Asker<'a> {
    pub(super) tenant: &'a str,
    pub(super) actor: &'a str,
    pub(super) request_id: RequestId,
}

/// Whether a request may take effect.
pub(super) enum Seen {
    /// It was never seen.
    Never,
    /// It took effect, or was refused, earlier.
    Known(RequestRecord),
    /// Its id is more than `max_skew` after the time.
    Ahead,
    /// Nobody knows whether it was seen.
    Stale(RequestId),
}

impl Asker<'_> {
    /// Looks the request up at a time.
    pub(super) fn seen<V: StateView>(
        &self,
        view: &V,
        log: &LogState,
        time: Micros,
    ) -> Result<Seen, ViewError> {
        match view.get(&self.key())? {
            None => {}
            Some(Record::Request(_)) if planted!("twice-done") => {}
            Some(Record::Request(record)) => return Ok(Seen::Known(*record)),
            Some(other) => return Err(wrong_kind("a request", &other)),
        }
        let asked = Micros::from_millis(self.request_id.unix_millis());
        if asked > time.plus_millis(log.params.max_skew_ms) {
            return Ok(Seen::Ahead);
        }
        let floor = get_floor(view, self.tenant)?.floor;
        let is_below =
            |floor: &RequestId| self.request_id <= *floor && !planted!("floor-forgotten");
        Ok(match floor.filter(is_below) {
            Some(floor) => Seen::Stale(floor),
            None => Seen::Never,
        })
    }

    /// Remembers the request, and forgets the smallest above the window; that may be this one.
    pub(super) fn remember<V: StateView>(
        &self,
        view: &V,
        log: &LogState,
        record: RequestRecord,
        changes: &mut Changes,
    ) -> Result<(), ViewError> {
        let mut floor = get_floor(view, self.tenant)?;
        floor.count = floor.count.saturating_add(1);
        changes.put(self.key(), Record::Request(Box::new(record)));
        let (within, mut after) = (Prefix::requests(self.tenant), None);
        let mut own = Some(self.key());
        for _ in 0..FORGET_MAX {
            if floor.count <= log.params.dedup_window {
                break;
            }
            // The view does not hold this request yet, so it competes from the side.
            let known = view.next(&within, after.as_ref())?.map(|(key, _)| key);
            let own_first = match (&known, &own) {
                (Some(known), Some(own)) => own.to_bytes() < known.to_bytes(),
                (None, Some(_)) => true,
                (_, None) => false,
            };
            let Some(smallest) = (if own_first { own.take() } else { known }) else {
                break;
            };
            if let Key::Request { request_id, .. } = &smallest {
                floor.floor = floor.floor.max(Some(*request_id));
            }
            floor.count = floor.count.saturating_sub(1);
            changes.forget(smallest.clone());
            after = if own_first { after } else { Some(smallest) };
        }
        let tenant = self.tenant.to_owned();
        changes.put(Key::DedupFloor { tenant }, Record::DedupFloor(floor));
        Ok(())
    }

    fn key(&self) -> Key {
        Key::Request {
            tenant: self.tenant.to_owned(),
            request_id: self.request_id,
            actor: self.actor.to_owned(),
        }
    }
}

impl Seen {
    /// What is answered without an entry; `None` when the request may take effect.
    pub(super) fn outcome(self, digest: [u8; 32], ledger_time: Micros) -> Option<Outcome> {
        Some(match self {
            Self::Never => return None,
            Self::Ahead => Outcome::RequestIdAhead { ledger_time },
            Self::Stale(floor) => Outcome::RequestIdStale { ledger_time, floor },
            Self::Known(record) if record.digest == digest => Outcome::Answered(Answered {
                seq: record.seq,
                time: record.time,
                replayed: true,
                answer: record.answer,
            }),
            Self::Known(RequestRecord { seq, .. }) => Outcome::RequestIdReused { ledger_time, seq },
        })
    }
}

fn get_floor<V: StateView>(view: &V, tenant: &str) -> Result<DedupFloor, ViewError> {
    let tenant = tenant.to_owned();
    match view.get(&Key::DedupFloor { tenant })? {
        None => Ok(DedupFloor::default()),
        Some(Record::DedupFloor(floor)) => Ok(floor),
        Some(other) => Err(wrong_kind("a floor", &other)),
    }
}
