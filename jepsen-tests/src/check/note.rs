//! The text of a checkpoint and a receipt, read line by line without the product's reader.

use base64::prelude::{BASE64_STANDARD, Engine as _};

use super::merkle::Hash;

/// What a note states. Its signatures are looked at by `signatures`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stated {
    /// All that is signed.
    pub(super) text: String,
    pub(super) origin: String,
    pub(super) size: u64,
    pub(super) root: Hash,
    /// SHA3-256 of the last entry.
    pub(super) chain: Hash,
    pub(super) keyset: Hash,
    pub(super) sealed: String,
}

/// An entry with its proof.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shown {
    pub(super) entry: String,
    pub(super) index: u64,
    pub(super) path: Vec<Hash>,
    pub(super) note: String,
}

impl Stated {
    pub(super) fn read(note: &str) -> Option<Self> {
        let (text, _) = note.split_once("\n\n").unwrap_or((note.trim_end(), ""));
        let mut lines = text.lines();
        let (origin, size, root) = (lines.next()?, lines.next()?, lines.next()?);
        let mut rest = |prefix: &str| lines.next()?.strip_prefix(prefix);
        rest("candor 1")?;
        let chain = rest("chain sha3-256 ")?;
        let keyset = rest("keyset sha3-256 ")?;
        let sealed = rest("sealed ")?.to_owned();
        if lines.next().is_some() {
            return None;
        }
        Some(Self {
            text: text.to_owned(),
            origin: origin.to_owned(),
            size: size.parse().ok()?,
            root: hash(root)?,
            chain: hash(chain)?,
            keyset: hash(keyset)?,
            sealed,
        })
    }
}

impl Shown {
    pub(super) fn read(receipt: &str) -> Option<Self> {
        let (entry, rest) = receipt.split_once('\n')?;
        let rest = rest.strip_prefix("c2sp.org/tlog-proof@v1\nindex ")?;
        let (proof, note) = rest.split_once("\n\n")?;
        let mut lines = proof.lines();
        Some(Self {
            entry: entry.to_owned(),
            index: lines.next()?.parse().ok()?,
            path: lines.map(hash).collect::<Option<_>>()?,
            note: note.to_owned(),
        })
    }
}

fn hash(text: &str) -> Option<Hash> {
    BASE64_STANDARD.decode(text).ok()?.try_into().ok()
}
