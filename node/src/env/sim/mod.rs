//! A world that a test decides: seeded, in memory, no thread and no file behind it.

mod disk;
#[cfg(test)]
pub(crate) mod every_crash;
mod history;
mod image;
mod state;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rand::rngs::Xoshiro256PlusPlus;
use rand::{Rng, SeedableRng};
use tokio::io::DuplexStream;

use candor_ledger::time::Micros;

use super::{Env, Listener, Task};

pub use disk::{Crash, Pending, SimDisk, SimFile, SimLock};
pub use history::History;
pub use image::Tear;

/// What a simulated disk writes in one piece.
pub const SECTOR_BYTES: usize = 512;

/// A simulated world: [`SimDisk`], a wall clock that moves when told to, seeded randomness, tasks
/// for lanes. It has no network.
#[derive(Clone, Debug)]
pub struct SimEnv {
    disk: SimDisk,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    wall: AtomicU64,
    /// Held while bytes are drawn.
    rng: Mutex<Xoshiro256PlusPlus>,
    /// Why the process ended, if it did; held for one look.
    exit: Mutex<Option<Exit>>,
}

/// A call of [`Env::exit`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    /// The code the process would have ended with.
    pub code: i32,
    /// The reason given.
    pub why: String,
}

impl SimEnv {
    /// A world on a disk; equal seeds give equal random bytes.
    pub fn new(disk: SimDisk, seed: u64) -> Self {
        let rng = Mutex::new(Xoshiro256PlusPlus::seed_from_u64(seed));
        let shared = Shared {
            wall: AtomicU64::new(0),
            rng,
            exit: Mutex::new(None),
        };
        Self {
            disk,
            shared: Arc::new(shared),
        }
    }

    /// Moves the wall clock, either way.
    pub fn set_wall(&self, wall: Micros) {
        self.shared.wall.store(wall.0, Ordering::SeqCst);
    }

    /// Why the process ended, if it did.
    pub fn exited(&self) -> Option<Exit> {
        self.shared
            .exit
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Env for SimEnv {
    type Disk = SimDisk;
    type Stream = DuplexStream;
    type Listener = SimListener;

    fn wall(&self) -> Micros {
        Micros(self.shared.wall.load(Ordering::SeqCst))
    }

    fn monotonic(&self) -> tokio::time::Instant {
        tokio::time::Instant::now()
    }

    fn fill_random(&self, buf: &mut [u8]) {
        self.shared
            .rng
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .fill_bytes(buf);
    }

    fn disk(&self) -> &SimDisk {
        &self.disk
    }

    async fn listen(&self, _addr: SocketAddr) -> io::Result<SimListener> {
        Err(io::ErrorKind::Unsupported.into())
    }

    async fn connect(&self, _addr: &str) -> io::Result<DuplexStream> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn spawn(&self, name: &'static str, future: impl Future<Output = ()> + Send + 'static) -> Task {
        let (task, run) = Task::bind(name, future);
        drop(tokio::spawn(run));
        task
    }

    /// Notes the call and unwinds: the task that called ends, and a test reads [`SimEnv::exited`].
    fn exit(&self, code: i32, why: &str) -> ! {
        let exit = Exit {
            code,
            why: why.to_owned(),
        };
        self.shared
            .exit
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_or_insert(exit);
        // Not a panic of the code under test, so none is printed.
        std::panic::resume_unwind(Box::new("simulated process exit"))
    }
}

/// A socket of a world without a network: there is none.
#[derive(Debug)]
pub enum SimListener {}

impl Listener for SimListener {
    type Stream = DuplexStream;

    async fn accept(&mut self) -> io::Result<(DuplexStream, SocketAddr)> {
        match *self {}
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        match *self {}
    }
}
