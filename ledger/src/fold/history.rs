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
use crate::entry::{Body, Entry, Model, Subject};
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
    let mut teller = PastTeller::new(size, time);
    for event in events {
        teller.event(event)?;
    }
    teller.end(gave_way)
}

/// As [`past`], for a caller who holds one event at a time.
#[derive(Clone, Debug)]
pub struct PastTeller {
    size: TreeSize,
    time: Micros,
    told: Option<Told>,
}

/// What the events so far make.
#[derive(Clone, Debug)]
struct Told {
    tenant: String,
    subject: Subject,
    record: ResultRecord,
}

impl PastTeller {
    /// Before the first event.
    pub fn new(size: TreeSize, time: Micros) -> Self {
        Self {
            size,
            time,
            told: None,
        }
    }

    /// Takes the next event in.
    ///
    /// # Errors
    /// [`HistoryError`] when it cannot be the next.
    pub fn event(&mut self, entry: &Entry) -> Result<(), HistoryError> {
        let seq = entry.seq;
        let told = self.told.get_or_insert_with(|| Told {
            tenant: entry.tenant.clone(),
            subject: entry.subject.clone(),
            record: ResultRecord::absent(Lifecycle { n: 0, last: Seq(0) }),
        });
        if (&entry.tenant, &entry.subject) != (&told.tenant, &told.subject) {
            return Err(HistoryError::Foreign(seq));
        }
        let Lifecycle { n, last } = told.record.lifecycle;
        let (before, n) = ((n > 0).then_some(last), n.saturating_add(1));
        if (entry.n, entry.subject_prev) != (n, before) {
            return Err(HistoryError::Hole { n, found: seq });
        }
        in_time(entry, self.size, self.time)?;
        let after = effect(&told.record, entry);
        told.record = after.ok_or(HistoryError::Impossible(seq))?;
        Ok(())
    }

    /// The model whose results the events are about: whether it gave way matters at the end.
    pub fn model(&self) -> Option<&Model> {
        self.told.as_ref()?.record.model()
    }

    /// After the last event; `gave_way` as for [`past`].
    ///
    /// # Errors
    /// [`HistoryError`] when `gave_way` is no such entry.
    pub fn end(self, gave_way: Option<&Entry>) -> Result<Past, HistoryError> {
        let Some(told) = self.told else {
            let state = Effective::Absent;
            return Ok(Past {
                record: None,
                state,
            });
        };
        let Told { tenant, record, .. } = told;
        let successor = gave_way.map(|entry| {
            in_time(entry, self.size, self.time)?;
            match &entry.body {
                Body::ModelSupersede(body)
                    if record.model() == Some(&body.from) && entry.tenant == tenant =>
                {
                    Ok(Subject::Model(body.to.clone()))
                }
                _ => Err(HistoryError::Foreign(entry.seq)),
            }
        });
        let state = effective_given(&record, successor.transpose()?, self.time);
        Ok(Past {
            record: Some(record),
            state,
        })
    }
}

fn in_time(entry: &Entry, size: TreeSize, time: Micros) -> Result<(), HistoryError> {
    if size.covers(entry.seq) && entry.time <= time {
        return Ok(());
    }
    let seq = entry.seq;
    Err(HistoryError::Late { seq, size })
}
