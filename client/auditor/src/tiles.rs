//! A ledger read over HTTP, as C2SP tlog-tiles: bundles of entries, or hashes alone.
//!
//! What arrives is believed as little as a folder is: entries are replayed, hash tiles compared with
//! what the entries give, and all of it held against checkpoints that the policy accepts.

use std::path::Path;
use std::thread;
use std::time::Duration;

use candor_ledger::checkpoint::Checkpoint;
use candor_ledger::ids::{Seq, TreeSize};
use candor_ledger::note::{NOTE_LEN_MAX, Note};
use candor_ledger::replay::{LedgerReport, Replay};
use candor_ledger::tile::{
    BUNDLE_LEN_MAX, TILE_LEVELS, TILE_WIDTH, TileId, TileKind, bundle_entries,
};
use candor_ledger::tree::NodeHash;
use candor_ledger::verify::{Fault, Finding};

use crate::progress::Progress;
use crate::read::CouldNotRead;

/// A question that brings no answer is asked again after so many pauses, each twice the one before.
const TRIES: u32 = 6;
const PAUSE: Duration = Duration::from_millis(100);
const TIMEOUT: Duration = Duration::from_secs(30);
const HASH_LEN: usize = 32;

/// A log's URL prefix, and who asks.
pub(crate) struct Remote {
    prefix: String,
    token: Option<String>,
    agent: ureq::Agent,
}

/// Replays every entry of a log up to its newest checkpoint.
///
/// # Errors
/// When it does not answer, or refuses; nothing is said about the ledger then.
pub(crate) fn audit(remote: &Remote, replay: Replay<'_>) -> Result<LedgerReport, CouldNotRead> {
    let (size, note) = remote.newest()?;
    let mut audit = Audit::new(remote, replay, size);
    audit.replay.excuse_unkept();
    for index in 0.. {
        let Some(tile) = TileId::at(TileKind::Entries, index, size) else {
            break;
        };
        let bundle = remote.need(&tile.to_string(), BUNDLE_LEN_MAX)?;
        if !audit.take_bundle(tile, &bundle)? {
            break;
        }
    }
    if audit.replay.stopped().is_none() {
        // It was served first, and every checkpoint below it since.
        audit.replay.push_checkpoint("checkpoint", &note);
    }
    audit.progress.finish();
    Ok(audit.replay.finish())
}

/// Rebuilds a log's tree from its leaf hashes, without its entries.
///
/// # Errors
/// As [`audit`].
pub(crate) fn rebuild(
    remote: &Remote,
    mut replay: Replay<'_>,
) -> Result<LedgerReport, CouldNotRead> {
    let (size, note) = remote.newest()?;
    if replay.begin_hashes("checkpoint", &note).is_none() {
        return Ok(replay.finish_hashes());
    }
    let mut audit = Audit::new(remote, replay, size);
    for index in 0.. {
        let Some(tile) = TileId::at(TileKind::Hashes(0), index, size) else {
            break;
        };
        let leaves = remote.tile(tile)?;
        for leaf in &leaves {
            let mut completed = Vec::new();
            audit
                .replay
                .push_hash(*leaf, &mut |level, _, hash| completed.push((level, hash)));
            audit.rows.take(completed);
        }
        audit.progress.advance(leaves.len());
        audit.compare_tiles(1)?;
    }
    audit.progress.finish();
    Ok(audit.replay.finish_hashes())
}

/// The size that a checkpoint's note states, or why it is no such note.
pub(crate) fn stated_size(note: &[u8]) -> Result<TreeSize, String> {
    let note = Note::parse(note).map_err(|error| error.to_string())?;
    let checkpoint = Checkpoint::parse(&note.text).map_err(|error| error.to_string())?;
    Ok(checkpoint.size)
}

impl Remote {
    pub(crate) fn new(prefix: &str, token: Option<String>) -> Self {
        let settings = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(TIMEOUT));
        Self {
            prefix: prefix.trim_end_matches('/').to_owned(),
            token,
            agent: settings.build().into(),
        }
    }

    /// The newest checkpoint's note, and the size that it states; whether it is signed, the replay
    /// finds out.
    fn newest(&self) -> Result<(TreeSize, Vec<u8>), CouldNotRead> {
        let note = self.need("checkpoint", NOTE_LEN_MAX)?;
        let size = stated_size(&note).map_err(|problem| self.unusable("checkpoint", &problem))?;
        Ok((size, note))
    }

    fn tile(&self, tile: TileId) -> Result<Vec<NodeHash>, CouldNotRead> {
        let width = usize::from(tile.width);
        let path = tile.to_string();
        let bytes = self.need(&path, width * HASH_LEN)?;
        let (hashes, rest) = bytes.as_chunks::<HASH_LEN>();
        if hashes.len() == width && rest.is_empty() {
            return Ok(hashes.iter().copied().map(NodeHash).collect());
        }
        Err(self.unusable(
            &path,
            &format!("{} bytes are no tile of width {width}", bytes.len()),
        ))
    }

    fn need(&self, path: &str, len_max: usize) -> Result<Vec<u8>, CouldNotRead> {
        let found = self.get(path, len_max)?;
        found.ok_or_else(|| self.unusable(path, &"there is no such thing (404)"))
    }

    /// What is there; `None` where the log says that there is nothing.
    fn get(&self, path: &str, len_max: usize) -> Result<Option<Vec<u8>>, CouldNotRead> {
        let mut pause = PAUSE;
        for _ in 1..TRIES {
            match self.try_get(path, len_max) {
                Err(Trouble::Passing(_)) => thread::sleep(pause),
                Err(Trouble::Final(problem)) => return Err(self.unusable(path, &problem)),
                Ok(found) => return Ok(found),
            }
            pause *= 2;
        }
        self.try_get(path, len_max)
            .map_err(|trouble| match trouble {
                Trouble::Passing(problem) | Trouble::Final(problem) => {
                    self.unusable(path, &problem)
                }
            })
    }

    fn try_get(&self, path: &str, len_max: usize) -> Result<Option<Vec<u8>>, Trouble> {
        let passing = |error: ureq::Error| Trouble::Passing(error.to_string());
        let mut request = self.agent.get(format!("{}/{path}", self.prefix));
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let mut reply = request.call().map_err(passing)?;
        let status = reply.status().as_u16();
        let limit = u64::try_from(len_max).unwrap_or(u64::MAX);
        let mut body = || {
            reply
                .body_mut()
                .with_config()
                .limit(limit.saturating_add(1))
                .read_to_vec()
        };
        match status {
            200 => {
                let body = body().map_err(passing)?;
                if body.len() > len_max {
                    return Err(Trouble::Final(format!("longer than {len_max} bytes")));
                }
                Ok(Some(body))
            }
            404 => Ok(None),
            401 | 403 => Err(Trouble::Final(
                "refused: bring a token of an auditor of the whole cluster (--token-file), or look at \
                 hashes alone (--hashes-only)"
                    .to_owned(),
            )),
            status => Err(Trouble::Passing(format!("HTTP status {status}"))),
        }
    }

    fn unusable(&self, path: &str, problem: &dyn std::fmt::Display) -> CouldNotRead {
        let place = format!("{}/{path}", self.prefix);
        CouldNotRead::new(Path::new(&place), problem.to_string())
    }
}

enum Trouble {
    /// It may be gone in a moment.
    Passing(String),
    Final(String),
}

/// One pass over a log.
struct Audit<'a> {
    remote: &'a Remote,
    replay: Replay<'a>,
    /// Of the newest checkpoint.
    size: TreeSize,
    rows: Rows,
    progress: Progress,
}

impl<'a> Audit<'a> {
    fn new(remote: &'a Remote, replay: Replay<'a>, size: TreeSize) -> Self {
        Self {
            remote,
            replay,
            size,
            rows: Rows::default(),
            progress: Progress::counting(size.0),
        }
    }

    /// Replays the entries of a bundle; `false` when the replay stopped.
    fn take_bundle(&mut self, tile: TileId, bundle: &[u8]) -> Result<bool, CouldNotRead> {
        let entries = match bundle_entries(bundle, tile.width) {
            Ok(entries) => entries,
            Err(error) => return Err(self.remote.unusable(&tile.to_string(), &error)),
        };
        for line in entries {
            let mut completed = Vec::new();
            let mut collect = |level, _, hash| completed.push((level, hash));
            if !self.replay.push_entry(line, &mut collect) {
                return Ok(false);
            }
            self.rows.take(completed);
            self.take_checkpoint()?;
        }
        self.progress.advance(usize::from(tile.width));
        self.compare_tiles(0)?;
        Ok(true)
    }

    /// The checkpoint of this size, if the log still keeps one. The newest is taken at the end.
    fn take_checkpoint(&mut self) -> Result<(), CouldNotRead> {
        let size = self.replay.size();
        if self.replay.is_sealed_here() && size < self.size {
            let path = format!("checkpoint/{size}");
            if let Some(note) = self.remote.get(&path, NOTE_LEN_MAX)? {
                self.replay.push_checkpoint(&path, &note);
            }
        }
        Ok(())
    }

    /// Compares the tiles that are full by now, or will never be, with what was computed.
    fn compare_tiles(&mut self, lowest: u8) -> Result<(), CouldNotRead> {
        let done = self.replay.size() == self.size;
        for (level, row) in &mut self.rows.0 {
            let full = row.hashes.len() == usize::from(TILE_WIDTH);
            if row.hashes.is_empty() || !(full || done) {
                continue;
            }
            let tile = TileId {
                kind: TileKind::Hashes(*level),
                index: row.index,
                width: u16::try_from(row.hashes.len()).unwrap_or(TILE_WIDTH),
            };
            let computed = std::mem::take(&mut row.hashes);
            row.index += 1;
            if *level < lowest {
                continue;
            }
            let served = self.remote.tile(tile)?;
            let differs = computed
                .iter()
                .zip(&served)
                .position(|(own, found)| own != found);
            let Some(at) = differs.and_then(|at| u64::try_from(at).ok()) else {
                continue;
            };
            let bits = u32::from(*level) * u32::from(TILE_LEVELS);
            let seq = ((tile.first() + at + 1) << bits) - 1;
            let problem = format!("{tile} holds something else for it than it gives");
            let finding = Finding::at(Fault::Tampered, "derived-file-differs", Seq(seq), problem);
            self.replay.report(finding);
        }
        Ok(())
    }
}

/// Hashes of each level of tiles, from where the tiles were compared to the end.
#[derive(Default)]
struct Rows(std::collections::BTreeMap<u8, Row>);

#[derive(Default)]
struct Row {
    index: u64,
    hashes: Vec<NodeHash>,
}

impl Rows {
    fn take(&mut self, completed: Vec<(u8, NodeHash)>) {
        for (level, hash) in completed {
            if level % TILE_LEVELS == 0 {
                self.0
                    .entry(level / TILE_LEVELS)
                    .or_default()
                    .hashes
                    .push(hash);
            }
        }
    }
}
