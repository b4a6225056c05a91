//! The privacy option: what leaves this process can be neither read nor guessed without the
//! tenant's key. Bytes in `client/PRIVACY.md`.
//!
//! A bare digest of a prompt hides nothing from somebody who can guess the prompt. With a
//! [`TenantKey`], every digest of an input becomes `hmac-sha3-256:` and every value AES-SIV
//! ciphertext, before a request is made of them. Both are deterministic, so equal inputs still have
//! one fingerprint and equal outputs still compare equal: conflicts, renewals and comparisons work
//! as without a key, for holders and for those who only see the ledger.

use aes_siv::KeyInit as _;
use aes_siv::siv::Aes256Siv;
use base64::prelude::{BASE64_STANDARD, Engine as _};
use bytes::Bytes;
use candor_ledger::digest::{DigestAlgorithm, TaggedDigest};
use candor_ledger::entry::{SemanticMatch, Told};
use candor_ledger::fingerprint::{ExactFields, FieldError, FingerprintFields, ResultOnlyFields};
use hkdf::SimpleHkdf;
use hmac::{Mac as _, SimpleHmac};
use sha3::Sha3_256;
use zeroize::Zeroizing;

use crate::parameters::Parameters;

/// First line of a key file.
const HEADER: &str = "candor-tenant-key v1";

/// Prefix of the `info` of every derived key.
const DERIVATION: &str = "candor.tenant-key.v1/";

/// Associated data of every ciphertext.
const VALUE: &[u8] = b"candor.value.v1";

/// What the ledger knows of the media type of a value that is ciphertext; the key's id follows.
const MEDIA_TYPE: &str = "application/vnd.candor.aes-siv; key=";

/// A tenant's secret, from which its pseudonyms and ciphertexts are made.
///
/// Lose it and no value can be read again; change it and every fingerprint is another one, so the
/// cache starts cold. Whoever holds it can test guesses about prompts: it belongs to the programs
/// that ask models, never to the nodes.
pub struct TenantKey {
    tenant: String,
    secret: Zeroizing<[u8; 32]>,
    digest: Zeroizing<[u8; 32]>,
    value: Zeroizing<[u8; 64]>,
    id: [u8; 4],
}

/// A key file that cannot be used. Says what is wrong, never what stands there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TenantKeyError {
    /// The lines are others than a key file's.
    #[error("it is no tenant key: want `{HEADER}`, `tenant <name>`, `secret <base64 of 32 bytes>`")]
    Malformed,
    /// The name is none of a tenant.
    #[error("`{0}` is no tenant: want printable ASCII without spaces")]
    Tenant(String),
}

/// Why a value could not be opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// It is ciphertext under another key.
    #[error("it is sealed under key `{found}`, this is key `{held}`")]
    OtherKey {
        /// Id of the key that it names.
        found: String,
        /// Id of this key.
        held: String,
    },
    /// It is no ciphertext: somebody without the key wrote it.
    #[error("it is not sealed: its media type is `{0}`")]
    NotSealed(String),
    /// Nobody with this key made it.
    #[error("its ciphertext was not made with this key")]
    Forged,
}

impl TenantKey {
    /// A new key for a tenant; `fill` gives random bytes.
    ///
    /// # Errors
    /// [`TenantKeyError::Tenant`].
    pub fn generate(tenant: &str, fill: &mut dyn FnMut(&mut [u8])) -> Result<Self, TenantKeyError> {
        let mut secret = Zeroizing::new([0; 32]);
        fill(secret.as_mut_slice());
        Self::of(tenant, secret)
    }

    /// Reads a key file.
    ///
    /// # Errors
    /// [`TenantKeyError`] for any other text than [`Self::to_secret_text`] writes.
    pub fn parse_secret_text(text: &str) -> Result<Self, TenantKeyError> {
        let read = || {
            let rest = text.strip_prefix(HEADER)?.strip_prefix("\ntenant ")?;
            let (tenant, rest) = rest.split_once("\nsecret ")?;
            let decoded = BASE64_STANDARD.decode(rest.strip_suffix('\n')?).ok()?;
            let decoded = Zeroizing::new(decoded);
            let secret = <[u8; 32]>::try_from(decoded.as_slice()).ok()?;
            Some((tenant, Zeroizing::new(secret)))
        };
        let (tenant, secret) = read().ok_or(TenantKeyError::Malformed)?;
        let key = Self::of(tenant, secret)?;
        if *key.to_secret_text() == *text {
            Ok(key)
        } else {
            Err(TenantKeyError::Malformed)
        }
    }

    /// The text of a key file: three lines.
    pub fn to_secret_text(&self) -> Zeroizing<String> {
        // Room for everything from the start: growing would leave copies behind.
        let capacity = HEADER.len() + self.tenant.len() + 64;
        let mut text = Zeroizing::new(String::with_capacity(capacity));
        for part in [HEADER, "\ntenant ", &self.tenant, "\nsecret "] {
            text.push_str(part);
        }
        BASE64_STANDARD.encode_string(self.secret.as_slice(), &mut text);
        text.push('\n');
        text
    }

    /// Whose key this is; another tenant's client refuses it.
    pub fn tenant(&self) -> &str {
        &self.tenant
    }

    /// Names the key in media types: 8 hex digits, which tell nothing about it.
    pub fn id(&self) -> String {
        hex::encode(self.id)
    }

    /// The pseudonym of a digest that stands in a certain field. A pseudonym stays what it is.
    pub fn pseudonym(&self, field: &str, digest: TaggedDigest) -> TaggedDigest {
        if digest.algorithm == DigestAlgorithm::HmacSha3_256 {
            return digest;
        }
        let mut mac = SimpleHmac::<Sha3_256>::new_from_slice(self.digest.as_slice())
            .expect("invariant: HMAC takes keys of any length");
        for part in [field, "\n", &digest.to_string()] {
            mac.update(part.as_bytes());
        }
        TaggedDigest {
            algorithm: DigestAlgorithm::HmacSha3_256,
            bytes: mac.finalize().into_bytes().into(),
        }
    }

    /// Fields with a pseudonym in the place of each digest: prompt, system prompt, and parameters
    /// that are digests, bare or tagged. Other texts of the parameters stay as they are.
    ///
    /// # Errors
    /// [`FieldError`] for fields that have no one spelling.
    pub fn conceal(&self, fields: FingerprintFields) -> Result<FingerprintFields, FieldError> {
        Ok(match fields.normalise()? {
            FingerprintFields::Exact(fields) => FingerprintFields::Exact(self.exact(fields)?),
            FingerprintFields::Semantic(fields) => FingerprintFields::Semantic(self.exact(fields)?),
            FingerprintFields::ResultOnly(fields) => {
                FingerprintFields::ResultOnly(ResultOnlyFields {
                    parameters: self.parameters(&fields.parameters)?,
                    ..fields
                })
            }
        })
    }

    /// Encrypts an output, and says what is recorded as its media type. The output's own media type
    /// goes into the ciphertext. Anybody with the key can so tell whether a recorded
    /// `output_hash` is that of a certain output.
    ///
    /// The ciphertext is longer by 17 bytes and the length of the media type.
    ///
    /// # Errors
    /// [`FieldError`] for a media type of more than 200 bytes.
    pub fn seal(&self, media_type: &str, output: &[u8]) -> Result<(String, Bytes), FieldError> {
        let len = u8::try_from(media_type.len())
            .ok()
            .filter(|len| usize::from(*len) <= candor_ledger::entry::MEDIA_TYPE_LEN_MAX);
        let len = len.ok_or_else(|| FieldError {
            field: "media_type",
            problem: format!("has `{}` bytes", media_type.len()),
        })?;
        let framed = Zeroizing::new([&[len], media_type.as_bytes(), output].concat());
        let sealed = self
            .cipher()
            .encrypt([VALUE], &framed)
            .expect("invariant: one header, and any length of plaintext");
        Ok((format!("{MEDIA_TYPE}{}", self.id()), sealed.into()))
    }

    /// Decrypts what [`Self::seal`] made: the output's media type and the output.
    ///
    /// # Errors
    /// [`OpenError`] tells a foreign key from a forgery and from what was never sealed.
    pub fn open(&self, media_type: &str, value: &[u8]) -> Result<(String, Bytes), OpenError> {
        let Some(found) = media_type.strip_prefix(MEDIA_TYPE) else {
            return Err(OpenError::NotSealed(media_type.to_owned()));
        };
        if found != self.id() {
            let (found, held) = (found.to_owned(), self.id());
            return Err(OpenError::OtherKey { found, held });
        }
        let framed = self
            .cipher()
            .decrypt([VALUE], value)
            .map_err(|_| OpenError::Forged)?;
        let framed = Bytes::from(framed);
        let read = || {
            let (len, rest) = framed.split_first()?;
            let (media_type, _) = rest.split_at_checked(usize::from(*len))?;
            let media_type = String::from_utf8(media_type.to_vec()).ok()?;
            Some((media_type, framed.slice(1 + usize::from(*len)..)))
        };
        read().ok_or(OpenError::Forged)
    }

    pub(crate) fn conceal_match(&self, semantic: SemanticMatch) -> SemanticMatch {
        SemanticMatch {
            // The canonical prompt's role, so that a prompt that is its own canon shows as such.
            original_prompt_hash: self.pseudonym("prompt_hash", semantic.original_prompt_hash),
            ..semantic
        }
    }

    pub(crate) fn conceal_told(&self, told: Told) -> Told {
        Told {
            person: told.person.map(|person| self.pseudonym("person", person)),
            ..told
        }
    }

    fn of(tenant: &str, secret: Zeroizing<[u8; 32]>) -> Result<Self, TenantKeyError> {
        if tenant.is_empty() || !tenant.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(TenantKeyError::Tenant(tenant.to_owned()));
        }
        let mut key = Self {
            tenant: tenant.to_owned(),
            digest: Zeroizing::new([0; 32]),
            value: Zeroizing::new([0; 64]),
            id: [0; 4],
            secret,
        };
        derive(&key.secret, "digest", tenant, key.digest.as_mut_slice());
        derive(&key.secret, "value", tenant, key.value.as_mut_slice());
        derive(&key.secret, "id", tenant, &mut key.id);
        Ok(key)
    }

    fn cipher(&self) -> Aes256Siv {
        Aes256Siv::new_from_slice(self.value.as_slice()).expect("invariant: 64 bytes")
    }

    fn exact(&self, fields: ExactFields) -> Result<ExactFields, FieldError> {
        Ok(ExactFields {
            prompt_hash: self.field("prompt_hash", &fields.prompt_hash),
            system_prompt_hash: self.field("system_prompt_hash", &fields.system_prompt_hash),
            parameters: self.parameters(&fields.parameters)?,
            ..fields
        })
    }

    /// An empty text stands for no digest, and stays.
    fn field(&self, field: &str, text: &str) -> String {
        match TaggedDigest::parse(text) {
            Ok(digest) => self.pseudonym(field, digest).to_string(),
            Err(_) => text.to_owned(),
        }
    }

    fn parameters(&self, text: &str) -> Result<String, FieldError> {
        let parameters = Parameters::parse(text)?;
        let concealed = parameters.map_texts(|name, text| {
            // 64 bare hex digits may be something else, which a pseudonym names as well.
            let digest = TaggedDigest::parse(text).ok()?;
            let pseudonym = self.pseudonym(&format!("parameters.{name}"), digest);
            Some(pseudonym.to_string())
        });
        Ok(concealed.to_text())
    }
}

impl std::fmt::Debug for TenantKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let id = self.id();
        f.debug_struct("TenantKey")
            .field("tenant", &self.tenant)
            .field("id", &id)
            .finish_non_exhaustive()
    }
}

/// HKDF-Expand (RFC 5869) with SHA3-256: the secret is uniformly random, so nothing is extracted.
fn derive(secret: &[u8; 32], purpose: &str, tenant: &str, key: &mut [u8]) {
    let info = [DERIVATION, purpose, "\n", tenant].concat();
    SimpleHkdf::<Sha3_256>::from_prk(secret)
        .and_then(|hkdf| {
            hkdf.expand(info.as_bytes(), key)
                .map_err(|_| hkdf::InvalidPrkLength)
        })
        .expect("invariant: 32 bytes of secret, at most 64 of key");
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test")]
    use serde_json::Value;

    use super::*;

    fn vectors() -> Vec<Value> {
        let vectors: Value =
            serde_json::from_str(include_str!("../tests/vectors/privacy.json")).unwrap();
        vectors["cases"].as_array().unwrap().clone()
    }

    fn exact(fields: &Value) -> FingerprintFields {
        let text = |name: &str| fields[name].as_str().unwrap().to_owned();
        FingerprintFields::Exact(ExactFields {
            model_name: text("model_name"),
            model_version: text("model_version"),
            prompt_hash: text("prompt_hash"),
            temperature: text("temperature"),
            top_p: text("top_p"),
            system_prompt_hash: text("system_prompt_hash"),
            hardware_class: text("hardware_class"),
            parameters: text("parameters"),
        })
    }

    #[test]
    fn keys_pseudonyms_and_ciphertexts_are_those_of_the_python_implementation() {
        let vectors = vectors();
        assert_eq!(vectors.len(), 4);
        for case in vectors {
            let file = case["file"].as_str().unwrap();
            let key = TenantKey::parse_secret_text(file).unwrap();
            assert_eq!(key.tenant(), case["tenant"]);
            assert_eq!(key.id(), case["id"]);
            let concealed = key.conceal(exact(&case["fields"])).unwrap();
            assert_eq!(concealed, exact(&case["concealed"]));
            assert_eq!(concealed.fingerprint().to_string(), case["fingerprint"]);
            let person = TaggedDigest::parse(case["person"][0].as_str().unwrap()).unwrap();
            let pseudonym = key.pseudonym("person", person).to_string();
            assert_eq!(pseudonym, case["person"][1]);
            for value in case["values"].as_array().unwrap() {
                let output = hex::decode(value["output"].as_str().unwrap()).unwrap();
                let media_type = value["media_type"].as_str().unwrap();
                let (recorded, sealed) = key.seal(media_type, &output).unwrap();
                assert_eq!(hex::encode(&sealed), value["sealed"]);
                let opened = key.open(&recorded, &sealed).unwrap();
                assert_eq!(opened, (media_type.to_owned(), output.into()));
            }
        }
    }

    #[test]
    fn a_value_opens_under_its_own_key_and_unchanged_alone() {
        let vectors = vectors();
        let of = |at: usize| {
            TenantKey::parse_secret_text(vectors[at]["file"].as_str().unwrap()).unwrap()
        };
        // The first and the last are two keys of one tenant.
        let (key, other) = (of(0), of(3));
        let (media_type, sealed) = key.seal("text/plain", b"Paris").unwrap();
        assert!(matches!(
            other.open(&media_type, &sealed),
            Err(OpenError::OtherKey { .. })
        ));
        let renamed = format!("{MEDIA_TYPE}{}", other.id());
        assert_eq!(other.open(&renamed, &sealed), Err(OpenError::Forged));
        assert!(matches!(
            key.open("text/plain", b"Paris"),
            Err(OpenError::NotSealed(_))
        ));
        for bit in 0..sealed.len() * 8 {
            let mut flipped = sealed.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(key.open(&media_type, &flipped), Err(OpenError::Forged));
        }
        for len in 0..sealed.len() {
            let cut = &sealed[..len];
            assert_eq!(key.open(&media_type, cut), Err(OpenError::Forged));
        }
        assert!(key.seal(&"x".repeat(201), b"").is_err());
    }

    #[test]
    fn a_key_file_has_one_spelling_and_no_log_line_holds_the_secret() {
        let key = TenantKey::generate("acme", &mut |bytes| bytes.fill(7)).unwrap();
        let text = key.to_secret_text();
        let again = TenantKey::parse_secret_text(&text).unwrap();
        assert_eq!((again.id(), again.tenant()), (key.id(), "acme"));
        let secret = text.lines().nth(2).unwrap().split_once(' ').unwrap().1;
        assert!(!format!("{key:?}").contains(secret));
        for other in [
            text.trim_end().to_owned(),
            text.replace('\n', "\r\n"),
            format!("{}x\n", *text),
            text.replace("v1", "v2"),
            text.replace(secret, &secret[4..]),
            text.replace("acme", ""),
            text.replace("acme", "a b"),
        ] {
            let error = TenantKey::parse_secret_text(&other).unwrap_err();
            assert!(!error.to_string().contains(secret), "{other}");
        }
    }
}
