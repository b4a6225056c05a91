//! The history of a run while it is made.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::check::{Given, Seen};
use crate::history::{Asked, Completion, Event, Fault, History, Process, Step, What};

/// Takes down what clients, nemesis and observer do and see, in one order and on one clock.
///
/// A question is written down before it is sent, an answer after it was read: between the two times of
/// an operation lies all that it did.
#[derive(Debug)]
pub(super) struct Recorder {
    origin: Instant,
    taken: Mutex<Taken>,
}

/// What was taken down.
#[derive(Debug, Default)]
pub(super) struct Taken {
    pub(super) history: History,
    pub(super) checkpoints: Vec<Seen>,
    pub(super) receipts: Vec<Given>,
}

impl Recorder {
    pub(super) fn new() -> Self {
        Self {
            origin: Instant::now(),
            taken: Mutex::default(),
        }
    }

    /// A client is about to ask; the index of its question.
    pub(super) fn asked(&self, process: u64, node: u64, asked: Asked) -> u64 {
        self.write(Process::Client(process), Some(node), What::Asked(asked))
    }

    /// A client was answered, or gave up.
    pub(super) fn ended(&self, question: u64, process: u64, node: u64, end: Completion) {
        let Completion { what, receipt } = end;
        self.write(Process::Client(process), Some(node), what);
        let index = question;
        let receipt = receipt.map(|receipt| Given { index, receipt });
        self.taken().receipts.extend(receipt);
    }

    /// Something broke, or was mended.
    pub(super) fn fault(&self, name: &str, step: Step, nodes: &[u64]) {
        let fault = Fault {
            name: name.to_owned(),
            step,
            nodes: nodes.to_vec(),
        };
        self.write(Process::Nemesis, None, What::Fault(fault));
    }

    /// A node showed a checkpoint.
    pub(super) fn saw(&self, node: u64, checkpoint: String) {
        let mut taken = self.taken();
        let time = self.now_ns();
        taken.checkpoints.push(Seen {
            node,
            time,
            note: checkpoint,
        });
    }

    /// All that was taken down so far; nothing follows.
    pub(super) fn finish(&self) -> Taken {
        std::mem::take(&mut self.taken())
    }

    fn write(&self, process: Process, node: Option<u64>, what: What) -> u64 {
        let mut taken = self.taken();
        let events = &mut taken.history.events;
        let index = u64::try_from(events.len()).unwrap_or(u64::MAX);
        // Under the lock, so that no later event has an earlier time.
        let time_ns = self.now_ns();
        events.push(Event {
            index,
            time_ns,
            process,
            node,
            what,
        });
        index
    }

    fn now_ns(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
