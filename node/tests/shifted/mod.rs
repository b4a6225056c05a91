//! The real world with a wall clock that can be put forward, the same for all nodes of a test, and a
//! disk that says how much is free.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use candor_ledger::time::Micros;
use candor_node::env::real::{RealDisk, RealEnv};
use candor_node::env::{DirEntry, Disk, Env, OpenMode, Stat, SyncCounts, Task};

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

/// [`RealEnv`] but for its wall clock and its free space.
#[derive(Clone)]
pub(crate) struct ShiftedEnv {
    real: RealEnv,
    disk: ShiftedDisk,
    ahead: Ahead,
}

/// [`RealDisk`] but for its free space.
#[derive(Clone)]
pub(crate) struct ShiftedDisk {
    real: RealDisk,
    free: Free,
}

impl ShiftedEnv {
    pub(crate) fn open(folder: &Path, ahead: &Ahead, free: &Free) -> io::Result<Self> {
        let real = RealEnv::open(folder)?;
        let disk = ShiftedDisk {
            real: real.disk().clone(),
            free: free.clone(),
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
    type File = <RealDisk as Disk>::File;
    type Lock = <RealDisk as Disk>::Lock;

    fn free_bytes(&self) -> io::Result<u64> {
        let free = self.free.0.load(Ordering::SeqCst);
        Ok(self.real.free_bytes()?.min(free))
    }

    fn open(&self, path: &str, mode: OpenMode) -> io::Result<Self::File> {
        self.real.open(path, mode)
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
