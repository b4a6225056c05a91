//! The folder of a store.

use std::io;
use std::path::PathBuf;

use super::store::KeepError;
use crate::env::Disk;

/// The folder within the node's that holds the folders of stores.
const FOLDER: &str = "state";

/// `state/<engine>.<number>`: the next number after each wipe, because a store that is open may
/// have threads of its own, which must not write into the folder of the next.
#[derive(Clone)]
pub(super) struct Folder<D> {
    disk: D,
    engine: &'static str,
}

impl<D: Disk> Folder<D> {
    /// The folder for an engine; `None` on a disk that is none of the operating system.
    pub(super) fn new(disk: &D, engine: &'static str) -> Option<Self> {
        disk.real_path(FOLDER)?;
        let disk = disk.clone();
        Some(Self { disk, engine })
    }

    /// The folder for an engine of a test, which opens its files on any disk.
    #[cfg(test)]
    pub(super) fn on(disk: &D, engine: &'static str) -> Self {
        let disk = disk.clone();
        Self { disk, engine }
    }

    /// Where the store lies; everything else in the folder is removed, another engine's included.
    pub(super) fn current(&self) -> Result<PathBuf, KeepError> {
        let none = || io::Error::other("the folder is none of the operating system");
        let path = self.settle(false).map(|path| self.disk.real_path(&path));
        let path = path.and_then(|path| path.ok_or_else(none));
        path.map_err(super::unreadable)
    }

    /// Deletes the store.
    pub(super) fn wipe(&self) -> Result<(), KeepError> {
        self.settle(true).map(drop).map_err(super::unreadable)
    }

    /// The folder within the node's, made if need be; all others are removed.
    pub(super) fn settle(&self, anew: bool) -> io::Result<String> {
        let disk = &self.disk;
        disk.create_dir_all(FOLDER)?;
        let found = disk.list(FOLDER)?;
        let number = |name: &str| {
            let (engine, number) = name.rsplit_once('.')?;
            let number: u64 = number.parse().ok()?;
            Some((engine == self.engine, number))
        };
        let numbers = found.iter().filter_map(|found| number(&found.name));
        let newest = numbers.max_by_key(|(_, number)| *number);
        let number = match newest {
            Some((true, number)) if !anew => number,
            Some((_, number)) => number.saturating_add(1),
            None => 1,
        };
        let name = format!("{}.{number}", self.engine);
        let path = format!("{FOLDER}/{name}");
        disk.create_dir_all(&path)?;
        for other in found.into_iter().filter(|found| found.name != name) {
            let path = format!("{FOLDER}/{}", other.name);
            if other.is_dir {
                disk.remove_dir_all(&path)?;
            } else {
                disk.remove_file(&path)?;
            }
        }
        Ok(path)
    }
}
