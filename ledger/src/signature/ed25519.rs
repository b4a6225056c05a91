//! Ed25519 (RFC 8032), always by `verify_strict`: canonical encodings, no small-order points, and
//! the same answer as every other strict implementation. Never in batches, whose answer can vary
//! from run to run when a key is malicious.

use std::sync::Arc;

use ed25519_dalek::{Signature, VerifyingKey};

use super::Verifier;

pub(super) fn decode(bytes: &[u8]) -> Option<Arc<dyn Verifier>> {
    let key = VerifyingKey::from_bytes(bytes.try_into().ok()?).ok()?;
    // Under a small-order key one signature fits many messages. The bytes must also be the
    // point's one encoding, or two key sets could hold one key.
    let canonical = key.to_edwards().compress().as_bytes() == bytes;
    if canonical && !key.is_weak() {
        Some(Arc::new(key))
    } else {
        None
    }
}

impl Verifier for VerifyingKey {
    fn verifies(&self, message: &[u8], context: &[u8], signature: &[u8]) -> bool {
        context.is_empty()
            && Signature::from_slice(signature)
                .is_ok_and(|s| self.verify_strict(message, &s).is_ok())
    }
}

#[cfg(feature = "sign")]
pub(super) mod secret {
    use ed25519_dalek::{Signer as _, SigningKey};
    use zeroize::Zeroizing;

    use super::super::Signer;

    /// Bytes of the stored form, the RFC 8032 seed.
    pub(in super::super) const SEED_LEN: usize = 32;

    pub(in super::super) fn from_seed(seed: &[u8]) -> Option<Box<dyn Signer>> {
        Some(Box::new(Secret(SigningKey::from_bytes(
            seed.try_into().ok()?,
        ))))
    }

    /// Wiped by `SigningKey` itself.
    struct Secret(SigningKey);

    impl Signer for Secret {
        fn public_bytes(&self) -> Vec<u8> {
            self.0.verifying_key().to_bytes().to_vec()
        }

        fn secret_bytes(&self) -> Zeroizing<Vec<u8>> {
            Zeroizing::new(self.0.as_bytes().to_vec())
        }

        /// RFC 8032 derives its nonce from the seed and the message: no randomness is used.
        fn sign(&self, message: &[u8], _: &mut dyn FnMut(&mut [u8])) -> Option<Vec<u8>> {
            let signature = self.0.try_sign(message).ok()?;
            Some(signature.to_bytes().to_vec())
        }
    }
}
