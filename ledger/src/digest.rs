//! The two hash functions, and digests as they stand in entries: tagged text.

use core::fmt;

use sha2::Sha256;
use sha3::{Digest as _, Sha3_256};

/// SHA3-256 (FIPS 202) of one byte string.
pub fn sha3_256(bytes: &[u8]) -> [u8; 32] {
    Sha3_256::digest(bytes).into()
}

/// SHA3-256 of the concatenation of `parts`; the caller makes the parts unambiguous.
pub fn sha3_256_parts(parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = Sha3_256::new();
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize().into()
}

/// SHA-256 (FIPS 180-4) of the concatenation of `parts`: the tree and C2SP key ids.
pub fn sha256_parts(parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize().into()
}

/// Head of the hash chain: SHA3-256 of the last entry's bytes, zero for an empty ledger.
///
/// Text form: `sha3-256:<64 lower-case hex>`.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChainHash(pub [u8; 32]);

impl ChainHash {
    /// The head of an empty ledger, and `prev` of entry 0.
    pub const EMPTY: Self = Self([0; 32]);

    /// The head after an entry with these bytes.
    pub fn of(entry: &[u8]) -> Self {
        Self(sha3_256(entry))
    }

    /// Reads the text form.
    ///
    /// # Errors
    /// Any other spelling, including another algorithm's tag and bare hex.
    pub fn parse(text: &str) -> Result<Self, DigestError> {
        match TaggedDigest::parse(text)? {
            TaggedDigest {
                algorithm: DigestAlgorithm::Sha3_256,
                bytes,
            } if text.starts_with("sha3-256:") => Ok(Self(bytes)),
            _ => Err(DigestError::of(text)),
        }
    }
}

impl fmt::Display for ChainHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha3-256:{}", hex::encode(self.0))
    }
}

impl fmt::Debug for ChainHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// How a digest that a client supplied was made; part of its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DigestAlgorithm {
    /// HMAC-SHA3-256 under a tenant's key: equal inputs compare equal, outsiders can guess nothing.
    HmacSha3_256,
    /// SHA-256, as model publishers give checksums.
    Sha256,
    /// SHA3-256, Candor's own.
    Sha3_256,
}

impl DigestAlgorithm {
    /// The tag before the colon.
    pub fn tag(self) -> &'static str {
        match self {
            Self::HmacSha3_256 => "hmac-sha3-256",
            Self::Sha256 => "sha-256",
            Self::Sha3_256 => "sha3-256",
        }
    }
}

/// A digest with its algorithm: `<tag>:<64 lower-case hex>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TaggedDigest {
    /// Which function made it.
    pub algorithm: DigestAlgorithm,
    /// The 32 bytes.
    pub bytes: [u8; 32],
}

/// A text that is no digest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a digest: want sha3-256:, sha-256: or hmac-sha3-256: and 64 lower-case hex digits"
)]
pub struct DigestError(
    /// The start of the text: it may be of any length, and whole outputs get here by mistake.
    pub String,
);

/// The longest digest has 78 characters; one more shows that it was too long.
const QUOTED_CHARS_MAX: usize = 79;

impl DigestError {
    fn of(text: &str) -> Self {
        let mut quoted: String = text.chars().take(QUOTED_CHARS_MAX).collect();
        if quoted.len() < text.len() {
            quoted.push_str("...");
        }
        Self(quoted)
    }
}

impl TaggedDigest {
    /// A SHA3-256 digest.
    pub fn sha3(bytes: [u8; 32]) -> Self {
        Self {
            algorithm: DigestAlgorithm::Sha3_256,
            bytes,
        }
    }

    /// Reads a tagged digest; 64 bare hex digits are read as SHA3-256.
    ///
    /// # Errors
    /// Any other text, upper-case hex included.
    pub fn parse(text: &str) -> Result<Self, DigestError> {
        let refused = || DigestError::of(text);
        let (algorithm, digits) = match text.split_once(':') {
            None => (DigestAlgorithm::Sha3_256, text),
            Some((tag, digits)) => {
                use DigestAlgorithm::{HmacSha3_256, Sha3_256, Sha256};
                let known = [HmacSha3_256, Sha256, Sha3_256]
                    .into_iter()
                    .find(|a| a.tag() == tag);
                (known.ok_or_else(refused)?, digits)
            }
        };
        let mut bytes = [0; 32];
        hex::decode_to_slice(digits, &mut bytes).map_err(|_| refused())?;
        if hex::encode(bytes) == digits {
            Ok(Self { algorithm, bytes })
        } else {
            Err(refused())
        }
    }
}

impl fmt::Display for TaggedDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm.tag(), hex::encode(self.bytes))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "test")]
    use super::*;

    #[test]
    fn digests_have_one_tagged_spelling_and_bare_hex_means_sha3() {
        let hex = "a7ffc6f8bf1ed76651c14756a061d662f580ff4de43b49fa82d80a4b80f8434a";
        assert_eq!(
            hex::encode(sha3_256(b"")),
            hex,
            "FIPS 202 SHA3-256 of the empty string"
        );
        let parsed = TaggedDigest::parse(hex).unwrap();
        assert_eq!(parsed, TaggedDigest::sha3(sha3_256(b"")));
        assert_eq!(parsed.to_string(), format!("sha3-256:{hex}"));
        for tag in ["sha-256", "hmac-sha3-256", "sha3-256"] {
            let text = format!("{tag}:{hex}");
            assert_eq!(TaggedDigest::parse(&text).unwrap().to_string(), text);
        }
        for text in [
            "",
            "md5:00",
            &hex.to_uppercase(),
            &hex[1..],
            &format!("sha3-256:{hex}0"),
        ] {
            assert!(TaggedDigest::parse(text).is_err(), "{text}");
        }
        let refused = TaggedDigest::parse(&"é".repeat(1_000_000)).unwrap_err();
        assert_eq!(refused.0, "é".repeat(79) + "...");
        assert!(
            ChainHash::parse(hex).is_err(),
            "a chain hash is always written with its tag"
        );
    }
}
