//! The log's one identity: an origin and three public keys, named by one hash.

use core::fmt;

use super::{Algorithm, KeyError, PublicKey};
use crate::digest::sha3_256_parts;
use crate::note::{KeyKind, VerifierKey, VkeyError};

/// Suite 1: Ed25519, ML-DSA-65, SLH-DSA-SHA2-128f, all three over the note text.
pub const SUITE_1: u16 = 1;

/// Longest origin in bytes: `<origin>/node/<20 digits>` is 26 longer and must fit the 255 bytes
/// that C2SP tlog-cosignature gives a cosigner's name.
pub const ORIGIN_LEN_MAX: usize = 229;

const LABEL: &[u8] = b"candor.keyset.v1\n";

/// The public keys of one log under one suite. Everything signed by the log is signed by all.
///
/// Identity: SHA3-256(`candor.keyset.v1` || 0x0A || u32 len || origin || u16 suite || for each key
/// in suite order: u32 len || raw key). Auditors pin it; every checkpoint names it, so a stripped
/// signature still says that it was one of three.
#[derive(Clone, PartialEq, Eq)]
pub struct KeySet {
    keys: [VerifierKey; 3],
    id: [u8; 32],
}

/// Keys that make no key set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeySetError {
    /// A key is none.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The keys are not those of the suite, in its order.
    #[error("key {position} of a suite 1 key set is `{want}`, not `{got}`")]
    Order {
        /// From 1.
        position: usize,
        /// What the suite has there.
        want: Algorithm,
        /// What stands there.
        got: String,
    },
    /// The origin cannot name a log.
    #[error(
        "`{0}` is no origin: want 1 to {ORIGIN_LEN_MAX} printable ASCII characters without space or `+`"
    )]
    Origin(String),
    /// A verifier key names somebody else.
    #[error("key {position} is named `{got}`, not `{want}`")]
    OtherName {
        /// From 1.
        position: usize,
        /// The origin.
        want: String,
        /// The key's name.
        got: String,
    },
    /// A suite that this version does not know; a newer one may.
    #[error("suite `{0}` is unknown to this version, which knows suite 1")]
    UnknownSuite(u16),
    /// A text that is no verifier key.
    #[error("key {position}: {problem}")]
    Vkey {
        /// From 1.
        position: usize,
        /// What is wrong with it.
        problem: VkeyError,
    },
}

impl KeySet {
    /// Of three decoded keys in suite order.
    ///
    /// # Errors
    /// [`KeySetError`] for an unknown suite, a bad origin, or keys of other families.
    pub fn new(origin: &str, suite: u16, keys: [PublicKey; 3]) -> Result<Self, KeySetError> {
        check_suite(suite)?;
        check_origin(origin)?;
        for (position, (key, want)) in (1..).zip(keys.iter().zip(Algorithm::SUITE_1)) {
            if key.algorithm() != want {
                let got = key.algorithm().to_string();
                return Err(KeySetError::Order {
                    position,
                    want,
                    got,
                });
            }
        }
        let id = key_set_id(origin, suite, &keys);
        let keys = keys.map(|key| VerifierKey::for_log(origin, key));
        Ok(Self { keys, id })
    }

    /// Of three raw keys in suite order, as genesis holds them.
    ///
    /// # Errors
    /// As [`KeySet::new`], and for bytes that are no key.
    pub fn from_raw(origin: &str, suite: u16, raw: [&[u8]; 3]) -> Result<Self, KeySetError> {
        check_suite(suite)?;
        let [first, second, third] = Algorithm::SUITE_1;
        let [a, b, c] = raw;
        let keys = [
            PublicKey::from_bytes(first, a)?,
            PublicKey::from_bytes(second, b)?,
            PublicKey::from_bytes(third, c)?,
        ];
        Self::new(origin, suite, keys)
    }

    /// Of three verifier keys in suite order, as a policy holds them.
    ///
    /// # Errors
    /// As [`KeySet::new`], and for texts that are no verifier key of this origin.
    pub fn from_vkeys(origin: &str, suite: u16, vkeys: [&str; 3]) -> Result<Self, KeySetError> {
        check_suite(suite)?;
        let [first, second, third] = Algorithm::SUITE_1;
        let [a, b, c] = vkeys;
        let keys = [
            log_key(origin, 1, first, a)?,
            log_key(origin, 2, second, b)?,
            log_key(origin, 3, third, c)?,
        ];
        Self::new(origin, suite, keys)
    }

    /// Whose keys they are; the first line of every checkpoint.
    pub fn origin(&self) -> &str {
        let [key, ..] = &self.keys;
        key.name()
    }

    /// The suite's number.
    pub fn suite(&self) -> u16 {
        SUITE_1
    }

    /// The key-set id.
    pub fn id(&self) -> [u8; 32] {
        self.id
    }

    /// The keys in suite order, with their C2SP names and key ids.
    pub fn keys(&self) -> &[VerifierKey; 3] {
        &self.keys
    }

    /// The keys in suite order as C2SP verifier keys.
    pub fn vkeys(&self) -> [String; 3] {
        self.keys.each_ref().map(ToString::to_string)
    }
}

impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeySet({} {})", self.origin(), hex::encode(self.id))
    }
}

pub(super) fn check_origin(origin: &str) -> Result<(), KeySetError> {
    let printable = origin.bytes().all(|b| b.is_ascii_graphic() && b != b'+');
    if printable && (1..=ORIGIN_LEN_MAX).contains(&origin.len()) {
        Ok(())
    } else {
        Err(KeySetError::Origin(origin.to_owned()))
    }
}

fn check_suite(suite: u16) -> Result<(), KeySetError> {
    if suite == SUITE_1 {
        Ok(())
    } else {
        Err(KeySetError::UnknownSuite(suite))
    }
}

fn log_key(
    origin: &str,
    position: usize,
    want: Algorithm,
    vkey: &str,
) -> Result<PublicKey, KeySetError> {
    let key =
        VerifierKey::parse(vkey).map_err(|problem| KeySetError::Vkey { position, problem })?;
    if key.kind() != KeyKind::Log(want) {
        let got = key.kind().to_string();
        return Err(KeySetError::Order {
            position,
            want,
            got,
        });
    }
    if key.name() != origin {
        return Err(KeySetError::OtherName {
            position,
            want: origin.to_owned(),
            got: key.name().to_owned(),
        });
    }
    Ok(key.public_key().clone())
}

fn key_set_id(origin: &str, suite: u16, keys: &[PublicKey; 3]) -> [u8; 32] {
    let length = |bytes: &[u8]| {
        let length = u32::try_from(bytes.len()).expect("invariant: origins and keys are short");
        length.to_be_bytes()
    };
    let [a, b, c] = keys.each_ref().map(PublicKey::as_bytes);
    sha3_256_parts(&[
        LABEL,
        &length(origin.as_bytes()),
        origin.as_bytes(),
        &suite.to_be_bytes(),
        &length(a),
        a,
        &length(b),
        b,
        &length(c),
        c,
    ])
}
