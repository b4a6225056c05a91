//! What the clients were told against what the ledger holds, read entry by entry.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, ensure};
use candor_ledger::digest::ChainHash;
use candor_ledger::entry::{Entry, Op};
use candor_ledger::ids::{RequestId, Seq};

use crate::real::folders;

/// A ledger counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Entries.
    pub entries: u64,
    /// Requests that were acknowledged; each has an entry, and a set exactly one.
    pub acknowledged: u64,
    /// More entries of acknowledged gets, which were sent again: each disclosure has its own.
    pub again: u64,
    /// Entries of requests whose answer was lost.
    pub unanswered: u64,
    /// Entries of the log itself: genesis, seals, members, expiries.
    pub of_the_log: u64,
}

/// Reads all entries of a node that stands still: each follows the one before, each acknowledged
/// request has one, and a set no other.
///
/// # Errors
/// Names what is missing, doubled or broken.
pub(super) fn count(ledger: &Path, mut acknowledged: Vec<RequestId>) -> anyhow::Result<Counted> {
    acknowledged.sort_unstable();
    let given = acknowledged.len();
    acknowledged.dedup();
    ensure!(acknowledged.len() == given, "an id was acknowledged twice");
    let mut found = vec![false; given];
    let mut counted = Counted::default();
    let mut prev = ChainHash::EMPTY;
    let folder = ledger.join("entries");
    for name in folders::files_below(&folder)? {
        if name.extension().is_none_or(|kind| kind != "jsonl") {
            continue;
        }
        let bytes = fs::read(folder.join(&name))?;
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            let line = line.strip_suffix(b"\n").context("a line without its end")?;
            let entry = Entry::parse(line).with_context(|| format!("entry {}", counted.entries))?;
            let follows = entry.seq == Seq(counted.entries) && entry.prev == prev;
            ensure!(follows, "entry {} does not follow", counted.entries);
            prev = ChainHash::of(line);
            counted.entries += 1;
            let Some(id) = entry.request_id else {
                counted.of_the_log += 1;
                continue;
            };
            let Ok(at) = acknowledged.binary_search(&id) else {
                counted.unanswered += 1;
                continue;
            };
            let seen = found.get_mut(at).context("a place found")?;
            if *seen {
                let is_read = matches!(entry.op(), Op::CacheReadHit | Op::CacheReadMiss);
                ensure!(is_read, "request {id} has two entries of `{}`", entry.op());
                counted.again += 1;
                continue;
            }
            *seen = true;
            counted.acknowledged += 1;
        }
    }
    let lost = found.iter().filter(|seen| !**seen).count();
    ensure!(lost == 0, "{lost} acknowledged requests have no entry");
    Ok(counted)
}
