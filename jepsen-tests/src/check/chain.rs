//! L2, L3: each node holds one gap-free chain, and all hold the same.
//!
//! Read from the nodes' files without the product's reader. Nothing is said about whether the entries are
//! right (`ledger_order`) or signed (`signatures`).

use std::collections::BTreeMap;

use super::record::Record;
use super::{Judgement, Notes, Run};

/// As named in results.
pub(super) const NAME: &str = "chain";

const FIRST_PREV: &str =
    "sha3-256:0000000000000000000000000000000000000000000000000000000000000000";

/// Judges a run.
pub(super) fn judge(run: &Run) -> Judgement {
    let mut notes = Notes::default();
    for (node, chain) in &run.chains {
        if chain.is_empty() {
            notes.violated(format!("node {node} holds no entry"));
        }
        walk(*node, chain, &mut notes);
        compare(run, *node, chain, &mut notes);
    }
    notes.close(NAME, "entries of all nodes")
}

/// Along one chain: position, link, time, and the ordinals within each lifecycle.
fn walk(node: u64, chain: &[Record], notes: &mut Notes) {
    let (mut prev, mut time_us) = (FIRST_PREV.to_owned(), 0);
    let mut ends: BTreeMap<(&str, &str), (u64, u64)> = BTreeMap::new();
    for (seq, record) in (0_u64..).zip(chain) {
        notes.saw();
        let here = || format!("node {node}, entry {seq}");
        notes.demand(record.seq() == Some(seq), || {
            format!("{}: says that it is {:?}", here(), record.seq())
        });
        notes.demand((record.op() == "ledger.genesis") == (seq == 0), || {
            format!("{}: a genesis elsewhere, or none at the beginning", here())
        });
        notes.demand(record.str("prev") == Some(&prev), || {
            format!("{}: `prev` is not the hash of the entry before", here())
        });
        let time = record.time_us();
        notes.demand(time >= Some(time_us), || {
            format!("{}: time is missing or goes back", here())
        });
        let Some(lifecycle) = record.lifecycle() else {
            notes.violated(format!("{}: no tenant or no subject", here()));
            return;
        };
        let last = ends.get(&lifecycle).copied();
        let n = last.map_or(1, |(n, _)| n + 1);
        let linked = record.int("n") == Some(n)
            && record.int_or_null("subject_prev") == Some(last.map(|(_, seq)| seq));
        notes.demand(linked, || {
            format!(
                "{}: is not event {n} of `{}` after {last:?}",
                here(),
                lifecycle.1
            )
        });
        ends.insert(lifecycle, (n, seq));
        time_us = time.unwrap_or(time_us);
        prev = record.digest();
    }
}

/// With the longest: at the end all nodes were brought to one place, so neither may one be shorter.
fn compare(run: &Run, node: u64, chain: &[Record], notes: &mut Notes) {
    let ledger = run.ledger();
    let differs = chain
        .iter()
        .zip(ledger)
        .position(|(one, other)| one.line != other.line);
    if let Some(seq) = differs {
        notes.violated(format!(
            "node {node} has another entry {seq} than another node: forked"
        ));
    } else if chain.len() < ledger.len() {
        notes.violated(format!(
            "node {node} ends after {} entries, another after {}",
            chain.len(),
            ledger.len()
        ));
    }
}
