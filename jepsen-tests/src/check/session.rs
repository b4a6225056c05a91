//! L13: what a client is shown does not go back, whichever nodes it asks.
//!
//! A session is a thread of the harness, with one client of the SDK: one question after the other, over all
//! processes that it goes on as. Places and times of entries of its own grow; sizes of checkpoints do not
//! shrink, for the SDK remembers the newest it has verified. What an earlier operation had asked under the
//! same id stands where that put it.

use std::collections::{BTreeMap, BTreeSet};

use super::words;
use super::{Judgement, Notes, Run};
use crate::history::Answer;

/// As named in results.
pub(super) const NAME: &str = "session";

/// Judges a run.
pub(super) fn judge(run: &Run) -> Judgement {
    let mut notes = Notes::default();
    let mut sessions: BTreeMap<u64, Shown> = BTreeMap::new();
    let mut known: BTreeSet<&str> = BTreeSet::new();
    for operation in run.all() {
        let is_again = operation.request().is_some_and(|id| !known.insert(id));
        let Some(answer) = operation.answer() else {
            continue;
        };
        notes.saw();
        let shown = sessions.entry(run.thread(operation.process)).or_default();
        let is_own = operation.asked.f().makes_entry() && !is_again;
        if let Some(problem) = shown.take(is_own, answer) {
            notes.violated(format!("{}: {problem}", words::operation(operation)));
        }
    }
    notes.close(NAME, "answers")
}

/// The newest that a session was shown.
#[derive(Default)]
struct Shown {
    seq: Option<u64>,
    time_us: Option<u64>,
    size: Option<u64>,
}

impl Shown {
    fn take(&mut self, own: bool, answer: &Answer) -> Option<String> {
        let (seq, time, size) = (self.seq, self.time_us, self.size);
        let problem = if own && Some(answer.seq) <= seq {
            Some(format!(
                "it stands at {}, the one before at {seq:?}",
                answer.seq
            ))
        } else if own && answer.time_us.is_some() && answer.time_us < time {
            Some(format!(
                "its time is {:?}, the one before has {time:?}",
                answer.time_us
            ))
        } else if answer.size.is_some() && answer.size < size {
            Some(format!(
                "it shows {:?} entries, {size:?} were shown before",
                answer.size
            ))
        } else {
            None
        };
        if own {
            self.seq = seq.max(Some(answer.seq));
            self.time_us = time.max(answer.time_us);
        }
        self.size = size.max(answer.size);
        problem
    }
}
