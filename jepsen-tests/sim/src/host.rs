//! The world under one node: its disk, its clocks, its sockets, and how its process ends.

use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use candor_ledger::time::Micros;
use candor_node::env::sim::SimDisk;
use candor_node::env::{Env, Listener, Task};
use futures::FutureExt as _;
use rand::Rng as _;
use rand::rngs::Xoshiro256PlusPlus as Rng;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tonic::transport::server::Connected;
use turmoil::net::{TcpListener, TcpStream};

use crate::clock::Clock;

/// One node's world; it outlives the node's processes, as a machine does.
#[derive(Clone)]
pub(crate) struct Host {
    disk: SimDisk,
    shared: Arc<Shared>,
}

struct Shared {
    clock: Clock,
    /// How far the wall clock is off, in microseconds.
    offset: AtomicI64,
    /// Held while bytes are drawn.
    rng: Mutex<Rng>,
    /// Why the process ended by itself, until the driver has seen it.
    ended: Mutex<Option<String>>,
}

/// Unwinds the task that ended the process; nothing of it goes on.
struct ProcessEnded;

impl Host {
    pub(crate) fn new(disk: SimDisk, clock: Clock, rng: Rng) -> Self {
        let shared = Shared {
            clock,
            offset: AtomicI64::new(0),
            rng: Mutex::new(rng),
            ended: Mutex::default(),
        };
        Self {
            disk,
            shared: Arc::new(shared),
        }
    }

    /// Sets how far the wall clock is off, in microseconds, from now on.
    pub(crate) fn set_offset(&self, micros: i64) {
        self.shared.offset.store(micros, Ordering::SeqCst);
    }

    /// The process has ended by itself; the driver takes it away at the end of the tick.
    pub(crate) fn end(&self, why: String) {
        lock(&self.shared.ended).get_or_insert(why);
    }

    /// Why the process ended by itself, once.
    pub(crate) fn take_end(&self) -> Option<String> {
        lock(&self.shared.ended).take()
    }
}

/// The name of a node's host.
pub(crate) fn name(node: u64) -> String {
    format!("node-{node}")
}

/// Where a node says that it listens. Nodes bind loopback addresses only; here each stands for a machine.
pub(crate) fn address(node: u64, port: u16) -> String {
    format!("127.77.0.{node}:{port}")
}

/// Connects to an address as [`address`] writes it.
pub(crate) async fn connect(to: &str) -> io::Result<Stream> {
    let no = || io::Error::new(io::ErrorKind::InvalidInput, format!("`{to}` is no node"));
    let (ip, port) = to.split_once(':').ok_or_else(no)?;
    let node = ip.strip_prefix("127.77.0.").ok_or_else(no)?;
    let node: u64 = node.parse().map_err(|_| no())?;
    let port: u16 = port.parse().map_err(|_| no())?;
    let stream = TcpStream::connect((name(node), port)).await?;
    Ok(Stream(stream))
}

/// Whoever panicked with it held left it whole.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Env for Host {
    type Disk = SimDisk;
    type Stream = Stream;
    type Listener = Socket;

    fn wall(&self) -> Micros {
        let offset = self.shared.offset.load(Ordering::SeqCst);
        Micros(self.shared.clock.wall().0.saturating_add_signed(offset))
    }

    fn monotonic(&self) -> tokio::time::Instant {
        tokio::time::Instant::now()
    }

    fn fill_random(&self, buf: &mut [u8]) {
        lock(&self.shared.rng).fill_bytes(buf);
    }

    fn disk(&self) -> &SimDisk {
        &self.disk
    }

    async fn listen(&self, addr: SocketAddr) -> io::Result<Socket> {
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, addr.port())).await?;
        Ok(Socket(listener))
    }

    async fn connect(&self, addr: &str) -> io::Result<Stream> {
        connect(addr).await
    }

    fn spawn(&self, name: &'static str, future: impl Future<Output = ()> + Send + 'static) -> Task {
        let (task, run) = Task::bind(name, future);
        drop(tokio::spawn(until_process_ends(run)));
        task
    }

    fn exit(&self, code: i32, why: &str) -> ! {
        self.end(format!("exit {code}: {why}"));
        resume_unwind(Box::new(ProcessEnded))
    }
}

/// Runs a task; one that ends the process stops where it stands, and all that it holds with it. Any other
/// panic is one of the node, and ends the simulation.
async fn until_process_ends(task: impl Future<Output = ()>) {
    let mut task = pin!(AssertUnwindSafe(task).catch_unwind());
    match task.as_mut().await {
        Ok(()) => {}
        Err(payload) if payload.is::<ProcessEnded>() => std::future::pending().await,
        Err(payload) => resume_unwind(payload),
    }
}

/// A socket that accepts connections.
pub(crate) struct Socket(TcpListener);

impl Listener for Socket {
    type Stream = Stream;

    async fn accept(&mut self) -> io::Result<(Stream, SocketAddr)> {
        let (stream, from) = self.0.accept().await?;
        Ok((Stream(stream), from))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

/// A connection.
pub(crate) struct Stream(TcpStream);

impl Connected for Stream {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
