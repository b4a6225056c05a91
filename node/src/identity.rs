//! Who this folder is: `identity.json`, and what it remembers of its peers: `peers.json`.
//!
//! A wiped folder has another incarnation, a clone started after its original lacks the boot id
//! that peers remember, a folder older than its last start lacks its last log. Each is refused
//! under the old id by [`PeerMemory::admit`] and has to come back as a new node.

use std::collections::BTreeMap;

use candor_ledger::planted;
use serde::{Deserialize, Serialize};

use crate::env::{Disk, Env};

/// Boot ids a node remembers of itself: a peer that was away for up to this many of our starts
/// still recognises us.
pub const BOOT_IDS_MAX: usize = 64;
/// The only identity format so far.
pub const FORMAT: u32 = 1;
const IDENTITY_PATH: &str = "identity.json";
const PEERS_PATH: &str = "peers.json";
const FILE_MODE: u32 = 0o600;

/// `identity.json`: written before the node listens, once per start.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// Version of this file.
    pub format: u32,
    /// The configured node id at the first start.
    pub node_id: u64,
    /// 32 hex digits drawn at the first start of this folder.
    pub incarnation: String,
    /// One 32-digit id per start, oldest first, the current one last.
    pub boot_ids: Vec<String>,
    /// Set once by genesis.
    pub cluster_id: Option<String>,
    /// Set once by genesis.
    pub origin: Option<String>,
}

/// A position in the Raft log as peers compare it: later terms first, then index.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct LogMark {
    /// Term of the entry.
    pub term: u64,
    /// Its index.
    pub index: u64,
}

/// Why a folder's identity is refused at start.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The disk failed.
    #[error("`{path}`: {source}")]
    Disk {
        /// Which file.
        path: &'static str,
        /// The disk's word.
        source: std::io::Error,
    },
    /// The folder is another node's, cluster's or format's.
    #[error("this folder is not this node's: {what} is `{found}`, expected `{expected}`")]
    Mismatch {
        /// Which field.
        what: &'static str,
        /// What the folder says.
        found: String,
        /// What the configuration or genesis says.
        expected: String,
    },
    /// The file is not what this program writes.
    #[error("`{path}` is damaged: {problem}")]
    Damaged {
        /// Which file.
        path: &'static str,
        /// The parser's word.
        problem: String,
    },
}

impl Identity {
    /// Reads the folder's identity or makes it, adds this start's boot id and makes that durable.
    ///
    /// # Errors
    /// [`IdentityError`]; nothing may listen then.
    pub fn start<E: Env>(env: &E, node_id: u64) -> Result<Self, IdentityError> {
        let mut identity = match read_json::<Self, _>(env.disk(), IDENTITY_PATH)? {
            Some(identity) => identity,
            None => Self {
                format: FORMAT,
                node_id,
                incarnation: random_hex(env),
                boot_ids: Vec::new(),
                cluster_id: None,
                origin: None,
            },
        };
        same("format", &identity.format, &FORMAT)?;
        same("node id", &identity.node_id, &node_id)?;
        identity.boot_ids.push(random_hex(env));
        let surplus = identity.boot_ids.len().saturating_sub(BOOT_IDS_MAX);
        identity.boot_ids.drain(..surplus);
        identity.save(env)?;
        Ok(identity)
    }

    /// Binds the folder to a cluster, durably; a folder already bound must name the same one.
    ///
    /// # Errors
    /// [`IdentityError::Mismatch`] when it belongs elsewhere.
    pub fn bind<E: Env>(
        &mut self,
        env: &E,
        cluster_id: &str,
        origin: &str,
    ) -> Result<(), IdentityError> {
        for (what, held, wanted) in [
            ("cluster id", &mut self.cluster_id, cluster_id),
            ("origin", &mut self.origin, origin),
        ] {
            let held = held.get_or_insert_with(|| wanted.to_owned());
            same(what, held, &wanted.to_owned())?;
        }
        self.save(env)
    }

    /// The current start's id.
    pub fn boot_id(&self) -> &str {
        self.boot_ids.last().map_or("", String::as_str)
    }

    fn save<E: Env>(&self, env: &E) -> Result<(), IdentityError> {
        write_json(env.disk(), IDENTITY_PATH, self)
    }
}

/// What one node remembers of each other node.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct PeerMemory {
    peers: BTreeMap<u64, Remembered>,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
struct Remembered {
    incarnation: String,
    boot_id: String,
    acknowledged: LogMark,
}

/// Why a peer is refused under its id. The remedy is the same for all: rejoin as a new node.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeerRefused {
    /// Its folder is not the one known under this id.
    #[error("node {node} came back with another incarnation: its folder was wiped or replaced")]
    Incarnation {
        /// The id it claims.
        node: u64,
    },
    /// The start we accepted last is not in its history.
    #[error("node {node} does not remember the start accepted last: its folder is a copy")]
    Boot {
        /// The id it claims.
        node: u64,
    },
    /// It lost log entries it had acknowledged.
    #[error(
        "node {node} has its log up to {last:?}, but acknowledged {acknowledged:?}: \
         its folder was rolled back"
    )]
    RolledBack {
        /// The id it claims.
        node: u64,
        /// What it says it has.
        last: LogMark,
        /// What it is known to have had on disk.
        acknowledged: LogMark,
    },
}

impl PeerMemory {
    /// Reads the memory; a folder without one has met nobody.
    ///
    /// # Errors
    /// When the file cannot be read or understood.
    pub fn load<E: Env>(env: &E) -> Result<Self, IdentityError> {
        Ok(read_json(env.disk(), PEERS_PATH)?.unwrap_or_default())
    }

    /// Accepts a start of a peer and remembers it, or says why not. The caller saves.
    ///
    /// # Errors
    /// [`PeerRefused`].
    pub fn admit(
        &mut self,
        node: u64,
        incarnation: &str,
        boot_ids: &[String],
        last: LogMark,
    ) -> Result<(), PeerRefused> {
        if let Some(known) = self.peers.get(&node)
            && !planted!("wiped-admitted")
        {
            if known.incarnation != incarnation {
                return Err(PeerRefused::Incarnation { node });
            }
            if !boot_ids.contains(&known.boot_id) {
                return Err(PeerRefused::Boot { node });
            }
            // Within one start a hello may be older than what was acknowledged beside it, in another
            // session; a folder that was rolled back has started since, under a new boot id.
            let is_new_start = boot_ids.last() != Some(&known.boot_id);
            if is_new_start && last < known.acknowledged {
                let acknowledged = known.acknowledged;
                return Err(PeerRefused::RolledBack {
                    node,
                    last,
                    acknowledged,
                });
            }
        }
        let entry = self.peers.entry(node).or_insert_with(|| Remembered {
            incarnation: incarnation.to_owned(),
            boot_id: String::new(),
            acknowledged: LogMark::default(),
        });
        entry.boot_id = boot_ids.last().cloned().unwrap_or_default();
        Ok(())
    }

    /// Notes that a peer has its log on disk up to here.
    pub fn acknowledged(&mut self, node: u64, mark: LogMark) {
        if let Some(known) = self.peers.get_mut(&node) {
            known.acknowledged = known.acknowledged.max(mark);
        }
    }

    /// Makes the memory durable.
    ///
    /// # Errors
    /// The disk's.
    pub fn save<E: Env>(&self, env: &E) -> Result<(), IdentityError> {
        write_json(env.disk(), PEERS_PATH, self)
    }
}

fn same<T: PartialEq + ToString>(
    what: &'static str,
    found: &T,
    expected: &T,
) -> Result<(), IdentityError> {
    if found == expected {
        return Ok(());
    }
    let (found, expected) = (found.to_string(), expected.to_string());
    Err(IdentityError::Mismatch {
        what,
        found,
        expected,
    })
}

fn read_json<T: for<'de> Deserialize<'de>, D: Disk>(
    disk: &D,
    path: &'static str,
) -> Result<Option<T>, IdentityError> {
    let bytes = disk
        .read(path)
        .map_err(|source| IdentityError::Disk { path, source })?;
    let damaged = |e: serde_json::Error| IdentityError::Damaged {
        path,
        problem: e.to_string(),
    };
    bytes
        .map(|bytes| serde_json::from_slice(&bytes).map_err(damaged))
        .transpose()
}

fn write_json<T: Serialize, D: Disk>(
    disk: &D,
    path: &'static str,
    value: &T,
) -> Result<(), IdentityError> {
    let mut bytes = serde_json::to_vec_pretty(value).map_err(|e| IdentityError::Damaged {
        path,
        problem: e.to_string(),
    })?;
    bytes.push(b'\n');
    disk.write_durable(path, &bytes, FILE_MODE)
        .map_err(|source| IdentityError::Disk { path, source })
}

fn random_hex<E: Env>(env: &E) -> String {
    let mut bytes = [0; 16];
    env.fill_random(&mut bytes);
    hex::encode(bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "test")]
    use super::*;

    fn mark(term: u64, index: u64) -> LogMark {
        LogMark { term, index }
    }

    #[test]
    fn wiped_cloned_and_rolled_back_folders_are_refused_under_the_old_id() {
        let boots = |ids: &[&str]| ids.iter().map(ToString::to_string).collect::<Vec<_>>();
        let mut memory = PeerMemory::default();
        memory.admit(2, "aa", &boots(&["b1"]), mark(0, 0)).unwrap();
        memory.acknowledged(2, mark(3, 70));

        // The honest restart: same folder, one more boot id, its whole log.
        memory
            .admit(2, "aa", &boots(&["b1", "b2"]), mark(3, 71))
            .unwrap();

        // While its second hello was on its way, the running node acknowledged more.
        memory.acknowledged(2, mark(3, 72));
        memory
            .admit(2, "aa", &boots(&["b1", "b2"]), mark(3, 71))
            .unwrap();

        let wiped = memory.admit(2, "cc", &boots(&["b9"]), mark(0, 0));
        assert_eq!(wiped, Err(PeerRefused::Incarnation { node: 2 }));
        let clone = memory.admit(2, "aa", &boots(&["b1", "b3"]), mark(3, 71));
        assert_eq!(clone, Err(PeerRefused::Boot { node: 2 }));
        let older = memory.admit(2, "aa", &boots(&["b1", "b2", "b4"]), mark(3, 71));
        assert!(matches!(older, Err(PeerRefused::RolledBack { .. })));

        // A later term outranks a longer log of an earlier one, as in Raft.
        memory
            .admit(2, "aa", &boots(&["b1", "b2", "b5"]), mark(4, 10))
            .unwrap();
    }
}
