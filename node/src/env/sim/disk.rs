//! A disk in memory that loses, tears and damages exactly what a test chooses.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};

use super::history::History;
use super::image::{Image, Inode, Op, ROOT, Tear};
use super::state::{Faults, State, Step};
use crate::env::{
    DirEntry, Disk, DiskFile, MODE_PUBLIC, OpenMode, Stat, SyncCounts, about, parts, split,
};

/// A simulated disk; a clone is another handle on the same one, [`SimDisk::fork`] copies it.
///
/// It holds what is durable and, in order, every operation not yet synced. Content becomes durable
/// by `sync_data` of its file and names by `sync_dir` of their directory, never one by the other.
#[derive(Clone, Debug)]
pub struct SimDisk {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// Held for the length of one call, never across a wait but that of `released`.
    state: Mutex<State>,
    /// Told when held syncs may go on.
    released: Condvar,
}

/// What survives a crash of the operations that were not synced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Crash {
    /// Nothing.
    DropAll,
    /// The first so many.
    Prefix(usize),
    /// Each by the throw of a coin, every fourth write torn as well.
    Seeded(u64),
    /// Those at these places of [`SimDisk::pending`], in their order.
    Subset(BTreeSet<usize>),
    /// The first so many, and a part of the one behind them, if it is a write.
    Torn {
        /// How many survive whole.
        kept: usize,
        /// What is left of the next.
        tear: Tear,
    },
}

/// An operation that is not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pending {
    /// A file's length.
    Length,
    /// A name made, changed or removed.
    Name,
    /// So many bytes written at an offset.
    Write {
        /// Where in the file.
        offset: usize,
        /// How many bytes.
        len: usize,
    },
}

impl Default for SimDisk {
    fn default() -> Self {
        Self::new()
    }
}

impl SimDisk {
    /// An empty disk.
    pub fn new() -> Self {
        Self::with(Image::empty(), Image::empty(), Vec::new())
    }

    /// Another disk with the same content and unsynced operations, no faults and no history.
    #[must_use]
    pub fn fork(&self) -> Self {
        let state = self.state();
        let mut fork = state.clone();
        drop(state);
        fork.history = None;
        fork.faults = Faults::default();
        fork.locks = BTreeSet::new();
        Self {
            shared: Arc::new(Shared {
                state: Mutex::new(fork),
                released: Condvar::new(),
            }),
        }
    }

    /// The power goes: what survives is durable now, and every open file and lock is dead.
    pub fn crash(&self, crash: &Crash) {
        let mut state = self.state();
        let mut image = state.durable.clone();
        survive(&mut image, &state.pending, crash);
        image.drop_unreachable();
        state.live = image.clone();
        state.durable = image;
        state.pending.clear();
        state.locks.clear();
        state.incarnation += 1;
        state.history = None;
    }

    /// The process dies and the machine does not: what was written stays visible and unsynced,
    /// and every open file and lock is dead.
    pub fn kill(&self) {
        let mut state = self.state();
        state.locks.clear();
        state.incarnation += 1;
        state.faults = Faults::default();
    }

    /// The operations that a crash would put at risk, in order.
    pub fn pending(&self) -> Vec<Pending> {
        self.state().pending.iter().map(Pending::of).collect()
    }

    /// Starts the history anew, here.
    pub fn record(&self) {
        let mut state = self.state();
        state.history = Some(History {
            durable: state.durable.clone(),
            live: state.live.clone(),
            pending: state.pending.clone(),
            steps: Vec::new(),
        });
    }

    /// The history since [`SimDisk::record`]; `None` without one, or after a crash.
    pub fn history(&self) -> Option<History> {
        self.state().history.clone()
    }

    /// Steps recorded so far; 0 without a recording.
    pub fn history_len(&self) -> usize {
        self.state().history.as_ref().map_or(0, History::len)
    }

    /// Lets `successes` more syncs succeed and the one after fail. The content that one should have made
    /// durable stays visible to the process and is forgotten by the disk, as Linux does; names stay at risk.
    pub fn fail_sync_after(&self, successes: u64) {
        self.state().faults.sync_fails_after = Some(successes);
    }

    /// Makes every sync wait, blocking its thread, until [`SimDisk::release_syncs`].
    pub fn hold_syncs(&self) {
        self.state().faults.syncs_held = true;
    }

    /// Lets held syncs go on.
    pub fn release_syncs(&self) {
        self.state().faults.syncs_held = false;
        self.shared.released.notify_all();
    }

    /// Lets files grow by so many more bytes in all; a write that does not fit is cut short and
    /// fails with [`io::ErrorKind::StorageFull`]. `None` frees the disk.
    pub fn limit_space(&self, bytes: Option<usize>) {
        self.state().faults.space_left = bytes;
    }

    /// Makes reads that touch this byte fail.
    ///
    /// # Errors
    /// When there is no such file.
    pub fn damage_read(&self, path: &str, offset: usize) -> io::Result<()> {
        let mut state = self.state();
        let inode = state.live.file(path)?;
        state.faults.unreadable.insert((inode, offset));
        Ok(())
    }

    /// Inverts one bit of a byte, in the durable bytes too: silent damage.
    ///
    /// # Errors
    /// When there is no such file, or it is shorter.
    pub fn flip_bit(&self, path: &str, offset: usize, bit: u8) -> io::Result<()> {
        self.spoil(path, offset, |_, byte| byte ^ 1 << (bit % 8), 1)
    }

    /// Puts other bytes in the place of some, in the durable bytes too: silent damage, as by a sector that was
    /// written elsewhere, or never. What lies behind the end of the file is left out.
    ///
    /// # Errors
    /// When there is no such file, or it ends before the first byte.
    pub fn overwrite(&self, path: &str, offset: usize, bytes: &[u8]) -> io::Result<()> {
        let other = |at: usize, byte| bytes.get(at).copied().unwrap_or(byte);
        self.spoil(path, offset, other, bytes.len())
    }

    fn spoil(
        &self,
        path: &str,
        offset: usize,
        other: impl Fn(usize, u8) -> u8,
        len: usize,
    ) -> io::Result<()> {
        let mut state = self.state();
        let inode = state.live.file(path)?;
        let State { live, durable, .. } = &mut *state;
        if live.byte(inode, offset).is_none() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        for image in [live, durable] {
            for at in 0..len {
                if let Some(byte) = image.byte(inode, offset + at) {
                    *byte = other(at, *byte);
                }
            }
        }
        Ok(())
    }

    pub(super) fn with(durable: Image, live: Image, pending: Vec<Op>) -> Self {
        let known = live.files.keys().chain(live.dirs.keys()).max().copied();
        let state = State {
            inode_next: known.unwrap_or(ROOT) + 1,
            live,
            durable,
            pending,
            history: None,
            faults: Faults::default(),
            incarnation: 0,
            locks: BTreeSet::new(),
            syncs: SyncCounts::default(),
        };
        Self {
            shared: Arc::new(Shared {
                state: Mutex::new(state),
                released: Condvar::new(),
            }),
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        // No call leaves the state half changed, so a panic elsewhere does not spoil it.
        self.shared
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The state, once no sync is held.
    fn state_for_sync(&self) -> MutexGuard<'_, State> {
        let held = |state: &mut State| state.faults.syncs_held;
        let waited = self.shared.released.wait_while(self.state(), held);
        waited.unwrap_or_else(PoisonError::into_inner)
    }

    fn make(&self, path: &str, mode: u32) -> io::Result<SimFile> {
        let mut state = self.state();
        let inode = state.make_file(path, mode)?;
        Ok(self.opened(&state, inode, path))
    }

    fn opened(&self, state: &State, inode: Inode, path: &str) -> SimFile {
        let (disk, path) = (self.clone(), path.into());
        SimFile {
            disk,
            inode,
            path,
            incarnation: state.incarnation,
        }
    }
}

impl Disk for SimDisk {
    type File = SimFile;
    type Lock = SimLock;

    fn open(&self, path: &str, mode: OpenMode) -> io::Result<SimFile> {
        let mut state = self.state();
        let inode = match (state.live.find(path)?, mode) {
            (Some(_), OpenMode::CreateNew) => {
                return Err(about(path, &io::ErrorKind::AlreadyExists.into()));
            }
            (None, OpenMode::Create | OpenMode::CreateNew) => state.make_file(path, MODE_PUBLIC)?,
            _ => state.live.file(path)?,
        };
        Ok(self.opened(&state, inode, path))
    }

    fn create_dir_all(&self, path: &str) -> io::Result<()> {
        let mut state = self.state();
        let mut dir = ROOT;
        for part in parts(path)? {
            dir = match state.live.entry(dir, part) {
                Some(found) if state.live.dirs.contains_key(&found) => found,
                Some(_) => return Err(about(path, &io::ErrorKind::NotADirectory.into())),
                None => {
                    let inode = state.inode();
                    state.does(Op::MakeDir {
                        dir,
                        name: part.to_owned(),
                        inode,
                    });
                    inode
                }
            };
        }
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state();
        let inode = state.live.find(from)?;
        let inode = inode.ok_or_else(|| about(from, &io::ErrorKind::NotFound.into()))?;
        let (from, to) = (state.live.place(from)?, state.live.place(to)?);
        let mode = state.live.files.get(&inode).map(|file| file.mode);
        state.does(Op::Rename {
            from,
            to,
            inode,
            mode,
        });
        Ok(())
    }

    fn remove_file(&self, path: &str) -> io::Result<()> {
        let mut state = self.state();
        state.live.file(path)?;
        let (dir, name) = state.live.place(path)?;
        state.does(Op::Unlink { dir, name });
        Ok(())
    }

    fn remove_dir_all(&self, path: &str) -> io::Result<()> {
        let mut state = self.state();
        let top = state.live.dir(path)?;
        let mut open = vec![top];
        // As on a real disk, a crash in the middle leaves some of it.
        while let Some(dir) = open.pop() {
            for (name, inode) in state.live.dirs.get(&dir).cloned().unwrap_or_default() {
                if state.live.dirs.contains_key(&inode) {
                    open.push(inode);
                }
                state.does(Op::Unlink { dir, name });
            }
        }
        if top != ROOT {
            let (dir, name) = state.live.place(path)?;
            state.does(Op::Unlink { dir, name });
        }
        Ok(())
    }

    fn list(&self, dir: &str) -> io::Result<Vec<DirEntry>> {
        let state = self.state();
        let inode = state.live.dir(dir)?;
        let names = state.live.dirs.get(&inode).into_iter().flatten();
        let entry = |(name, inode): (&String, &Inode)| {
            let file = state.live.files.get(inode);
            let len = file.map_or(0, |file| length(file.bytes.len()));
            DirEntry {
                name: name.clone(),
                len,
                is_dir: file.is_none(),
            }
        };
        Ok(names.map(entry).collect())
    }

    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        let mut state = self.state_for_sync();
        let inode = state.live.dir(dir)?;
        state.syncs.dirs += 1;
        let synced = |op: &Op| op.touches_dir(inode);
        // Names are metadata: a journal keeps them, or goes down with the whole file system.
        state.sync(Step::SyncedDir(inode), None, synced)
    }

    fn stat(&self, path: &str) -> io::Result<Option<Stat>> {
        let state = self.state();
        let Some(inode) = state.live.find(path)? else {
            return Ok(None);
        };
        Ok(Some(match state.live.files.get(&inode) {
            Some(file) => Stat {
                len: length(file.bytes.len()),
                mode: file.mode,
                is_dir: false,
            },
            None => Stat {
                len: 0,
                mode: 0o755,
                is_dir: true,
            },
        }))
    }

    fn read(&self, path: &str) -> io::Result<Option<Vec<u8>>> {
        let found = self.state().live.find(path)?;
        if found.is_none() {
            return Ok(None);
        }
        let file = self.open(path, OpenMode::Read)?;
        let mut bytes = vec![0; usize::try_from(file.len()?).map_err(io::Error::other)?];
        file.read_exact_at(&mut bytes, 0)?;
        Ok(Some(bytes))
    }

    fn write_durable(&self, path: &str, bytes: &[u8], mode: u32) -> io::Result<()> {
        let temporary = format!("{path}.tmp");
        if self.stat(&temporary)?.is_some() {
            self.remove_file(&temporary)?;
        }
        let file = self.make(&temporary, mode)?;
        file.write_all_at(bytes, 0)?;
        file.sync_data()?;
        self.rename(&temporary, path)?;
        self.sync_dir(split(path).0)
    }

    fn lock(&self, path: &str) -> io::Result<SimLock> {
        self.open(path, OpenMode::Create)?;
        let mut state = self.state();
        if !state.locks.insert(path.to_owned()) {
            return Err(about(path, &io::ErrorKind::WouldBlock.into()));
        }
        let (disk, path) = (self.clone(), path.to_owned());
        Ok(SimLock {
            disk,
            path,
            incarnation: state.incarnation,
        })
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let left = self.state().faults.space_left;
        Ok(left.map_or(u64::MAX, |left| u64::try_from(left).unwrap_or(u64::MAX)))
    }

    fn syncs(&self) -> SyncCounts {
        self.state().syncs
    }
}

/// Holds a simulated folder until dropped, or until the crash of its disk.
#[derive(Debug)]
pub struct SimLock {
    disk: SimDisk,
    path: String,
    incarnation: u64,
}

impl Drop for SimLock {
    fn drop(&mut self) {
        let mut state = self.disk.state();
        if state.incarnation == self.incarnation {
            state.locks.remove(&self.path);
        }
    }
}

/// An open file of a simulated disk.
#[derive(Debug)]
pub struct SimFile {
    disk: SimDisk,
    inode: Inode,
    path: Box<str>,
    incarnation: u64,
}

impl SimFile {
    fn alive<'a>(&self, state: MutexGuard<'a, State>) -> io::Result<MutexGuard<'a, State>> {
        if state.incarnation == self.incarnation {
            return Ok(state);
        }
        Err(io::Error::other(format!(
            "`{}` was open before the crash",
            self.path
        )))
    }
}

impl DiskFile for SimFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let state = self.alive(self.disk.state())?;
        let offset = position(offset)?;
        let bytes = state
            .live
            .files
            .get(&self.inode)
            .map_or(&[][..], |file| &file.bytes);
        let held = bytes.get(offset..).unwrap_or_default();
        let read = held.len().min(buf.len());
        let mut bad = state.faults.unreadable.range((self.inode, offset)..);
        if bad
            .next()
            .is_some_and(|(inode, at)| *inode == self.inode && *at < offset + read)
        {
            return Err(io::Error::other(format!(
                "`{}`: simulated read error",
                self.path
            )));
        }
        buf.iter_mut().zip(held).for_each(|(to, from)| *to = *from);
        Ok(read)
    }

    fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.alive(self.disk.state())?;
        let offset = position(offset)?;
        let held = state
            .live
            .files
            .get(&self.inode)
            .map_or(0, |file| file.bytes.len());
        let fits = state.take_space(offset, buf.len(), held);
        let bytes = buf.get(..fits).unwrap_or_default().to_vec();
        if !bytes.is_empty() {
            state.does(Op::Write {
                inode: self.inode,
                offset,
                bytes,
            });
        }
        if fits < buf.len() {
            return Err(about(&self.path, &io::ErrorKind::StorageFull.into()));
        }
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.alive(self.disk.state_for_sync())?;
        state.syncs.files += 1;
        let inode = self.inode;
        let synced = |op: &Op| op.touches_file(inode);
        state.sync(Step::SyncedFile(inode), Some(Step::Forgot(inode)), synced)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.alive(self.disk.state())?;
        let len = position(len)?;
        state.does(Op::SetLen {
            inode: self.inode,
            len,
        });
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        let state = self.alive(self.disk.state())?;
        Ok(state
            .live
            .files
            .get(&self.inode)
            .map_or(0, |file| length(file.bytes.len())))
    }
}

impl Pending {
    fn of(op: &Op) -> Self {
        match op {
            Op::SetLen { .. } => Self::Length,
            Op::Write { offset, bytes, .. } => Self::Write {
                offset: *offset,
                len: bytes.len(),
            },
            Op::MakeDir { .. } | Op::MakeFile { .. } | Op::Rename { .. } | Op::Unlink { .. } => {
                Self::Name
            }
        }
    }
}

fn survive(image: &mut Image, pending: &[Op], crash: &Crash) {
    match crash {
        Crash::DropAll => {}
        Crash::Prefix(kept) => pending.iter().take(*kept).for_each(|op| image.apply(op)),
        Crash::Seeded(seed) => {
            let mut rng = Xoshiro256PlusPlus::seed_from_u64(*seed);
            for op in pending {
                match rng.random_range(0..8_u8) {
                    0..=2 => image.apply(op),
                    3 => image.apply_torn(op, Tear::Sectors(rng.random())),
                    _ => {}
                }
            }
        }
        Crash::Subset(kept) => {
            let survivors = pending
                .iter()
                .enumerate()
                .filter(|(at, _)| kept.contains(at));
            survivors.for_each(|(_, op)| image.apply(op));
        }
        Crash::Torn { kept, tear } => {
            pending.iter().take(*kept).for_each(|op| image.apply(op));
            if let Some(op) = pending.get(*kept) {
                image.apply_torn(op, *tear);
            }
        }
    }
}

fn position(offset: u64) -> io::Result<usize> {
    usize::try_from(offset).map_err(io::Error::other)
}

fn length(len: usize) -> u64 {
    u64::try_from(len).expect("invariant: a length in memory fits 64 bits")
}
