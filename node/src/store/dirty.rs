//! Which files and directories were written since they were last made durable.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use super::locked;
use crate::env::{Disk, DiskFile};

/// Files and directories to sync before the next marker.
///
/// The writer notes a file AFTER writing to it and before the marker that counts those bytes is
/// drafted. So whatever a draft counts is either noted here when its marker is written, or has
/// been synced for an earlier one; a note that comes too late belongs to a later draft.
pub(super) struct Dirty<D: Disk>(Mutex<Noted<D::File>>);

/// What was noted.
pub(super) struct Noted<F> {
    files: BTreeMap<Arc<str>, Arc<F>>,
    dirs: BTreeSet<String>,
}

impl<F> Default for Noted<F> {
    fn default() -> Self {
        Self {
            files: BTreeMap::new(),
            dirs: BTreeSet::new(),
        }
    }
}

impl<D: Disk> Default for Dirty<D> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<D: Disk> Dirty<D> {
    /// Notes a file that has been written to.
    pub(super) fn file(&self, path: &Arc<str>, file: &Arc<D::File>) {
        let mut noted = locked(&self.0);
        if !noted.files.contains_key(path) {
            noted.files.insert(Arc::clone(path), Arc::clone(file));
        }
    }

    /// Notes a directory in which a name was made or removed.
    pub(super) fn dir(&self, path: &str) {
        let mut noted = locked(&self.0);
        if !noted.dirs.contains(path) {
            noted.dirs.insert(path.to_owned());
        }
    }

    /// Takes all notes; the caller syncs them or ends the process.
    pub(super) fn take(&self) -> Noted<D::File> {
        std::mem::take(&mut *locked(&self.0))
    }
}

impl<F: DiskFile> Noted<F> {
    /// Makes content durable first, then the names.
    pub(super) fn sync<D: Disk<File = F>>(self, disk: &D) -> std::io::Result<()> {
        for file in self.files.values() {
            file.sync_data()?;
        }
        for dir in &self.dirs {
            disk.sync_dir(dir)?;
        }
        Ok(())
    }
}
