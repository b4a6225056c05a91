//! From events to operations: each question with its answer.

use std::collections::{BTreeMap, BTreeSet};

use super::{Answer, Asked, Event, F, History, Process, Trouble, What};

/// A question and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// The `:index` of its invocation.
    pub index: u64,
    /// Whose.
    pub process: u64,
    /// The node that was asked first.
    pub node: Option<u64>,
    /// What was asked.
    pub asked: Asked,
    /// When, nanoseconds.
    pub invoked_ns: u64,
    /// When the answer was read; `None` when the history ends before.
    pub completed_ns: Option<u64>,
    /// The answer.
    pub outcome: Outcome,
}

/// What became of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// `:fail`.
    Failed(Trouble),
    /// `:ok`.
    Ok(Answer),
    /// `:info`, or the history ends before an answer: then there is no trouble to name.
    Unknown(Option<Trouble>),
}

/// A history that no set of processes can have made. Nothing can be judged by it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("event {index}: {problem}")]
pub struct Malformed {
    /// The event's place.
    pub index: u64,
    /// What is wrong with it.
    pub problem: String,
}

impl Operation {
    /// The answer, if there is one.
    pub fn answer(&self) -> Option<&Answer> {
        match &self.outcome {
            Outcome::Ok(answer) => Some(answer),
            _ => None,
        }
    }

    /// The request's id, where the history knows it.
    pub fn request(&self) -> Option<&str> {
        match &self.outcome {
            Outcome::Ok(answer) => answer.request.as_deref(),
            Outcome::Failed(trouble) | Outcome::Unknown(Some(trouble)) => {
                trouble.request.as_deref()
            }
            Outcome::Unknown(None) => None,
        }
    }

    /// Whether it may have taken effect without an answer that says so.
    pub fn is_unknown(&self) -> bool {
        matches!(self.outcome, Outcome::Unknown(_))
    }
}

/// Every question once: changes that were sent more than once under one id took effect once, between the
/// first asking and the first answer. Unknown, where some try is unknown and none was answered.
pub fn once_each(all: &[Operation]) -> Vec<Operation> {
    let mut kept: Vec<Operation> = Vec::new();
    let mut by_id: BTreeMap<&str, usize> = BTreeMap::new();
    for operation in all {
        let id = operation
            .request()
            .filter(|_| operation.asked.f().is_change());
        let before = id.and_then(|id| by_id.get(id).copied());
        if let Some(before) = before.and_then(|at| kept.get_mut(at)) {
            before.merge(operation);
        } else {
            by_id.extend(id.map(|id| (id, kept.len())));
            kept.push(operation.clone());
        }
    }
    kept
}

impl Operation {
    /// Takes a later try over.
    fn merge(&mut self, again: &Self) {
        let better = match (&self.outcome, &again.outcome) {
            (Outcome::Ok(_), Outcome::Ok(_)) => again.completed_ns < self.completed_ns,
            (_, Outcome::Ok(_)) | (Outcome::Failed(_), Outcome::Unknown(_)) => true,
            _ => false,
        };
        if better {
            self.completed_ns = again.completed_ns;
            self.outcome = again.outcome.clone();
        }
    }
}

impl History {
    /// Pairs questions with answers, by ascending invocation.
    ///
    /// # Errors
    /// [`Malformed`] for the first event that breaks the rules: indices count from 0, time does not go
    /// back, a process asks one thing at a time, is answered what it asked by something that can answer
    /// it, and is silent after `:info`.
    pub fn operations(&self) -> Result<Vec<Operation>, Malformed> {
        let mut pairing = Pairing::default();
        for (at, event) in (0_u64..).zip(&self.events) {
            pairing.take(at, event).map_err(|problem| Malformed {
                index: event.index,
                problem,
            })?;
        }
        let Pairing { mut done, open, .. } = pairing;
        done.extend(
            open.into_values()
                .map(|operation| (operation.index, operation)),
        );
        Ok(done.into_values().collect())
    }
}

#[derive(Default)]
struct Pairing {
    open: BTreeMap<u64, Operation>,
    done: BTreeMap<u64, Operation>,
    silent: BTreeSet<u64>,
    time_ns: u64,
}

impl Pairing {
    fn take(&mut self, at: u64, event: &Event) -> Result<(), String> {
        if event.index != at {
            return Err(format!("stands at place {at}"));
        }
        if event.time_ns < self.time_ns {
            return Err(format!(
                "is earlier than the one before, at {} ns",
                self.time_ns
            ));
        }
        self.time_ns = event.time_ns;
        match (event.process, &event.what) {
            (Process::Nemesis, What::Fault(_)) => Ok(()),
            (Process::Client(process), What::Asked(asked)) => self.open(event, process, asked),
            (Process::Client(process), What::Answered { f, answer }) => {
                self.close(event, process, *f, Outcome::Ok(answer.clone()))
            }
            (Process::Client(process), What::Failed(trouble)) => {
                self.close(event, process, trouble.f, Outcome::Failed(trouble.clone()))
            }
            (Process::Client(process), What::Unknown(trouble)) => {
                self.silent.insert(process);
                let outcome = Outcome::Unknown(Some(trouble.clone()));
                self.close(event, process, trouble.f, outcome)
            }
            _ => Err("a client does no faults, and the nemesis nothing else".to_owned()),
        }
    }

    fn open(&mut self, event: &Event, process: u64, asked: &Asked) -> Result<(), String> {
        if self.silent.contains(&process) {
            return Err(format!("process {process} speaks again after `:info`"));
        }
        let operation = Operation {
            index: event.index,
            process,
            node: event.node,
            asked: asked.clone(),
            invoked_ns: event.time_ns,
            completed_ns: None,
            outcome: Outcome::Unknown(None),
        };
        match self.open.insert(process, operation) {
            None => Ok(()),
            Some(before) => Err(format!(
                "process {process} still waits for {}",
                before.index
            )),
        }
    }

    fn close(&mut self, event: &Event, process: u64, f: F, outcome: Outcome) -> Result<(), String> {
        let Some(mut operation) = self.open.remove(&process) else {
            return Err(format!("process {process} asked nothing"));
        };
        let asked = operation.asked.f();
        if asked != f {
            return Err(format!(
                "answers `{}`, asked was `{}`",
                f.as_str(),
                asked.as_str()
            ));
        }
        if let Outcome::Ok(answer) = &outcome
            && !answer.found.is_of(f)
        {
            return Err(format!("{:?} answers no `{}`", answer.found, f.as_str()));
        }
        operation.completed_ns = Some(event.time_ns);
        operation.outcome = outcome;
        self.done.insert(operation.index, operation);
        Ok(())
    }
}
