//! Secret keys: the log's three, a node's cosigner key, an auditor's attest key.
//!
//! No type here implements `Debug`, `Display` or `Clone`, every secret is wiped when dropped, and
//! no error repeats what stood in a key file. Each key signs one kind of statement: with empty
//! contexts, nothing but that keeps two uses of a key apart.
//!
//! Randomness comes from the caller: `fill` must fill its whole argument with fresh bytes from a
//! cryptographic generator. The order and number of its calls are part of each function's
//! documentation, so that a simulation can replay them.

use super::keyset::check_origin;
use super::{
    Algorithm, KeyError, KeySet, KeySetError, PublicKey, SUITE_1, Signer, ed25519, ml_dsa, slh_dsa,
};
use crate::checkpoint::{Checkpoint, CheckpointError, CosignerPublic, parse_cosigner_name};
use crate::entry::ATTEST_CONTEXT;
use crate::ids::NodeId;
use crate::note::{NoteSignature, VerifierKey, cosigned_message};

mod file;

pub use file::KeyFileError;
use file::{SecretFile, render};
use zeroize::Zeroizing;

/// Why nothing was signed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// The algorithm found no signature within its bound; with fresh randomness it will.
    #[error("`{0}` found no signature, try again")]
    Exhausted(Algorithm),
    /// The fresh signature does not verify: faulty hardware or corrupted memory. It is withheld,
    /// for it might give the key away.
    #[error("a fresh `{0}` signature does not verify: this machine computes wrongly")]
    Faulty(Algorithm),
    /// The text is none that this key may sign.
    #[error("a log key signs checkpoints only: {0}")]
    NotACheckpoint(#[from] CheckpointError),
    /// The bytes are no attestation.
    #[error("an attest key signs statements that start with `{ATTEST_CONTEXT}` only")]
    NotAnAttestation,
    /// A checkpoint of another log, or of another key set of this log.
    #[error("the checkpoint is of `{origin}` under key set `{keyset}`, not of this key")]
    NotOurs {
        /// The checkpoint's.
        origin: String,
        /// The checkpoint's, hex.
        keyset: String,
    },
}

/// The log's three secret keys.
pub struct SigningKeys {
    key_set: KeySet,
    secrets: [Box<dyn Signer>; 3],
}

impl SigningKeys {
    /// Makes three independent keys: 32 bytes from `fill` for Ed25519, 32 for ML-DSA-65, 48 for
    /// SLH-DSA-SHA2-128f, in this order.
    ///
    /// # Errors
    /// [`KeySetError::Origin`].
    pub fn generate(origin: &str, fill: &mut dyn FnMut(&mut [u8])) -> Result<Self, KeySetError> {
        check_origin(origin)?;
        let unusable = |algorithm| KeyError::Unusable { algorithm };
        let [first, second, third] = Algorithm::SUITE_1;
        let secrets = [
            ed25519::secret::from_seed(&fresh::<{ ed25519::secret::SEED_LEN }>(fill)[..])
                .ok_or(unusable(first))?,
            ml_dsa::secret::from_seed(&fresh::<{ ml_dsa::secret::SEED_LEN }>(fill)[..])
                .ok_or(unusable(second))?,
            slh_dsa::secret::from_seed(&fresh::<{ slh_dsa::secret::SEED_LEN }>(fill)[..])
                .ok_or(unusable(third))?,
        ];
        Self::of(origin, secrets)
    }

    /// Reads a key file.
    ///
    /// ```text
    /// candor-log-keys v1
    /// origin <origin>
    /// suite 1
    /// secret ed25519 <base64 of the 32-byte seed>
    /// secret ml-dsa-65 <base64 of the 32-byte seed>
    /// secret slh-dsa-sha2-128f <base64 of the 64-byte private key>
    /// ```
    ///
    /// # Errors
    /// [`KeyFileError`] names the line and never its content.
    pub fn parse_secret_text(text: &str) -> Result<Self, KeyFileError> {
        let mut file = SecretFile::open(text, LOG_KEYS)?;
        let origin = file.field("origin")?;
        let suite = file.field("suite")?;
        if suite != SUITE_1.to_string() {
            return Err(file.wrong("`suite 1`"));
        }
        let secrets = [
            file.secret(Algorithm::Ed25519, ed25519::secret::from_seed)?,
            file.secret(Algorithm::MlDsa65, ml_dsa::secret::from_seed)?,
            file.secret(Algorithm::SlhDsaSha2128f, slh_dsa::secret::from_secret)?,
        ];
        let keys = Self::of(origin, secrets)?;
        file.close(&keys.to_secret_text())?;
        Ok(keys)
    }

    /// Writes the key file. Keep it at mode 0600, or encrypted.
    pub fn to_secret_text(&self) -> Zeroizing<String> {
        let suite = self.key_set.suite().to_string();
        let fields = [("origin", self.key_set.origin()), ("suite", &suite)];
        let [a, b, c] = &self.secrets;
        let [first, second, third] = Algorithm::SUITE_1;
        let secrets = [
            (first, a.secret_bytes()),
            (second, b.secret_bytes()),
            (third, c.secret_bytes()),
        ];
        render(LOG_KEYS, &fields, &secrets)
    }

    /// The public half.
    pub fn key_set(&self) -> &KeySet {
        &self.key_set
    }

    /// Signs a checkpoint text three ways and checks each signature before returning it.
    ///
    /// Takes 32 bytes from `fill` for ML-DSA-65, then 16 for SLH-DSA-SHA2-128f; signing again
    /// gives other bytes. Cost: about 9 ms of one core.
    ///
    /// # Errors
    /// [`SignError`]; nothing is signed that is no checkpoint of this log under these keys.
    pub fn sign(
        &self,
        text: &[u8],
        fill: &mut dyn FnMut(&mut [u8]),
    ) -> Result<[NoteSignature; 3], SignError> {
        let checkpoint = parse_checkpoint(text)?;
        if checkpoint.origin != self.key_set.origin() || checkpoint.keyset != self.key_set.id() {
            return Err(not_ours(&checkpoint));
        }
        let [a, b, c] = &self.secrets;
        let [first, second, third] = self.key_set.keys();
        Ok([
            log_line(first, a.as_ref(), text, fill)?,
            log_line(second, b.as_ref(), text, fill)?,
            log_line(third, c.as_ref(), text, fill)?,
        ])
    }

    fn of(origin: &str, secrets: [Box<dyn Signer>; 3]) -> Result<Self, KeySetError> {
        let raw = secrets.each_ref().map(|secret| secret.public_bytes());
        let key_set = KeySet::from_raw(origin, SUITE_1, raw.each_ref().map(Vec::as_slice))?;
        Ok(Self { key_set, secrets })
    }
}

/// A node's secret key for cosignatures.
pub struct CosignerKey {
    public: CosignerPublic,
    verifier: VerifierKey,
    secret: Box<dyn Signer>,
}

impl CosignerKey {
    /// Makes a key of 32 bytes from `fill`.
    ///
    /// # Errors
    /// [`KeySetError::Origin`].
    pub fn generate(
        origin: &str,
        node: NodeId,
        fill: &mut dyn FnMut(&mut [u8]),
    ) -> Result<Self, KeySetError> {
        check_origin(origin)?;
        Self::of(origin, node, fresh_ed25519(fill)?)
    }

    /// Reads a key file.
    ///
    /// ```text
    /// candor-cosigner-key v1
    /// name <origin>/node/<id>
    /// secret ed25519 <base64 of the 32-byte seed>
    /// ```
    ///
    /// # Errors
    /// [`KeyFileError`] names the line and never its content.
    pub fn parse_secret_text(text: &str) -> Result<Self, KeyFileError> {
        let mut file = SecretFile::open(text, COSIGNER_KEY)?;
        let name = file.field("name")?;
        let (origin, node) =
            parse_cosigner_name(name).ok_or_else(|| file.wrong("`name <origin>/node/<id>`"))?;
        let secret = file.secret(Algorithm::Ed25519, ed25519::secret::from_seed)?;
        check_origin(origin)?;
        let key = Self::of(origin, node, secret)?;
        file.close(&key.to_secret_text())?;
        Ok(key)
    }

    /// Writes the key file. Keep it at mode 0600, or encrypted.
    pub fn to_secret_text(&self) -> Zeroizing<String> {
        let secret = (Algorithm::Ed25519, self.secret.secret_bytes());
        render(COSIGNER_KEY, &[("name", &self.public.name)], &[secret])
    }

    /// The public half, as genesis or a `ledger.member` entry names it.
    pub fn public(&self) -> &CosignerPublic {
        &self.public
    }

    /// The public half as a C2SP verifier key, for policies.
    pub fn verifier_key(&self) -> &VerifierKey {
        &self.verifier
    }

    /// Cosigns a checkpoint text at a time in seconds since the Unix epoch, and checks the
    /// signature before returning it. The same text and time give the same bytes.
    ///
    /// # Errors
    /// [`SignError`]; nothing is signed that is no checkpoint of this node's log.
    pub fn sign(&self, text: &[u8], time_unix_s: u64) -> Result<NoteSignature, SignError> {
        let checkpoint = parse_checkpoint(text)?;
        let origin = parse_cosigner_name(&self.public.name).map(|(origin, _)| origin);
        if origin != Some(checkpoint.origin.as_str()) {
            return Err(not_ours(&checkpoint));
        }
        let text = checkpoint.text();
        let message = cosigned_message(&text, time_unix_s);
        let algorithm = Algorithm::Ed25519;
        let signature = self.secret.sign(message.as_bytes(), &mut |_| {});
        let signature = signature.ok_or(SignError::Exhausted(algorithm))?;
        let blob = [&time_unix_s.to_be_bytes(), signature.as_slice()].concat();
        checked_line(&self.verifier, &text, blob)
    }

    fn of(origin: &str, node: NodeId, secret: Box<dyn Signer>) -> Result<Self, KeySetError> {
        let key = public_ed25519(secret.as_ref())?;
        let public = CosignerPublic::new(origin, node, key);
        let verifier = VerifierKey::for_cosigner(&public.name, &key)?;
        Ok(Self {
            public,
            verifier,
            secret,
        })
    }
}

/// An auditor's secret key for `cache.verify` entries.
pub struct AttestKey {
    public: PublicKey,
    secret: Box<dyn Signer>,
}

impl AttestKey {
    /// Makes a key of 32 bytes from `fill`.
    ///
    /// # Errors
    /// [`KeyError`], of which no generator worth its name gives occasion.
    pub fn generate(fill: &mut dyn FnMut(&mut [u8])) -> Result<Self, KeyError> {
        Self::of(fresh_ed25519(fill)?)
    }

    /// Reads a key file.
    ///
    /// ```text
    /// candor-attest-key v1
    /// secret ed25519 <base64 of the 32-byte seed>
    /// ```
    ///
    /// # Errors
    /// [`KeyFileError`] names the line and never its content.
    pub fn parse_secret_text(text: &str) -> Result<Self, KeyFileError> {
        let mut file = SecretFile::open(text, ATTEST_KEY)?;
        let secret = file.secret(Algorithm::Ed25519, ed25519::secret::from_seed)?;
        let key = Self::of(secret).map_err(KeySetError::from)?;
        file.close(&key.to_secret_text())?;
        Ok(key)
    }

    /// Writes the key file. Keep it at mode 0600, or encrypted.
    pub fn to_secret_text(&self) -> Zeroizing<String> {
        let secret = (Algorithm::Ed25519, self.secret.secret_bytes());
        render(ATTEST_KEY, &[], &[secret])
    }

    /// The public half.
    pub fn public_key(&self) -> &PublicKey {
        &self.public
    }

    /// Signs an [`Attestation::statement`](crate::entry::Attestation::statement) and checks the signature before returning its 64 bytes.
    ///
    /// # Errors
    /// [`SignError`]; other bytes than an attestation are refused.
    pub fn sign(&self, statement: &str) -> Result<[u8; 64], SignError> {
        if statement.lines().next() != Some(ATTEST_CONTEXT) {
            return Err(SignError::NotAnAttestation);
        }
        let algorithm = Algorithm::Ed25519;
        let signature = self.secret.sign(statement.as_bytes(), &mut |_| {});
        let signature = signature.ok_or(SignError::Exhausted(algorithm))?;
        let checked = self.public.verify(statement.as_bytes(), &signature);
        checked.map_err(|_| SignError::Faulty(algorithm))?;
        Ok(signature
            .try_into()
            .expect("invariant: an Ed25519 signature has 64 bytes"))
    }

    fn of(secret: Box<dyn Signer>) -> Result<Self, KeyError> {
        let public = PublicKey::from_bytes(Algorithm::Ed25519, &secret.public_bytes())?;
        Ok(Self { public, secret })
    }
}

const LOG_KEYS: &str = "candor-log-keys v1";
const COSIGNER_KEY: &str = "candor-cosigner-key v1";
const ATTEST_KEY: &str = "candor-attest-key v1";

fn fresh<const LEN: usize>(fill: &mut dyn FnMut(&mut [u8])) -> Zeroizing<[u8; LEN]> {
    let mut bytes = Zeroizing::new([0; LEN]);
    fill(bytes.as_mut_slice());
    bytes
}

fn fresh_ed25519(fill: &mut dyn FnMut(&mut [u8])) -> Result<Box<dyn Signer>, KeyError> {
    let algorithm = Algorithm::Ed25519;
    let seed = fresh::<{ ed25519::secret::SEED_LEN }>(fill);
    ed25519::secret::from_seed(seed.as_slice()).ok_or(KeyError::Unusable { algorithm })
}

fn public_ed25519(secret: &dyn Signer) -> Result<[u8; 32], KeyError> {
    let algorithm = Algorithm::Ed25519;
    let bytes = secret.public_bytes();
    bytes
        .try_into()
        .map_err(|_| KeyError::Unusable { algorithm })
}

fn parse_checkpoint(text: &[u8]) -> Result<Checkpoint, SignError> {
    let utf8 = core::str::from_utf8(text).map_err(|_| CheckpointError {
        line: 1,
        want: "UTF-8 throughout",
    })?;
    Ok(Checkpoint::parse(utf8)?)
}

fn not_ours(checkpoint: &Checkpoint) -> SignError {
    SignError::NotOurs {
        origin: checkpoint.origin.clone(),
        keyset: hex::encode(checkpoint.keyset),
    }
}

fn log_line(
    key: &VerifierKey,
    secret: &dyn Signer,
    text: &[u8],
    fill: &mut dyn FnMut(&mut [u8]),
) -> Result<NoteSignature, SignError> {
    let algorithm = key.kind().algorithm();
    let blob = secret
        .sign(text, fill)
        .ok_or(SignError::Exhausted(algorithm))?;
    let text = core::str::from_utf8(text).expect("invariant: a checkpoint was parsed from it");
    checked_line(key, text, blob)
}

/// Withholds a signature that does not verify.
fn checked_line(key: &VerifierKey, text: &str, blob: Vec<u8>) -> Result<NoteSignature, SignError> {
    let algorithm = key.kind().algorithm();
    key.verify(text, &blob)
        .map_err(|_| SignError::Faulty(algorithm))?;
    Ok(NoteSignature {
        name: key.name().to_owned(),
        key_id: key.key_id(),
        blob,
    })
}
