//! The past of one computation, from its entries alone.
//!
//! A ledger has many sizes behind it, and a node keeps the state of the newest alone. What a lookup
//! would have answered directly after entry `size - 1`, at that entry's time, follows from
//!
//! ```text
//! the events of the fingerprint before `size`, from the first on
//! the `model.supersede` from its model, if one stands before `size`
//! the time of entry `size - 1`
//! ```
//!
//! and from nothing else. Each of the three can be shown with a receipt, so whoever asks about the
//! past need not believe the answer. That no event before `size` was left out shows in the next event
//! after it, which names the one before.

use super::effect::effect;
use super::rules::{Effective, effective_given};
use super::state::{Lifecycle, ResultRecord};
use crate::entry::{Body, Entry, Subject};
use crate::ids::{Seq, TreeSize};
use crate::time::Micros;

/// What stood at a size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Past {
    /// What was remembered of the fingerprint; `None` before its first event.
    pub record: Option<ResultRecord>,
    /// What a lookup met.
    pub state: Effective,
}

/// Entries from which the past cannot be told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HistoryError {
    /// An event is missing, or stands twice, or in another order.
    #[error("event {n} does not stand where it should: entry {found} is another")]
    Hole {
        /// Which event is wanted, from 1.
        n: u64,
        /// The entry that stands there.
        found: Seq,
    },
    /// It is about something else.
    #[error("entry {0} is not about the computation, or its model, that was asked about")]
    Foreign(Seq),
    /// It is not of that past.
    #[error("entry {seq} is no part of a ledger of {size} entries, or younger than its time")]
    Late {
        /// The entry.
        seq: Seq,
        /// The size that was asked about.
        size: TreeSize,
    },
    /// The rules do not allow it there: a full replay names the rule.
    #[error("entry {0} cannot have stood there: the rules do not allow it")]
    Impossible(Seq),
}

/// What a lookup of a fingerprint would have met when the ledger had `size` entries.
///
/// `events` are all of that fingerprint's before `size`, oldest first; none means that there was
/// none. `gave_way` is the `model.supersede` from its model, where one stood before `size`. `time`
/// is that of entry `size - 1`. The caller has verified each of them.
///
/// Cost: linear in the events.
///
/// # Errors
/// [`HistoryError`] where these entries cannot be what was asked for.
pub fn past(
    size: TreeSize,
    time: Micros,
    events: &[Entry],
    gave_way: Option<&Entry>,
) -> Result<Past, HistoryError> {
    let Some(first) = events.first() else {
        let state = Effective::Absent;
        return Ok(Past {
            record: None,
            state,
        });
    };
    let mut record = ResultRecord::absent(Lifecycle { n: 0, last: Seq(0) });
    let mut before = None;
    for (n, entry) in (1..).zip(events) {
        let seq = entry.seq;
        if (&entry.tenant, &entry.subject) != (&first.tenant, &first.subject) {
            return Err(HistoryError::Foreign(seq));
        }
        if (entry.n, entry.subject_prev) != (n, before) {
            return Err(HistoryError::Hole { n, found: seq });
        }
        in_time(entry, size, time)?;
        record = effect(&record, entry).ok_or(HistoryError::Impossible(seq))?;
        before = Some(seq);
    }
    let successor = gave_way.map(|entry| {
        in_time(entry, size, time)?;
        match &entry.body {
            Body::ModelSupersede(body)
                if record.model() == Some(&body.from) && entry.tenant == first.tenant =>
            {
                Ok(Subject::Model(body.to.clone()))
            }
            _ => Err(HistoryError::Foreign(entry.seq)),
        }
    });
    let state = effective_given(&record, successor.transpose()?, time);
    Ok(Past {
        record: Some(record),
        state,
    })
}

fn in_time(entry: &Entry, size: TreeSize, time: Micros) -> Result<(), HistoryError> {
    if size.covers(entry.seq) && entry.time <= time {
        return Ok(());
    }
    let seq = entry.seq;
    Err(HistoryError::Late { seq, size })
}
