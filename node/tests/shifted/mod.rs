//! The real world with a wall clock that can be put forward, the same for all nodes of a test, and a
//! disk that says how much is free and how long a sync takes.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use candor_ledger::time::Micros;
use candor_node::env::real::{RealDisk, RealEnv, RealFile};
use candor_node::env::{DirEntry, Disk, DiskFile, Env, OpenMode, Stat, SyncCounts, Task};

/// How far the clocks of a test's nodes are ahead of this machine's.
#[derive(Clone, Default)]
pub(crate) struct Ahead(Arc<AtomicU64>);

impl Ahead {
    pub(crate) fn advance(&self, by: Duration) {
        let by = u64::try_from(by.as_micros()).unwrap();
        self.0.fetch_add(by, Ordering::SeqCst);
    }
}

/// Bytes that a node's disk says are free.
#[derive(Clone)]
pub(crate) struct Free(Arc<AtomicU64>);

impl Default for Free {
    fn default() -> Self {
        Self(Arc::new(AtomicU64::new(u64::MAX)))
    }
}

impl Free {
    pub(crate) fn set(&self, bytes: u64) {
        self.0.store(bytes, Ordering::SeqCst);
    }
}

/// How a node's disk syncs files.
#[derive(Clone, Default)]
pub(crate) struct Syncs(Arc<(Mutex<Sync>, Condvar)>);

#[derive(Clone, Copy, Default)]
enum Sync {
    #[default]
    AtOnce,
    After(Duration),
    Never,
}

impl Syncs {
    pub(crate) fn at_once(&self) {
        self.set(Sync::AtOnce);
    }

    pub(crate) fn take(&self, time: Duration) {
        self.set(Sync::After(time));
    }

    /// No sync ends before something else is said.
    pub(crate) fn stall(&self) {
        self.set(Sync::Never);
    }

    fn set(&self, sync: Sync) {
        *self.0.0.lock().unwrap() = sync;
        self.0.1.notify_all();
    }

    fn wait(&self) {
        let (now, changed) = &*self.0;
        let stalled = |sync: &mut Sync| matches!(sync, Sync::Never);
        let sync = *changed.wait_while(now.lock().unwrap(), stalled).unwrap();
        if let Sync::After(time) = sync {
            std::thread::sleep(time);
        }
    }
}

/// [`RealEnv`] but for its wall clock, its free space and its syncs.
#[derive(Clone)]
pub(crate) struct ShiftedEnv {
    real: RealEnv,
    disk: ShiftedDisk,
    ahead: Ahead,
}

/// [`RealDisk`] but for its free space and its syncs.
#[derive(Clone)]
pub(crate) struct ShiftedDisk {
    real: RealDisk,
    free: Free,
    syncs: Syncs,
}

/// [`RealFile`] but for its syncs.
pub(crate) struct ShiftedFile {
    real: RealFile,
    syncs: Syncs,
}

impl ShiftedEnv {
    pub(crate) fn open(
        folder: &Path,
        ahead: &Ahead,
        free: &Free,
        syncs: &Syncs,
    ) -> io::Result<Self> {
        let real = RealEnv::open(folder)?;
        let disk = ShiftedDisk {
            real: real.disk().clone(),
            free: free.clone(),
            syncs: syncs.clone(),
        };
        let ahead = ahead.clone();
        Ok(Self { real, disk, ahead })
    }
}

impl Env for ShiftedEnv {
    type Disk = ShiftedDisk;
    type Stream = <RealEnv as Env>::Stream;
    type Listener = <RealEnv as Env>::Listener;

    fn wall(&self) -> Micros {
        Micros(self.real.wall().0 + self.ahead.0.load(Ordering::SeqCst))
    }

    fn monotonic(&self) -> tokio::time::Instant {
        self.real.monotonic()
    }

    fn fill_random(&self, buf: &mut [u8]) {
        self.real.fill_random(buf);
    }

    fn disk(&self) -> &ShiftedDisk {
        &self.disk
    }

    async fn listen(&self, addr: SocketAddr) -> io::Result<Self::Listener> {
        self.real.listen(addr).await
    }

    async fn connect(&self, addr: &str) -> io::Result<Self::Stream> {
        self.real.connect(addr).await
    }

    fn spawn(&self, name: &'static str, future: impl Future<Output = ()> + Send + 'static) -> Task {
        self.real.spawn(name, future)
    }

    fn lane<F>(&self, name: &'static str, make: impl FnOnce() -> F + Send + 'static) -> Task
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.real.lane(name, make)
    }

    fn exit(&self, code: i32, why: &str) -> ! {
        self.real.exit(code, why)
    }
}

impl Disk for ShiftedDisk {
    type File = ShiftedFile;
    type Lock = <RealDisk as Disk>::Lock;

    fn free_bytes(&self) -> io::Result<u64> {
        let free = self.free.0.load(Ordering::SeqCst);
        Ok(self.real.free_bytes()?.min(free))
    }

    fn open(&self, path: &str, mode: OpenMode) -> io::Result<Self::File> {
        let (real, syncs) = (self.real.open(path, mode)?, self.syncs.clone());
        Ok(ShiftedFile { real, syncs })
    }

    fn create_dir_all(&self, path: &str) -> io::Result<()> {
        self.real.create_dir_all(path)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.real.rename(from, to)
    }

    fn remove_file(&self, path: &str) -> io::Result<()> {
        self.real.remove_file(path)
    }

    fn remove_dir_all(&self, path: &str) -> io::Result<()> {
        self.real.remove_dir_all(path)
    }

    fn list(&self, dir: &str) -> io::Result<Vec<DirEntry>> {
        self.real.list(dir)
    }

    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        self.real.sync_dir(dir)
    }

    fn stat(&self, path: &str) -> io::Result<Option<Stat>> {
        self.real.stat(path)
    }

    fn read(&self, path: &str) -> io::Result<Option<Vec<u8>>> {
        self.real.read(path)
    }

    fn write_durable(&self, path: &str, bytes: &[u8], mode: u32) -> io::Result<()> {
        self.real.write_durable(path, bytes, mode)
    }

    fn lock(&self, path: &str) -> io::Result<Self::Lock> {
        self.real.lock(path)
    }

    fn real_path(&self, path: &str) -> Option<PathBuf> {
        self.real.real_path(path)
    }

    fn syncs(&self) -> SyncCounts {
        self.real.syncs()
    }
}

impl DiskFile for ShiftedFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.real.read_at(buf, offset)
    }

    fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.real.write_all_at(buf, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.syncs.wait();
        self.real.sync_data()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.real.set_len(len)
    }

    fn len(&self) -> io::Result<u64> {
        self.real.len()
    }
}
