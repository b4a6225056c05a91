//! The agreement that starts a cluster: one body, on every first member's disk before Raft runs.

use std::sync::Arc;

use candor_ledger::canonical::{self, Value};
use candor_ledger::digest::sha3_256;
use candor_ledger::entry::Genesis;
use candor_ledger::ids::NodeId;

use crate::env::{Disk, Env, MODE_PUBLIC};
use crate::keys::Keys;
use crate::store::ENTRIES_PER_FILE;

/// Never changed once written.
const PATH: &str = "genesis.json";

/// A stored genesis body and its digest, which peers compare in the handshake.
#[derive(Clone, Debug)]
pub struct StoredGenesis {
    /// The body the first leader proposes, exactly.
    pub body: Arc<Genesis>,
    /// SHA3-256 of the stored bytes.
    pub digest: [u8; 32],
}

/// Why a genesis body is refused; nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum GenesisRefused {
    /// The disk failed.
    #[error("`{PATH}`: {0}")]
    Disk(#[from] std::io::Error),
    /// Another one is stored here.
    #[error("this node has another genesis already")]
    Exists,
    /// The bytes are no genesis body.
    #[error("not a genesis body: {0}")]
    Malformed(String),
    /// It lays the ledger out in files of another length.
    #[error("it puts {0} entries into a file, this program {ENTRIES_PER_FILE}")]
    Layout(u64),
    /// It names this node with another cosigner key.
    #[error("it names node {0} with a cosigner key that is not this node's")]
    NotNamed(NodeId),
    /// This node lacks the log's secret keys.
    #[error("this node holds no log keys; install them with `candor keys install`")]
    NoLogKeys,
    /// The log keys here are others.
    #[error("the log keys on this node are not those it names")]
    OtherLogKeys,
}

impl StoredGenesis {
    /// Reads what `cluster init` stored; `None` before it.
    ///
    /// # Errors
    /// When the file is there and cannot be read or understood.
    pub fn load<E: Env>(env: &E) -> Result<Option<Self>, GenesisRefused> {
        env.disk()
            .read(PATH)?
            .map(|bytes| Self::parse(&bytes))
            .transpose()
    }

    /// Checks a proposed body against this node and makes it durable. The same bytes again are
    /// accepted; others never.
    ///
    /// # Errors
    /// [`GenesisRefused`].
    pub fn prepare<E: Env>(
        env: &E,
        bytes: &[u8],
        node: NodeId,
        keys: &Keys,
    ) -> Result<Self, GenesisRefused> {
        let proposed = Self::parse(bytes)?;
        if let Some(stored) = Self::load(env)? {
            let same = stored.digest == proposed.digest;
            return if same {
                Ok(stored)
            } else {
                Err(GenesisRefused::Exists)
            };
        }
        let (Some(log), Some(cosigner)) = (&keys.log, &keys.cosigner) else {
            return Err(GenesisRefused::NoLogKeys);
        };
        let named = proposed.body.keys.key_set(&proposed.body.origin);
        let named = named.map_err(|problem| GenesisRefused::Malformed(problem.to_string()))?;
        if log.key_set().id() != named.id() {
            return Err(GenesisRefused::OtherLogKeys);
        }
        // A node that joins later is not among the first members; it is named by its own entry.
        let own = proposed
            .body
            .members
            .iter()
            .find(|member| member.node == node);
        if own.is_some_and(|own| own.cosigner != cosigner.public().key) {
            return Err(GenesisRefused::NotNamed(node));
        }
        env.disk().write_durable(PATH, bytes, MODE_PUBLIC)?;
        Ok(proposed)
    }

    fn parse(bytes: &[u8]) -> Result<Self, GenesisRefused> {
        let malformed = |problem: String| GenesisRefused::Malformed(problem);
        let value = canonical::parse_canonical(bytes).map_err(|e| malformed(e.to_string()))?;
        let Value::Object(object) = value else {
            return Err(malformed("not an object".to_owned()));
        };
        let body = Genesis::from_object(object).map_err(|e| malformed(e.to_string()))?;
        // Files of any other length would be another ledger than the genesis says.
        if body.params.entries_per_file != ENTRIES_PER_FILE {
            return Err(GenesisRefused::Layout(body.params.entries_per_file));
        }
        Ok(Self {
            body: Arc::new(body),
            digest: sha3_256(bytes),
        })
    }
}
