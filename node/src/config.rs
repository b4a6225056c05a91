//! The node's configuration: one TOML file, unknown keys refused, every key in the example.

use std::net::SocketAddr;

use serde::Deserialize;

/// The commented example that `candor config example` prints; a test reads it back.
pub const EXAMPLE: &str = include_str!("config/example.toml");

/// Everything a node is told by its operator. Defaults are those of [`EXAMPLE`].
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Who this node is and where its files lie.
    pub node: NodeSection,
    /// Where it listens.
    pub listen: ListenSection,
    /// Files with secrets.
    pub keys: KeysSection,
    /// When groups are closed and signed.
    #[serde(default)]
    pub sealing: SealingSection,
    /// What it accepts at most.
    #[serde(default)]
    pub limits: LimitsSection,
    /// Timers of consensus.
    #[serde(default)]
    pub raft: RaftSection,
    /// Where and in how much memory the fold of the ledger is held.
    #[serde(default)]
    pub state: StateSection,
    /// How it checks its own files.
    #[serde(default)]
    pub verifier: VerifierSection,
    /// How it writes its own log lines.
    #[serde(default)]
    pub log: LogSection,
}

/// `[node]`
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct NodeSection {
    /// Number of this node, unique for ever within the cluster.
    pub id: u64,
    /// The node's folder; relative paths count from the configuration file's folder.
    pub folder: String,
}

/// `[listen]`: loopback only until TLS exists.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct ListenSection {
    /// gRPC for clients and auditors.
    pub client: SocketAddr,
    /// Raft and cosigning between nodes.
    pub peer: SocketAddr,
    /// `/livez`, `/readyz`, `/metrics`, `/checkpoint`.
    pub http: SocketAddr,
}

/// `[keys]`
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct KeysSection {
    /// Bearer tokens, hashed; see `candor keys token`.
    pub tokens: String,
}

/// `[sealing]`
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct SealingSection {
    /// Least time between two seals. One seal is about 21 kB on every node: at one each 10 ms
    /// that is 177 GB a day, at 100 ms 17.7, at one second 1.8.
    pub interval_ms: u64,
    /// A group of this many operations is closed at once; 1 gives every operation its own three
    /// signatures, about 100 a second per core.
    pub group_limit: u64,
    /// With nothing to seal, a seal this often shows that nothing is withheld; more often where the
    /// ledger's own number is smaller.
    pub max_silence_ms: u64,
}

/// `[limits]`
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsSection {
    /// Operations waiting to be proposed; one more is refused with `queue_full`.
    pub queue_operations: usize,
    /// Bytes of values and requests waiting to be proposed.
    pub queue_bytes: u64,
    /// Operations in one command.
    pub command_operations: usize,
    /// Bytes in one command; always room for one value.
    pub command_bytes: u64,
    /// Commands proposed and not yet applied.
    pub commands_in_flight: usize,
    /// Longest deadline a client may ask for.
    pub deadline_max_ms: u64,
    /// Subjects never seen that one principal may bring within an hour; one more is refused with
    /// `SUBJECT_LIMIT`.
    pub subjects_per_hour: u64,
    /// With less than this free on the disk nothing new is proposed, with less than a quarter of it
    /// no entries are stored. What is on its way at the mark is written three times at most, as Raft
    /// log, entry and value: 128 MiB of queue and 36 MiB of commands make 492 MiB.
    pub disk_reserve_bytes: u64,
    /// A write of the Raft log that takes so long is slow; a leader with three of them among its last
    /// eight hands over.
    pub slow_write_ms: u64,
    /// A write that takes so long has stalled: nothing new is proposed until it ends.
    pub stalled_write_ms: u64,
}

/// `[raft]`
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct RaftSection {
    /// The leader shows it lives this often.
    pub heartbeat_ms: u64,
    /// A follower stands for election after a silence between these two.
    pub election_min_ms: u64,
    /// See `election_min_ms`.
    pub election_max_ms: u64,
    /// The log is purged each time it has grown by this many bytes, so it holds between one and two
    /// times that and a segment of 64 MiB. A member that was away for longer fetches entries instead.
    pub purge_bytes: u64,
    /// While a member fetches entries, the log that it needs afterwards is kept, up to this length.
    pub hold_bytes: u64,
}

/// `[state]`
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct StateSection {
    /// What holds the fold on disk. After a change the next start folds the ledger again.
    pub engine: StateEngine,
    /// Memory for the fold: a quarter for changes on their way to disk, an eighth each for records
    /// lately asked for and for telling subjects that were never seen, a half for the engine.
    pub memory_bytes: usize,
}

/// What holds the fold on disk.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum StateEngine {
    /// fjall 3: memory within its bound at any size.
    #[default]
    Fjall,
    /// sled 0.34: takes about a gigabyte of memory for each million subjects.
    Sled,
}

/// `[verifier]`
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct VerifierSection {
    /// Bytes read a second while nothing is known to be damaged.
    pub bytes_per_second: u64,
    /// Rest between two passes.
    pub pause_s: u64,
    /// Whether damage is repaired from peers; else it is only found and named, and stays as it is
    /// for whoever looks into it.
    pub heal: bool,
}

impl Default for VerifierSection {
    fn default() -> Self {
        Self {
            bytes_per_second: 16 * 1024 * 1024,
            pause_s: 600,
            heal: true,
        }
    }
}

/// `[log]`
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct LogSection {
    /// A filter such as `info` or `candor_node=debug,warn`.
    pub filter: String,
    /// `text` or `json`.
    pub format: LogFormat,
}

/// Shape of the node's own log lines.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    #[default]
    Text,
}

impl Default for SealingSection {
    fn default() -> Self {
        Self {
            interval_ms: 100,
            group_limit: 4_096,
            max_silence_ms: 60_000,
        }
    }
}

impl Default for LimitsSection {
    fn default() -> Self {
        Self {
            queue_operations: 8_192,
            queue_bytes: 128 << 20,
            command_operations: 1_024,
            command_bytes: 9 << 20,
            commands_in_flight: 4,
            deadline_max_ms: 60_000,
            subjects_per_hour: 3_600_000,
            disk_reserve_bytes: 512 << 20,
            slow_write_ms: 500,
            stalled_write_ms: 5_000,
        }
    }
}

impl Default for RaftSection {
    fn default() -> Self {
        Self {
            heartbeat_ms: 100,
            election_min_ms: 500,
            election_max_ms: 1_000,
            purge_bytes: 256 << 20,
            hold_bytes: 8 << 30,
        }
    }
}

impl Default for StateSection {
    fn default() -> Self {
        Self {
            engine: StateEngine::default(),
            memory_bytes: 256 << 20,
        }
    }
}

impl Default for LogSection {
    fn default() -> Self {
        Self {
            filter: "info".to_owned(),
            format: LogFormat::Text,
        }
    }
}

/// Why a configuration is refused; the text says which key.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Not TOML, an unknown key, a missing key or a wrong type.
    #[error("{0}")]
    Parse(#[from] toml::de::Error),
    /// A value outside its range.
    #[error("`{key}` is {found}: {want}")]
    Range {
        /// Dotted path of the key.
        key: &'static str,
        /// What stands there.
        found: String,
        /// What would be accepted.
        want: &'static str,
    },
}

impl Config {
    /// Reads and checks a configuration file's text.
    ///
    /// # Errors
    /// [`ConfigError`], naming the key.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let config: Self = toml::from_str(text)?;
        config.check()?;
        Ok(config)
    }

    #[expect(clippy::too_many_lines, reason = "a table of keys and their ranges")]
    fn check(&self) -> Result<(), ConfigError> {
        let need = |ok: bool, key, found: String, want| {
            if ok {
                Ok(())
            } else {
                Err(ConfigError::Range { key, found, want })
            }
        };
        let loopback = "only loopback addresses are bound until TLS is available";
        for (key, address) in [
            ("listen.client", self.listen.client),
            ("listen.peer", self.listen.peer),
            ("listen.http", self.listen.http),
        ] {
            need(
                address.ip().is_loopback(),
                key,
                address.to_string(),
                loopback,
            )?;
        }
        let (sealing, limits, raft) = (&self.sealing, &self.limits, &self.raft);
        need(
            self.node.id > 0,
            "node.id",
            self.node.id.to_string(),
            "want 1 or more",
        )?;
        for (key, value, from, to, want) in [
            (
                "sealing.interval_ms",
                sealing.interval_ms,
                1,
                3_600_000,
                "want 1 to 3600000",
            ),
            (
                "sealing.group_limit",
                sealing.group_limit,
                1,
                100_000,
                "want 1 to 100000",
            ),
            (
                "sealing.max_silence_ms",
                sealing.max_silence_ms,
                1_000,
                86_400_000,
                "want 1000 to 86400000",
            ),
            (
                "limits.command_bytes",
                limits.command_bytes,
                9 << 20,
                15 << 20,
                "want 9 to 15 MiB: one value of 8 MiB must fit, and a peer message carries it",
            ),
            (
                "limits.queue_bytes",
                limits.queue_bytes,
                limits.command_bytes,
                1 << 40,
                "want at least limits.command_bytes",
            ),
            (
                "limits.deadline_max_ms",
                limits.deadline_max_ms,
                100,
                3_600_000,
                "want 100 to 3600000",
            ),
            (
                "raft.heartbeat_ms",
                raft.heartbeat_ms,
                10,
                10_000,
                "want 10 to 10000",
            ),
            (
                "raft.election_min_ms",
                raft.election_min_ms,
                raft.heartbeat_ms.saturating_mul(3),
                600_000,
                "want at least three heartbeats",
            ),
            (
                "raft.election_max_ms",
                raft.election_max_ms,
                raft.election_min_ms.saturating_add(1),
                600_000,
                "want more than raft.election_min_ms",
            ),
            (
                "limits.slow_write_ms",
                limits.slow_write_ms,
                1,
                600_000,
                "want 1 to 600000",
            ),
            (
                "limits.stalled_write_ms",
                limits.stalled_write_ms,
                limits.slow_write_ms,
                600_000,
                "want limits.slow_write_ms to 600000",
            ),
            (
                "raft.purge_bytes",
                raft.purge_bytes,
                1 << 16,
                1 << 40,
                "want 64 KiB to 1 TiB",
            ),
            (
                "raft.hold_bytes",
                raft.hold_bytes,
                raft.purge_bytes,
                1 << 50,
                "want at least raft.purge_bytes",
            ),
        ] {
            need((from..=to).contains(&value), key, value.to_string(), want)?;
        }
        for (key, value) in [
            ("limits.queue_operations", limits.queue_operations),
            ("limits.command_operations", limits.command_operations),
            ("limits.commands_in_flight", limits.commands_in_flight),
        ] {
            need(
                (1..=1 << 20).contains(&value),
                key,
                value.to_string(),
                "want 1 to 1048576",
            )?;
        }
        need(
            (16 << 20..=1 << 40).contains(&self.state.memory_bytes),
            "state.memory_bytes",
            self.state.memory_bytes.to_string(),
            "want 16 MiB or more",
        )
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "test")]
    use super::*;

    #[test]
    fn the_example_holds_every_key_with_its_default() {
        let config = Config::parse(EXAMPLE).unwrap();
        assert_eq!(config.sealing, SealingSection::default());
        assert_eq!(config.limits, LimitsSection::default());
        assert_eq!(config.raft, RaftSection::default());
        assert_eq!(config.state, StateSection::default());
        assert_eq!(config.verifier, VerifierSection::default());
        assert_eq!(config.log, LogSection::default());
        let table: toml::Table = EXAMPLE.parse().unwrap();
        let keys: Vec<String> = table
            .iter()
            .flat_map(|(section, keys)| {
                keys.as_table()
                    .unwrap()
                    .keys()
                    .map(move |key| format!("{section}.{key}"))
            })
            .collect();
        assert_eq!(
            keys.len(),
            31,
            "a key was added without its line in the example: {keys:?}"
        );
    }

    #[test]
    fn refuses_unknown_keys_foreign_addresses_and_values_out_of_range() {
        for (from, to, named) in [
            ("id = 1", "id = 1\ncolour = 3", "colour"),
            ("id = 1", "id = 0", "node.id"),
            (
                "client = \"127.0.0.1:7401\"",
                "client = \"0.0.0.0:7401\"",
                "listen.client",
            ),
            (
                "interval_ms = 100",
                "interval_ms = 0",
                "sealing.interval_ms",
            ),
            (
                "election_max_ms = 1000",
                "election_max_ms = 500",
                "raft.election_max_ms",
            ),
            ("filter = \"info\"", "filter = 3", "filter"),
        ] {
            let text = EXAMPLE.replace(from, to);
            assert_ne!(text, EXAMPLE, "{from} does not stand in the example");
            let error = Config::parse(&text).unwrap_err().to_string();
            assert!(error.contains(named), "{error} does not name {named}");
        }
    }
}
