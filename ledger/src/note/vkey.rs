//! Verifier keys: a name, a key id, a type and a public key in one line.

use core::fmt;

use super::{NoteSignature, is_key_name};
use crate::digest::sha256_parts;
use crate::signature::{Algorithm, InvalidSignature, KeyError, PublicKey};
use crate::text::{base64, parse_base64};

/// The type byte of a timestamped Ed25519 cosignature, c2sp.org/tlog-cosignature.
const COSIGNATURE_TYPE: u8 = 0x04;

/// What a key signs: the note text itself, or the text with the cosigner's time before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum KeyKind {
    /// Type 0x04: nodes and witnesses.
    Cosignature,
    /// Type 0x01, or 0xff and an identifier of ours: the log.
    Log(Algorithm),
}

impl KeyKind {
    const ALL: [Self; 4] = [
        Self::Cosignature,
        Self::Log(Algorithm::Ed25519),
        Self::Log(Algorithm::MlDsa65),
        Self::Log(Algorithm::SlhDsaSha2128f),
    ];

    /// The C2SP signature type, which stands before the raw key.
    pub fn note_type(self) -> &'static [u8] {
        match self {
            Self::Cosignature => &[COSIGNATURE_TYPE],
            Self::Log(algorithm) => algorithm.note_type(),
        }
    }

    /// The family of the key.
    pub fn algorithm(self) -> Algorithm {
        match self {
            Self::Cosignature => Algorithm::Ed25519,
            Self::Log(algorithm) => algorithm,
        }
    }
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cosignature => f.write_str("cosignature/v1"),
            Self::Log(algorithm) => algorithm.fmt(f),
        }
    }
}

/// Somebody's public key as C2SP writes it: `<name>+<8 hex key id>+<base64(type || raw key)>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    key_id: [u8; 4],
    kind: KeyKind,
    key: PublicKey,
}

/// A text that is no verifier key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VkeyError {
    /// The key bytes are unusable.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The id is not the one that name, type and key give.
    #[error("the key id is `{got}`, but name and key give `{want}`")]
    KeyId {
        /// Computed.
        want: String,
        /// Written.
        got: String,
    },
    /// Not three parts, not canonical base64, upper-case hex, or a bad name.
    #[error("want `<name>+<8 lower-case hex digits>+<canonical base64>`")]
    Form,
    /// A signature type that this version does not check.
    #[error(
        "key type 0x{0:02x} is none of ours: want 0x01, 0x04, or 0xff with a Candor identifier"
    )]
    UnknownType(u8),
}

/// SHA-256(name || 0x0A || signature type || raw key), first four bytes.
pub fn key_id(name: &str, signature_type: &[u8], key: &[u8]) -> [u8; 4] {
    let digest = sha256_parts(&[name.as_bytes(), b"\n", signature_type, key]);
    let [a, b, c, d, ..] = digest;
    [a, b, c, d]
}

impl VerifierKey {
    /// Reads a verifier key in its one spelling and checks its id.
    ///
    /// # Errors
    /// [`VkeyError`] says which part is wrong.
    pub fn parse(text: &str) -> Result<Self, VkeyError> {
        let mut parts = text.splitn(3, '+');
        let mut part = || parts.next().ok_or(VkeyError::Form);
        let (name, id, encoded) = (part()?, part()?, part()?);
        let bytes = parse_base64(encoded).ok_or(VkeyError::Form)?;
        if !is_key_name(name) {
            return Err(VkeyError::Form);
        }
        let (kind, raw) = split_type(&bytes)?;
        let key = Self::new(name, kind, PublicKey::from_bytes(kind.algorithm(), raw)?);
        let want = hex::encode(key.key_id);
        if id == want {
            Ok(key)
        } else {
            let got = id.to_owned();
            Err(VkeyError::KeyId { want, got })
        }
    }

    /// The log's key of this family.
    pub(crate) fn for_log(origin: &str, key: PublicKey) -> Self {
        Self::new(origin, KeyKind::Log(key.algorithm()), key)
    }

    /// A cosigner's key, which must be Ed25519.
    ///
    /// # Errors
    /// [`KeyError`] for bytes that are no usable Ed25519 key.
    pub fn for_cosigner(name: &str, key: &[u8; 32]) -> Result<Self, KeyError> {
        let key = PublicKey::from_bytes(Algorithm::Ed25519, key)?;
        Ok(Self::new(name, KeyKind::Cosignature, key))
    }

    fn new(name: &str, kind: KeyKind, key: PublicKey) -> Self {
        Self {
            name: name.to_owned(),
            key_id: key_id(name, kind.note_type(), key.as_bytes()),
            kind,
            key,
        }
    }

    /// The name that stands on its signature lines.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The id that stands in its signature lines.
    pub fn key_id(&self) -> [u8; 4] {
        self.key_id
    }

    /// What it signs.
    pub fn kind(&self) -> KeyKind {
        self.kind
    }

    /// The key itself.
    pub fn public_key(&self) -> &PublicKey {
        &self.key
    }

    /// Whether a line claims to be by this key.
    pub fn names(&self, line: &NoteSignature) -> bool {
        self.name == line.name && self.key_id == line.key_id
    }

    /// Checks the bytes after the key id of a signature line over a note text.
    ///
    /// Returns the time of a cosignature in seconds since the Unix epoch, `None` for a log
    /// signature.
    ///
    /// # Errors
    /// [`InvalidSignature`], whatever the reason.
    pub fn verify(&self, text: &str, blob: &[u8]) -> Result<Option<u64>, InvalidSignature> {
        match self.kind {
            KeyKind::Log(_) => {
                self.key.verify(text.as_bytes(), blob)?;
                Ok(None)
            }
            KeyKind::Cosignature => {
                let (time, signature) = blob.split_first_chunk().ok_or(InvalidSignature)?;
                let time = u64::from_be_bytes(*time);
                if time > COSIGNATURE_TIME_MAX {
                    return Err(InvalidSignature);
                }
                let message = cosigned_message(text, time);
                self.key.verify(message.as_bytes(), signature)?;
                Ok(Some(time))
            }
        }
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let typed = [self.kind.note_type(), self.key.as_bytes()].concat();
        let (name, id) = (&self.name, hex::encode(self.key_id));
        write!(f, "{name}+{id}+{}", base64(&typed))
    }
}

/// Latest time of a cosignature: C2SP bounds it to 63 bits.
pub(crate) const COSIGNATURE_TIME_MAX: u64 = u64::MAX >> 1;

/// What a cosigner signs: its statement's version, its time, the note text.
pub(crate) fn cosigned_message(text: &str, time_unix_s: u64) -> String {
    format!("cosignature/v1\ntime {time_unix_s}\n{text}")
}

fn split_type(bytes: &[u8]) -> Result<(KeyKind, &[u8]), VkeyError> {
    let typed = |kind: KeyKind| Some((kind, bytes.strip_prefix(kind.note_type())?));
    let found = KeyKind::ALL.into_iter().find_map(typed);
    let first = bytes.first().copied().ok_or(VkeyError::Form)?;
    found.ok_or(VkeyError::UnknownType(first))
}
