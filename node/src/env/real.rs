//! The operating system as a node's world.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use rand::TryRng;
use rand::rngs::SysRng;
use tokio::net::{TcpListener, TcpStream};

use candor_ledger::time::Micros;

use super::{
    DirEntry, Disk, DiskFile, Env, Listener, OpenMode, Stat, SyncCounts, Task, about, parts, split,
};

/// The operating system, with one folder for the node's files.
#[derive(Clone, Debug)]
pub struct RealEnv {
    disk: RealDisk,
}

impl RealEnv {
    /// Uses a folder, made if need be.
    ///
    /// # Errors
    /// When it cannot be made or is not a folder.
    pub fn open(root: impl Into<PathBuf>) -> io::Result<Self> {
        Ok(Self {
            disk: RealDisk::open(root)?,
        })
    }
}

impl Env for RealEnv {
    type Disk = RealDisk;
    type Stream = TcpStream;
    type Listener = RealListener;

    fn wall(&self) -> Micros {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        // A clock before 1970 reads as 1970; the skew check then keeps the node from leading.
        let micros = since.map_or(0, |since| {
            u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
        });
        Micros(micros).min(Micros::MAX)
    }

    fn monotonic(&self) -> tokio::time::Instant {
        tokio::time::Instant::now()
    }

    fn fill_random(&self, buf: &mut [u8]) {
        SysRng
            .try_fill_bytes(buf)
            .expect("invariant: a started system has random bytes");
    }

    fn disk(&self) -> &RealDisk {
        &self.disk
    }

    async fn listen(&self, addr: SocketAddr) -> io::Result<RealListener> {
        let listener = TcpListener::bind(addr).await;
        Ok(RealListener(
            listener.map_err(|error| about(&addr.to_string(), &error))?,
        ))
    }

    async fn connect(&self, addr: &str) -> io::Result<TcpStream> {
        let stream = TcpStream::connect(addr)
            .await
            .map_err(|error| about(addr, &error))?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    fn spawn(&self, name: &'static str, future: impl Future<Output = ()> + Send + 'static) -> Task {
        let (task, run) = Task::bind(name, future);
        drop(tokio::spawn(run));
        task
    }

    fn lane<F>(&self, name: &'static str, make: impl FnOnce() -> F + Send + 'static) -> Task
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (task, run) = Task::bind(name, async move { make().await });
        let lane = move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime
                .expect("invariant: the process may open an event queue")
                .block_on(run);
        };
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(lane);
        drop(thread.expect("invariant: the process may start a thread"));
        task
    }

    fn exit(&self, code: i32, why: &str) -> ! {
        tracing::error!(code, why, "process ends");
        std::process::exit(code)
    }
}

/// A TCP socket that accepts connections.
#[derive(Debug)]
pub struct RealListener(TcpListener);

impl Listener for RealListener {
    type Stream = TcpStream;

    async fn accept(&mut self) -> io::Result<(TcpStream, SocketAddr)> {
        let (stream, peer) = self.0.accept().await?;
        stream.set_nodelay(true)?;
        Ok((stream, peer))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

/// A folder of the operating system.
#[derive(Clone, Debug)]
pub struct RealDisk {
    root: Arc<Path>,
    counters: Arc<Counters>,
}

#[derive(Debug, Default)]
struct Counters {
    files: AtomicU64,
    dirs: AtomicU64,
}

impl RealDisk {
    /// Uses a folder, made if need be.
    ///
    /// # Errors
    /// When it cannot be made or is not a folder.
    pub fn open(root: impl Into<PathBuf>) -> io::Result<Self> {
        let root = root.into();
        fs::create_dir_all(&root).map_err(|error| about(&root.to_string_lossy(), &error))?;
        Ok(Self {
            root: root.into(),
            counters: Arc::default(),
        })
    }

    /// The folder, for messages and for libraries that open files of their own.
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn at(&self, path: &str) -> io::Result<PathBuf> {
        let parts = parts(path)?;
        Ok(parts
            .into_iter()
            .fold(self.root.to_path_buf(), |at, part| at.join(part)))
    }

    fn file(&self, path: &str, options: &OpenOptions) -> io::Result<RealFile> {
        let file = options
            .open(self.at(path)?)
            .map_err(|error| about(path, &error))?;
        let counters = Arc::clone(&self.counters);
        Ok(RealFile {
            file,
            path: path.into(),
            counters,
        })
    }
}

impl Disk for RealDisk {
    type File = RealFile;
    type Lock = RealLock;

    fn open(&self, path: &str, mode: OpenMode) -> io::Result<RealFile> {
        let mut options = OpenOptions::new();
        options.read(true).write(mode != OpenMode::Read);
        options
            .create(mode == OpenMode::Create)
            .create_new(mode == OpenMode::CreateNew);
        self.file(path, &options)
    }

    fn create_dir_all(&self, path: &str) -> io::Result<()> {
        fs::create_dir_all(self.at(path)?).map_err(|error| about(path, &error))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.at(from)?, self.at(to)?).map_err(|error| about(from, &error))
    }

    fn remove_file(&self, path: &str) -> io::Result<()> {
        fs::remove_file(self.at(path)?).map_err(|error| about(path, &error))
    }

    fn remove_dir_all(&self, path: &str) -> io::Result<()> {
        fs::remove_dir_all(self.at(path)?).map_err(|error| about(path, &error))
    }

    fn list(&self, dir: &str) -> io::Result<Vec<DirEntry>> {
        let found = fs::read_dir(self.at(dir)?).map_err(|error| about(dir, &error))?;
        let mut entries = found
            .map(|entry| dir_entry(&entry?))
            .collect::<io::Result<Vec<_>>>()?;
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        self.counters.dirs.fetch_add(1, Ordering::Relaxed);
        let synced = File::open(self.at(dir)?).and_then(|open| open.sync_all());
        synced.map_err(|error| about(dir, &error))
    }

    fn stat(&self, path: &str) -> io::Result<Option<Stat>> {
        let Some(found) = absent_is_none(fs::metadata(self.at(path)?), path)? else {
            return Ok(None);
        };
        let is_dir = found.is_dir();
        let len = if is_dir { 0 } else { found.len() };
        Ok(Some(Stat {
            len,
            mode: found.permissions().mode() & 0o777,
            is_dir,
        }))
    }

    fn read(&self, path: &str) -> io::Result<Option<Vec<u8>>> {
        absent_is_none(fs::read(self.at(path)?), path)
    }

    fn write_durable(&self, path: &str, bytes: &[u8], mode: u32) -> io::Result<()> {
        let temporary = format!("{path}.tmp");
        // Made anew each time: a file left by a crash may have wider permissions.
        absent_is_none(fs::remove_file(self.at(&temporary)?), &temporary)?;
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(mode);
        let file = self.file(&temporary, &options)?;
        file.write_all_at(bytes, 0)?;
        file.sync_data()?;
        self.rename(&temporary, path)?;
        self.sync_dir(split(path).0)
    }

    fn lock(&self, path: &str) -> io::Result<RealLock> {
        let file = self.open(path, OpenMode::Create)?.file;
        match file.try_lock() {
            Ok(()) => Ok(RealLock { _held: file }),
            Err(TryLockError::WouldBlock) => {
                let held = format!("`{path}`: another process uses this folder");
                Err(io::Error::new(io::ErrorKind::WouldBlock, held))
            }
            Err(TryLockError::Error(error)) => Err(about(path, &error)),
        }
    }

    fn real_path(&self, path: &str) -> Option<PathBuf> {
        self.at(path).ok()
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(&*self.root)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    fn syncs(&self) -> SyncCounts {
        let Counters { files, dirs } = &*self.counters;
        SyncCounts {
            files: files.load(Ordering::Relaxed),
            dirs: dirs.load(Ordering::Relaxed),
        }
    }
}

/// Holds a folder until dropped.
#[derive(Debug)]
pub struct RealLock {
    /// The kernel lets go when the last descriptor is closed.
    _held: File,
}

/// An open file of the operating system.
#[derive(Debug)]
pub struct RealFile {
    file: File,
    path: Box<str>,
    counters: Arc<Counters>,
}

impl DiskFile for RealFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut done = 0;
        while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
            let from = offset.saturating_add(u64::try_from(done).unwrap_or(u64::MAX));
            match self.file.read_at(rest, from) {
                Ok(0) => break,
                Ok(more) => done += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(about(&self.path, &error)),
            }
        }
        Ok(done)
    }

    fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.file
            .write_all_at(buf, offset)
            .map_err(|error| about(&self.path, &error))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.counters.files.fetch_add(1, Ordering::Relaxed);
        self.file
            .sync_data()
            .map_err(|error| about(&self.path, &error))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file
            .set_len(len)
            .map_err(|error| about(&self.path, &error))
    }

    fn len(&self) -> io::Result<u64> {
        let found = self
            .file
            .metadata()
            .map_err(|error| about(&self.path, &error))?;
        Ok(found.len())
    }
}

fn dir_entry(found: &fs::DirEntry) -> io::Result<DirEntry> {
    let about_it = found.metadata()?;
    let is_dir = about_it.is_dir();
    let name = found.file_name().into_string().map_err(|name| {
        let refused = format!("file name `{}` is not UTF-8", name.to_string_lossy());
        io::Error::new(io::ErrorKind::InvalidData, refused)
    })?;
    Ok(DirEntry {
        name,
        len: if is_dir { 0 } else { about_it.len() },
        is_dir,
    })
}

fn absent_is_none<T>(found: io::Result<T>, path: &str) -> io::Result<Option<T>> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(about(path, &error)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "test")]
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::env::{MODE_SECRET, TaskEnd};

    #[test]
    fn a_folder_keeps_files_modes_and_names() {
        let folder = tempfile::tempdir().unwrap();
        let disk = RealDisk::open(folder.path().join("node")).unwrap();
        disk.create_dir_all("a/b").unwrap();
        disk.write_durable("a/b/key", b"old", MODE_SECRET).unwrap();
        disk.write_durable("a/b/key", b"new", MODE_SECRET).unwrap();
        assert_eq!(disk.read("a/b/key").unwrap().unwrap(), b"new");
        let key = Stat {
            len: 3,
            mode: MODE_SECRET,
            is_dir: false,
        };
        assert_eq!(disk.stat("a/b/key").unwrap(), Some(key));
        assert_eq!(disk.syncs(), SyncCounts { files: 2, dirs: 2 });

        assert!(disk.open("a/none", OpenMode::ReadWrite).is_err());
        let file = disk.open("a/file", OpenMode::CreateNew).unwrap();
        assert!(disk.open("a/file", OpenMode::CreateNew).is_err());
        file.write_all_at(b"xyz", 2).unwrap();
        let mut buf = [9; 8];
        assert_eq!(file.read_at(&mut buf, 0).unwrap(), 5);
        assert_eq!(&buf, b"\0\0xyz\x09\x09\x09");
        let short = file.read_exact_at(&mut buf, 0).unwrap_err();
        assert_eq!(short.kind(), io::ErrorKind::UnexpectedEof);

        disk.rename("a/file", "a/other").unwrap();
        let names: Vec<String> = disk
            .list("a")
            .unwrap()
            .into_iter()
            .map(|entry| entry.name)
            .collect();
        assert_eq!(names, ["b", "other"]);
        disk.remove_file("a/other").unwrap();
        disk.remove_dir_all("a").unwrap();
        assert_eq!(disk.stat("a").unwrap(), None);
    }

    #[test]
    fn no_path_leaves_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let disk = RealDisk::open(folder.path()).unwrap();
        for path in [
            "/etc/passwd",
            "../x",
            "a/../../x",
            "a//b",
            "a/",
            ".",
            "a\\b",
        ] {
            let refused = disk.read(path).unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::InvalidInput, "{path}");
        }
    }

    #[test]
    fn a_folder_has_one_holder() {
        let folder = tempfile::tempdir().unwrap();
        let disk = RealDisk::open(folder.path()).unwrap();
        let held = disk.lock("lock").unwrap();
        assert_eq!(
            disk.lock("lock").unwrap_err().kind(),
            io::ErrorKind::WouldBlock
        );
        drop(held);
        disk.lock("lock").unwrap();
    }

    #[tokio::test]
    async fn connections_carry_bytes_and_tasks_tell_how_they_ended() {
        let folder = tempfile::tempdir().unwrap();
        let env = RealEnv::open(folder.path()).unwrap();
        let mut listener = env.listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let addr = listener.local_addr().unwrap().to_string();
        let serve = env.lane("serve", move || async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            assert!(stream.nodelay().unwrap());
            stream.write_all(b"hello").await.unwrap();
        });
        let mut stream = env.connect(&addr).await.unwrap();
        assert!(stream.nodelay().unwrap());
        let mut told = Vec::new();
        stream.read_to_end(&mut told).await.unwrap();
        assert_eq!(told, b"hello");
        assert_eq!(serve.join().await, TaskEnd::Finished);

        let waiting = env.lane("waiting", std::future::pending::<()>);
        waiting.abort();
        assert_eq!(waiting.join().await, TaskEnd::Aborted);
        let task = env.spawn("fails", async { panic!("on purpose") });
        assert_eq!(task.join().await, TaskEnd::Lost);
    }
}
