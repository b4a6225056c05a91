//! The secret keys of a node: the log's, the same on every node, and the node's own for cosigning.
//!
//! Neither leaves this module but as an object that signs (INV-8): no type here is printed,
//! compared or serialised.

use std::sync::Arc;

use candor_ledger::ids::NodeId;
use candor_ledger::signature::{CosignerKey, KeyFileError, KeySetError, SigningKeys};

use crate::env::{Disk, Env, MODE_SECRET};

/// Where `candor keys install` puts the log's keys.
pub const LOG_KEY_PATH: &str = "keys/log.key";
/// Made by the node itself once it has the log's keys, whose origin names it.
pub const COSIGNER_KEY_PATH: &str = "keys/cosigner.key";

/// What a node signs with. Without the log's keys it can store and vote, not join a genesis.
#[derive(Clone, Default)]
pub struct Keys {
    /// The log's three.
    pub log: Option<Arc<SigningKeys>>,
    /// This node's own.
    pub cosigner: Option<Arc<CosignerKey>>,
}

/// Why keys cannot be used. No variant carries key material.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The disk failed.
    #[error("`{path}`: {source}")]
    Disk {
        /// Which file.
        path: &'static str,
        /// The disk's word.
        source: std::io::Error,
    },
    /// Others could read the file.
    #[error("`{path}` has mode {mode:o}; it must be 600")]
    Mode {
        /// Which file.
        path: &'static str,
        /// What it has.
        mode: u32,
    },
    /// Not a key file.
    #[error("`{path}`: {problem}")]
    File {
        /// Which file.
        path: &'static str,
        /// The parser's word; it names lines, never their content.
        problem: KeyFileError,
    },
    /// The origin of the log's keys cannot name a node.
    #[error(transparent)]
    Origin(#[from] KeySetError),
    /// The cosigner key was made for another node or log.
    #[error("`keys/cosigner.key` is `{found}`'s, not `{expected}`'s")]
    Foreign {
        /// Whose it is.
        found: String,
        /// Whose it should be.
        expected: String,
    },
}

impl Keys {
    /// Reads the keys of a node's folder and makes the cosigner key at the first start that has
    /// the log's.
    ///
    /// # Errors
    /// [`KeysError`]; a node must not start with keys it cannot trust to be secret.
    pub fn load<E: Env>(env: &E, node: NodeId) -> Result<Self, KeysError> {
        let Some(text) = secret_text(env, LOG_KEY_PATH)? else {
            return Ok(Self::default());
        };
        let log = SigningKeys::parse_secret_text(&text).map_err(|problem| KeysError::File {
            path: LOG_KEY_PATH,
            problem,
        })?;
        let origin = log.key_set().origin().to_owned();
        let cosigner = match secret_text(env, COSIGNER_KEY_PATH)? {
            Some(text) => {
                // It may be the key of a process that died before the name was durable, and this one
                // is about to let it be named for good.
                let synced = env.disk().sync_dir("keys");
                synced.map_err(|source| KeysError::Disk {
                    path: COSIGNER_KEY_PATH,
                    source,
                })?;
                CosignerKey::parse_secret_text(&text).map_err(|problem| KeysError::File {
                    path: COSIGNER_KEY_PATH,
                    problem,
                })?
            }
            None => make_cosigner(env, &origin, node)?,
        };
        let expected = candor_ledger::checkpoint::cosigner_name(&origin, node);
        if cosigner.public().name != expected {
            let found = cosigner.public().name.clone();
            return Err(KeysError::Foreign { found, expected });
        }
        Ok(Self {
            log: Some(Arc::new(log)),
            cosigner: Some(Arc::new(cosigner)),
        })
    }
}

fn make_cosigner<E: Env>(env: &E, origin: &str, node: NodeId) -> Result<CosignerKey, KeysError> {
    let key = CosignerKey::generate(origin, node, &mut |bytes| env.fill_random(bytes))?;
    let text = key.to_secret_text();
    env.disk()
        .write_durable(COSIGNER_KEY_PATH, text.as_bytes(), MODE_SECRET)
        .map_err(|source| KeysError::Disk {
            path: COSIGNER_KEY_PATH,
            source,
        })?;
    Ok(key)
}

fn secret_text<E: Env>(env: &E, path: &'static str) -> Result<Option<String>, KeysError> {
    let disk = |source| KeysError::Disk { path, source };
    let Some(stat) = env.disk().stat(path).map_err(disk)? else {
        return Ok(None);
    };
    if stat.mode & 0o077 != 0 {
        return Err(KeysError::Mode {
            path,
            mode: stat.mode,
        });
    }
    let bytes = env.disk().read(path).map_err(disk)?.unwrap_or_default();
    let text = String::from_utf8(bytes)
        .map_err(|_| disk(std::io::Error::other("it is not a text file")))?;
    Ok(Some(text))
}

#[cfg(test)]
mod tests;
