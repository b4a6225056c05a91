//! Ports that no other cluster of this machine takes while this one lives.

use std::net::{TcpListener, UdpSocket};

use anyhow::Context as _;

/// Below the range from which the system serves outgoing connections: one of these could take the
/// port of a node that is down.
const FIRST: u16 = 12_000;
const COUNT: u16 = 20_000;

/// TCP ports, each claimed by a UDP socket on the same number. Nodes do not use UDP, so the claim
/// lasts while nodes start and stop.
#[derive(Debug, Default)]
pub(super) struct Ports {
    claims: Vec<UdpSocket>,
}

impl Ports {
    /// A port on the loopback address that nobody listens on.
    ///
    /// # Errors
    /// When all are taken.
    pub(super) fn take(&mut self) -> anyhow::Result<u16> {
        let start = rand::random_range(0..COUNT);
        let (port, claim) = (0..COUNT)
            .map(|step| FIRST + (start + step) % COUNT)
            .find_map(|port| {
                let claim = UdpSocket::bind(("127.0.0.1", port)).ok()?;
                TcpListener::bind(("127.0.0.1", port)).ok()?;
                Some((port, claim))
            })
            .context("no free port on the loopback address")?;
        self.claims.push(claim);
        Ok(port)
    }
}
