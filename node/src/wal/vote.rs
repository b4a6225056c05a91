//! The vote: one small file with two slots, written in turn, so that a torn write leaves the vote
//! before it.
//!
//! ```text
//! slot     offset  0  magic "candvt"
//!                  6  version u16 = 1
//!                  8  id of the log
//!                 24  number of the vote u64, from 1, no gaps; vote n lies in slot n mod 2
//!                 32  sequence of the newest group that was durable u64
//!                 40  length of the payload u32
//!                 44  CRC-32C of bytes 0..44 and the payload u32
//!                 48  payload
//! ```
//!
//! A slot repeats how far the log was durable and a group header repeats the number of the newest
//! durable vote: damage to the tail of one is told from a torn write by the other.

use std::sync::Arc;

use bytes::{BufMut, Bytes};
use candor_ledger::planted;

use crate::env::{Disk, DiskFile, MODE_PUBLIC, OpenMode};

use super::WalError;
use super::frame::{LogId, Reader};

/// Longest vote: what is left of a slot.
pub const VOTE_LEN_MAX: usize = SLOT_LEN - SLOT_HEADER_LEN;

/// Bytes of one slot: one page, so that no disk's sector spans both.
const SLOT_LEN: usize = 4096;
const SLOT_HEADER_LEN: usize = 48;
const MAGIC: [u8; 6] = *b"candvt";
const VERSION: u16 = 1;

/// One saved vote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Vote {
    pub(super) log_id: LogId,
    pub(super) number: u64,
    pub(super) sequence: u64,
    pub(super) payload: Bytes,
}

/// The vote file of a running log.
#[derive(Debug)]
pub(super) struct VoteFile<D: Disk> {
    disk: D,
    dir: Arc<str>,
    file: Option<D::File>,
}

impl<D: Disk> VoteFile<D> {
    /// The file in a log's directory; made by the first vote.
    pub(super) fn new(disk: D, dir: Arc<str>) -> Self {
        Self {
            disk,
            dir,
            file: None,
        }
    }

    /// The newest whole vote; not known to be durable before [`Self::write_anew`].
    pub(super) fn newest(&self) -> Result<Option<Vote>, WalError> {
        let Some(bytes) = self.disk.read(&self.path())? else {
            return Ok(None);
        };
        let mut newest: Option<Vote> = None;
        for (slot, number) in bytes.chunks(SLOT_LEN).zip([0, 1]) {
            let vote = self.slot(slot)?.filter(|vote| vote.number % 2 == number);
            if vote.as_ref().map(|vote| vote.number) > newest.as_ref().map(|vote| vote.number) {
                newest = vote;
            }
        }
        Ok(newest)
    }

    /// Makes durable what is read, in a new file that takes the place of this one: a sync that failed may
    /// have left it in memory alone, and written over itself it could be torn.
    pub(super) fn write_anew(&mut self) -> std::io::Result<()> {
        let path = self.path();
        let Some(bytes) = self.disk.read(&path)? else {
            return Ok(());
        };
        self.file = None;
        self.disk.write_durable(&path, &bytes, MODE_PUBLIC)
    }

    /// Saves a vote; durable on return.
    pub(super) fn write(&mut self, vote: &Vote) -> std::io::Result<()> {
        let is_new = self.file.is_none();
        let file = self.opened()?;
        file.write_all_at(&vote.encode(), vote.offset())?;
        if !planted!("vote-unsynced") {
            file.sync_data()?;
        }
        if is_new {
            self.disk.sync_dir(&self.dir)?;
        }
        Ok(())
    }

    /// Whether the slots hold this vote and the one before it.
    ///
    /// A slot that cannot be read holds neither.
    pub(super) fn holds(&self, number: u64, payload: &[u8]) -> bool {
        let Ok(Some(bytes)) = self.disk.read(&self.path()) else {
            return false;
        };
        let slot = |number: u64| {
            let at = usize::try_from(number % 2).map_or(0, |at| at * SLOT_LEN);
            let slot = bytes.get(at..)?;
            let vote = Vote::decode(slot.get(..SLOT_LEN).unwrap_or(slot)).ok()??;
            (vote.number == number).then_some(vote)
        };
        let is_newest = slot(number).is_some_and(|vote| *vote.payload == *payload);
        is_newest && (number < 2 || slot(number - 1).is_some())
    }

    fn slot(&self, bytes: &[u8]) -> Result<Option<Vote>, WalError> {
        match Vote::decode(bytes) {
            Ok(vote) => Ok(vote),
            Err(version) => Err(WalError::UnknownVersion {
                file: self.path(),
                offset: 0,
                version,
            }),
        }
    }

    fn opened(&mut self) -> std::io::Result<&D::File> {
        let file = match self.file.take() {
            Some(file) => file,
            None => self.disk.open(&self.path(), OpenMode::Create)?,
        };
        Ok(self.file.insert(file))
    }

    fn path(&self) -> String {
        format!("{}/vote", self.dir)
    }
}

impl Vote {
    fn offset(&self) -> u64 {
        let slot_len = u64::try_from(SLOT_LEN).expect("invariant: 4096 fits");
        self.number % 2 * slot_len
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(SLOT_HEADER_LEN + self.payload.len());
        bytes.put_slice(&MAGIC);
        bytes.put_u16(VERSION);
        bytes.put_slice(&self.log_id);
        bytes.put_u64(self.number);
        bytes.put_u64(self.sequence);
        bytes.put_u32(u32::try_from(self.payload.len()).expect("invariant: a vote is bounded"));
        bytes.put_u32(crc32c::crc32c_append(crc32c::crc32c(&bytes), &self.payload));
        bytes.put_slice(&self.payload);
        bytes
    }

    /// A slot's vote, `None` when it holds no whole one.
    ///
    /// # Errors
    /// The version, if this program does not know it.
    fn decode(bytes: &[u8]) -> Result<Option<Self>, u16> {
        let mut rest = Reader(bytes);
        if rest.take() != Some(MAGIC) {
            return Ok(None);
        }
        match rest.u16() {
            Some(VERSION) => Ok(Self::fields(bytes, rest)),
            Some(version) => Err(version),
            None => Ok(None),
        }
    }

    fn fields(bytes: &[u8], mut rest: Reader<'_>) -> Option<Self> {
        let (log_id, number, sequence) = (rest.take()?, rest.u64()?, rest.u64()?);
        let payload_len = usize::try_from(rest.u32()?).ok()?;
        let crc = rest.u32()?;
        let payload = rest.0.get(..payload_len)?;
        let head = bytes.get(..SLOT_HEADER_LEN - 4)?;
        let whole = crc == crc32c::crc32c_append(crc32c::crc32c(head), payload);
        whole.then(|| Self {
            log_id,
            number,
            sequence,
            payload: Bytes::copy_from_slice(payload),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test")]
    use super::*;

    #[test]
    fn a_slot_has_the_bytes_its_table_says_and_no_flipped_bit_passes() {
        let log_id = *b"0123456789abcdef";
        let vote = Vote {
            log_id,
            number: 3,
            sequence: 9,
            payload: Bytes::from_static(b"vote"),
        };
        let bytes = vote.encode();
        let expected = "63616e647674\
                        0001\
                        30313233343536373839616263646566\
                        0000000000000003\
                        0000000000000009\
                        00000004";
        assert_eq!(hex::encode(&bytes[..44]), expected);
        assert_eq!(Vote::decode(&bytes), Ok(Some(vote)));
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(!matches!(Vote::decode(&flipped), Ok(Some(_))), "bit {bit}");
        }
    }
}
