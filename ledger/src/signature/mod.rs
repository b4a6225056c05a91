//! The three signature families of suite 1, behind one trait, and the keys that use them.
//!
//! Ed25519 (RFC 8032) rests on an elliptic curve, ML-DSA-65 (FIPS 204) on a lattice,
//! SLH-DSA-SHA2-128f (FIPS 205) on a hash function alone: what breaks one family leaves the two
//! others standing. All are used in pure mode with an empty context over the note text, so that
//! OpenSSL, Node and Python check them without this crate.
//!
//! Neither of the two post-quantum implementations beneath has been audited by a third party.
//!
//! Verification needs no feature. Key generation and signing stand behind feature `sign`; this
//! crate has no source of randomness, so whoever signs brings it.

use core::fmt;
use std::sync::Arc;

mod ed25519;
mod keyset;
mod ml_dsa;
#[cfg(feature = "sign")]
mod signing;
mod slh_dsa;

pub use keyset::{KeySet, KeySetError, ORIGIN_LEN_MAX, SUITE_1};
#[cfg(feature = "sign")]
pub use signing::{AttestKey, CosignerKey, KeyFileError, SignError, SigningKeys};

/// A signature algorithm with its parameter set; each stands for one hardness family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// Ed25519, RFC 8032, checked strictly: an elliptic curve.
    Ed25519,
    /// ML-DSA-65, FIPS 204: a structured lattice.
    MlDsa65,
    /// SLH-DSA-SHA2-128f, FIPS 205: SHA-256 alone.
    SlhDsaSha2128f,
}

impl Algorithm {
    /// The algorithms of suite 1 in the order in which keys and lines stand.
    pub const SUITE_1: [Self; 3] = [Self::Ed25519, Self::MlDsa65, Self::SlhDsaSha2128f];

    /// The name in key files, errors and verdicts.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ed25519 => "ed25519",
            Self::MlDsa65 => "ml-dsa-65",
            Self::SlhDsaSha2128f => "slh-dsa-sha2-128f",
        }
    }

    /// The name that its standard gives it, for people.
    pub fn title(self) -> &'static str {
        match self {
            Self::Ed25519 => "Ed25519",
            Self::MlDsa65 => "ML-DSA-65",
            Self::SlhDsaSha2128f => "SLH-DSA-SHA2-128f",
        }
    }

    /// The algorithm of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::SUITE_1.into_iter().find(|a| a.name() == name)
    }

    /// Bytes of a raw public key.
    pub fn public_key_len(self) -> usize {
        match self {
            Self::Ed25519 | Self::SlhDsaSha2128f => 32,
            Self::MlDsa65 => 1_952,
        }
    }

    /// Bytes of a signature; there is no other length.
    pub fn signature_len(self) -> usize {
        match self {
            Self::Ed25519 => 64,
            Self::MlDsa65 => 3_309,
            Self::SlhDsaSha2128f => 17_088,
        }
    }

    /// The C2SP signature type of a log signature: what stands before the raw key in a vkey and in
    /// the preimage of a key id.
    pub fn note_type(self) -> &'static [u8] {
        match self {
            Self::Ed25519 => &[0x01],
            Self::MlDsa65 => b"\xffcandor.ml-dsa-65.v1",
            Self::SlhDsaSha2128f => b"\xffcandor.slh-dsa-sha2-128f.v1",
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A public key of one family, decoded once when it is made.
///
/// Cost: decoding is about 0.1 ms for ML-DSA-65 and next to nothing for the others; clones share
/// the decoded form (some 30 KiB for ML-DSA-65).
#[derive(Clone)]
pub struct PublicKey {
    algorithm: Algorithm,
    bytes: Arc<[u8]>,
    verifier: Arc<dyn Verifier>,
}

/// Bytes that are no public key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The encoding has another length than the standard's.
    #[error("an `{algorithm}` public key has {want} bytes, not {got}")]
    Length {
        /// The family asked for.
        algorithm: Algorithm,
        /// The standard's length.
        want: usize,
        /// The length found.
        got: usize,
    },
    /// The bytes decode to nothing, or to a key under which anybody could sign.
    #[error("these bytes are no usable `{algorithm}` public key")]
    Unusable {
        /// The family asked for.
        algorithm: Algorithm,
    },
}

/// A signature that does not verify: wrong length, not decodable, or not made by the key over
/// these bytes. Which of them, nobody needs to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the signature does not verify")]
pub struct InvalidSignature;

impl PublicKey {
    /// Decodes a raw key as its standard encodes it.
    ///
    /// # Errors
    /// [`KeyError`] for another length and for weak or undecodable keys.
    pub fn from_bytes(algorithm: Algorithm, bytes: &[u8]) -> Result<Self, KeyError> {
        let want = algorithm.public_key_len();
        if bytes.len() != want {
            let got = bytes.len();
            return Err(KeyError::Length {
                algorithm,
                want,
                got,
            });
        }
        let verifier = match algorithm {
            Algorithm::Ed25519 => ed25519::decode(bytes),
            Algorithm::MlDsa65 => ml_dsa::decode(bytes),
            Algorithm::SlhDsaSha2128f => slh_dsa::decode(bytes),
        };
        Ok(Self {
            algorithm,
            bytes: bytes.into(),
            verifier: verifier.ok_or(KeyError::Unusable { algorithm })?,
        })
    }

    /// The family.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The raw key as its standard encodes it.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Checks a signature over exactly these bytes, pure mode, empty context.
    ///
    /// Cost: 0.03 ms for Ed25519, 0.07 ms for ML-DSA-65, 0.44 ms for SLH-DSA-SHA2-128f.
    ///
    /// # Errors
    /// [`InvalidSignature`], whatever the reason.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
        self.verify_with_context(message, &[], signature)
    }

    /// Checks a signature made under a context string, which no signature of Candor is; published
    /// test cases need it. Ed25519 in pure mode has no context and refuses any.
    #[doc(hidden)]
    pub fn verify_with_context(
        &self,
        message: &[u8],
        context: &[u8],
        signature: &[u8],
    ) -> Result<(), InvalidSignature> {
        if signature.len() == self.algorithm.signature_len()
            && self.verifier.verifies(message, context, signature)
        {
            Ok(())
        } else {
            Err(InvalidSignature)
        }
    }
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.algorithm == other.algorithm && self.bytes == other.bytes
    }
}

impl Eq for PublicKey {}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = hex::encode(self.bytes.iter().take(8).copied().collect::<Vec<_>>());
        write!(f, "{}:{head}..", self.algorithm)
    }
}

/// What every family does with a decoded public key.
trait Verifier: Send + Sync {
    /// Whether the signature is one by this key over the message under the context.
    fn verifies(&self, message: &[u8], context: &[u8], signature: &[u8]) -> bool;
}

/// What every family does with a secret key. Implementors wipe it when dropped, and implement
/// neither `Debug` nor any form of serialisation.
#[cfg(feature = "sign")]
trait Signer: Send + Sync {
    /// The raw public key as its standard encodes it.
    fn public_bytes(&self) -> Vec<u8>;

    /// The stored form of the secret key.
    fn secret_bytes(&self) -> zeroize::Zeroizing<Vec<u8>>;

    /// Signs in pure mode with an empty context; hedged with fresh bytes from `fill` where the
    /// family knows hedging. `None` when the algorithm gave up.
    fn sign(&self, message: &[u8], fill: &mut dyn FnMut(&mut [u8])) -> Option<Vec<u8>>;
}

#[cfg(test)]
mod tests;
