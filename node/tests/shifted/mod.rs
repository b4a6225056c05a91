//! The real world with a wall clock that can be put forward, the same for all nodes of a test.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use candor_ledger::time::Micros;
use candor_node::env::real::RealEnv;
use candor_node::env::{Env, Task};

/// How far the clocks of a test's nodes are ahead of this machine's.
#[derive(Clone, Default)]
pub(crate) struct Ahead(Arc<AtomicU64>);

impl Ahead {
    pub(crate) fn advance(&self, by: Duration) {
        let by = u64::try_from(by.as_micros()).unwrap();
        self.0.fetch_add(by, Ordering::SeqCst);
    }
}

/// [`RealEnv`] but for its wall clock.
#[derive(Clone)]
pub(crate) struct ShiftedEnv {
    real: RealEnv,
    ahead: Ahead,
}

impl ShiftedEnv {
    pub(crate) fn open(folder: &Path, ahead: &Ahead) -> io::Result<Self> {
        Ok(Self {
            real: RealEnv::open(folder)?,
            ahead: ahead.clone(),
        })
    }
}

impl Env for ShiftedEnv {
    type Disk = <RealEnv as Env>::Disk;
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

    fn disk(&self) -> &Self::Disk {
        self.real.disk()
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
