//! Two balancers, a client and three members on one network: what a failover
//! is tried and measured on.
//!
//! ```text
//!  client, lb-a (front0), lb-b (front0), m1, m2, m3 ── switch (br0)
//!                 lb-a (sync0), lb-b (sync0) ───────── switch (br1)
//! ```
//!
//! The VIPs are in the members' own subnet, so that members find the balancer
//! that is Active as clients do. The second bridge carries what balancers tell
//! each other; it is a bridge, and no cable between the two, so that taking one
//! balancer's port down is no event at the other.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use super::{
    Paths, Pins, addresses,
    addresses::{Family, Side, Topology},
    binaries, command,
    netns::NetNs,
    record::Recorder,
    servers::Member,
    silence_addresses,
};

/// The interface of each balancer towards clients and members.
pub const FRONT: &str = "front0";
/// The interface of each balancer towards the other one.
pub const SYNC: &str = "sync0";

/// One of the two balancers' hosts.
#[derive(Debug)]
pub struct Node {
    side: Side,
    namespace: NetNs,
    paths: Paths,
}

impl Node {
    /// Which one it is.
    #[must_use]
    pub const fn side(&self) -> Side {
        self.side
    }

    /// Its namespace.
    #[must_use]
    pub const fn namespace(&self) -> &NetNs {
        &self.namespace
    }

    /// Where its things are.
    #[must_use]
    pub const fn paths(&self) -> &Paths {
        &self.paths
    }
}

/// A pair that is up. Fields are dropped in order: servers, namespaces, pins,
/// then the record.
#[derive(Debug)]
pub struct Pair {
    members: Vec<Member>,
    client: NetNs,
    nodes: [Node; 2],
    switch: NetNs,
    _pins: Pins,
    raised_in: Duration,
    recorder: Recorder,
}

impl Pair {
    /// Raises namespaces and, with `servers`, the members' servers.
    ///
    /// # Errors
    /// Without root, without the tools, or when something does not come up in
    /// time. What was made until then is removed.
    pub fn up(servers: bool) -> Result<Self> {
        let start = Instant::now();
        let recorder = super::begin()?;
        let record = recorder.snapshot();
        let id = &record.id;
        let pins = Pins { path: record.pin_path.clone() };
        let namespace = |node: &str| NetNs::create(&recorder, &format!("kr-{id}-{node}"));
        let client = namespace("client")?;
        let node = |side: Side| -> Result<Node> {
            let directory = record.directory.join(side.node());
            std::fs::create_dir_all(&directory).with_context(|| format!("create {}", directory.display()))?;
            let paths = Paths::below(directory, record.pin_path.join(side.node()));
            Ok(Node { side, namespace: namespace(side.node())?, paths })
        };
        let nodes = [node(Side::A)?, node(Side::B)?];
        let switch = namespace("switch")?;
        let members = members(&recorder, &record.directory, namespace)?;
        let mut pair = Self { members, client, nodes, switch, _pins: pins, raised_in: Duration::ZERO, recorder };
        pair.connect().context("connect the namespaces")?;
        if servers {
            for member in &mut pair.members {
                member.start_servers()?;
                member.start_echo()?;
            }
            for member in &mut pair.members {
                member.wait_serving(Duration::from_secs(5))?;
            }
        }
        pair.raised_in = start.elapsed();
        Ok(pair)
    }

    /// The pair's id, part of every name.
    #[must_use]
    pub fn id(&self) -> String {
        self.recorder.snapshot().id
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

    /// The switch's namespace.
    #[must_use]
    pub const fn switch(&self) -> &NetNs {
        &self.switch
    }

    /// One of the balancers' hosts.
    #[must_use]
    pub const fn node(&self, side: Side) -> &Node {
        match side {
            Side::A => &self.nodes[0],
            Side::B => &self.nodes[1],
        }
    }

    /// All members.
    #[must_use]
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// Takes a host's ports at the switch down, as if it had lost its power:
    /// nothing reaches it and nothing leaves it.
    ///
    /// # Errors
    /// When `ip` refuses.
    pub fn unplug(&self, side: Side) -> Result<()> {
        self.ports(&format!("link set {} down\nlink set {} down\n", side.front_port(), side.sync_port()))
    }

    /// The contrary of [`Pair::unplug`].
    ///
    /// # Errors
    /// When `ip` refuses.
    pub fn plug_in(&self, side: Side) -> Result<()> {
        self.ports(&format!("link set {} up\nlink set {} up\n", side.front_port(), side.sync_port()))
    }

    /// Lets a host's ports carry nothing and stay up: the host itself cannot
    /// see it.
    ///
    /// # Errors
    /// When `ip` refuses.
    pub fn silence(&self, side: Side) -> Result<()> {
        // Of the states of a bridge port, 0 is disabled and 3 is forwarding.
        self.port_states(side, 0)
    }

    /// The contrary of [`Pair::silence`].
    ///
    /// # Errors
    /// When `ip` refuses.
    pub fn unsilence(&self, side: Side) -> Result<()> {
        self.port_states(side, 3)
    }

    fn port_states(&self, side: Side, state: u8) -> Result<()> {
        // `ip` takes this too, and does nothing.
        for port in [side.front_port(), side.sync_port()] {
            self.switch.run("bridge", &["link", "set", "dev", port, "state", &state.to_string()])?;
        }
        Ok(())
    }

    /// Keeps the two hosts from hearing each other, while clients and members
    /// reach both.
    ///
    /// # Errors
    /// When `ip` refuses.
    pub fn part(&self) -> Result<()> {
        self.isolate("on")
    }

    /// The contrary of [`Pair::part`].
    ///
    /// # Errors
    /// When `ip` refuses.
    pub fn rejoin(&self) -> Result<()> {
        self.isolate("off")
    }

    fn isolate(&self, how: &str) -> Result<()> {
        let ports = Side::BOTH.into_iter().flat_map(|side| [side.front_port(), side.sync_port()]);
        let lines: Vec<String> =
            ports.map(|port| format!("link set dev {port} type bridge_slave isolated {how}\n")).collect();
        self.ports(&lines.concat())
    }

    fn ports(&self, lines: &str) -> Result<()> {
        self.switch.ip_batch(lines)
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
        let hosts = || [&self.client].into_iter().chain(self.members.iter().map(Member::namespace));
        let balancers = || self.nodes.iter().map(|node| &node.namespace);
        for namespace in hosts().chain(balancers()).chain([&self.switch]) {
            silence_addresses(namespace)?;
        }
        self.client.set_parameters(&[("ipv4/ip_local_port_range", "10000 65535")])?;

        let mut links = String::new();
        let mut veth = |inner: &NetNs, name: &str, port: &str| {
            let (inner, outer) = (inner.name(), self.switch.name());
            links += &format!("link add {name} netns {inner} type veth peer name {port} netns {outer}\n");
        };
        veth(&self.client, "eth0", "client");
        for node in &self.nodes {
            veth(&node.namespace, FRONT, node.side.front_port());
            veth(&node.namespace, SYNC, node.side.sync_port());
        }
        for member in &self.members {
            veth(member.namespace(), "eth0", member.name());
        }
        command::run_with_input("ip", &["-batch", "-"], &links)?;

        // Snooping would keep solicitations for a VIP from the balancers, whose stacks joined no group for it.
        let bridge = |name: &str| format!("link add {name} type bridge mcast_snooping 0 stp_state 0 forward_delay 0\n");
        let mut lines = bridge("br0") + &bridge("br1");
        let members = self.members.iter().map(Member::name);
        for port in ["client"].into_iter().chain(Side::BOTH.map(Side::front_port)).chain(members) {
            lines += &format!("link set {port} master br0 up\n");
        }
        for side in Side::BOTH {
            lines += &format!("link set {} master br1 up\n", side.sync_port());
        }
        self.switch.ip_batch(&(lines + "link set br0 up\nlink set br1 up\n"))?;

        for Node { side, namespace, .. } in &self.nodes {
            let [v4, v6] = Family::BOTH.map(|family| side.front(family));
            namespace.ip_batch(&format!(
                "address add {v4}/24 dev {FRONT}\naddress add {v6}/64 dev {FRONT} nodad\nlink set {FRONT} up\n\
                 address add {}/30 dev {SYNC}\nlink set {SYNC} up\n",
                side.sync()
            ))?;
        }
        let mut lines = format!(
            "address add {}/24 dev eth0\naddress add {}/64 dev eth0 nodad\n",
            addresses::CLIENT4,
            addresses::CLIENT6
        );
        for address in addresses::more_clients() {
            lines += &format!("address add {address}/24 dev eth0\n");
        }
        self.client.ip_batch(&(lines + "link set eth0 up\n"))?;
        for member in &self.members {
            let [v4, v6] = member.addresses();
            member.namespace().ip_batch(&format!(
                "address add {v4}/24 dev eth0\naddress add {v6}/64 dev eth0 nodad\nlink set eth0 up\n"
            ))?;
        }
        for host in hosts() {
            host.run("ethtool", &["-K", "eth0", "tx", "off", "tso", "off", "gso", "off"])?;
        }
        for side in Side::BOTH {
            binaries::attach_pass(&self.switch, side.front_port())?;
        }
        Ok(())
    }
}

fn members(recorder: &Recorder, directory: &Path, namespace: impl Fn(&str) -> Result<NetNs>) -> Result<Vec<Member>> {
    let mut members = Vec::new();
    for index in 0..addresses::MEMBERS {
        let name = addresses::member_name(index);
        let addresses = Family::BOTH.map(|family| Topology::OneArmed.member(family, index));
        members.push(Member::new(recorder, namespace(&name)?, &name, addresses, directory)?);
    }
    Ok(members)
}
