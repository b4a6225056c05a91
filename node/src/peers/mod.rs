//! Between nodes: sessions opened by a handshake, and what travels in them.
//!
//! A handshake shows that both belong to one cluster and that neither lost its memory (INV-1): a
//! wiped, cloned or rolled-back folder is refused under its old id. A session is named in every
//! call and ends with the process that gave it.

mod client;
mod files;
mod gather;
mod service;

pub use client::Peers;
pub use files::{ASK_MAX, PAGE_BYTES, Page, SIZES_MAX, Source, VALUES_MAX, ValueKey};
pub use service::{Forwarded, Handle, PeerApi, Settled};

use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use candor_proto::raft_v1::{Hello, LogPosition};

use crate::consensus::last_on_disk;
use crate::env::Env;
use crate::identity::{Identity, IdentityError, LogMark, PeerMemory, PeerRefused};
use crate::wal::Wal;

/// Version of the protocol between nodes; another one is refused.
pub const PROTOCOL: u32 = 1;
/// Largest message between nodes: the largest command and its framing.
pub const MESSAGE_LEN_MAX: usize = 18 << 20;

/// This node towards its peers: what it says of itself and what it remembers of them.
pub struct Introductions<E: Env> {
    env: E,
    wal: Wal<E::Disk>,
    /// Owned by nobody for long: read for a hello, written by a handshake or a marker.
    inner: Mutex<Inner>,
}

struct Inner {
    identity: Identity,
    genesis_digest: Option<[u8; 32]>,
    memory: PeerMemory,
}

/// Why a peer's hello is refused.
#[derive(Debug, thiserror::Error)]
pub enum HelloRefused {
    /// Another release's protocol.
    #[error("protocol {found} is not {PROTOCOL}")]
    Protocol {
        /// What it speaks.
        found: u32,
    },
    /// Not this cluster.
    #[error("it belongs to another cluster or genesis")]
    Foreign,
    /// Not the node that was meant.
    #[error("node {found} answered where node {expected} was expected")]
    Other {
        /// Who answered.
        found: u64,
        /// Who was meant.
        expected: u64,
    },
    /// Fields that are not what they should be.
    #[error("a malformed hello")]
    Malformed,
    /// It lost its memory.
    #[error(transparent)]
    Memory(#[from] PeerRefused),
    /// Ours could not be made durable.
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

impl<E: Env> Introductions<E> {
    /// Starts from what the folder says.
    ///
    /// # Errors
    /// When the peers' file cannot be read.
    pub fn new(
        env: E,
        identity: Identity,
        genesis_digest: Option<[u8; 32]>,
        wal: Wal<E::Disk>,
    ) -> Result<Self, IdentityError> {
        let memory = PeerMemory::load(&env)?;
        let inner = Inner {
            identity,
            genesis_digest,
            memory,
        };
        Ok(Self {
            env,
            wal,
            inner: Mutex::new(inner),
        })
    }

    /// Binds the folder to a cluster once genesis is stored.
    ///
    /// # Errors
    /// When the folder belongs elsewhere or the disk fails.
    pub fn bind(
        &self,
        cluster_id: &str,
        origin: &str,
        genesis_digest: [u8; 32],
    ) -> Result<(), IdentityError> {
        let mut inner = self.lock();
        inner.identity.bind(&self.env, cluster_id, origin)?;
        inner.genesis_digest = Some(genesis_digest);
        Ok(())
    }

    /// A copy of the folder's identity.
    pub fn identity(&self) -> Identity {
        self.lock().identity.clone()
    }

    /// Digest of the stored genesis body.
    pub fn genesis_digest(&self) -> Option<[u8; 32]> {
        self.lock().genesis_digest
    }

    /// Notes, at a marker, what peers acknowledged of the committed log, and makes it durable.
    ///
    /// # Errors
    /// The disk's.
    pub fn note_acknowledged(
        &self,
        peers: impl IntoIterator<Item = (u64, LogMark)>,
    ) -> Result<(), IdentityError> {
        let mut inner = self.lock();
        for (node, mark) in peers {
            inner.memory.acknowledged(node, mark);
        }
        inner.memory.save(&self.env)
    }

    /// What this node says of itself.
    pub fn hello(&self) -> Hello {
        let inner = self.lock();
        let identity = &inner.identity;
        let bytes = |hex_text: &String| Bytes::from(hex::decode(hex_text).unwrap_or_default());
        // What cannot be read is not claimed: the peer then refuses, which is the safe side.
        let last_log = last_on_disk(&self.wal).unwrap_or_default();
        Hello {
            protocol: PROTOCOL,
            cluster_id: identity.cluster_id.clone().unwrap_or_default(),
            genesis_digest: Bytes::copy_from_slice(&inner.genesis_digest.unwrap_or_default()),
            node_id: identity.node_id,
            incarnation: bytes(&identity.incarnation),
            last_log: last_log.map(|at| LogPosition {
                term: at.term,
                leader: at.leader,
                index: at.index,
            }),
            boot_ids: identity.boot_ids.iter().map(bytes).collect(),
        }
    }

    /// Checks a peer's hello, remembers its start durably and returns its number.
    ///
    /// # Errors
    /// [`HelloRefused`]; nothing else of the peer may be believed then.
    pub fn admit(&self, hello: &Hello, expected: Option<u64>) -> Result<u64, HelloRefused> {
        if hello.protocol != PROTOCOL {
            return Err(HelloRefused::Protocol {
                found: hello.protocol,
            });
        }
        let mut inner = self.lock();
        let own_cluster = inner.identity.cluster_id.as_deref();
        let same_genesis = inner
            .genesis_digest
            .is_some_and(|own| own[..] == hello.genesis_digest);
        if own_cluster != Some(hello.cluster_id.as_str()) || !same_genesis {
            return Err(HelloRefused::Foreign);
        }
        if let Some(expected) = expected
            && expected != hello.node_id
        {
            return Err(HelloRefused::Other {
                found: hello.node_id,
                expected,
            });
        }
        if hello.node_id == inner.identity.node_id
            || hello.incarnation.len() != 16
            || hello.boot_ids.is_empty()
            || hello.boot_ids.len() > crate::identity::BOOT_IDS_MAX
        {
            return Err(HelloRefused::Malformed);
        }
        let incarnation = hex::encode(&hello.incarnation);
        let boot_ids: Vec<String> = hello.boot_ids.iter().map(hex::encode).collect();
        let last = hello
            .last_log
            .as_ref()
            .map_or(LogMark::default(), |at| LogMark {
                term: at.term,
                index: at.index,
            });
        let before = inner.memory.clone();
        inner
            .memory
            .admit(hello.node_id, &incarnation, &boot_ids, last)?;
        if inner.memory != before {
            inner.memory.save(&self.env)?;
        }
        Ok(hello.node_id)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A member's two addresses as the membership carries them: `<peer> <client>`.
pub fn addresses(text: &str) -> (&str, &str) {
    text.split_once(' ').unwrap_or((text, ""))
}

/// The membership's text for two addresses; the inverse of [`addresses`].
pub fn address_text(peer: &str, client: &str) -> String {
    format!("{peer} {client}")
}
