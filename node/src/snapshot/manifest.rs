//! The manifest: all that travels of a snapshot, and all that is written down of one.
//!
//! ```text
//! file   "CANDORSN" | u32 format = 1 | u32 length of the body | body | SHA3-256 of all before
//! body   u64 term | u64 leader | u64 index                the closing command's log id, j
//!        | u32 length | bytes                             Raft membership at j, opaque
//!        | u64 size | u64 sealed                          s, and the newest checkpoint taken at j
//!        | varint count | count x (varint size - previous size, u32 CRC-32C)     kept at j
//!        | u32 length | bytes                             the signed note of s
//! ```
//! Integers are little-endian, varints LEB128.

use std::collections::BTreeMap;

use bytes::Bytes;
use candor_ledger::checkpoint::Checkpoint;
use candor_ledger::digest::sha3_256;
use candor_ledger::ids::TreeSize;
use candor_ledger::note::Note;

use crate::consensus::LogPos;
use crate::env::{Disk, MODE_PUBLIC};
use crate::store::codec::{Reader, Writer};

const MAGIC: [u8; 8] = *b"CANDORSN";
const FORMAT: u32 = 1;

/// A snapshot (j, s): the ledger at a sealed size, and what else stood at the log id that made it.
///
/// Everything but the ledger itself is a function of the Raft log up to j that no entry holds: the
/// membership, and which checkpoints are kept. The entries are fetched, and the notes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// j: the closing command that made the ledger size s.
    pub at: LogPos,
    /// Raft membership at j, unread.
    pub membership: Bytes,
    /// s.
    pub size: TreeSize,
    /// The size that the newest checkpoint taken by then covers; the one of s came later.
    pub sealed: TreeSize,
    /// Checkpoints kept at j, with the CRC-32C of each note.
    pub kept: BTreeMap<u64, u32>,
    /// The signed note of s.
    pub note: String,
}

impl Manifest {
    /// What the note says; `None` when it is no note or one of another size.
    pub fn checkpoint(&self) -> Option<Checkpoint> {
        let note = Note::parse(self.note.as_bytes()).ok()?;
        let checkpoint = Checkpoint::parse(&note.text).ok()?;
        (checkpoint.size == self.size).then_some(checkpoint)
    }

    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut body = Writer::default();
        body.u64(self.at.term);
        body.u64(self.at.leader);
        body.u64(self.at.index);
        body.u32_bytes(&self.membership);
        body.u64(self.size.0);
        body.u64(self.sealed.0);
        body.count(self.kept.len());
        let mut previous = 0;
        for (size, crc) in &self.kept {
            body.varint(size - previous);
            body.u32(*crc);
            previous = *size;
        }
        body.u32_bytes(self.note.as_bytes());
        let mut file = Writer::default();
        file.raw(&MAGIC);
        file.u32(FORMAT);
        file.u32_bytes(&body.0);
        let digest = sha3_256(&file.0);
        file.raw(&digest);
        file.0
    }

    /// Reads what [`Manifest::encode`] wrote; `None` for anything else.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (checked, digest) = bytes.split_last_chunk::<32>()?;
        if sha3_256(checked) != *digest {
            return None;
        }
        let mut file = Reader(checked);
        if file.array() != Some(MAGIC) || file.u32() != Some(FORMAT) {
            return None;
        }
        let mut body = Reader(file.u32_bytes().filter(|_| file.0.is_empty())?);
        let at = LogPos {
            term: body.u64()?,
            leader: body.u64()?,
            index: body.u64()?,
        };
        let membership = Bytes::copy_from_slice(body.u32_bytes()?);
        let (size, sealed) = (TreeSize(body.u64()?), TreeSize(body.u64()?));
        let mut kept = BTreeMap::new();
        let mut previous = 0_u64;
        for _ in 0..body.varint()? {
            previous = previous.checked_add(body.varint()?)?;
            kept.insert(previous, body.u32()?);
        }
        let note = String::from_utf8(body.u32_bytes()?.to_vec()).ok()?;
        let manifest = Self {
            at,
            membership,
            size,
            sealed,
            kept,
            note,
        };
        let sound = body.0.is_empty() && sealed < size && previous < size.0;
        (sound && manifest.checkpoint().is_some()).then_some(manifest)
    }

    /// The one in a file; `None` when there is none or its bytes are not what was written.
    pub(super) fn load<D: Disk>(disk: &D, file: &str) -> std::io::Result<Option<Self>> {
        let Some(bytes) = disk.read(file)? else {
            return Ok(None);
        };
        let found = Self::decode(&bytes);
        if found.is_none() {
            tracing::error!(file, "a snapshot's manifest is damaged; it is of no use");
        }
        Ok(found)
    }

    /// Writes it, durable on return.
    pub(super) fn store<D: Disk>(&self, disk: &D, file: &str) -> std::io::Result<()> {
        disk.write_durable(file, &self.encode(), MODE_PUBLIC)
    }
}
