//! What Raft replicates: a batch of operations, or a checkpoint.
//!
//! ```text
//! command     u8 version = 1 || u8 kind || body
//! kind 1      batch: u64 time || 32 bytes seed || u32 rules || u8 closes || u32 count || items
//! kind 2      checkpoint: the whole note, UTF-8
//! item        u8 kind || fields || u8 has value [|| u32 length || value]
//! ```
//! Integers are big-endian; texts and byte strings are a u32 length and the bytes; an optional is a
//! byte 0 or 1 and, for 1, what it is. Nothing of this is hashed: entries are.

mod codec;
mod operations;

use bytes::Bytes;
use candor_ledger::canonical::{self, Value};
use candor_ledger::entry::Genesis;
use candor_ledger::fold::{Item, Stamp};
use candor_ledger::time::Micros;

use self::codec::{Reader, Writer};

const VERSION: u8 = 1;
const BATCH: u8 = 1;
const CHECKPOINT: u8 = 2;
/// Items in one command; the proposer's own limit is far lower.
const ITEMS_MAX: u32 = 1 << 20;

/// One record of the Raft log that is ours.
#[derive(Clone, Debug)]
pub enum Command {
    /// Operations, decided one after another.
    Batch(Batch),
    /// A signed note; the first verified one of a size is its checkpoint.
    Checkpoint(String),
}

/// Operations under one stamp.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Time, secret seed and rules version, chosen by the leader.
    pub stamp: Stamp,
    /// The group ends with this command.
    pub closes: bool,
    /// What was asked, in order.
    pub items: Vec<BatchItem>,
}

/// One operation and the value that lies beside the ledger.
#[derive(Clone, Debug)]
pub struct BatchItem {
    /// What is decided.
    pub item: Item,
    /// The output of a set.
    pub value: Option<Bytes>,
}

/// Bytes that are no command of a version this program knows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// A newer program wrote it.
    #[error("version {0} of commands is not known")]
    Version(u8),
    /// It ends early, has bytes left, or a field is not what it must be.
    #[error("malformed: {0}")]
    Malformed(&'static str),
}

impl BatchItem {
    /// An item without a value.
    pub fn alone(item: Item) -> Self {
        Self { item, value: None }
    }

    /// Bytes of a command that it takes, roughly.
    pub fn cost(&self) -> u64 {
        let value = self.value.as_ref().map_or(0, Bytes::len);
        u64::try_from(value)
            .unwrap_or(u64::MAX)
            .saturating_add(operations::COST)
    }
}

impl Command {
    /// Writes the command.
    pub fn encode(&self) -> Bytes {
        let mut to = Writer::default();
        to.u8(VERSION);
        match self {
            Self::Batch(batch) => {
                to.u8(BATCH);
                to.u64(batch.stamp.time.0);
                to.raw(&batch.stamp.seed);
                to.u32(batch.stamp.rules);
                to.u8(u8::from(batch.closes));
                to.count(batch.items.len());
                for item in &batch.items {
                    write_item(&mut to, &item.item);
                    to.option(item.value.as_ref(), |to, value| to.bytes(value));
                }
            }
            Self::Checkpoint(note) => {
                to.u8(CHECKPOINT);
                to.raw(note.as_bytes());
            }
        }
        to.finish()
    }

    /// Reads a command; values share the given buffer.
    ///
    /// # Errors
    /// [`CommandError`]: a node that cannot read a command must not apply past it.
    pub fn decode(bytes: &Bytes) -> Result<Self, CommandError> {
        let mut from = Reader::new(bytes.clone());
        match from.u8()? {
            VERSION => {}
            other => return Err(CommandError::Version(other)),
        }
        let command = match from.u8()? {
            BATCH => {
                let stamp = Stamp {
                    time: Micros(from.u64()?),
                    seed: from.array()?,
                    rules: from.u32()?,
                };
                let closes = from.flag()?;
                let count = from.u32()?;
                if count > ITEMS_MAX {
                    return Err(CommandError::Malformed("too many items"));
                }
                let mut items = Vec::new();
                for _ in 0..count {
                    let item = read_item(&mut from)?;
                    let value = from.option(Reader::bytes)?;
                    items.push(BatchItem { item, value });
                }
                Self::Batch(Batch {
                    stamp,
                    closes,
                    items,
                })
            }
            CHECKPOINT => Self::Checkpoint(from.rest_text()?),
            _ => return Err(CommandError::Malformed("unknown kind")),
        };
        from.finish()?;
        Ok(command)
    }
}

fn write_item(to: &mut Writer, item: &Item) {
    match item {
        Item::Client(request) => {
            to.u8(1);
            operations::write(to, request);
        }
        Item::Genesis(genesis) => {
            to.u8(2);
            to.bytes(&Value::Object(genesis.to_object()).to_bytes());
        }
        Item::Tick => to.u8(3),
        Item::Admin(admin) => {
            to.u8(4);
            operations::write_admin(to, admin);
        }
    }
}

fn read_item(from: &mut Reader) -> Result<Item, CommandError> {
    Ok(match from.u8()? {
        1 => Item::Client(operations::read(from)?),
        2 => {
            let bytes = from.bytes()?;
            let body = canonical::parse_canonical(&bytes)
                .ok()
                .and_then(|value| match value {
                    Value::Object(object) => Genesis::from_object(object).ok(),
                    _ => None,
                })
                .ok_or(CommandError::Malformed("genesis"))?;
            Item::Genesis(Box::new(body))
        }
        3 => Item::Tick,
        4 => Item::Admin(Box::new(operations::read_admin(from)?)),
        _ => return Err(CommandError::Malformed("unknown item")),
    })
}

#[cfg(test)]
mod tests;
