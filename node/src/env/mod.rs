//! The seams: everything a node takes from the world outside its own memory.
//!
//! The node is generic over [`Env`]. [`real::RealEnv`] is the operating system; [`sim::SimEnv`] is
//! a world that a test decides. Only this module names the wall clock, files, sockets, threads and
//! the spawning of tasks; `tokio::time` may be used everywhere, because a paused runtime already
//! replaces it.

#![expect(
    clippy::disallowed_methods,
    reason = "the one place that names what .clippy.toml bans elsewhere"
)]

pub(crate) mod process;
pub mod real;
pub mod sim;
mod task;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use tokio::io::{AsyncRead, AsyncWrite};
use tonic::transport::server::Connected;

use candor_ledger::time::Micros;

pub use task::{Task, TaskEnd};

/// What one node may use: clocks, randomness, a disk, connections and tasks.
///
/// A clone is another handle on the same world.
pub trait Env: Clone + Send + Sync + 'static {
    /// The node's own folder.
    type Disk: Disk;
    /// A connection to a peer or client.
    type Stream: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static;
    /// A socket that accepts connections.
    type Listener: Listener<Stream = Self::Stream>;

    /// The wall clock, which may be wrong and may move either way.
    fn wall(&self) -> Micros;

    /// A clock that never moves backwards and says nothing about the date.
    fn monotonic(&self) -> tokio::time::Instant;

    /// Fills the buffer with bytes fit for keys and nonces.
    fn fill_random(&self, buf: &mut [u8]);

    /// The node's folder.
    fn disk(&self) -> &Self::Disk;

    /// Listens on an address; port 0 takes any free one.
    fn listen(
        &self,
        addr: SocketAddr,
    ) -> impl Future<Output = io::Result<Self::Listener>> + Send + '_;

    /// Connects to `host:port`, names resolved; small writes are sent without delay.
    ///
    /// No time limit of its own: the caller sets one.
    fn connect(&self, addr: &str) -> impl Future<Output = io::Result<Self::Stream>> + Send;

    /// Runs a future beside its caller on the surrounding runtime.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    fn spawn(&self, name: &'static str, future: impl Future<Output = ()> + Send + 'static) -> Task;

    /// Runs a future that may block its thread: the log writer's fsync, the sealer's signatures.
    ///
    /// The real world gives it an operating system thread with a current-thread runtime of its own;
    /// a simulator keeps it a task, hence the `Send` bound on the future. `make` runs on the lane.
    fn lane<F>(&self, name: &'static str, make: impl FnOnce() -> F + Send + 'static) -> Task
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.spawn(name, async move { make().await })
    }

    /// Ends the process at once, without unwinding: for states that only a restart can repair, such
    /// as a failed fsync.
    fn exit(&self, code: i32, why: &str) -> !;
}

/// A socket that accepts connections.
pub trait Listener: Send + 'static {
    /// What it accepts.
    type Stream: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static;

    /// The next connection and its peer; cancelling loses no connection.
    fn accept(&mut self) -> impl Future<Output = io::Result<(Self::Stream, SocketAddr)>> + Send;

    /// The address listened on, with the port that was chosen.
    fn local_addr(&self) -> io::Result<SocketAddr>;
}

/// One folder, with durability said per file and per name.
///
/// Paths are relative to that folder, `/`-separated, without `.`, `..` or empty parts; the empty
/// path is the folder itself. Calls block; they are made on lanes, at start, or where a page cache
/// read is cheap enough. Nothing is durable before the matching `sync_data` (content and length)
/// or `sync_dir` (names made, renamed or removed in that directory) has returned.
pub trait Disk: Clone + Send + Sync + 'static {
    /// An open file.
    type File: DiskFile;
    /// Holds the folder for one process until dropped.
    type Lock: Send + Sync + 'static;

    /// Opens a file.
    fn open(&self, path: &str, mode: OpenMode) -> io::Result<Self::File>;

    /// Makes a directory and those above it; those that exist are left alone.
    fn create_dir_all(&self, path: &str) -> io::Result<()>;

    /// Renames a file or directory; a file in the way is replaced in one step.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file's name.
    fn remove_file(&self, path: &str) -> io::Result<()>;

    /// Removes a directory and all in it.
    fn remove_dir_all(&self, path: &str) -> io::Result<()>;

    /// What a directory holds, by ascending name.
    fn list(&self, dir: &str) -> io::Result<Vec<DirEntry>>;

    /// Makes durable which names the directory holds; not the content behind them.
    fn sync_dir(&self, dir: &str) -> io::Result<()>;

    /// What stands at a path; `None` when nothing does.
    fn stat(&self, path: &str) -> io::Result<Option<Stat>>;

    /// A whole file; `None` when there is none.
    fn read(&self, path: &str) -> io::Result<Option<Vec<u8>>>;

    /// Replaces or makes a whole file in one durable step: temporary file, sync, rename, sync of
    /// the directory. After a crash the path holds the old bytes or the new, never a mixture.
    ///
    /// `mode` is the Unix permission bits, `0o600` for keys; the temporary file has them from its
    /// first byte on. Its name is the path with `.tmp` behind; one left by a crash is overwritten.
    fn write_durable(&self, path: &str, bytes: &[u8], mode: u32) -> io::Result<()>;

    /// Takes an exclusive lock on a file, made if need be, so that two processes cannot open one
    /// folder.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] while another holds it. A process that dies lets go.
    fn lock(&self, path: &str) -> io::Result<Self::Lock>;

    /// Where a path lies in the operating system, for a library that opens files of its own;
    /// `None` on a disk that only this program knows.
    fn real_path(&self, _path: &str) -> Option<PathBuf> {
        None
    }

    /// Bytes that files may still grow by, as far as this process is let.
    fn free_bytes(&self) -> io::Result<u64>;

    /// How often this folder was synced since the handle was first made.
    fn syncs(&self) -> SyncCounts;
}

/// An open file, read and written at positions; it may be shared between tasks.
#[expect(
    clippy::len_without_is_empty,
    reason = "a length is asked of the system and may fail"
)]
pub trait DiskFile: Send + Sync + 'static {
    /// Reads at a position; fewer bytes than asked for only at the end of the file.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Fills the buffer.
    ///
    /// # Errors
    /// [`io::ErrorKind::UnexpectedEof`] when the file ends before.
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        if self.read_at(buf, offset)? == buf.len() {
            Ok(())
        } else {
            Err(io::ErrorKind::UnexpectedEof.into())
        }
    }

    /// Writes all bytes at a position; a gap before them reads as zeros.
    fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()>;

    /// Makes content and length durable. After an error the state of the file is unknown: the
    /// caller ends the process, and never tries again.
    fn sync_data(&self) -> io::Result<()>;

    /// Cuts the file, or extends it with zeros.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Length in bytes.
    fn len(&self) -> io::Result<u64>;
}

/// How to open a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// To read and write; made if there is none.
    Create,
    /// To read and write; it is an error if there is one already.
    CreateNew,
    /// To read; there must be one.
    Read,
    /// To read and write; there must be one.
    ReadWrite,
}

/// One name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirEntry {
    /// The last part of its path.
    pub name: String,
    /// Bytes; 0 for a directory.
    pub len: u64,
    /// Whether it is a directory.
    pub is_dir: bool,
}

/// What stands at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Bytes; 0 for a directory.
    pub len: u64,
    /// Unix permission bits, `0o777` and below.
    pub mode: u32,
    /// Whether it is a directory.
    pub is_dir: bool,
}

/// How often a folder was synced, by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SyncCounts {
    /// `sync_data` of a file, those inside `write_durable` included.
    pub files: u64,
    /// `sync_dir`, those inside `write_durable` included.
    pub dirs: u64,
}

/// The permission bits of a file that is not secret.
pub const MODE_PUBLIC: u32 = 0o644;

/// The permission bits of a file that holds a secret.
pub const MODE_SECRET: u32 = 0o600;

/// The parts of a path, or why it is none of this folder's.
fn parts(path: &str) -> io::Result<Vec<&str>> {
    if path.is_empty() {
        return Ok(Vec::new());
    }
    let parts: Vec<&str> = path.split('/').collect();
    if parts
        .iter()
        .any(|part| matches!(*part, "" | "." | "..") || part.contains(['\0', '\\']))
    {
        let refused = format!("`{path}` is not a path inside the node's folder");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, refused));
    }
    Ok(parts)
}

/// The directory of a path, and its last part.
fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

/// The same error with the path it is about; the kind stays.
fn about(path: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("`{path}`: {error}"))
}
