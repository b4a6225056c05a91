//! Files of the harness beside the nodes' folders: what a cut must lose, and what it must not.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;

/// Bytes of each control file.
const LEN: usize = 256 << 10;

/// What became of three files that were written before a cut.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Controls {
    number: u32,
    /// Written and synced, with its folder: it is whole.
    pub synced: bool,
    /// Written and not synced: it is gone, or shorter.
    pub unsynced_lost: bool,
    /// Synced, then written to again without a sync: the new bytes are gone, the old ones whole.
    pub tail_lost: bool,
}

impl Controls {
    /// Writes and syncs what a cut must not lose.
    pub(super) fn sync(root: &Path, number: u32) -> anyhow::Result<Self> {
        let [synced, _, tail] = names(number);
        for name in [synced, tail] {
            let mut file = File::create(root.join(name))?;
            file.write_all(&bytes(number))?;
            file.sync_all()?;
        }
        File::open(root)?.sync_all()?;
        Ok(Self {
            number,
            ..Self::default()
        })
    }

    /// Writes what a cut must lose; the power goes right behind it.
    pub(super) fn write(self, root: &Path) -> anyhow::Result<()> {
        let [_, unsynced, tail] = names(self.number);
        fs::write(root.join(unsynced), bytes(self.number))?;
        let mut tail = File::options().append(true).open(root.join(tail))?;
        Ok(tail.write_all(&bytes(self.number))?)
    }

    /// What is left of them.
    pub(super) fn found(mut self, root: &Path) -> Self {
        let bytes = bytes(self.number);
        let [synced, unsynced, tail] = names(self.number).map(|name| root.join(name));
        let tail = fs::read(tail).unwrap_or_default();
        self.synced = fs::read(synced).unwrap_or_default() == bytes && tail.starts_with(&bytes);
        self.unsynced_lost = fs::read(unsynced).unwrap_or_default() != bytes;
        self.tail_lost = tail == bytes;
        for name in names(self.number) {
            let _ = fs::remove_file(root.join(name));
        }
        self
    }
}

fn names(number: u32) -> [String; 3] {
    ["synced", "unsynced", "tail"].map(|what| format!("{what}-{number}"))
}

fn bytes(number: u32) -> Vec<u8> {
    let block = number.to_le_bytes();
    block
        .iter()
        .map(|byte| byte ^ 0x5a)
        .cycle()
        .take(LEN)
        .collect()
}
