//! The clock, the randomness and the dialling of a client: the only file that names the real ones.
//! A simulator gives its own.

use std::fmt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use candor_ledger::time::Micros;
use tonic::transport::{Channel, Endpoint};

/// Where a client's time, random bytes and connections come from.
#[derive(Clone)]
pub struct Surroundings {
    wall: Arc<dyn Fn() -> Micros + Send + Sync>,
    fill: Arc<Fill>,
    dial: Arc<dyn Fn(&Endpoint) -> Channel + Send + Sync>,
}

/// Fills a buffer with random bytes.
type Fill = dyn Fn(&mut [u8]) + Send + Sync;

impl Surroundings {
    /// The machine's own.
    pub fn real() -> Self {
        Self {
            wall: Arc::new(wall_clock),
            fill: Arc::new(|bytes| rand::fill(bytes)),
            dial: Arc::new(Endpoint::connect_lazy),
        }
    }

    /// Another wall clock: microseconds since the Unix epoch.
    #[must_use]
    pub fn with_wall(self, wall: impl Fn() -> Micros + Send + Sync + 'static) -> Self {
        let wall = Arc::new(wall);
        Self { wall, ..self }
    }

    /// Another source of random bytes.
    #[must_use]
    pub fn with_random(self, fill: impl Fn(&mut [u8]) + Send + Sync + 'static) -> Self {
        let fill = Arc::new(fill);
        Self { fill, ..self }
    }

    /// Another way to an endpoint; it must return at once and connect when first used.
    #[must_use]
    pub fn with_dial(self, dial: impl Fn(&Endpoint) -> Channel + Send + Sync + 'static) -> Self {
        let dial = Arc::new(dial);
        Self { dial, ..self }
    }

    pub(crate) fn now(&self) -> Micros {
        (self.wall)()
    }

    pub(crate) fn fill(&self, bytes: &mut [u8]) {
        (self.fill)(bytes);
    }

    /// A random number below `bound`, 0 when that is 0. The bias of the remainder is below 2^-32
    /// for the delays that this is used for.
    pub(crate) fn below(&self, bound: u64) -> u64 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        u64::from_be_bytes(bytes).checked_rem(bound).unwrap_or(0)
    }

    pub(crate) fn dial(&self, endpoint: &Endpoint) -> Channel {
        (self.dial)(endpoint)
    }
}

impl fmt::Debug for Surroundings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Surroundings")
    }
}

/// An environment variable that is set to something.
pub(crate) fn environment(name: &str) -> Option<std::ffi::OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// A clock before 1970 reads as 1970: every check against it then fails closed.
fn wall_clock() -> Micros {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Micros(u64::try_from(since.as_micros()).unwrap_or(Micros::MAX.0))
}
