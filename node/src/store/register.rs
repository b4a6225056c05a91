//! What readers have found damaged since the start, in one place, so that the node can act on it.
//!
//! An error tells the caller of one read. The register tells the node: whoever found it, the first
//! damage of a place is noted once, and whoever watches learns of it at once.

use std::io;

use tokio::sync::watch;

use super::StoreError;

/// Places remembered; more would only be more of the same.
const DAMAGES_MAX: usize = 64;

/// Linux's number for "the device failed".
const EIO: i32 = 5;

/// One damaged place of this node's files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// What it is damage to, and so what the node has to give up.
    pub kind: DamageKind,
    /// The file, from the node's folder; `ledger` when the system does not say which.
    pub file: String,
    /// Where in it: the entry concerned, of a checkpoint its size, of a pack the byte.
    pub place: u64,
    /// One sentence that names both.
    pub problem: String,
}

/// What a damaged place belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DamageKind {
    /// The Raft log: nothing that was applied rests on it any more.
    RaftLog,
    /// Entries, offsets, tree or checkpoints: what this node says of the ledger rests on them.
    Ledger,
    /// A value beside the ledger: no hash of the ledger rests on it.
    Value,
}

impl DamageKind {
    /// As metrics and the API have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RaftLog => "raft_log",
            Self::Ledger => "ledger",
            Self::Value => "value",
        }
    }
}

impl Damage {
    /// `None` for errors that say nothing about what is on the disk.
    pub(super) fn of(error: &StoreError) -> Option<Self> {
        let (file, place) = match error {
            StoreError::Damaged { file, seq, .. } => (file.as_str(), *seq),
            StoreError::ValueDamaged { file, offset, .. } => (file.as_str(), *offset),
            StoreError::Io(error) if is_unreadable(error) => ("ledger", 0),
            _ => return None,
        };
        let kind = if file.starts_with(super::names::VALUES) {
            DamageKind::Value
        } else {
            DamageKind::Ledger
        };
        Some(Self {
            kind,
            file: file.to_owned(),
            place,
            problem: error.to_string(),
        })
    }
}

/// Everything found, in the order it was found; written by readers, watched by the node.
pub(super) struct Register(watch::Sender<Vec<Damage>>);

impl Register {
    /// Begins with what opening found.
    pub(super) fn new(found: &[StoreError]) -> Self {
        let register = Self(watch::Sender::new(Vec::new()));
        for error in found {
            register.note(error);
        }
        register
    }

    pub(super) fn note(&self, error: &StoreError) {
        if let Some(damage) = Damage::of(error) {
            self.put(damage);
        }
    }

    /// Whether the place was not known.
    pub(super) fn put(&self, damage: Damage) -> bool {
        self.0.send_if_modified(|found| {
            let known = |old: &Damage| (&old.file, old.place) == (&damage.file, damage.place);
            let new = found.len() < DAMAGES_MAX && !found.iter().any(known);
            if new {
                found.push(damage);
            }
            new
        })
    }

    /// Forgets places that have been repaired.
    pub(super) fn remove(&self, healed: &[Damage]) {
        self.0.send_if_modified(|found| {
            let before = found.len();
            found.retain(|damage| !healed.contains(damage));
            found.len() < before
        });
    }

    pub(super) fn watch(&self) -> watch::Receiver<Vec<Damage>> {
        self.0.subscribe()
    }
}

/// The first damage to the ledger itself, if any was found.
pub fn ledger_damage(found: &[Damage]) -> Option<&Damage> {
    found
        .iter()
        .find(|damage| damage.kind == DamageKind::Ledger)
}

/// The device failed, or the bytes are not there; no want of file handles or memory.
fn is_unreadable(error: &io::Error) -> bool {
    let kinds = [io::ErrorKind::UnexpectedEof, io::ErrorKind::InvalidData];
    error.raw_os_error() == Some(EIO) || kinds.contains(&error.kind())
}
