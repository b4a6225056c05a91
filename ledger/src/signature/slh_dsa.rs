//! SLH-DSA-SHA2-128f (FIPS 205), pure mode.
//!
//! The crate beneath is a release candidate, so nothing outside this file names it.

use std::sync::Arc;

use ::slh_dsa::{Sha2_128f, Signature, VerifyingKey};

use super::Verifier;

pub(super) fn decode(bytes: &[u8]) -> Option<Arc<dyn Verifier>> {
    Some(Arc::new(VerifyingKey::<Sha2_128f>::try_from(bytes).ok()?))
}

impl Verifier for VerifyingKey<Sha2_128f> {
    fn verifies(&self, message: &[u8], context: &[u8], signature: &[u8]) -> bool {
        // 17 KiB, which belongs on the heap.
        Signature::try_from(signature)
            .map(Box::new)
            .is_ok_and(|s| self.try_verify_with_context(message, context, &s).is_ok())
    }
}

#[cfg(feature = "sign")]
pub(super) mod secret {
    use ::slh_dsa::{Sha2_128f, SigningKey};
    use zeroize::Zeroizing;

    use super::super::Signer;

    /// Bytes that make a key: SK.seed, SK.prf and PK.seed, 16 each.
    pub(in super::super) const SEED_LEN: usize = 48;
    /// Bytes of the stored form, the FIPS 205 private key: the seed, then PK.root, 16.
    pub(in super::super) const SECRET_LEN: usize = 64;
    /// Bytes of hedging randomness, n of the parameter set.
    const HEDGE_LEN: usize = 16;

    /// Makes a key of 48 random bytes. Cost: 0.3 ms.
    pub(in super::super) fn from_seed(seed: &[u8]) -> Option<Box<dyn Signer>> {
        let seed: &[u8; SEED_LEN] = seed.try_into().ok()?;
        let (sk_seed, rest) = seed.split_at(16);
        let (sk_prf, pk_seed) = rest.split_at(16);
        let key = SigningKey::slh_keygen_internal(sk_seed, sk_prf, pk_seed);
        Some(Box::new(Secret(Box::new(key))))
    }

    /// Reads the stored form. PK.root is computed again: `None` when it is not the stored one.
    pub(in super::super) fn from_secret(secret: &[u8]) -> Option<Box<dyn Signer>> {
        let secret: &[u8; SECRET_LEN] = secret.try_into().ok()?;
        let key = from_seed(secret.get(..SEED_LEN)?)?;
        (key.secret_bytes().as_slice() == secret).then_some(key)
    }

    /// Wiped by `SigningKey` itself.
    struct Secret(Box<SigningKey<Sha2_128f>>);

    impl Signer for Secret {
        fn public_bytes(&self) -> Vec<u8> {
            let key: &::slh_dsa::VerifyingKey<Sha2_128f> = (*self.0).as_ref();
            key.to_bytes().to_vec()
        }

        fn secret_bytes(&self) -> Zeroizing<Vec<u8>> {
            Zeroizing::new(self.0.to_vec())
        }

        /// Takes 16 bytes from `fill`. Cost: 7 to 8 ms with SHA extensions, 20 ms without.
        fn sign(&self, message: &[u8], fill: &mut dyn FnMut(&mut [u8])) -> Option<Vec<u8>> {
            let mut hedge = Zeroizing::new([0; HEDGE_LEN]);
            fill(hedge.as_mut_slice());
            let signature = self
                .0
                .try_sign_with_context(message, &[], Some(hedge.as_slice()));
            Some(signature.ok()?.to_vec())
        }
    }
}
