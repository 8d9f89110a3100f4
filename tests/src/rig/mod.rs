//! Namespaces with a client, a balancer and three members with real servers,
//! as guards: what a [`Rig`] has made is gone when it is dropped, on a panic
//! and on an interrupt too.
//!
//! ```text
//!            front0        back0
//!  client ────── lb ────────── switch (bridge) ── m1, m2, m3      two arms
//!
//!  client, lb (front0), m1, m2, m3 ── switch (bridge)             one arm
//! ```

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

pub mod addresses;
pub mod backends;
pub mod binaries;
pub mod command;
pub mod connections;
pub mod duo;
pub mod echo;
pub mod health;
pub mod http;
pub mod icmp;
pub mod keepalived;
pub mod lbd;
pub mod load;
pub mod netns;
pub mod pair;
pub mod pool_file;
pub mod prober;
pub mod process;
pub mod record;
pub mod servers;
pub mod spread;
pub mod udp;
pub mod wait;

pub use addresses::{Family, Side, Topology};
use netns::NetNs;
use record::Recorder;
use servers::Member;

/// What kind of rig.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How the balancer stands in the network.
    pub topology: Topology,
    /// Whether client and members leave L4 checksums to their interface, which
    /// is the default of veth and what the data path then has to complete.
    pub tx_checksum: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { topology: Topology::TwoArmed, tx_checksum: false }
    }
}

/// Where things of a rig are.
#[derive(Clone, Debug)]
pub struct Paths {
    /// Its directory, for configurations and logs.
    pub directory: PathBuf,
    /// The data path's pins.
    pub pin_path: PathBuf,
    /// Lbd's socket.
    pub socket: PathBuf,
    /// Lbd's state.
    pub state_dir: PathBuf,
    /// The pool file.
    pub config: PathBuf,
    /// Lbd's log.
    pub log: PathBuf,
}

impl Paths {
    /// The usual names in a directory, and a place for pins.
    #[must_use]
    pub fn below(directory: PathBuf, pin_path: PathBuf) -> Self {
        Self {
            pin_path,
            socket: directory.join("lbd.sock"),
            state_dir: directory.join("state"),
            config: directory.join("krater.toml"),
            log: directory.join("lbd.log"),
            directory,
        }
    }
}

/// A rig that is up. Fields are dropped in order: servers, namespaces, pins,
/// then the record.
#[derive(Debug)]
pub struct Rig {
    members: Vec<Member>,
    client: NetNs,
    lb: NetNs,
    switch: NetNs,
    _pins: Pins,
    options: Options,
    paths: Paths,
    raised_in: Duration,
    recorder: Recorder,
}

impl Rig {
    /// Raises namespaces and servers.
    ///
    /// # Errors
    /// Without root, without the tools, or when something does not come up in
    /// time. What was made until then is removed.
    pub fn up(options: Options) -> Result<Self> {
        let start = Instant::now();
        let recorder = begin()?;
        let record = recorder.snapshot();
        let id = &record.id;
        let pins = Pins { path: record.pin_path.clone() };
        let namespace = |node: &str| NetNs::create(&recorder, &format!("kr-{id}-{node}"));
        let client = namespace("client")?;
        let lb = namespace("lb")?;
        let switch = namespace("switch")?;
        let mut members = Vec::new();
        for index in 0..addresses::MEMBERS {
            let name = addresses::member_name(index);
            let address = |family| options.topology.member(family, index);
            members.push(Member::new(
                &recorder,
                namespace(&name)?,
                &name,
                [address(Family::V4), address(Family::V6)],
                &record.directory,
            )?);
        }
        let paths = Paths::below(record.directory, record.pin_path);
        let mut rig =
            Self { members, client, lb, switch, _pins: pins, options, paths, raised_in: Duration::ZERO, recorder };
        rig.connect().context("connect the namespaces")?;
        for member in &mut rig.members {
            member.start_servers()?;
        }
        for member in &mut rig.members {
            member.wait_serving(Duration::from_secs(5))?;
        }
        rig.raised_in = start.elapsed();
        Ok(rig)
    }

    /// The rig's id, part of every name.
    #[must_use]
    pub fn id(&self) -> String {
        self.recorder.snapshot().id
    }

    /// Where its things are.
    #[must_use]
    pub const fn paths(&self) -> &Paths {
        &self.paths
    }

    /// What kind it is.
    #[must_use]
    pub const fn options(&self) -> Options {
        self.options
    }

    /// How long raising it took.
    #[must_use]
    pub const fn raised_in(&self) -> Duration {
        self.raised_in
    }

    /// Its record.
    #[must_use]
    pub const fn recorder(&self) -> &Recorder {
        &self.recorder
    }

    /// The client's namespace.
    #[must_use]
    pub const fn client(&self) -> &NetNs {
        &self.client
    }

    /// The balancer's namespace.
    #[must_use]
    pub const fn lb(&self) -> &NetNs {
        &self.lb
    }

    /// Member `index` (from 0).
    #[must_use]
    pub fn member(&self, index: usize) -> &Member {
        &self.members[index]
    }

    /// Member `index` (from 0), to stop and start it.
    #[must_use]
    pub fn member_mut(&mut self, index: usize) -> &mut Member {
        &mut self.members[index]
    }

    /// All members.
    #[must_use]
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// The member that has an address.
    #[must_use]
    pub fn member_at(&self, address: IpAddr) -> Option<&Member> {
        self.members.iter().find(|m| m.addresses().contains(&address))
    }

    /// Pulls a member's cable, at the switch: the member keeps its addresses and
    /// routes, and nothing reaches it.
    ///
    /// # Errors
    /// When `ip` refuses.
    pub fn unplug(&self, index: usize) -> Result<()> {
        self.switch.ip_batch(&format!("link set {} down\n", self.member(index).name()))
    }

    /// The contrary of [`Rig::unplug`].
    ///
    /// # Errors
    /// When `ip` refuses.
    pub fn plug_in(&self, index: usize) -> Result<()> {
        self.switch.ip_batch(&format!("link set {} up\n", self.member(index).name()))
    }

    /// Leaves everything up when this process ends; `krater-rig down` removes it.
    ///
    /// # Errors
    /// When the record cannot be written; then everything is removed.
    pub fn keep(self) -> Result<()> {
        self.recorder.keep()?;
        // The guards' whole purpose is what is not wanted now.
        std::mem::forget(self);
        Ok(())
    }

    fn connect(&self) -> Result<()> {
        let all = [&self.client, &self.lb, &self.switch];
        for namespace in all.into_iter().chain(self.members.iter().map(Member::namespace)) {
            silence_addresses(namespace)?;
        }
        self.client.set_parameters(&[("ipv4/ip_local_port_range", "10000 65535")])?;
        for member in &self.members {
            // The servers close first: without this, their closed connections would fill memory test after test.
            member.namespace().set_parameters(&[("ipv4/tcp_max_tw_buckets", "4096")])?;
        }

        let one_armed = self.options.topology == Topology::OneArmed;
        let mut links = String::new();
        let mut ports = Vec::new();
        let mut veth = |inner: &NetNs, name: &str, outer: &NetNs, peer: &str| {
            links +=
                &format!("link add {name} netns {} type veth peer name {peer} netns {}\n", inner.name(), outer.name());
        };
        if one_armed {
            veth(&self.client, "eth0", &self.switch, "client");
            veth(&self.lb, "front0", &self.switch, "lb");
            ports.extend(["client".to_owned(), "lb".to_owned()]);
        } else {
            veth(&self.client, "eth0", &self.lb, "front0");
            veth(&self.lb, "back0", &self.switch, "lb");
            ports.push("lb".to_owned());
        }
        for member in &self.members {
            veth(member.namespace(), "eth0", &self.switch, member.name());
            ports.push(member.name().to_owned());
        }
        command::run_with_input("ip", &["-batch", "-"], &links)?;

        // Snooping would keep solicitations for a VIP from the balancer, whose stack joined no group for it.
        let mut lines = "link add br0 type bridge mcast_snooping 0 stp_state 0 forward_delay 0\n".to_owned();
        for port in &ports {
            lines += &format!("link set {port} master br0 up\n");
        }
        self.switch.ip_batch(&(lines + "link set br0 up\n"))?;

        let front =
            "address add 10.77.0.1/24 dev front0\naddress add fd77::1/64 dev front0 nodad\nlink set front0 up\n";
        let back = "address add 10.77.1.1/24 dev back0\naddress add fd77:1::1/64 dev back0 nodad\nlink set back0 up\n";
        self.lb.ip_batch(&if one_armed { front.to_owned() } else { format!("{front}{back}") })?;
        let router = "route add default via 10.77.0.1\nroute add ::/0 via fd77::1\n";
        self.client.ip_batch(&format!(
            "address add {}/24 dev eth0\naddress add {}/64 dev eth0 nodad\nlink set eth0 up\n{router}",
            addresses::CLIENT4,
            addresses::CLIENT6
        ))?;
        for member in &self.members {
            let [v4, v6] = member.addresses();
            let router = if one_armed {
                ""
            } else {
                // Replies to the VIP, which is what members see as their client, come back to the balancer.
                "route add default via 10.77.1.1\nroute add ::/0 via fd77:1::1\n"
            };
            member.namespace().ip_batch(&format!(
                "address add {v4}/24 dev eth0\naddress add {v6}/64 dev eth0 nodad\nlink set eth0 up\n{router}"
            ))?;
        }
        self.set_offloads()
    }

    fn set_offloads(&self) -> Result<()> {
        let tx = if self.options.tx_checksum { "on" } else { "off" };
        // A frame longer than the MTU would have to be cut by the driver, which XDP keeps it from doing.
        let sender = ["-K", "eth0", "tx", tx, "tso", "off", "gso", "off"];
        self.client.run("ethtool", &sender)?;
        for member in &self.members {
            member.namespace().run("ethtool", &sender)?;
        }
        self.receive_from_xdp()
    }

    /// What XDP transmits into a veth arrives only where the other end has a
    /// program too.
    fn receive_from_xdp(&self) -> Result<()> {
        binaries::attach_pass(&self.switch, "lb")?;
        if self.options.topology == Topology::TwoArmed {
            binaries::attach_pass(&self.client, "eth0")?;
        }
        Ok(())
    }
}

/// Begins the record of a rig, after what is needed for any rig was looked for.
pub(crate) fn begin() -> Result<Recorder> {
    if !nix::unistd::geteuid().is_root() {
        bail!("the rig makes network namespaces: run it as root");
    }
    mount_bpffs()?;
    for id in record::remove_abandoned()? {
        eprintln!("rig: removed {id}, which a run that was killed had left behind");
    }
    Recorder::begin()
}

/// Addresses in a namespace are usable at once, and nobody else speaks.
fn silence_addresses(namespace: &NetNs) -> Result<()> {
    namespace.set_parameters(&[
        ("ipv6/conf/all/accept_dad", "0"),
        ("ipv6/conf/default/accept_dad", "0"),
        ("ipv6/conf/default/dad_transmits", "0"),
        ("ipv6/conf/default/router_solicitations", "0"),
        ("ipv6/conf/default/accept_ra", "0"),
    ])
}

/// The directory of pins. Dropping it removes them, which detaches the data path.
#[derive(Debug)]
pub(crate) struct Pins {
    path: PathBuf,
}

impl Pins {
    /// That directory, there already or not.
    pub(crate) const fn at(path: PathBuf) -> Self {
        Self { path }
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        if let Err(error) = record::remove_directory(&self.path) {
            eprintln!("rig: {error:#}");
        }
    }
}

/// Mounts a bpffs where everybody looks for one, unless there is one.
fn mount_bpffs() -> Result<()> {
    let path = Path::new("/sys/fs/bpf");
    let mounts = std::fs::read_to_string("/proc/self/mounts").context("read /proc/self/mounts")?;
    let mounted = mounts.lines().any(|line| {
        let mut fields = line.split(' ').skip(1);
        fields.next() == path.to_str() && fields.next() == Some("bpf")
    });
    if !mounted {
        command::run("mount", &["-t", "bpf", "bpf", "/sys/fs/bpf"])?;
    }
    Ok(())
}
