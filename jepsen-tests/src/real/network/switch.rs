//! Takes packets from each device and gives them to that of their destination.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::SeedableRng as _;
use rand::rngs::Xoshiro256PlusPlus as Rng;
use tokio::task::AbortHandle;
use tun_rs::AsyncDevice;

use super::link::Link;

/// Longer than any packet of a device.
const PACKET_MAX: usize = 1 << 16;
/// The last byte of the destination in a header of IPv4.
const TO: usize = 19;

/// What became of packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Carried {
    /// They arrived at once or late.
    pub arrived: u64,
    /// They were lost, or their link was cut.
    pub lost: u64,
    /// They arrived a second time.
    pub twice: u64,
}

/// All devices, with the links between them.
pub(super) struct Switch {
    devices: BTreeMap<u64, AsyncDevice>,
    links: Mutex<Links>,
    carriers: Mutex<Vec<AbortHandle>>,
    arrived: AtomicU64,
    lost: AtomicU64,
    twice: AtomicU64,
}

/// Links that are not whole, and what chance does on them.
struct Links {
    disturbed: BTreeMap<(u64, u64), Link>,
    rng: Rng,
}

impl Switch {
    pub(super) fn start(devices: BTreeMap<u64, AsyncDevice>, seed: u64) -> Arc<Self> {
        let hosts: Vec<u64> = devices.keys().copied().collect();
        let switch = Arc::new(Self {
            devices,
            links: Mutex::new(Links {
                disturbed: BTreeMap::new(),
                rng: Rng::seed_from_u64(seed),
            }),
            carriers: Mutex::default(),
            arrived: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            twice: AtomicU64::new(0),
        });
        let carriers = hosts.into_iter().map(|from| {
            let switch = Arc::clone(&switch);
            tokio::spawn(switch.carry(from)).abort_handle()
        });
        *lock(&switch.carriers) = carriers.collect();
        switch
    }

    pub(super) fn disturb(&self, links: BTreeMap<(u64, u64), Link>) {
        lock(&self.links).disturbed = links;
    }

    pub(super) fn stop(&self) {
        for carrier in lock(&self.carriers).drain(..) {
            carrier.abort();
        }
    }

    pub(super) fn carried(&self) -> Carried {
        let [arrived, lost, twice] = [&self.arrived, &self.lost, &self.twice];
        Carried {
            arrived: arrived.load(Ordering::Relaxed),
            lost: lost.load(Ordering::Relaxed),
            twice: twice.load(Ordering::Relaxed),
        }
    }

    /// Takes what one host sends, until the switch stops.
    async fn carry(self: Arc<Self>, from: u64) {
        let Some(device) = self.devices.get(&from) else {
            return;
        };
        let mut bytes = vec![0; PACKET_MAX];
        while let Ok(len) = device.recv(&mut bytes).await {
            let packet = bytes.get(..len).unwrap_or_default();
            let to = packet.get(TO).map(|host| u64::from(*host));
            let is_ours = packet.first().is_some_and(|first| first >> 4 == 4);
            let Some(to) = to.filter(|to| is_ours && self.devices.contains_key(to)) else {
                continue;
            };
            let arrivals = lock(&self.links).arrivals(from, to);
            let [first, second] = arrivals.map(|late| u64::from(late.is_some()));
            self.arrived.fetch_add(first, Ordering::Relaxed);
            self.lost.fetch_add(1 - first, Ordering::Relaxed);
            self.twice.fetch_add(second, Ordering::Relaxed);
            for late in arrivals.into_iter().flatten() {
                if late.is_zero() {
                    self.give(to, packet).await;
                } else {
                    let (switch, packet) = (Arc::clone(&self), packet.to_vec());
                    tokio::spawn(async move {
                        tokio::time::sleep(late).await;
                        switch.give(to, &packet).await;
                    });
                }
            }
        }
    }

    /// A device that is full loses the packet, as a wire does.
    async fn give(&self, to: u64, packet: &[u8]) {
        if let Some(device) = self.devices.get(&to) {
            let _ = device.send(packet).await;
        }
    }
}

impl Links {
    fn arrivals(&mut self, from: u64, to: u64) -> [Option<Duration>; 2] {
        let link = self.disturbed.get(&(from, to)).copied();
        link.unwrap_or_default().arrivals(&mut self.rng)
    }
}

impl std::fmt::Debug for Switch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Switch").finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
