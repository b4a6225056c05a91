//! The last step, at a start: the node's ledger grows to the snapshot, or stays as it was.

use crate::consensus::begin_log_after;
use crate::env::{Disk, Env, MODE_PUBLIC};
use crate::store::{InstallError, Ledger, Opened, StoreError, Target};
use crate::wal::{Recovered, Wal};

use super::values::WANTED;
use super::{FILE, Manifest, incoming};

/// Grows a ledger that was just opened to the snapshot that waits, if one does.
///
/// The one step that counts is the marker at (j, s); before it a start begins here again, behind it
/// what is left to do is [`settle`].
///
/// # Errors
/// The disk's. What was fetched and turns out not to be what was sealed is thrown away instead.
pub fn grow<D: Disk>(
    disk: &D,
    opened: Opened<D>,
) -> Result<(Opened<D>, Option<Manifest>), StoreError> {
    let Some(manifest) = Manifest::load(disk, incoming::INSTALL)? else {
        return Ok((opened, None));
    };
    let Some(checkpoint) = manifest.checkpoint() else {
        return Ok((opened, None));
    };
    if opened.marker.last_applied >= Some(manifest.at) {
        return Ok((opened, Some(manifest)));
    }
    // It may be the word of a process that died before it was durable; lost behind the marker, nobody
    // would know that the log must begin anew.
    disk.sync_dir(incoming::FOLDER)?;
    disk.sync_dir("")?;
    let target = Target {
        at: manifest.at,
        membership: manifest.membership.clone(),
        size: manifest.size,
        root: checkpoint.root,
        head: checkpoint.chain,
        sealed: manifest.sealed,
        kept: &manifest.kept,
    };
    let from = opened.marker.size;
    let mut lines = incoming::lines_from(disk, candor_ledger::ids::Seq(from.0))?;
    let note = |size| incoming::note(disk, size);
    match opened.grow_to(&target, &mut lines, &note) {
        Ok(opened) => {
            tracing::info!(%from, to = %manifest.size, at = %manifest.at, "a snapshot is installed");
            Ok((opened, Some(manifest)))
        }
        Err(InstallError::Store(problem)) => Err(problem),
        Err(problem @ InstallError::Differs(_)) => {
            tracing::error!(%problem, "a snapshot is not installed; it will be fetched again");
            drop(lines);
            incoming::clear(disk)?;
            Ok((Ledger::open(disk.clone())?, None))
        }
    }
}

/// Puts the Raft log behind an installed snapshot and forgets what was fetched.
///
/// # Errors
/// The disk's.
pub async fn settle<E: Env>(
    env: &E,
    wal: &Wal<E::Disk>,
    recovered: &mut Recovered,
    manifest: &Manifest,
) -> std::io::Result<()> {
    // It may have gone on by its log while it fetched, and purged up to a later one.
    if Manifest::load(env.disk(), FILE)?.is_none_or(|held| held.at < manifest.at) {
        manifest.store(env.disk(), FILE)?;
    }
    begin_log_after(wal, recovered, manifest.at).await?;
    env.disk().write_durable(WANTED, b"", MODE_PUBLIC)?;
    incoming::clear(env.disk())
}
