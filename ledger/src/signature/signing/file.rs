//! The one text form of secret keys: a versioned first line, fields, secrets.

use base64::prelude::{BASE64_STANDARD, Engine as _};
use zeroize::Zeroizing;

use super::super::{Algorithm, KeySetError, Signer};

/// A key file that cannot be read. Says where, never what stands there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyFileError {
    /// The public half of the keys is refused.
    #[error("the key file is refused: {0}")]
    Keys(#[from] KeySetError),
    /// A line is not what belongs there.
    #[error("line {line} of the key file: want {want}")]
    Line {
        /// From 1.
        line: usize,
        /// What belongs there.
        want: String,
    },
    /// The lines are readable, but spelt in another way than they are written.
    #[error("the key file is not in its one spelling: single spaces, LF ends, canonical base64")]
    NotCanonical,
    /// The bytes are no secret key of this family, or its halves do not belong together.
    #[error("line {line} of the key file holds no usable `{algorithm}` secret")]
    Secret {
        /// From 1.
        line: usize,
        /// The family.
        algorithm: Algorithm,
    },
}

/// Writes a key file into memory that is wiped.
pub(super) fn render(
    header: &str,
    fields: &[(&str, &str)],
    secrets: &[(Algorithm, Zeroizing<Vec<u8>>)],
) -> Zeroizing<String> {
    let public = fields
        .iter()
        .map(|(name, value)| name.len() + value.len() + 2);
    // Room for everything from the start: growing would leave copies behind.
    let capacity = header.len() + 1 + public.sum::<usize>() + secrets.len() * SECRET_LINE_LEN_MAX;
    let mut text = Zeroizing::new(String::with_capacity(capacity));
    text.push_str(header);
    text.push('\n');
    for (name, value) in fields {
        for part in [*name, " ", *value, "\n"] {
            text.push_str(part);
        }
    }
    for (algorithm, secret) in secrets {
        for part in ["secret ", algorithm.name(), " "] {
            text.push_str(part);
        }
        BASE64_STANDARD.encode_string(secret.as_slice(), &mut text);
        text.push('\n');
    }
    text
}

/// `secret `, a name of up to 17, a space, 88 characters of base64, LF.
const SECRET_LINE_LEN_MAX: usize = 7 + 17 + 1 + 88 + 1;

/// A key file while it is read.
pub(super) struct SecretFile<'a> {
    whole: &'a str,
    lines: core::str::Lines<'a>,
    line: usize,
}

impl<'a> SecretFile<'a> {
    pub(super) fn open(text: &'a str, header: &str) -> Result<Self, KeyFileError> {
        let mut file = Self {
            whole: text,
            lines: text.lines(),
            line: 0,
        };
        if file.next() == Some(header) {
            Ok(file)
        } else {
            Err(file.wrong(&format!("`{header}`")))
        }
    }

    /// The value of the next line, `<name> <value>`.
    pub(super) fn field(&mut self, name: &str) -> Result<&'a str, KeyFileError> {
        let value = self
            .next()
            .and_then(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.ok_or_else(|| self.wrong(&format!("`{name} <value>`")))
    }

    /// The key in the next line, `secret <algorithm> <base64>`.
    pub(super) fn secret(
        &mut self,
        algorithm: Algorithm,
        decode: impl FnOnce(&[u8]) -> Option<Box<dyn Signer>>,
    ) -> Result<Box<dyn Signer>, KeyFileError> {
        let value = self.field("secret")?;
        let encoded = value
            .strip_prefix(algorithm.name())
            .and_then(|rest| rest.strip_prefix(' '))
            .ok_or_else(|| self.wrong(&format!("`secret {algorithm} <base64>`")))?;
        let line = self.line;
        let refused = || KeyFileError::Secret { line, algorithm };
        let bytes = Zeroizing::new(BASE64_STANDARD.decode(encoded).map_err(|_| refused())?);
        decode(&bytes).ok_or_else(refused)
    }

    /// Compares the file with what its keys are written as.
    pub(super) fn close(self, rendered: &str) -> Result<(), KeyFileError> {
        if self.whole == rendered {
            Ok(())
        } else {
            Err(KeyFileError::NotCanonical)
        }
    }

    pub(super) fn wrong(&self, want: &str) -> KeyFileError {
        KeyFileError::Line {
            line: self.line,
            want: want.to_owned(),
        }
    }

    fn next(&mut self) -> Option<&'a str> {
        self.line += 1;
        self.lines.next()
    }
}
