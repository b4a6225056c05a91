//! A key as a plain register, for checkers that know nothing else.
//!
//! The value is the output that is served, or none. What an answer says about versions, reasons and
//! successors is lost, so every history that is possible for a result is possible for its register, and not
//! the other way round. Time makes a register empty, so an expired miss is a write of nothing.
//!
//! `candor-jepsen check --write` stores it as `porcupine.jsonl`, for a search by others:
//!
//! ```text
//! {"key": "acme/9f..", "index": 4, "call": 1203944, "return": 1904100, "touch": "is", "value": "51.."}
//! ```
//!
//! A line is an operation of Porcupine: `call` and `return` are nanoseconds, and a return of null is never; such
//! an operation may also be left out. Each key is a register by itself, null at first. It is possible that it `is` the value;
//! `maybe` becomes it or stays; `nothing` stays; `start` becomes it, if it was null; `write` becomes it.

use std::collections::BTreeMap;

use serde_json::json;

use super::linear::Call;
use super::wgl::{Ask, by_key};
use crate::history::{Asked, Found, Miss, Operation};

/// The value of a register: the output that is served, if one is.
pub type Register = Option<String>;

/// What an operation does to a register.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Touch {
    /// It is this, and stays so.
    Is(Register),
    /// It may have become this, or stayed.
    Maybe(Register),
    /// It stays what it is.
    Nothing,
    /// It was none, and is this output.
    Start(String),
    /// It becomes this, whatever it was.
    Write(Register),
}

impl Touch {
    /// What a register may be afterwards; nothing when the operation was impossible.
    pub fn step(&self, register: &Register) -> Vec<Register> {
        match self {
            Self::Is(value) if value != register => Vec::new(),
            Self::Start(_) if register.is_some() => Vec::new(),
            Self::Is(_) | Self::Nothing => vec![register.clone()],
            Self::Maybe(value) => vec![value.clone(), register.clone()],
            Self::Start(output) => vec![Some(output.clone())],
            Self::Write(value) => vec![value.clone()],
        }
    }

    /// The touches of each key as `porcupine.jsonl` has them, a line an operation.
    pub fn to_jsonl(all: &[Operation]) -> String {
        let mut lines = String::new();
        for (key, calls) in by_key(all) {
            for call in calls {
                let (touch, value) = Self::of(&call.op).parts();
                let line = json!({
                    "key": key,
                    "index": call.op.index,
                    "call": call.invoked,
                    "return": call.completed,
                    "touch": touch,
                    "value": value,
                });
                lines += &(line.to_string() + "\n");
            }
        }
        lines
    }

    fn parts(self) -> (&'static str, Register) {
        match self {
            Self::Is(value) => ("is", value),
            Self::Maybe(value) => ("maybe", value),
            Self::Nothing => ("nothing", None),
            Self::Start(output) => ("start", Some(output)),
            Self::Write(value) => ("write", value),
        }
    }

    /// The touches of each key.
    pub fn by_key(all: &[Operation]) -> BTreeMap<String, Vec<Call<Self>>> {
        let calls = |(key, calls): (String, Vec<Call<Ask>>)| {
            let touch = |call: &Call<Ask>| Call {
                op: Self::of(&call.op),
                invoked: call.invoked,
                completed: call.completed,
            };
            (key, calls.iter().map(touch).collect())
        };
        by_key(all).into_iter().map(calls).collect()
    }

    fn of(ask: &Ask) -> Self {
        match (&ask.found, &ask.asked) {
            (None, Asked::Set { output, .. } | Asked::Reinstate { output, .. }) => {
                Self::Maybe(Some(output.clone()))
            }
            (None, _) => Self::Maybe(None),
            (Some(Found::Hit { output, .. } | Found::Conflict { held: output }), _) => {
                Self::Is(Some(output.clone()))
            }
            (
                Some(Found::Written {
                    version, renewed, ..
                }),
                Asked::Set { output, .. },
            ) => {
                match (renewed, version) {
                    (true, _) => Self::Is(Some(output.clone())),
                    (false, 1) => Self::Start(output.clone()),
                    // What was there may have expired unnoticed.
                    (false, _) => Self::Write(Some(output.clone())),
                }
            }
            (Some(Found::Reinstated { .. }), Asked::Reinstate { output, .. }) => {
                Self::Write(Some(output.clone()))
            }
            (Some(Found::Missed(Miss::Expired) | Found::Revoked { .. } | Found::Superseded), _) => {
                Self::Write(None)
            }
            (Some(Found::Missed(_)), _) => Self::Is(None),
            (Some(_), _) => Self::Nothing,
        }
    }
}
