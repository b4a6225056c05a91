//! The bytes of a segment: groups of records, each group under one header.
//!
//! All integers are big-endian. A group begins at a multiple of [`SECTOR_LEN`] and is padded with
//! zeros to the next, so that tearing its write damages no byte of an earlier group.
//!
//! ```text
//! header   offset  0  magic "candwl"
//!                  6  version u16 = 1
//!                  8  id of the log, 16 random bytes: no payload can imitate a header
//!                 24  sequence u64, from 1, no gaps
//!                 32  length of the body u32
//!                 36  number of records u32
//!                 40  CRC-32C of the body u32
//!                 44  number of the newest vote that was durable u64
//!                 52  of the group before, durable when this one was written:
//!                     its segment u64, its end u64, SHA-256 of its header [..16]
//!                 84  CRC-32C of bytes 0..84 u32
//! body     records, one behind the other
//! record   offset  0  kind u8: 1 entry, 2 truncate, 3 committed, 4 floor
//!                  1  number u64: index; first index removed; 0; oldest segment still needed
//!                  9  length of the payload u32
//!                 13  CRC-32C of bytes 0..13 and the payload u32
//!                 17  payload
//! ```

use bytes::{BufMut, Bytes};

use candor_ledger::digest::sha256_parts;

/// Where groups begin: a disk writes this much in one piece, or none of it.
pub(super) const SECTOR_LEN: u64 = 512;

/// Bytes of a group's header; it never crosses a sector.
pub(super) const HEADER_LEN: usize = 88;

/// Bytes of a record before its payload.
pub(super) const RECORD_HEADER_LEN: usize = 17;

/// Longest payload of one record: a command of 16 MiB and what consensus puts around it, for which
/// 64 KiB is ample.
pub const RECORD_LEN_MAX: usize = (16 << 20) + (64 << 10);

/// Longest body: one record of the largest size behind a group that was just not full.
pub(super) const BODY_LEN_MAX: usize = 32 << 20;

/// Which log a file belongs to.
pub(super) type LogId = [u8; 16];

const MAGIC: [u8; 6] = *b"candwl";
const VERSION: u16 = 1;

const _: () = assert!(HEADER_LEN <= 512, "a header lies in one sector");

/// What stands before a group's records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) log_id: LogId,
    pub(super) sequence: u64,
    pub(super) body_len: u32,
    pub(super) records: u32,
    pub(super) body_crc: u32,
    pub(super) votes: u64,
    pub(super) previous: Previous,
}

/// What a header says of the group before its own; zeros in the first group of a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Previous {
    pub(super) segment: u64,
    pub(super) end: u64,
    pub(super) digest: [u8; 16],
}

/// Bytes that are no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeaderError {
    /// Torn, damaged or never written.
    Bad,
    /// Of a version this program does not know.
    Version(u16),
}

/// One record of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Record {
    /// How far the log was known to be committed; opaque.
    Committed(Bytes),
    /// An entry of the log.
    Entry { index: u64, payload: Bytes },
    /// Segments before this one are not needed any more.
    Floor(u64),
    /// Every entry from this index on is removed.
    Truncate(u64),
}

const ENTRY: u8 = 1;
const TRUNCATE: u8 = 2;
const COMMITTED: u8 = 3;
const FLOOR: u8 = 4;

impl Header {
    pub(super) fn encode(&self) -> [u8; HEADER_LEN] {
        let mut bytes = Vec::with_capacity(HEADER_LEN);
        bytes.put_slice(&MAGIC);
        bytes.put_u16(VERSION);
        bytes.put_slice(&self.log_id);
        bytes.put_u64(self.sequence);
        bytes.put_u32(self.body_len);
        bytes.put_u32(self.records);
        bytes.put_u32(self.body_crc);
        bytes.put_u64(self.votes);
        bytes.put_u64(self.previous.segment);
        bytes.put_u64(self.previous.end);
        bytes.put_slice(&self.previous.digest);
        bytes.put_u32(crc32c::crc32c(&bytes));
        bytes
            .try_into()
            .expect("invariant: the fields add up to a header")
    }

    pub(super) fn decode(bytes: &[u8; HEADER_LEN]) -> Result<Self, HeaderError> {
        let mut rest = Reader(bytes);
        rest.header().ok_or(HeaderError::Bad)?.and_then(|header| {
            let crc = rest.u32().ok_or(HeaderError::Bad)?;
            let covered = bytes.get(..HEADER_LEN - 4).unwrap_or_default();
            if crc == crc32c::crc32c(covered) && header.body_len_fits() {
                Ok(header)
            } else {
                Err(HeaderError::Bad)
            }
        })
    }

    /// What the next header repeats of this one.
    pub(super) fn digest(&self) -> [u8; 16] {
        let [digest @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _] =
            sha256_parts(&[&self.encode()]);
        digest
    }

    /// Bytes of the whole group, padding included.
    pub(super) fn group_len(&self) -> u64 {
        let header = u64::try_from(HEADER_LEN).expect("invariant: 88 fits");
        (header + u64::from(self.body_len)).next_multiple_of(SECTOR_LEN)
    }

    fn body_len_fits(&self) -> bool {
        usize::try_from(self.body_len).is_ok_and(|len| len <= BODY_LEN_MAX)
    }
}

/// Writes one record behind a body.
pub(super) fn put_record(body: &mut Vec<u8>, record: &Record) {
    let (kind, number, payload) = match record {
        Record::Committed(payload) => (COMMITTED, 0, payload.as_ref()),
        Record::Entry { index, payload } => (ENTRY, *index, payload.as_ref()),
        Record::Floor(segment) => (FLOOR, *segment, [].as_slice()),
        Record::Truncate(from) => (TRUNCATE, *from, [].as_slice()),
    };
    let start = body.len();
    body.put_u8(kind);
    body.put_u64(number);
    body.put_u32(u32::try_from(payload.len()).expect("invariant: a payload is bounded"));
    let head = body.get(start..).unwrap_or_default();
    let crc = crc32c::crc32c_append(crc32c::crc32c(head), payload);
    body.put_u32(crc);
    body.put_slice(payload);
}

/// Reads the records of a body, each with the place of its first byte; `None` when they do not fill
/// it exactly.
pub(super) fn records(body: &Bytes, count: u32) -> Option<Vec<(usize, Record)>> {
    let mut records = Vec::new();
    let mut at = 0;
    for _ in 0..count {
        let (record, len) = record(&body.get(at..).map(|rest| body.slice_ref(rest))?)?;
        records.push((at, record));
        at += len;
    }
    (at == body.len()).then_some(records)
}

/// Reads the record at the front of `bytes`, and its length.
pub(super) fn record(bytes: &Bytes) -> Option<(Record, usize)> {
    let mut rest = Reader(bytes);
    let kind = rest.u8()?;
    let number = rest.u64()?;
    let payload_len = usize::try_from(rest.u32()?).ok()?;
    let crc = rest.u32()?;
    let payload = rest.0.get(..payload_len)?;
    let head = bytes.get(..RECORD_HEADER_LEN - 4)?;
    if crc != crc32c::crc32c_append(crc32c::crc32c(head), payload) {
        return None;
    }
    let record = match kind {
        COMMITTED if number == 0 => Record::Committed(bytes.slice_ref(payload)),
        ENTRY => Record::Entry {
            index: number,
            payload: bytes.slice_ref(payload),
        },
        FLOOR if payload.is_empty() => Record::Floor(number),
        TRUNCATE if payload.is_empty() => Record::Truncate(number),
        _ => return None,
    };
    Some((record, RECORD_HEADER_LEN + payload_len))
}

/// Reads fixed-width fields off the front of a slice.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl Reader<'_> {
    pub(super) fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*field)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.take().map(u8::from_be_bytes)
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.take().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_be_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_be_bytes)
    }

    fn header(&mut self) -> Option<Result<Header, HeaderError>> {
        if self.take()? != MAGIC {
            return None;
        }
        let version = self.u16()?;
        if version != VERSION {
            return Some(Err(HeaderError::Version(version)));
        }
        Some(Ok(Header {
            log_id: self.take()?,
            sequence: self.u64()?,
            body_len: self.u32()?,
            records: self.u32()?,
            body_crc: self.u32()?,
            votes: self.u64()?,
            previous: Previous {
                segment: self.u64()?,
                end: self.u64()?,
                digest: self.take()?,
            },
        }))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test")]
    use super::*;

    fn header() -> Header {
        Header {
            log_id: *b"0123456789abcdef",
            sequence: 0x0102_0304_0506_0708,
            body_len: 0x0011_2233,
            records: 7,
            body_crc: 0xdead_beef,
            votes: 3,
            previous: Previous {
                segment: 9,
                end: 1024,
                digest: *b"fedcba9876543210",
            },
        }
    }

    #[test]
    fn a_header_has_the_bytes_its_table_says() {
        let bytes = header().encode();
        let expected = "63616e64776c\
                        0001\
                        30313233343536373839616263646566\
                        0102030405060708\
                        00112233\
                        00000007\
                        deadbeef\
                        0000000000000003\
                        0000000000000009\
                        0000000000000400\
                        66656463626139383736353433323130";
        assert_eq!(hex::encode(&bytes[..84]), expected);
        assert_eq!(Header::decode(&bytes), Ok(header()));
        assert_eq!(header().group_len() % SECTOR_LEN, 0);
    }

    #[test]
    fn no_flipped_bit_of_a_header_passes() {
        let bytes = header().encode();
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(Header::decode(&flipped).is_err(), "bit {bit}");
        }
        let mut newer = bytes;
        newer[7] = 2;
        assert_eq!(Header::decode(&newer), Err(HeaderError::Version(2)));
    }

    #[test]
    fn records_come_back_and_no_flipped_bit_of_them_passes() {
        let written = [
            Record::Entry {
                index: u64::MAX,
                payload: Bytes::from_static(b"payload"),
            },
            Record::Truncate(5),
            Record::Entry {
                index: 5,
                payload: Bytes::new(),
            },
            Record::Committed(Bytes::from_static(b"hint")),
            Record::Floor(8),
        ];
        let mut body = Vec::new();
        for record in &written {
            put_record(&mut body, record);
        }
        let read = records(&Bytes::from(body.clone()), 5).unwrap();
        let read: Vec<Record> = read.into_iter().map(|(_, record)| record).collect();
        assert_eq!(read, written);
        assert_eq!(records(&Bytes::from(body.clone()), 4), None);
        assert_eq!(records(&Bytes::from(body.clone()), 6), None);
        for bit in 0..body.len() * 8 {
            let mut flipped = body.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(records(&Bytes::from(flipped), 5), None, "bit {bit}");
        }
    }
}
