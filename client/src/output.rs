//! Verified values, and what a caller may take them as.

use bytes::Bytes;
use candor_ledger::fingerprint::Fingerprint;
use candor_ledger::ids::{RequestId, Seq, TreeSize};
use candor_ledger::time::Micros;

use crate::error::Error;

/// A value that passed every check: only verification makes one.
///
/// It says: by the checkpoint `as_of`, which the trust policy accepts, these bytes were recorded
/// under exactly the fingerprint that was asked for, and their deadline has not passed. That the
/// result was still ACTIVE when it was read is the answering node's statement, recorded as entry
/// `read_seq`; ask to wait for the seal of the read to have that proved as well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified<V = Bytes> {
    pub(crate) value: V,
    pub(crate) about: About,
}

/// What is known about a verified value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// The fingerprint that was asked for, recomputed from the fields of the write's entry.
    pub fingerprint: Fingerprint,
    /// Version of the result under it, from 1.
    pub version: u64,
    /// What its writer called it.
    pub media_type: String,
    /// The `cache.write` entry.
    pub write_seq: Seq,
    /// The actor that wrote it, as the log says.
    pub writer: String,
    /// When it was written, by the ledger's time.
    pub written: Micros,
    /// When it expires.
    pub expires: Micros,
    /// The `cache.read_hit` entry of this very read.
    pub read_seq: Seq,
    /// The id of the request, as the read's entry has it.
    pub request_id: RequestId,
    /// The read's own entry was sealed and its proof verified.
    pub read_sealed: bool,
    /// The checkpoint that covers the write.
    pub as_of: AsOf,
    /// Tokens of the prompt, as the writer told.
    pub input_tokens: Option<u64>,
    /// Tokens of the output, as the writer told.
    pub output_tokens: Option<u64>,
    /// Milliseconds that the inference took, as the writer told.
    pub latency_ms: Option<u64>,
}

/// A verified checkpoint in short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AsOf {
    /// Entries it covers.
    pub size: TreeSize,
    /// When it was sealed.
    pub sealed: Micros,
}

impl<V> Verified<V> {
    /// The value.
    pub fn value(&self) -> &V {
        &self.value
    }

    /// The value alone.
    pub fn into_value(self) -> V {
        self.value
    }

    /// Where it comes from and what it rests on.
    pub fn about(&self) -> &About {
        &self.about
    }
}

/// What [`crate::Client::get_verified`] can return; chosen by the caller's type.
///
/// `String` and `Verified<String>` demand UTF-8; the other forms take any bytes.
pub trait FromOutput: Sized {
    /// Takes a verified value over.
    ///
    /// # Errors
    /// [`Error::NotText`] when text is asked for and the value is none.
    fn from_output(verified: Verified) -> Result<Self, Error>;
}

impl FromOutput for Verified {
    fn from_output(verified: Verified) -> Result<Self, Error> {
        Ok(verified)
    }
}

impl FromOutput for Verified<String> {
    fn from_output(verified: Verified) -> Result<Self, Error> {
        let Verified { value, about } = verified;
        match String::from_utf8(value.into()) {
            Ok(value) => Ok(Self { value, about }),
            Err(_) => Err(Error::NotText {
                seq: about.write_seq,
                media_type: about.media_type,
            }),
        }
    }
}

impl FromOutput for String {
    fn from_output(verified: Verified) -> Result<Self, Error> {
        Verified::<Self>::from_output(verified).map(Verified::into_value)
    }
}

impl FromOutput for Bytes {
    fn from_output(verified: Verified) -> Result<Self, Error> {
        Ok(verified.into_value())
    }
}

impl FromOutput for Vec<u8> {
    fn from_output(verified: Verified) -> Result<Self, Error> {
        Ok(verified.into_value().into())
    }
}
