//! Every metric of a node, declared once, with help and unit.

use std::sync::atomic::AtomicU64;

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
        let mut registry = Registry::with_prefix("candor");
        let operations = Operations::default();
        registry.register("operations", "Operations answered", operations.clone());
        let errors = Family::default();
        registry.register(
            "errors",
            "Calls that ended in an error, by code",
            errors.clone(),
        );
        let mut gauge = |name: &str, help: &str| {
            let gauge = Gauge::<u64, AtomicU64>::default();
            registry.register(name, help, gauge.clone());
            gauge
        };
        let entries = gauge("ledger_entries", "Entries applied on this node");
        let sealed = gauge(
            "ledger_sealed_entries",
            "Entries under the newest checkpoint",
        );
        let applied = gauge(
            "raft_applied_index",
            "Raft log position applied on this node",
        );
        let leading = gauge("raft_leading", "1 when this node leads");
        let queued = gauge("queue_operations", "Operations waiting to be proposed");
        let disk_free = gauge(
            "disk_free_bytes",
            "Bytes free on the disk of the node's folder",
        );
        let syncs = gauge(
            "disk_syncs",
            "fsync and fdatasync calls since the process started",
        );
        let log_bytes = gauge("raft_log_bytes", "Bytes of the Raft log's files");
        let catch_up = [
            gauge("catch_up_entries_done", "Entries fetched of a snapshot"),
            gauge("catch_up_entries_total", "Entries the snapshot needs"),
        ];
        let sources_refused = gauge(
            "catch_up_sources_refused",
            "Times that a peer sent what is not the ledger's, since the process started",
        );
        let verifier_size = gauge(
            "verifier_entries",
            "Entries that the last pass of the verifier covered",
        );
        let mut counter = |name: &str, help: &str| {
            let counter = Counter::default();
            registry.register(name, help, counter.clone());
            counter
        };
        let verifier_passes = counter(
            "verifier_passes",
            "Passes of the verifier that reached their end",
        );
        let verifier_repairs = counter("verifier_repairs", "Places that the verifier wrote anew");
        let withheld_damaged = Counter::default();
        registry.register(
            "values_withheld_damaged",
            "Values withheld because the local copy is damaged or missing",
            withheld_damaged.clone(),
        );
        let damages = Family::default();
        registry.register(
            "storage_damages",
            "Damaged places found in this node's files, by what they belong to",
            damages.clone(),
        );
        Self {
            registry,
            operations,
            errors,
            entries,
            sealed,
            applied,
            leading,
            queued,
            disk_free,
            syncs,
            log_bytes,
            catch_up,
            sources_refused,
            withheld_damaged,
            damages,
            verifier_passes,
            verifier_repairs,
            verifier_size,
        }
    }
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
