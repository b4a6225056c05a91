//! The content of a simulated disk, and the operations that change it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use super::SECTOR_BYTES;
use crate::env::{about, parts, split};

/// What a name stands for, for as long as the disk exists; never used twice.
pub(super) type Inode = u64;

/// The folder itself.
pub(super) const ROOT: Inode = 0;

/// Files and directories by inode, names apart from content as on a real disk: content may be
/// durable under a name that is not, and the other way round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Image {
    pub(super) files: BTreeMap<Inode, File>,
    pub(super) dirs: BTreeMap<Inode, BTreeMap<String, Inode>>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct File {
    pub(super) bytes: Vec<u8>,
    pub(super) mode: u32,
}

/// One change. Applying it never fails, so that any subset of a history can be applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Op {
    MakeDir {
        dir: Inode,
        name: String,
        inode: Inode,
    },
    MakeFile {
        dir: Inode,
        name: String,
        inode: Inode,
        mode: u32,
    },
    Rename {
        from: (Inode, String),
        to: (Inode, String),
        inode: Inode,
        /// Of a file; a directory has none. A crash may keep this and lose the making.
        mode: Option<u32>,
    },
    SetLen {
        inode: Inode,
        len: usize,
    },
    Unlink {
        dir: Inode,
        name: String,
    },
    Write {
        inode: Inode,
        offset: usize,
        bytes: Vec<u8>,
    },
}

/// Which part of a write reached the disk when the power went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tear {
    /// The first bytes are new, the rest of their sector is garbage, and so is what that sector
    /// held before this write; later sectors are old.
    Garbage(usize),
    /// The first bytes are new, all others old; at a sector boundary this is an orderly tear.
    Head(usize),
    /// The file has its new length, but the new bytes are zeros.
    Length,
    /// Of the write's sectors, those whose bit is set arrived (bit 0 the first; from 64 on, none).
    Sectors(u64),
    /// The bytes from this one on are new, those before old.
    Tail(usize),
}

impl Image {
    pub(super) fn empty() -> Self {
        Self {
            files: BTreeMap::new(),
            dirs: BTreeMap::from([(ROOT, BTreeMap::new())]),
        }
    }

    pub(super) fn apply(&mut self, op: &Op) {
        match op {
            Op::MakeDir { dir, name, inode } => {
                self.dirs.entry(*inode).or_default();
                self.link(*dir, name, *inode);
            }
            Op::MakeFile {
                dir,
                name,
                inode,
                mode,
            } => {
                self.files.entry(*inode).or_default().mode = *mode;
                self.link(*dir, name, *inode);
            }
            Op::Rename {
                from,
                to,
                inode,
                mode,
            } => {
                self.unlink(from.0, &from.1);
                self.link(to.0, &to.1, *inode);
                match mode {
                    Some(mode) => self.files.entry(*inode).or_default().mode = *mode,
                    None => drop(self.dirs.entry(*inode).or_default()),
                }
            }
            Op::SetLen { inode, len } => {
                self.files.entry(*inode).or_default().bytes.resize(*len, 0);
            }
            Op::Unlink { dir, name } => self.unlink(*dir, name),
            Op::Write {
                inode,
                offset,
                bytes,
            } => self.write(*inode, *offset, bytes),
        }
    }

    /// Applies the part of a write that a tear leaves; other operations are lost whole.
    pub(super) fn apply_torn(&mut self, op: &Op, tear: Tear) {
        let Op::Write {
            inode,
            offset,
            bytes,
        } = op
        else {
            return;
        };
        let (inode, offset) = (*inode, *offset);
        match tear {
            Tear::Garbage(kept) => {
                self.write_part(inode, offset, bytes, 0, kept);
                self.garble_sector(inode, offset + kept.min(bytes.len()), offset + bytes.len());
            }
            Tear::Head(kept) => self.write_part(inode, offset, bytes, 0, kept),
            Tear::Length => self.grow(inode, offset + bytes.len()),
            Tear::Sectors(set) => {
                for (from, to) in sectors(offset, bytes.len())
                    .zip(0_u32..64)
                    .filter_map(|(range, bit)| (set >> bit & 1 == 1).then_some(range))
                {
                    self.write_part(inode, offset, bytes, from, to);
                }
            }
            Tear::Tail(from) => self.write_part(inode, offset, bytes, from, bytes.len()),
        }
    }

    /// Forgets what no name leads to.
    pub(super) fn drop_unreachable(&mut self) {
        let mut reached = BTreeSet::from([ROOT]);
        let mut open = vec![ROOT];
        while let Some(dir) = open.pop() {
            for inode in self.dirs.get(&dir).into_iter().flat_map(BTreeMap::values) {
                if reached.insert(*inode) {
                    open.push(*inode);
                }
            }
        }
        self.files.retain(|inode, _| reached.contains(inode));
        self.dirs.retain(|inode, _| reached.contains(inode));
    }

    fn link(&mut self, dir: Inode, name: &str, inode: Inode) {
        self.dirs
            .entry(dir)
            .or_default()
            .insert(name.to_owned(), inode);
    }

    fn unlink(&mut self, dir: Inode, name: &str) {
        if let Some(names) = self.dirs.get_mut(&dir) {
            names.remove(name);
        }
    }

    fn grow(&mut self, inode: Inode, len: usize) {
        let held = &mut self.files.entry(inode).or_default().bytes;
        if held.len() < len {
            held.resize(len, 0);
        }
    }

    fn write(&mut self, inode: Inode, offset: usize, bytes: &[u8]) {
        self.grow(inode, offset + bytes.len());
        let held = self
            .files
            .get_mut(&inode)
            .and_then(|file| file.bytes.get_mut(offset..));
        for (old, new) in held.into_iter().flatten().zip(bytes) {
            *old = *new;
        }
    }

    fn write_part(&mut self, inode: Inode, offset: usize, bytes: &[u8], from: usize, to: usize) {
        if let Some(part) = bytes
            .get(from..to.min(bytes.len()))
            .filter(|part| !part.is_empty())
        {
            self.write(inode, offset + from, part);
        }
    }

    /// Garbage over the sector that holds `at`, up to the end of file or write.
    fn garble_sector(&mut self, inode: Inode, at: usize, write_end: usize) {
        let start = at - at % SECTOR_BYTES;
        let held = self.files.get(&inode).map_or(0, |file| file.bytes.len());
        let end = (start + SECTOR_BYTES).min(held.max(write_end));
        let garbage: Vec<u8> = (start..end).map(garbage_at).collect();
        if !garbage.is_empty() {
            self.write(inode, start, &garbage);
        }
    }
}

impl Image {
    pub(super) fn entry(&self, dir: Inode, name: &str) -> Option<Inode> {
        self.dirs.get(&dir)?.get(name).copied()
    }

    pub(super) fn find(&self, path: &str) -> io::Result<Option<Inode>> {
        let parts = parts(path)?;
        Ok(parts
            .into_iter()
            .try_fold(ROOT, |dir, part| self.entry(dir, part)))
    }

    pub(super) fn file(&self, path: &str) -> io::Result<Inode> {
        let found = self
            .find(path)?
            .ok_or_else(|| about(path, &io::ErrorKind::NotFound.into()))?;
        let is_file = self.files.contains_key(&found);
        is_file
            .then_some(found)
            .ok_or_else(|| about(path, &io::ErrorKind::IsADirectory.into()))
    }

    pub(super) fn dir(&self, path: &str) -> io::Result<Inode> {
        let found = self
            .find(path)?
            .ok_or_else(|| about(path, &io::ErrorKind::NotFound.into()))?;
        let is_dir = self.dirs.contains_key(&found);
        is_dir
            .then_some(found)
            .ok_or_else(|| about(path, &io::ErrorKind::NotADirectory.into()))
    }

    /// The directory that holds, or would hold, the last part of a path.
    pub(super) fn place(&self, path: &str) -> io::Result<(Inode, String)> {
        let (dir, name) = split(path);
        if name.is_empty() {
            return Err(about(path, &io::ErrorKind::InvalidInput.into()));
        }
        parts(path)?;
        Ok((self.dir(dir)?, name.to_owned()))
    }

    pub(super) fn byte(&mut self, inode: Inode, offset: usize) -> Option<&mut u8> {
        self.files.get_mut(&inode)?.bytes.get_mut(offset)
    }
}

impl Op {
    pub(super) fn touches(&self, inode: Inode) -> bool {
        self.touches_dir(inode) || self.touches_file(inode)
    }

    pub(super) fn touches_dir(&self, inode: Inode) -> bool {
        match self {
            Self::MakeDir { dir, .. } | Self::MakeFile { dir, .. } | Self::Unlink { dir, .. } => {
                *dir == inode
            }
            Self::Rename { from, to, .. } => from.0 == inode || to.0 == inode,
            Self::SetLen { .. } | Self::Write { .. } => false,
        }
    }

    pub(super) fn touches_file(&self, file: Inode) -> bool {
        match self {
            Self::SetLen { inode, .. } | Self::Write { inode, .. } => *inode == file,
            _ => false,
        }
    }
}

/// The sectors that a write touches, as ranges of the write's own bytes.
fn sectors(offset: usize, len: usize) -> impl Iterator<Item = (usize, usize)> {
    let mut from = 0;
    std::iter::from_fn(move || {
        let to = (from + SECTOR_BYTES - (offset + from) % SECTOR_BYTES).min(len);
        let sector = (from, to);
        from = to;
        (sector.0 < sector.1).then_some(sector)
    })
}

/// A byte that looks like nothing the node writes, the same at every run.
fn garbage_at(offset: usize) -> u8 {
    let [.., byte] = (offset.wrapping_mul(0x9e37) ^ 0xa5).to_be_bytes();
    byte | 1
}
