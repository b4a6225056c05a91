//! The history of a run while it is made.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::check::{Given, Seen};
use crate::history::{Asked, Completion, Event, Fault, History, Process, Step, What};

/// Takes down what clients, nemesis and observer do and see, in one order and on one clock.
///
/// A question is written down before it is sent, an answer after it was read: between the two times of
/// an operation lies all that it did.
pub struct Recorder {
    clock: Box<dyn Fn() -> Duration + Send + Sync>,
    taken: Mutex<Taken>,
}

/// What was taken down.
#[derive(Debug, Default)]
pub struct Taken {
    /// What was asked, answered, broken and mended.
    pub history: History,
    /// Every checkpoint that a node showed.
    pub checkpoints: Vec<Seen>,
    /// Every receipt that came with an answer.
    pub receipts: Vec<Given>,
}

impl Recorder {
    /// Times are those of this clock, which never goes back.
    pub fn new(clock: impl Fn() -> Duration + Send + Sync + 'static) -> Self {
        Self {
            clock: Box::new(clock),
            taken: Mutex::default(),
        }
    }

    /// A client is about to ask; the index of its question.
    pub fn asked(&self, process: u64, node: u64, asked: Asked) -> u64 {
        self.write(Process::Client(process), Some(node), What::Asked(asked))
    }

    /// A client was answered, or gave up.
    pub fn ended(&self, question: u64, process: u64, node: u64, end: Completion) {
        let Completion { what, receipt } = end;
        self.write(Process::Client(process), Some(node), what);
        let index = question;
        let receipt = receipt.map(|receipt| Given { index, receipt });
        self.taken().receipts.extend(receipt);
    }

    /// Something broke, or was mended.
    pub fn fault(&self, name: &str, step: Step, nodes: &[u64]) {
        let fault = Fault {
            name: name.to_owned(),
            step,
            nodes: nodes.to_vec(),
        };
        self.write(Process::Nemesis, None, What::Fault(fault));
    }

    /// A node showed a checkpoint; written down if it is another than the last time.
    pub fn saw(&self, node: u64, checkpoint: String) {
        let mut taken = self.taken();
        let mut of_node = taken
            .checkpoints
            .iter()
            .rev()
            .filter(|seen| seen.node == node);
        if of_node.next().is_some_and(|last| last.note == checkpoint) {
            return;
        }
        let time = self.now_ns();
        taken.checkpoints.push(Seen {
            node,
            time,
            note: checkpoint,
        });
    }

    /// All that was taken down so far; nothing follows.
    pub fn finish(&self) -> Taken {
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
        u64::try_from((self.clock)().as_nanos()).unwrap_or(u64::MAX)
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let events = self.taken().history.events.len();
        f.debug_struct("Recorder").field("events", &events).finish()
    }
}
