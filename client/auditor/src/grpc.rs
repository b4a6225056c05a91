//! A ledger read from a running node over gRPC, with the right `audit-all`.
//!
//! What arrives is believed as little as a folder is: entries are replayed, and held against
//! checkpoints that the policy accepts. The node's stored tree and offsets do not travel, so nothing
//! is said about them.

use std::path::Path;
use std::thread;
use std::time::Duration;

use candor_client::{Error, Source};
use candor_ledger::ids::{Seq, TreeSize};
use candor_ledger::replay::{LedgerReport, Replay};
use tokio::runtime::Runtime;

use crate::progress::Progress;
use crate::read::CouldNotRead;
use crate::tiles::stated_size;

const TIMEOUT: Duration = Duration::from_secs(30);

/// A node that showed a checkpoint holds what it covers, unless another node behind the same address
/// answers now: asked again after so many pauses.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_millis(200);

/// A node's client port, and who asks.
pub(crate) struct Node {
    uri: String,
    source: Source,
    runtime: Runtime,
}

/// Replays every entry of a log up to its newest checkpoint.
///
/// # Errors
/// When the node does not answer, or refuses; nothing is said about the ledger then.
pub(crate) fn audit(node: &Node, mut replay: Replay<'_>) -> Result<LedgerReport, CouldNotRead> {
    let newest = node.ask(node.source.newest_note())?;
    let size = stated_size(&newest).map_err(|problem| node.unusable(problem))?;
    let progress = Progress::counting(size.0);
    replay.excuse_unkept();
    while replay.size() < size && replay.stopped().is_none() {
        let page = node.entries(replay.size())?;
        if page.is_empty() {
            break;
        }
        for line in page {
            // What is not sealed when the audit begins is no part of it.
            if replay.size() == size || !replay.push_entry(line.as_ref(), &mut |_, _, _| ()) {
                break;
            }
            progress.advance(1);
            if replay.is_sealed_here() && replay.size() < size {
                take_checkpoint(node, &mut replay)?;
            }
        }
    }
    progress.finish();
    if replay.stopped().is_none() {
        // It was shown first, and every checkpoint below it since.
        if replay.size() == size {
            replay.push_checkpoint(NEWEST, &newest);
        } else {
            replay.push_beyond(NEWEST, &newest);
        }
    }
    Ok(replay.finish())
}

const NEWEST: &str = "the newest checkpoint";

/// The checkpoint of this size, if the log still keeps one.
fn take_checkpoint(node: &Node, replay: &mut Replay<'_>) -> Result<(), CouldNotRead> {
    let size = replay.size();
    if let Some(kept) = node.ask(node.source.kept_note(size))? {
        replay.push_checkpoint(&format!("the checkpoint of size {size}"), &kept);
    }
    Ok(())
}

impl Node {
    /// `address` is `grpc://host:port`.
    ///
    /// # Errors
    /// When it is not.
    pub(crate) fn new(address: &str, token: Option<&str>) -> Result<Self, CouldNotRead> {
        let failed = |error: &dyn std::error::Error| {
            CouldNotRead::new(Path::new(address), error.to_string())
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| failed(&error))?;
        let uri = address.replacen("grpc://", "http://", 1);
        let source = {
            let _inside = runtime.enter();
            Source::new(&uri, token, TIMEOUT).map_err(|error| failed(&error))?
        };
        Ok(Self {
            uri: address.to_owned(),
            source,
            runtime,
        })
    }

    fn ask<R>(&self, asked: impl Future<Output = Result<R, Error>>) -> Result<R, CouldNotRead> {
        self.runtime
            .block_on(asked)
            .map_err(|error| self.unusable(words(&error)))
    }

    /// Entries from the one that follows so many.
    fn entries(&self, size: TreeSize) -> Result<Vec<impl AsRef<[u8]> + use<>>, CouldNotRead> {
        for _ in 1..TRIES {
            let page = self.ask(self.source.entries(Seq(size.0)))?;
            if !page.is_empty() {
                return Ok(page);
            }
            thread::sleep(PAUSE);
        }
        self.ask(self.source.entries(Seq(size.0)))
    }

    fn unusable(&self, problem: impl Into<Box<dyn std::error::Error>>) -> CouldNotRead {
        CouldNotRead::new(Path::new(&self.uri), problem)
    }
}

fn words(error: &Error) -> String {
    match error.code() {
        "PERMISSION_DENIED" | "UNAUTHENTICATED" => format!(
            "{error}: bring a token of an auditor of the whole cluster, with the right `audit-all` \
             (--token-file)"
        ),
        _ => error.to_string(),
    }
}
