//! ML-DSA-65 (FIPS 204), pure mode.

use std::sync::Arc;

use ::ml_dsa::{EncodedVerifyingKey, MlDsa65, Signature, VerifyingKey};

use super::Verifier;

/// Expands the matrix once; it is most of the cost of a verification.
pub(super) fn decode(bytes: &[u8]) -> Option<Arc<dyn Verifier>> {
    let encoded = EncodedVerifyingKey::<MlDsa65>::try_from(bytes).ok()?;
    Some(Arc::new(VerifyingKey::<MlDsa65>::decode(&encoded)))
}

impl Verifier for VerifyingKey<MlDsa65> {
    fn verifies(&self, message: &[u8], context: &[u8], signature: &[u8]) -> bool {
        Signature::<MlDsa65>::try_from(signature)
            .is_ok_and(|signature| self.verify_with_context(message, context, &signature))
    }
}

#[cfg(feature = "sign")]
pub(super) mod secret {
    use core::convert::Infallible;

    use ::ml_dsa::signature::rand_core::{TryCryptoRng, TryRng};
    use ::ml_dsa::{ExpandedSigningKey, MlDsa65, Seed};
    use zeroize::Zeroizing;

    use super::super::Signer;

    /// Bytes of the stored form, the FIPS 204 seed.
    pub(in super::super) const SEED_LEN: usize = 32;

    pub(in super::super) fn from_seed(seed: &[u8]) -> Option<Box<dyn Signer>> {
        let array = Zeroizing::new(Seed::try_from(seed).ok()?);
        Some(Box::new(Secret {
            seed: Zeroizing::new(seed.to_vec()),
            expanded: Box::new(ExpandedSigningKey::from_seed(&array)),
        }))
    }

    /// The seed, and what it expands to: expanding costs 0.2 ms each time. Both are wiped.
    struct Secret {
        seed: Zeroizing<Vec<u8>>,
        expanded: Box<ExpandedSigningKey<MlDsa65>>,
    }

    impl Signer for Secret {
        fn public_bytes(&self) -> Vec<u8> {
            self.expanded.verifying_key().encode().to_vec()
        }

        fn secret_bytes(&self) -> Zeroizing<Vec<u8>> {
            self.seed.clone()
        }

        /// Takes 32 bytes from `fill`. `None` when rejection sampling found nothing within the
        /// crate's bound, which fresh randomness repairs.
        fn sign(&self, message: &[u8], fill: &mut dyn FnMut(&mut [u8])) -> Option<Vec<u8>> {
            let signature = self
                .expanded
                .sign_randomized(message, &[], &mut Supplied(fill));
            Some(signature.ok()?.encode().to_vec())
        }
    }

    /// The caller's randomness in the shape that the crate asks for.
    struct Supplied<'a>(&'a mut dyn FnMut(&mut [u8]));

    impl TryRng for Supplied<'_> {
        type Error = Infallible;

        fn try_next_u32(&mut self) -> Result<u32, Infallible> {
            let mut bytes = [0; 4];
            (self.0)(&mut bytes);
            Ok(u32::from_le_bytes(bytes))
        }

        fn try_next_u64(&mut self) -> Result<u64, Infallible> {
            let mut bytes = [0; 8];
            (self.0)(&mut bytes);
            Ok(u64::from_le_bytes(bytes))
        }

        fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
            (self.0)(bytes);
            Ok(())
        }
    }

    impl TryCryptoRng for Supplied<'_> {}
}
