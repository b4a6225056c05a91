//! Where the persisted fold lies.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use super::Claim;

/// The bytes of a key or record, held by several layers at once.
pub type Octets = Arc<[u8]>;

/// What becomes of a key: its record, or nothing any more.
pub type Change = (Octets, Option<Octets>);

/// Changes by their keys, each key once.
pub(super) type Changed = BTreeMap<Octets, Option<Octets>>;

/// A key and its record.
pub type Pair = (Octets, Octets);

/// Keys and their bytes as a store hands them over.
pub type Found = Vec<(Vec<u8>, Vec<u8>)>;

/// What a layer says of a key.
pub(super) enum Known {
    /// There is no record.
    Nothing,
    /// The record.
    Record(Octets),
    /// Nothing is known here: ask the next layer.
    Unknown,
}

impl From<&Option<Octets>> for Known {
    fn from(record: &Option<Octets>) -> Self {
        record.clone().map_or(Self::Nothing, Self::Record)
    }
}

/// Bytes that an entry of an ordered map costs beside key and record: the two allocations, their
/// counts and the nodes of the map.
pub(super) const OVERHEAD_BYTES: usize = 128;

/// Makes, opens and deletes the store of one node.
pub trait Engine: Send + Sync + 'static {
    /// Opens what is there, or makes an empty store.
    ///
    /// # Errors
    /// [`KeepError`] when what is there cannot be opened.
    fn open(&self) -> Result<Arc<dyn StateStore>, KeepError>;

    /// Deletes what is there, whether it could be opened or not. A store that is open goes on for
    /// itself, and nothing it does shows in the one opened next.
    ///
    /// # Errors
    /// [`KeepError`] when it cannot be deleted.
    fn wipe(&self) -> Result<(), KeepError>;
}

/// Keeps pairs of bytes, ordered by key. Trusted with nothing: what it holds is checked in full at
/// each start, and every record when it is read.
pub trait StateStore: Send + Sync + 'static {
    /// What the records are, as last kept; `None` in a new store.
    ///
    /// # Errors
    /// [`KeepError`] when it cannot be read.
    fn claim(&self) -> Result<Option<Claim>, KeepError>;

    /// The bytes of a key.
    ///
    /// # Errors
    /// [`KeepError`] when they cannot be read.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, KeepError>;

    /// The first keys from a place on, at most `limit`, ascending; the claim is none of them.
    ///
    /// # Errors
    /// [`KeepError`] when they cannot be read.
    fn range(&self, from: Bound<&[u8]>, limit: usize) -> Result<Found, KeepError>;

    /// Keeps changes, ascending by key, and the claim of the records after them.
    ///
    /// Not durable, nor in one step for a reader; a start finds the store before or after, or one
    /// that its claim does not fit.
    ///
    /// # Errors
    /// [`KeepError`] when it cannot be written; nobody knows then what it holds.
    fn keep(&self, changes: &[Change], claim: &Claim) -> Result<(), KeepError>;
}

/// The persisted state failed: no harm to the ledger, from which it is folded again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the kept state: {0}")]
pub struct KeepError(pub String);

/// The bytes kept for a record: the record, then the CRC-32C of key and record.
///
/// A store may hand over bytes that nobody wrote, and a decision made on them would be another than
/// the other nodes'.
pub(super) fn seal_record(key: &[u8], record: &[u8]) -> Vec<u8> {
    [record, &checksum(key, record).to_le_bytes()].concat()
}

/// The record of bytes that were kept.
pub(super) fn open_record<'a>(key: &[u8], kept: &'a [u8]) -> Result<&'a [u8], KeepError> {
    let damaged = || KeepError(format!("the record of `{}` is damaged", hex::encode(key)));
    let (record, sum) = kept.split_last_chunk::<4>().ok_or_else(damaged)?;
    if checksum(key, record).to_le_bytes() == *sum {
        Ok(record)
    } else {
        Err(damaged())
    }
}

fn checksum(key: &[u8], record: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(key), record)
}
