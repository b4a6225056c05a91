//! What the fold remembers, how it is named and kept.
//!
//! Everything that a rule reads is a [`Record`] under a [`Key`]; the records at a size are a pure
//! function of the entries below it. Rules see them through a [`StateView`], so that a node may hold
//! them on disk and an auditor in memory.

use std::collections::BTreeMap;
use std::ops::Bound;

use crate::digest::sha3_256_parts;
use crate::entry::{Model, Subject};
use crate::fingerprint::Fingerprint;

mod codec;
mod encoding;
mod keys;
mod records;

pub use codec::CodecError;
pub use encoding::RECORD_VERSION;
pub use keys::{Key, Prefix};
pub use records::{
    Cascade, DedupFloor, Held, KeysetName, Lifecycle, LogState, ModelSuperseded, REVOKED_MAX,
    Record, RequestRecord, ResultKind, ResultRecord, Standing,
};

use encoding::read_request_id;

/// The records at one size of the ledger, as a rule sees them.
pub trait StateView {
    /// The record of a key.
    ///
    /// # Errors
    /// [`ViewError`] when it cannot be read; a missing record is no error.
    fn get(&self, key: &Key) -> Result<Option<Record>, ViewError>;

    /// Of the keys that start with `within`, the first whose bytes are greater than those of
    /// `after`, or the first of all; with its record.
    ///
    /// # Errors
    /// [`ViewError`] when it cannot be read.
    fn next(
        &self,
        within: &Prefix,
        after: Option<&Key>,
    ) -> Result<Option<(Key, Record)>, ViewError>;
}

/// The state could not be read: the fault of whatever keeps it, never of an entry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the state could not be read: {0}")]
pub struct ViewError(pub String);

/// Records to keep, and keys to forget, each key once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes(BTreeMap<Vec<u8>, (Key, Option<Record>)>);

/// All records in memory: an auditor's, a test's, or a cache's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryState {
    records: BTreeMap<Vec<u8>, Record>,
    digest: StateDigest,
}

/// The digest of a set of records, independent of order and of how they came to be:
///
/// ```text
/// sum over all records, modulo 2^256, of SHA3-256( u32 length of key || key || record )
/// ```
///
/// with big-endian numbers. It finds folds that differ by fault; a sum of hashes does not withstand
/// somebody who may choose millions of records, so nothing outside a node's own state rests on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StateDigest(pub [u8; 32]);

impl Changes {
    /// Whether nothing changes.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many keys change.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The changes, by the bytes of their keys; `None` is to forget.
    pub fn iter(&self) -> impl Iterator<Item = (&Key, Option<&Record>)> {
        let changes = self.0.values();
        changes.map(|(key, record)| (key, record.as_ref()))
    }

    /// The changes by the bytes of their keys, ascending; `None` is to forget.
    pub fn by_bytes(&self) -> impl Iterator<Item = (&[u8], Option<&Record>)> {
        let changes = self.0.iter();
        changes.map(|(key, (_, record))| (key.as_slice(), record.as_ref()))
    }

    /// What becomes of a key: `None` when it does not change.
    pub fn get(&self, key: &Key) -> Option<Option<&Record>> {
        let (_, record) = self.0.get(&key.to_bytes())?;
        Some(record.as_ref())
    }

    /// Takes later changes in, which hold where both say something.
    pub fn merge(&mut self, later: Self) {
        self.0.extend(later.0);
    }

    pub(super) fn put(&mut self, key: Key, record: Record) {
        self.0.insert(key.to_bytes(), (key, Some(record)));
    }

    pub(super) fn forget(&mut self, key: Key) {
        self.0.insert(key.to_bytes(), (key, None));
    }

    /// Whether the key of these bytes changes.
    pub(super) fn covers(&self, key: &[u8]) -> bool {
        self.0.contains_key(key)
    }

    /// The first key that is kept, starts with `within` and is greater than `after`.
    pub(super) fn next_kept(
        &self,
        within: &Prefix,
        after: Option<&[u8]>,
    ) -> Option<(&Key, &Record)> {
        let within = within.as_bytes();
        let range = self
            .0
            .range::<[u8], _>((start(within, after), Bound::Unbounded));
        let mut range = range.take_while(|(key, _)| key.starts_with(within));
        range.find_map(|(_, (key, record))| Some((key, record.as_ref()?)))
    }
}

impl FromIterator<(Key, Option<Record>)> for Changes {
    /// Of several changes of one key the last holds.
    fn from_iter<I: IntoIterator<Item = (Key, Option<Record>)>>(changes: I) -> Self {
        let changes = changes.into_iter();
        Self(
            changes
                .map(|(key, record)| (key.to_bytes(), (key, record)))
                .collect(),
        )
    }
}

impl MemoryState {
    /// The state of the empty ledger.
    pub fn new() -> Self {
        Self::default()
    }

    /// Keeps and forgets.
    pub fn apply(&mut self, changes: &Changes) {
        for (bytes, (_, record)) in &changes.0 {
            let before = match record {
                Some(record) => {
                    self.digest.add(bytes, &record.to_bytes());
                    self.records.insert(bytes.clone(), record.clone())
                }
                None => self.records.remove(bytes),
            };
            if let Some(before) = before {
                self.digest.subtract(bytes, &before.to_bytes());
            }
        }
    }

    /// The digest of all records; kept up to date, so free.
    pub fn digest(&self) -> StateDigest {
        self.digest
    }

    /// How many records there are.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// All records, by the bytes of their keys.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &Record)> {
        let records = self.records.iter();
        records.map(|(key, record)| (key.as_slice(), record))
    }
}

impl StateView for MemoryState {
    fn get(&self, key: &Key) -> Result<Option<Record>, ViewError> {
        Ok(self.records.get(&key.to_bytes()).cloned())
    }

    fn next(
        &self,
        within: &Prefix,
        after: Option<&Key>,
    ) -> Result<Option<(Key, Record)>, ViewError> {
        let after = after.map(Key::to_bytes);
        let within = within.as_bytes();
        let start = start(within, after.as_deref());
        let first = self
            .records
            .range::<[u8], _>((start, Bound::Unbounded))
            .next();
        match first.filter(|(key, _)| key.starts_with(within)) {
            None => Ok(None),
            Some((key, record)) => Ok(Some((Key::from_bytes(key)?, record.clone()))),
        }
    }
}

impl StateDigest {
    /// Takes a record in.
    pub fn add(&mut self, key: &[u8], record: &[u8]) {
        let mut carry = 0;
        for (sum, byte) in self.0.iter_mut().zip(record_hash(key, record)).rev() {
            let [high, low] = (u16::from(*sum) + u16::from(byte) + carry).to_be_bytes();
            (carry, *sum) = (u16::from(high), low);
        }
    }

    /// Takes a record out that was taken in.
    pub fn subtract(&mut self, key: &[u8], record: &[u8]) {
        let mut borrow = false;
        for (sum, byte) in self.0.iter_mut().zip(record_hash(key, record)).rev() {
            let (less, below) = sum.overflowing_sub(byte);
            let (less, below_too) = less.overflowing_sub(u8::from(borrow));
            (borrow, *sum) = (below || below_too, less);
        }
    }
}

impl From<CodecError> for ViewError {
    fn from(error: CodecError) -> Self {
        Self(error.to_string())
    }
}

/// The log; `None` before genesis.
pub(super) fn get_log<V: StateView>(view: &V) -> Result<Option<LogState>, ViewError> {
    match view.get(&Key::Log)? {
        None => Ok(None),
        Some(Record::Log(log)) => Ok(Some(*log)),
        Some(other) => Err(wrong_kind("the log", &other)),
    }
}

/// What is remembered of a fingerprint.
pub(super) fn get_result<V: StateView>(
    view: &V,
    tenant: &str,
    fingerprint: Fingerprint,
) -> Result<Option<ResultRecord>, ViewError> {
    let tenant = tenant.to_owned();
    match view.get(&Key::Result {
        tenant,
        fingerprint,
    })? {
        None => Ok(None),
        Some(Record::Result(result)) => Ok(Some(*result)),
        Some(other) => Err(wrong_kind("a result", &other)),
    }
}

/// The entries about any subject; `None` when there is none.
pub(super) fn get_lifecycle<V: StateView>(
    view: &V,
    tenant: &str,
    subject: &Subject,
) -> Result<Option<Lifecycle>, ViewError> {
    match subject {
        Subject::Fingerprint(fingerprint) => {
            let result = get_result(view, tenant, *fingerprint)?;
            Ok(result.map(|result| result.lifecycle))
        }
        Subject::Ledger => Ok(get_log(view)?.map(|log| log.lifecycle)),
        Subject::Decision(_) | Subject::Model(_) => {
            let (tenant, subject) = (tenant.to_owned(), subject.clone());
            match view.get(&Key::Subject { tenant, subject })? {
                None => Ok(None),
                Some(Record::Lifecycle(lifecycle)) => Ok(Some(lifecycle)),
                Some(other) => Err(wrong_kind("a lifecycle", &other)),
            }
        }
    }
}

/// To what a model gave way, if it did.
pub(super) fn get_model_superseded<V: StateView>(
    view: &V,
    tenant: &str,
    model: &Model,
) -> Result<Option<ModelSuperseded>, ViewError> {
    let (tenant, model) = (tenant.to_owned(), model.clone());
    match view.get(&Key::ModelSuperseded { tenant, model })? {
        None => Ok(None),
        Some(Record::ModelSuperseded(superseded)) => Ok(Some(superseded)),
        Some(other) => Err(wrong_kind("a superseded model", &other)),
    }
}

pub(super) fn wrong_kind(wanted: &str, found: &Record) -> ViewError {
    let kind = found.to_bytes().get(1).copied().unwrap_or_default();
    ViewError(format!(
        "a record of kind `{kind:#04x}` stands where {wanted} must"
    ))
}

/// Where a walk within a prefix starts.
fn start<'a>(within: &'a [u8], after: Option<&'a [u8]>) -> Bound<&'a [u8]> {
    after.map_or(Bound::Included(within), Bound::Excluded)
}

fn record_hash(key: &[u8], record: &[u8]) -> [u8; 32] {
    let len = u32::try_from(key.len()).expect("invariant: keys are short");
    sha3_256_parts(&[&len.to_be_bytes(), key, record])
}
