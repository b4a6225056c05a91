//! What a copy of the state claims to be.

use std::fmt;

use candor_ledger::digest::ChainHash;
use candor_ledger::fold::{RECORD_VERSION, StateDigest};
use candor_ledger::ids::TreeSize;

/// Version of the byte form.
const VERSION: u8 = 2;

/// Which prefix of which ledger a set of records is the fold of, and which records these are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Entries folded.
    pub size: TreeSize,
    /// Chain head of the ledger at that size.
    pub head: ChainHash,
    /// Digest of all records.
    pub digest: StateDigest,
}

impl Claim {
    /// One byte version, one byte version of the records, u64 little-endian size, 32 bytes head,
    /// 32 bytes digest.
    pub(super) fn to_bytes(self) -> Vec<u8> {
        let size = self.size.0.to_le_bytes();
        let versions = [VERSION, RECORD_VERSION];
        [&versions[..], &size, &self.head.0, &self.digest.0].concat()
    }

    /// Reads the byte form.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (versions, rest) = bytes.split_first_chunk::<2>()?;
        let (size, rest) = rest.split_first_chunk::<8>()?;
        let (head, digest) = rest.split_first_chunk::<32>()?;
        (*versions == [VERSION, RECORD_VERSION]).then_some(Self {
            size: TreeSize(u64::from_le_bytes(*size)),
            head: ChainHash(*head),
            digest: StateDigest(digest.try_into().ok()?),
        })
    }
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digest = hex::encode(self.digest.0);
        write!(
            f,
            "size `{}`, head `{}`, digest `{digest}`",
            self.size, self.head
        )
    }
}
