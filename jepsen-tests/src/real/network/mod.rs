//! A network of its own for nodes, in which every packet goes through this process.
//!
//! ```text
//! node 1 (namespace)  127.77.0.1   --- TUN ---+
//! node 2 (namespace)  127.77.0.2   --- TUN ---+-- switch: cut, lost, late, twice, by direction
//! this process        127.77.0.254 --- TUN ---+
//! ```
//!
//! Nodes bind loopback addresses alone, so these are some; here they are routed to the devices, and the loopback
//! device keeps 127.0.0.0/16.
//!
//! What is disturbed are IP packets under real TCP: what is lost is sent again, what comes late comes out of
//! order, and of a connection that is cut neither side knows. Nothing of it is seen outside the network namespace
//! of this process ([`own::enter`]), and nothing outlives it.
//!
//! The kernel's own means (`tc netem`) are not there on every machine, and know no seed.

mod link;
mod switch;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tun_rs::{AsyncDevice, DeviceBuilder, SyncDevice};

use self::switch::Switch;
use super::own;
use super::programs::run;

pub use self::link::Link;
pub use self::switch::Carried;

/// The host number of this process; nodes have their own.
pub const CLIENTS: u64 = 254;
/// More would meet [`CLIENTS`].
const NODES_MAX: u64 = 64;
const DEVICE: &str = "tun0";
const ROUTE_LOCALNET: &str = "/proc/sys/net/ipv4/conf/tun0/route_localnet";
/// Where `ip netns` keeps names; hidden below a file system of our own, so that none outlives us.
const NAMES: &str = "/run/netns";

/// The network. Dropping it cuts all of it.
#[derive(Debug)]
pub struct Network {
    switch: Arc<Switch>,
    nodes: u64,
}

impl Network {
    /// Makes a namespace with a device for each node, and a device for this process, all links whole. Call it
    /// within a runtime, in a process that has mounts and network of its own.
    ///
    /// # Errors
    /// What the system says.
    pub fn make(nodes: u64, seed: u64) -> anyhow::Result<Self> {
        ensure!(
            nodes <= NODES_MAX,
            "a network is for {NODES_MAX} nodes at the most"
        );
        ensure!(own::has_network(), "the network of the machine is not ours");
        fs::create_dir_all(NAMES)?;
        run("mount", &["-t", "tmpfs", "none", NAMES], &[])?;
        run("ip", &["link", "set", "lo", "up"], &[])?;
        let mut devices = vec![(CLIENTS, device(None)?)];
        for node in 1..=nodes {
            let name = name(node);
            run("ip", &["netns", "add", &name], &[])?;
            run("ip", &["-n", &name, "link", "set", "lo", "up"], &[])?;
            devices.push((node, device(Some(node))?));
        }
        for (host, _) in &devices {
            let place = name(*host);
            let within: &[&str] = if *host == CLIENTS {
                &[]
            } else {
                &["-n", &place]
            };
            let subnet = format!("{}/24", address(*host));
            for words in [
                ["addr", "add", &subnet, "dev", DEVICE].as_slice(),
                ["link", "set", DEVICE, "up"].as_slice(),
            ] {
                run("ip", &[within, words].concat(), &[])?;
            }
        }
        let devices = devices
            .into_iter()
            .map(|(host, device)| Ok((host, AsyncDevice::new(device)?)))
            .collect::<anyhow::Result<_>>()?;
        Ok(Self {
            switch: Switch::start(devices, seed),
            nodes,
        })
    }

    /// A node's address.
    pub fn address(&self, node: u64) -> String {
        address(node)
    }

    /// A command whose process is on a node's place in this network, to be given its program and arguments.
    pub fn command(&self, node: u64) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", path(node).display()));
        command.arg("--");
        command
    }

    /// Nodes that there is a place for.
    pub fn nodes(&self) -> u64 {
        self.nodes
    }

    /// How packets go from one host to another from now on, by `(from, to)`; all other directions are whole. What is
    /// late already stays late.
    pub fn disturb(&self, links: BTreeMap<(u64, u64), Link>) {
        self.switch.disturb(links);
    }

    /// What became of the packets so far.
    pub fn carried(&self) -> Carried {
        self.switch.carried()
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.switch.stop();
    }
}

fn address(host: u64) -> String {
    format!("127.77.0.{host}")
}

fn name(node: u64) -> String {
    format!("node-{node}")
}

fn path(node: u64) -> PathBuf {
    PathBuf::from(NAMES).join(name(node))
}

/// A device in the namespace of a node, or in that of this process. Namespaces belong to threads, so a thread
/// goes there and ends there; the device stays in our hand.
fn device(node: Option<u64>) -> anyhow::Result<SyncDevice> {
    let made = std::thread::spawn(move || -> anyhow::Result<SyncDevice> {
        if let Some(node) = node {
            let path = path(node);
            let place = File::open(&path).with_context(|| path.display().to_string())?;
            move_into_link_name_space(place.as_fd(), Some(LinkNameSpaceType::Network))?;
        }
        let device = DeviceBuilder::new().name(DEVICE).build_sync()?;
        // Loopback addresses may come and go by it. The kernel shows a thread its own namespace here.
        fs::write(ROUTE_LOCALNET, "1").context(ROUTE_LOCALNET)?;
        Ok(device)
    });
    let made = made.join().ok().context("a thread panicked")?;
    made.context("cannot make a TUN device")
}
