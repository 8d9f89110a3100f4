//! keepalived on a host, as the router on the other side.

use std::{fs, net::IpAddr, path::Path, time::Duration};

use anyhow::{Context as _, Result};
use krater_tests::rig::{process::Process, wait};
use nix::sys::signal::Signal;
use vrrp::{Family, Version};

use super::{
    node::{VRID, addresses},
    segment::{INTERFACE, LONG, Segment},
};

/// The password of version 2.
pub(crate) const PASSWORD: [u8; 8] = *b"krater77";

/// What it speaks, and how it is set up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Dialect {
    pub(crate) version: Version,
    pub(crate) family: Family,
    pub(crate) unicast: bool,
    /// Whether it, too, uses the virtual MAC address.
    pub(crate) virtual_mac: bool,
    pub(crate) interval: Duration,
}

/// A running keepalived. Dropping it kills it.
pub(crate) struct Keepalived {
    process: Process,
    namespace: String,
    family: Family,
}

impl Keepalived {
    /// Starts it on that host, with `peer` on the other side.
    pub(crate) fn start(segment: &Segment, host: u8, peer: u8, dialect: Dialect, priority: u8) -> Result<Self> {
        let directory = segment.directory().join(format!("keepalived-{host}"));
        fs::create_dir_all(&directory).with_context(|| format!("create {}", directory.display()))?;
        let file = |name: &str| directory.join(name).to_string_lossy().into_owned();
        let config = configuration(segment, host, peer, dialect, priority);
        fs::write(file("conf"), config).context("write its configuration")?;
        let namespace = segment.host(host).namespace.name().to_owned();
        let (conf, pid, vrrp_pid) = (file("conf"), file("pid"), file("vrrp.pid"));
        let arguments = ["-n", "-D", "-l", "-P", "-f", &conf, "-p", &pid, "-r", &vrrp_pid];
        let log = directory.join("log");
        let process = Process::spawn(
            segment.recorder(),
            &namespace,
            "keepalived",
            Path::new("/usr/sbin/keepalived"),
            &arguments,
            &log,
        )?;
        Ok(Self { process, namespace, family: dialect.family })
    }

    /// Whether it is Active: its host has the address then.
    pub(crate) fn is_active(&self) -> Result<bool> {
        let wanted = addresses(self.family).pop().context("no address")?;
        let inside = || {
            let entries = nix::ifaddrs::getifaddrs().context("list addresses")?;
            Ok(entries.filter_map(|entry| address_of(&entry)).any(|address| address == wanted))
        };
        krater_tests::rig::netns::enter(&self.namespace, inside)
    }

    /// Waits until it is, or is not.
    pub(crate) fn wait_active(&mut self, active: bool) -> Result<()> {
        self.process.check_running()?;
        let what = format!("keepalived to be {}", if active { "Active" } else { "Backup" });
        let waited = wait::until_true(&what, LONG, || Ok(self.is_active()? == active));
        waited.map(drop).with_context(|| self.process.log_tail())
    }

    /// Asks it to end, which it says on the network.
    pub(crate) fn stop(mut self) -> Result<()> {
        self.process.signal(Signal::SIGTERM)?;
        self.process.wait_end(LONG).map(drop)
    }

    /// Kills it with its children: nobody says anything, and the address stays.
    pub(crate) fn kill(mut self) {
        self.process.kill();
    }

    /// The end of its log.
    pub(crate) fn log(&self) -> String {
        self.process.log_tail()
    }
}

fn address_of(entry: &nix::ifaddrs::InterfaceAddress) -> Option<IpAddr> {
    let address = entry.address.as_ref()?;
    let v4 = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
    v4.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())))
}

fn configuration(segment: &Segment, host: u8, peer: u8, dialect: Dialect, priority: u8) -> String {
    let Dialect { version, family, unicast, virtual_mac, interval } = dialect;
    let list = |of: Vec<IpAddr>| of.iter().map(|a| format!("    {a}\n")).collect::<String>();
    let seconds = interval.as_secs_f64();
    let mut text = format!(
        "global_defs {{\n  router_id h{host}\n  vrrp_version {version}\n  vrrp_garp_master_repeat 1\n}}\n\
         vrrp_instance vip {{\n  state BACKUP\n  interface {INTERFACE}\n  virtual_router_id {VRID}\n  \
         priority {priority}\n  advert_int {seconds}\n"
    );
    if virtual_mac {
        text += "  use_vmac\n";
    }
    if family == Family::V6 {
        text += "  native_ipv6\n";
    }
    if unicast {
        let own = segment.host(host).address(family);
        text += &format!(
            "  unicast_src_ip {own}\n  unicast_peer {{\n{}  }}\n",
            list(vec![segment.host(peer).address(family)])
        );
    }
    if version == Version::V2 {
        let password = String::from_utf8_lossy(&PASSWORD).into_owned();
        text += &format!("  authentication {{\n    auth_type PASS\n    auth_pass {password}\n  }}\n");
    }
    text + &format!("  virtual_ipaddress {{\n{}  }}\n}}\n", list(addresses(family)))
}
