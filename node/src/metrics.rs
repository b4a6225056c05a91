//! Every metric of a node, declared once, with help and unit.

use std::fmt::Debug;
use std::hash::Hash;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Operations answered, by what they were and how they ended.
pub type Operations = Family<[(&'static str, &'static str); 2], Counter>;

/// One node's metrics. Two nodes in one process share nothing.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// Operations answered by this node: `op`, `outcome`.
    pub operations: Operations,
    /// Calls that ended in an error: `method` is left out on purpose, `code` is the stable one.
    pub errors: Family<[(&'static str, &'static str); 1], Counter>,
    /// Entries in the ledger as applied here.
    pub entries: Gauge<u64, AtomicU64>,
    /// Entries under the newest checkpoint taken here.
    pub sealed: Gauge<u64, AtomicU64>,
    /// Raft position applied here.
    pub applied: Gauge<u64, AtomicU64>,
    /// 1 when this node leads.
    pub leading: Gauge<u64, AtomicU64>,
    /// Operations waiting to be proposed here.
    pub queued: Gauge<u64, AtomicU64>,
    /// Bytes free on the disk.
    pub disk_free: Gauge<u64, AtomicU64>,
    /// Microseconds of the longest of the last eight writes of the Raft log, that under way included.
    pub log_write_longest: Gauge<u64, AtomicU64>,
    /// `fdatasync` and `fsync` calls of this process.
    pub syncs: Gauge<u64, AtomicU64>,
    /// Bytes of the Raft log's files.
    pub log_bytes: Gauge<u64, AtomicU64>,
    /// Entries that a snapshot under way has here, and that it needs; both 0 when none is.
    pub catch_up: [Gauge<u64, AtomicU64>; 2],
    /// Times that a peer sent what is not the ledger's.
    pub sources_refused: Gauge<u64, AtomicU64>,
    /// Values this node refused to disclose although the ledger allows it: must stay 0.
    pub withheld_damaged: Counter,
    /// Damaged places found in this node's files, by `kind`: must stay 0.
    pub damages: Family<[(&'static str, &'static str); 1], Counter>,
    /// Passes of the verifier that reached their end.
    pub verifier_passes: Counter,
    /// Places that the verifier wrote anew.
    pub verifier_repairs: Counter,
    /// Entries that the last pass of the verifier covered.
    pub verifier_size: Gauge<u64, AtomicU64>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut all = Registry::with_prefix("candor");
        let r = &mut all;
        Self {
            operations: family(r, "operations", "Operations answered"),
            errors: family(r, "errors", "Calls that ended in an error, by code"),
            entries: gauge(r, "ledger_entries", "Entries applied on this node"),
            sealed: gauge(
                r,
                "ledger_sealed_entries",
                "Entries under the newest checkpoint",
            ),
            applied: gauge(
                r,
                "raft_applied_index",
                "Raft log position applied on this node",
            ),
            leading: gauge(r, "raft_leading", "1 when this node leads"),
            queued: gauge(r, "queue_operations", "Operations waiting to be proposed"),
            disk_free: gauge(
                r,
                "disk_free_bytes",
                "Bytes free on the disk of the node's folder",
            ),
            log_write_longest: gauge(
                r,
                "raft_log_write_longest_microseconds",
                "The longest of the last eight writes of the Raft log with their syncs, that under way included",
            ),
            syncs: gauge(
                r,
                "disk_syncs",
                "fsync and fdatasync calls since the process started",
            ),
            log_bytes: gauge(r, "raft_log_bytes", "Bytes of the Raft log's files"),
            catch_up: [
                gauge(r, "catch_up_entries_done", "Entries fetched of a snapshot"),
                gauge(r, "catch_up_entries_total", "Entries the snapshot needs"),
            ],
            sources_refused: gauge(
                r,
                "catch_up_sources_refused",
                "Times that a peer sent what is not the ledger's, since the process started",
            ),
            withheld_damaged: counter(
                r,
                "values_withheld_damaged",
                "Values withheld because the local copy is damaged or missing",
            ),
            damages: family(
                r,
                "storage_damages",
                "Damaged places found in this node's files, by what they belong to",
            ),
            verifier_passes: counter(
                r,
                "verifier_passes",
                "Passes of the verifier that reached their end",
            ),
            verifier_repairs: counter(r, "verifier_repairs", "Places that the verifier wrote anew"),
            verifier_size: gauge(
                r,
                "verifier_entries",
                "Entries that the last pass of the verifier covered",
            ),
            registry: all,
        }
    }
}

fn gauge(registry: &mut Registry, name: &str, help: &str) -> Gauge<u64, AtomicU64> {
    let gauge = Gauge::<u64, AtomicU64>::default();
    registry.register(name, help, gauge.clone());
    gauge
}

fn counter(registry: &mut Registry, name: &str, help: &str) -> Counter {
    let counter = Counter::default();
    registry.register(name, help, counter.clone());
    counter
}

fn family<L>(registry: &mut Registry, name: &str, help: &str) -> Family<L, Counter>
where
    L: EncodeLabelSet + Clone + Debug + Eq + Hash + Send + Sync + 'static,
{
    let family = Family::default();
    registry.register(name, help, family.clone());
    family
}

impl Metrics {
    /// The `OpenMetrics` text.
    pub fn text(&self) -> String {
        let mut text = String::new();
        match encode(&mut text, &self.registry) {
            Ok(()) => text,
            Err(_) => String::new(),
        }
    }
}
