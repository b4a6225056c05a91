//! The marker: what of the ledger, the values and the checkpoints is durable, and up to which
//! entry of the Raft log that is the outcome.
//!
//! Two files, `marker.0` and `marker.1`, written in turn: generation `g` goes to slot `g mod 2`, by
//! a temporary file and a rename. The rename alone would survive a crash; the second slot survives
//! a slot whose bytes have gone bad, and files of their own let a slot grow with the number of
//! checkpoints. The readable slot of the greatest generation counts.
//!
//! ```text
//! slot   "CANDORMK" | u32 format = 3 | u32 length of the body | body | SHA3-256 of all before
//! body   u64 generation | u64 size | 32 bytes chain head | 32 bytes root
//!        | u8 0, or 1 and u64 term | u64 leader | u64 index                 last applied log id
//!        | u8 0, or 1 and u32 length | bytes                               Raft membership, opaque
//!        | u64 sealed size
//!        | 32 bytes key-set id of the newest checkpoint
//!        | varint count | count x (varint size - previous size, u32 CRC-32C,
//!                                  varint 2 x (microseconds sealed - previous)
//!                                         + 1 if the last of its keys)           kept checkpoints
//!        | varint count | count x (varint length | tenant | varint count
//!                                  | count x (varint number, varint length))     packs
//!        | varint count | count x (varint length | file | varint offset
//!                                  | varint length | bytes)                      tails (tails.rs)
//! ```
//! Integers are little-endian, varints LEB128 without spare bytes. By default the checkpoints of an
//! hour, ten a second, the last of each minute of a week and of each hour of a year are kept: 36,000,
//! 10,020 and 8,592 notes of 8 to 11 bytes each = 470 KB.

use std::collections::BTreeMap;

use bytes::Bytes;

use candor_ledger::digest::{ChainHash, sha3_256};
use candor_ledger::ids::TreeSize;
use candor_ledger::time::Micros;
use candor_ledger::tree::{NodeHash, empty_root};

use super::StoreError;
use super::checkpoints::{Kept, KeptNotes};
use super::codec::{Reader, Writer};
use super::tails::Tail;
use super::values::PackLengths;
use crate::consensus::LogPos;
use crate::env::{Disk, MODE_PUBLIC};

const MAGIC: [u8; 8] = *b"CANDORMK";

/// The format version that this program writes and reads. Version 1 stood over tree files of another
/// layout, one for each level; version 2 knew no times of checkpoints.
const FORMAT: u32 = 3;

/// What is durable: everything up to it, nothing promised beyond it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marker {
    /// Counts the markers written here, from 1; two nodes with equal ledgers differ in it.
    pub generation: u64,
    /// How many entries are durable.
    pub size: TreeSize,
    /// Chain head at that size.
    pub head: ChainHash,
    /// Tree root at that size.
    pub root: NodeHash,
    /// The last entry of the Raft log whose outcome all this is; `None` before the first.
    pub last_applied: Option<LogPos>,
    /// The Raft membership at that log id, in the encoding of consensus; `None` before the first.
    pub membership: Option<Bytes>,
    /// The size that the newest checkpoint covers, 0 before the first.
    pub sealed: TreeSize,
    /// The kept checkpoints.
    pub checkpoints: KeptNotes,
    /// Length of each pack of values, by tenant and number.
    pub packs: PackLengths,
    /// The last, unfinished block of each file that later writes go on in.
    pub(super) tails: Vec<Tail>,
}

impl Marker {
    /// The marker of an empty ledger.
    pub(super) fn empty(generation: u64) -> Self {
        Self {
            generation,
            size: TreeSize(0),
            head: ChainHash::EMPTY,
            root: empty_root(),
            last_applied: None,
            membership: None,
            sealed: TreeSize(0),
            checkpoints: KeptNotes::default(),
            packs: BTreeMap::new(),
            tails: Vec::new(),
        }
    }

    /// The bytes of a slot.
    fn encode(&self) -> Vec<u8> {
        let mut body = Writer::default();
        body.u64(self.generation);
        body.u64(self.size.0);
        body.raw(&self.head.0);
        body.raw(&self.root.0);
        body.flag(self.last_applied.is_some());
        if let Some(at) = self.last_applied {
            body.u64(at.term);
            body.u64(at.leader);
            body.u64(at.index);
        }
        body.flag(self.membership.is_some());
        if let Some(membership) = &self.membership {
            body.u32_bytes(membership);
        }
        body.u64(self.sealed.0);
        self.encode_checkpoints(&mut body);
        body.count(self.packs.len());
        for (tenant, packs) in &self.packs {
            body.bytes(tenant.as_bytes());
            body.count(packs.len());
            for (number, len) in packs {
                body.varint(u64::from(*number));
                body.varint(*len);
            }
        }
        body.count(self.tails.len());
        for tail in &self.tails {
            body.bytes(tail.file.as_bytes());
            body.varint(tail.offset);
            body.bytes(&tail.bytes);
        }
        let mut slot = Writer::default();
        slot.raw(&MAGIC);
        slot.u32(FORMAT);
        slot.u32_bytes(&body.0);
        let digest = sha3_256(&slot.0);
        slot.raw(&digest);
        slot.0
    }

    fn encode_checkpoints(&self, body: &mut Writer) {
        body.raw(&self.checkpoints.keyset);
        body.count(self.checkpoints.by_size.len());
        let mut previous = (0, 0);
        for (size, kept) in &self.checkpoints.by_size {
            body.varint(size - previous.0);
            body.u32(kept.crc);
            let later = kept.sealed.0 - previous.1;
            body.varint(later * 2 + u64::from(kept.last_of_keys));
            previous = (*size, kept.sealed.0);
        }
    }

    fn decode_checkpoints(body: &mut Reader<'_>) -> Option<KeptNotes> {
        let mut kept = KeptNotes {
            keyset: body.array()?,
            ..KeptNotes::default()
        };
        let (mut size, mut sealed) = (0_u64, 0_u64);
        for _ in 0..body.varint()? {
            size = size.checked_add(body.varint()?)?;
            let crc = body.u32()?;
            let later = body.varint()?;
            sealed = sealed.checked_add(later / 2)?;
            let note = Kept {
                crc,
                sealed: Micros(sealed),
                last_of_keys: later % 2 == 1,
            };
            kept.by_size.insert(size, note);
        }
        Some(kept)
    }

    /// Reads a slot; the inner error says why its bytes are none.
    fn decode(file: &str, slot: &[u8]) -> Result<Result<Self, &'static str>, StoreError> {
        let Some((checked, digest)) = slot.split_last_chunk::<32>() else {
            return Ok(Err("it is too short"));
        };
        if sha3_256(checked) != *digest {
            return Ok(Err("its checksum is wrong"));
        }
        let mut slot = Reader(checked);
        if slot.array() != Some(MAGIC) {
            return Ok(Err("it is no marker"));
        }
        match slot.u32() {
            Some(FORMAT) => {}
            found => {
                return Err(StoreError::FormatUnknown {
                    file: file.to_owned(),
                    found: found.unwrap_or(0),
                    known: FORMAT,
                });
            }
        }
        let body = slot.u32_bytes().filter(|_| slot.0.is_empty());
        Ok(body
            .and_then(|body| Self::decode_body(&mut Reader(body)))
            .ok_or("its fields do not fit its length"))
    }

    fn decode_body(body: &mut Reader<'_>) -> Option<Self> {
        let mut marker = Self::empty(body.u64()?);
        marker.size = TreeSize(body.u64()?);
        marker.head = ChainHash(body.array()?);
        marker.root = NodeHash(body.array()?);
        if body.flag()? {
            marker.last_applied = Some(LogPos {
                term: body.u64()?,
                leader: body.u64()?,
                index: body.u64()?,
            });
        }
        if body.flag()? {
            marker.membership = Some(Bytes::copy_from_slice(body.u32_bytes()?));
        }
        marker.sealed = TreeSize(body.u64()?);
        marker.checkpoints = Self::decode_checkpoints(body)?;
        for _ in 0..body.varint()? {
            let tenant = body.text()?;
            let mut packs = BTreeMap::new();
            for _ in 0..body.varint()? {
                packs.insert(u32::try_from(body.varint()?).ok()?, body.varint()?);
            }
            marker.packs.insert(tenant, packs);
        }
        for _ in 0..body.varint()? {
            marker.tails.push(Tail {
                file: body.text()?,
                offset: body.varint()?,
                bytes: body.bytes()?.to_vec(),
            });
        }
        body.0.is_empty().then_some(marker)
    }
}

/// The slots as they were found.
pub(super) struct Slots {
    /// The readable marker of the greatest generation.
    pub(super) newest: Marker,
    /// The last applied log id of the other slot, when that is readable.
    pub(super) older_applied: Option<LogPos>,
    /// Why the other slot is not readable, when it should be.
    pub(super) lost: Option<String>,
}

/// Reads both slots; `None` when there is neither, as before the first start.
pub(super) fn read<D: Disk>(disk: &D) -> Result<Option<Slots>, StoreError> {
    let [zero, one] = [read_slot(disk, 0)?, read_slot(disk, 1)?];
    let (newest, other) = match (zero, one) {
        (Slot::Absent, Slot::Absent) => return Ok(None),
        (Slot::Good(a), Slot::Good(b)) if a.generation > b.generation => (a, Slot::Good(b)),
        (Slot::Good(a), Slot::Good(b)) => (b, Slot::Good(a)),
        (Slot::Good(good), other) | (other, Slot::Good(good)) => (good, other),
        (zero, one) => {
            let why = format!("{}, {}", zero.lost(0), one.lost(1));
            return Err(StoreError::MarkerLost { why });
        }
    };
    let other_slot = (newest.generation + 1) % 2;
    let (older_applied, lost) = match other {
        Slot::Good(older) => (older.last_applied, None),
        // A crash in the first start, between the two slots.
        Slot::Absent if newest.generation == 1 => (None, None),
        other => (None, Some(other.lost(other_slot))),
    };
    Ok(Some(Slots {
        newest: *newest,
        older_applied,
        lost,
    }))
}

/// Makes a marker durable in its slot.
pub(super) fn write<D: Disk>(disk: &D, marker: &Marker) -> Result<(), StoreError> {
    let file = slot_name(marker.generation % 2);
    Ok(disk.write_durable(&file, &marker.encode(), MODE_PUBLIC)?)
}

enum Slot {
    Good(Box<Marker>),
    Bad(&'static str),
    Absent,
}

impl Slot {
    fn lost(&self, slot: u64) -> String {
        let file = slot_name(slot);
        match self {
            Self::Good(_) => format!("`{file}` is readable"),
            Self::Bad(why) => format!("`{file}`: {why}"),
            Self::Absent => format!("`{file}` is not there"),
        }
    }
}

fn read_slot<D: Disk>(disk: &D, slot: u64) -> Result<Slot, StoreError> {
    let file = slot_name(slot);
    let Some(bytes) = disk.read(&file)? else {
        return Ok(Slot::Absent);
    };
    Ok(match Marker::decode(&file, &bytes)? {
        Ok(marker) if marker.generation % 2 == slot => Slot::Good(Box::new(marker)),
        Ok(_) => Slot::Bad("it belongs to the other slot"),
        Err(why) => Slot::Bad(why),
    })
}

fn slot_name(slot: u64) -> String {
    format!("marker.{slot}")
}

#[cfg(test)]
mod tests;
