//! A bridge with hosts on it, each in its own network namespace.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use anyhow::{Context as _, Result, ensure};
use krater_tests::rig::{
    command,
    netns::NetNs,
    record::{self, Recorder},
};
use nix::net::if_::if_nametoindex;
use vrrp::{Family, runner::Link};

/// The interface of every host.
pub(crate) const INTERFACE: &str = "eth0";

/// How long anything may take that is not measured.
pub(crate) const LONG: Duration = Duration::from_secs(20);

/// Hosts on one bridge. Dropping it removes everything.
pub(crate) struct Segment {
    hosts: Vec<Host>,
    switch: NetNs,
    recorder: Recorder,
}

/// One host.
pub(crate) struct Host {
    pub(crate) namespace: NetNs,
    pub(crate) link: Link,
    number: u8,
}

impl Segment {
    /// Makes so many hosts, with addresses of both families.
    pub(crate) fn with_hosts(count: u8) -> Result<Self> {
        ensure!(nix::unistd::geteuid().is_root(), "these tests make network namespaces: run them as root");
        record::remove_abandoned()?;
        let recorder = Recorder::begin()?;
        let id = recorder.snapshot().id;
        let switch = NetNs::create(&recorder, &format!("kr-{id}-switch"))?;
        // Snooping would keep adverts from hosts that only look on.
        switch.ip_batch("link add br0 type bridge mcast_snooping 0 stp_state 0 forward_delay 0\nlink set br0 up\n")?;
        let mut segment = Self { hosts: Vec::new(), switch, recorder };
        for number in 1..=count {
            let namespace = NetNs::create(&segment.recorder, &format!("kr-{id}-h{number}"))?;
            let host = segment.connect(namespace, number).with_context(|| format!("connect host {number}"))?;
            segment.hosts.push(host);
        }
        Ok(segment)
    }

    fn connect(&self, namespace: NetNs, number: u8) -> Result<Host> {
        namespace.set_parameters(&[
            ("ipv6/conf/all/accept_dad", "0"),
            ("ipv6/conf/default/accept_dad", "0"),
            ("ipv6/conf/default/dad_transmits", "0"),
            ("ipv6/conf/default/router_solicitations", "0"),
            // The one link-local address is the one given here.
            ("ipv6/conf/default/addr_gen_mode", "1"),
        ])?;
        let (inner, outer) = (namespace.name(), self.switch.name());
        let veth = format!("link add {INTERFACE} netns {inner} type veth peer name {} netns {outer}\n", port(number));
        command::run_with_input("ip", &["-batch", "-"], &veth)?;
        self.switch.ip_batch(&format!("link set {} master br0 up\n", port(number)))?;
        let [v4, v6] = [Family::V4, Family::V6].map(|family| address(family, number));
        namespace.ip_batch(&format!(
            "address add {v4}/24 dev {INTERFACE}\naddress add {v6}/64 dev {INTERFACE} nodad\nlink set {INTERFACE} up\n"
        ))?;
        let (ifindex, mac) =
            namespace.enter(|| Ok((if_nametoindex(INTERFACE).context("find the interface")?, mac_of(INTERFACE)?)))?;
        Ok(Host { namespace, link: Link { name: INTERFACE.to_owned(), ifindex, mac }, number })
    }

    /// A host, counted from 1.
    pub(crate) fn host(&self, number: u8) -> &Host {
        &self.hosts[usize::from(number) - 1]
    }

    /// The record of everything made.
    pub(crate) fn recorder(&self) -> &Recorder {
        &self.recorder
    }

    /// A directory for files, which goes with the segment.
    pub(crate) fn directory(&self) -> PathBuf {
        self.recorder.snapshot().directory
    }

    /// Cuts a host off: its port goes down, and with it its carrier.
    pub(crate) fn cut(&self, number: u8) -> Result<()> {
        self.switch.ip_batch(&format!("link set {} down\n", port(number)))
    }

    /// Connects it again.
    pub(crate) fn mend(&self, number: u8) -> Result<()> {
        self.switch.ip_batch(&format!("link set {} up\n", port(number)))
    }
}

impl Host {
    /// Its own address.
    pub(crate) fn address(&self, family: Family) -> IpAddr {
        address(family, self.number)
    }
}

fn port(number: u8) -> String {
    format!("p{number}")
}

/// Host addresses: 10.78.0.N and fe80::a:N.
pub(crate) fn address(family: Family, number: u8) -> IpAddr {
    match family {
        Family::V4 => IpAddr::from([10, 78, 0, number]),
        Family::V6 => IpAddr::from([0xfe80, 0, 0, 0, 0, 0, 0xa, u16::from(number)]),
    }
}

/// `/sys` would show the interfaces of the namespace it was mounted in.
fn mac_of(interface: &str) -> Result<[u8; 6]> {
    let addresses = nix::ifaddrs::getifaddrs().context("list addresses")?;
    let of_ours = addresses.filter(|entry| entry.interface_name == interface);
    let mac = of_ours.filter_map(|entry| entry.address?.as_link_addr()?.addr()).next();
    mac.with_context(|| format!("find the MAC address of {interface}"))
}
