//! Pool files for a rig: the one in `examples/` with its paths replaced, or one
//! made for a test.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context as _, Result};
use serde::Serialize;

use super::{
    Paths,
    addresses::{
        self, ECHO_PORT, Family, HTTP_PORT, LISTENER_ECHO, LISTENER_TCP, LISTENER_UDP, SYNC_PORT, Side, Topology,
        UDP_PORT,
    },
};

/// The pool file everybody starts from.
pub const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/krater.toml");

/// The text of the example, with the interfaces and the members' addresses of
/// a topology.
///
/// # Errors
/// When it cannot be read.
pub fn example(topology: Topology) -> Result<String> {
    let mut text = std::fs::read_to_string(EXAMPLE).with_context(|| format!("read {EXAMPLE}"))?;
    let as_written = Topology::TwoArmed;
    let list =
        |topology: Topology| topology.interfaces().iter().map(|i| format!("{i:?}")).collect::<Vec<_>>().join(", ");
    text = text.replace(&format!("[{}]", list(as_written)), &format!("[{}]", list(topology)));
    for family in Family::BOTH {
        for index in 0..addresses::MEMBERS {
            let quoted = |topology: Topology| format!("\"{}\"", topology.member(family, index));
            text = text.replace(&quoted(as_written), &quoted(topology));
        }
    }
    Ok(text)
}

/// A pool file with the rig's own pins, socket and state directory, and
/// everything else as it was.
///
/// # Errors
/// When the text is no TOML.
pub fn relocated(text: &str, paths: &Paths) -> Result<String> {
    let mut document: toml::Table = text.parse().context("read a pool file")?;
    let mut set = |table: &str, key: &str, path: &std::path::Path| {
        let entry = document.entry(table).or_insert_with(|| toml::Table::new().into());
        if let Some(table) = entry.as_table_mut() {
            table.insert(key.to_owned(), path.to_string_lossy().into_owned().into());
        }
    };
    set("dataplane", "pin_path", &paths.pin_path);
    set("control", "socket", &paths.socket);
    set("control", "state_dir", &paths.state_dir);
    toml::to_string(&document).context("write a pool file")
}

/// A pool file made for a test: for each family a load balancer `web4` or
/// `web6` with the listeners `http` and `echo` and the pools `app` and `echo`,
/// in which members are `m1` to `m3`.
#[derive(Clone, Debug, Serialize)]
pub struct PoolFile {
    /// `[dataplane]`.
    pub dataplane: Dataplane,
    /// `[control]`.
    pub control: Control,
    /// `[sync]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sync: Option<Sync>,
    /// `[[vrrp]]`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub vrrp: Vec<Vrrp>,
    /// `[[loadbalancer]]`.
    pub loadbalancer: Vec<LoadBalancer>,
}

/// `[dataplane]`.
#[derive(Clone, Debug, Serialize)]
pub struct Dataplane {
    /// Interfaces to attach to.
    pub interfaces: Vec<String>,
    /// `auto`, `native` or `generic`.
    pub xdp_mode: String,
    /// Directory of the pins.
    pub pin_path: String,
    /// Flows of each family.
    pub max_flows: u32,
    /// `keep` or `remove`.
    pub on_exit: String,
    /// What flows are spread by; by chance if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hash_seed: Option<u64>,
}

/// `[control]`.
#[derive(Clone, Debug, Serialize)]
pub struct Control {
    /// The socket.
    pub socket: String,
    /// The state directory.
    pub state_dir: String,
}

/// `[sync]`.
#[derive(Clone, Debug, Serialize)]
pub struct Sync {
    /// Where this balancer hears of flows.
    pub local: SocketAddr,
    /// Where the other one does.
    pub peer: SocketAddr,
    /// What both know and nobody else does.
    pub secret: String,
}

/// `[[vrrp]]`.
#[derive(Clone, Debug, Serialize)]
pub struct Vrrp {
    /// Its name.
    pub name: String,
    /// Where adverts go.
    pub interface: String,
    /// The virtual router's number.
    pub virtual_router_id: u8,
    /// `ipv4` or `ipv6`.
    pub family: String,
    /// The higher one is preferred.
    pub priority: u8,
    /// Milliseconds between adverts.
    pub advert_interval_ms: u64,
    /// Whether the higher priority takes over from a lower one that works.
    pub preempt: bool,
    /// Whether clients learn the virtual MAC; as lbd thinks best if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub virtual_mac: Option<bool>,
    /// Where adverts to those come from; as lbd thinks best if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unicast_source: Option<IpAddr>,
    /// Who gets adverts; multicast if nobody.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unicast_peers: Vec<IpAddr>,
}

/// How two balancers stand by each other.
#[derive(Clone, Copy, Debug)]
pub struct Standby {
    /// Milliseconds between adverts.
    pub advert_interval_ms: u64,
    /// Whether the preferred balancer takes over from the other one.
    pub preempt: bool,
    /// Whether adverts go to the other one alone.
    pub unicast: bool,
    /// Whether clients learn the virtual MAC; as lbd thinks best if `None`.
    pub virtual_mac: Option<bool>,
    /// Whether each tells the other of its flows.
    pub sync: bool,
}

impl Default for Standby {
    /// Ten adverts a second by multicast, whoever is Active stays so, and flows
    /// are known to both.
    fn default() -> Self {
        Self { advert_interval_ms: 100, preempt: false, unicast: false, virtual_mac: None, sync: true }
    }
}

/// The virtual router of a family, in a pair.
#[must_use]
pub const fn virtual_router(family: Family) -> &'static str {
    match family {
        Family::V4 => "vip4",
        Family::V6 => "vip6",
    }
}

/// The number of the virtual routers of a pair.
pub const VIRTUAL_ROUTER_ID: u8 = 51;

/// What the balancers of a pair prefer of themselves: Octavia's numbers.
#[must_use]
pub const fn priority(side: Side) -> u8 {
    match side {
        Side::A => 100,
        Side::B => 90,
    }
}

/// `[[loadbalancer]]`.
#[derive(Clone, Debug, Serialize)]
pub struct LoadBalancer {
    /// Its name.
    pub name: String,
    /// Its VIP.
    pub vip_address: IpAddr,
    /// `SINGLE` or `ACTIVE_STANDBY`; the first if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topology: Option<String>,
    /// The virtual router that the VIP goes with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vrrp: Option<String>,
    /// Its listeners.
    pub listener: Vec<Listener>,
    /// Its pools.
    pub pool: Vec<Pool>,
}

/// `[[loadbalancer.listener]]`.
#[derive(Clone, Debug, Serialize)]
pub struct Listener {
    /// Its name.
    pub name: String,
    /// `TCP` or `UDP`.
    pub protocol: String,
    /// Its port.
    pub protocol_port: u16,
    /// Its pool.
    pub default_pool: String,
    /// From where it may be reached; from everywhere if empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allowed_cidrs: Vec<String>,
    /// How many flows it may have; any number if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection_limit: Option<u32>,
    /// How many flows a client may open a second; any number if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new_flows_per_source: Option<u32>,
}

/// `[[loadbalancer.pool]]`.
#[derive(Clone, Debug, Serialize)]
pub struct Pool {
    /// Its name.
    pub name: String,
    /// `TCP` or `UDP`.
    pub protocol: String,
    /// `SOURCE_IP_PORT` or `SOURCE_IP`.
    pub lb_algorithm: String,
    /// `nat` and four others; the first if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forward_mode: Option<String>,
    /// Seconds that flows keep their member when the pool changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transition_hold: Option<u32>,
    /// `keep` or `reset`; the first if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_member_down: Option<String>,
    /// Per cent; never if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub panic_threshold: Option<u8>,
    /// Its members.
    pub member: Vec<Member>,
    /// Its health monitor.
    pub healthmonitor: Option<HealthMonitor>,
    /// `[loadbalancer.pool.session_persistence]`, by field.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_persistence: Option<toml::Table>,
}

/// `[[loadbalancer.pool.member]]`.
#[derive(Clone, Debug, Serialize)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub address: IpAddr,
    /// Its port.
    pub protocol_port: u16,
    /// Its weight.
    pub weight: u16,
    /// Used only when no other member can be.
    pub backup: bool,
    /// On or off.
    pub admin_state_up: bool,
    /// Where it is probed; its address if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub monitor_address: Option<IpAddr>,
    /// The port it is probed at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub monitor_port: Option<u16>,
    /// How many flows it may have; any number if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection_limit: Option<u32>,
}

/// `[loadbalancer.pool.healthmonitor]`. What is absent is as lbd thinks best.
#[derive(Clone, Debug, Serialize)]
pub struct HealthMonitor {
    /// `TCP`, `HTTP`, and so on.
    #[serde(rename = "type")]
    pub kind: String,
    /// Seconds between probes.
    pub delay: f64,
    /// Seconds a probe may take.
    pub timeout: f64,
    /// Successes in a row that bring a member up.
    pub max_retries: u8,
    /// Failures in a row that take a member down.
    pub max_retries_down: u8,
    /// `GET` and eight others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_method: Option<String>,
    /// `1.0` or `1.1`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_version: Option<String>,
    /// What is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url_path: Option<String>,
    /// `200`, `200,202` or `200-204`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected_codes: Option<String>,
    /// Whom is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain_name: Option<String>,
    /// Which service of a gRPC server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grpc_service: Option<String>,
    /// `half` or `full`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp_handshake: Option<String>,
    /// Whether a member that flaps needs more successes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flap_damping: Option<bool>,
    /// Whether it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admin_state_up: Option<bool>,
}

impl PoolFile {
    /// A file for a rig: three members of equal weight in each pool, noticed
    /// missing within half a second or so.
    #[must_use]
    pub fn for_rig(topology: Topology, paths: &Paths) -> Self {
        let text = |path: &std::path::Path| path.to_string_lossy().into_owned();
        Self {
            dataplane: Dataplane {
                interfaces: topology.interfaces().iter().map(|name| (*name).to_owned()).collect(),
                xdp_mode: "native".to_owned(),
                pin_path: text(&paths.pin_path),
                max_flows: 16384,
                on_exit: "keep".to_owned(),
                hash_seed: None,
            },
            control: Control { socket: text(&paths.socket), state_dir: text(&paths.state_dir) },
            sync: None,
            vrrp: Vec::new(),
            loadbalancer: Family::BOTH.map(|family| LoadBalancer::for_rig(topology, family)).into(),
        }
    }

    /// The file of one balancer of a pair: as one-armed, with a third listener
    /// in front of the members' TCP echo, room for very many flows, and a
    /// virtual router for each VIP.
    #[must_use]
    pub fn for_pair(side: Side, paths: &Paths, standby: Standby) -> Self {
        let mut file = Self::for_rig(Topology::OneArmed, paths);
        file.dataplane.max_flows = 65536;
        file.dataplane.hash_seed = Some(0x6b72_6174_6572);
        for (balancer, family) in file.loadbalancer.iter_mut().zip(Family::BOTH) {
            balancer.topology = Some("ACTIVE_STANDBY".to_owned());
            balancer.vrrp = Some(virtual_router(family).to_owned());
            balancer.listener.push(Listener::new("lines", "TCP", LISTENER_ECHO, "lines"));
            balancer.pool.push(Pool::for_rig(Topology::OneArmed, family, "lines", "TCP", ECHO_PORT));
        }
        file.vrrp = Family::BOTH
            .map(|family| Vrrp {
                name: virtual_router(family).to_owned(),
                interface: super::pair::FRONT.to_owned(),
                virtual_router_id: VIRTUAL_ROUTER_ID,
                family: family.name().to_lowercase(),
                priority: priority(side),
                advert_interval_ms: standby.advert_interval_ms,
                preempt: standby.preempt,
                virtual_mac: standby.virtual_mac,
                unicast_source: standby.unicast.then(|| side.front(family)),
                unicast_peers: if standby.unicast { vec![side.other().front(family)] } else { Vec::new() },
            })
            .into();
        file.sync = standby.sync.then(|| Sync {
            local: SocketAddr::new(side.sync(), SYNC_PORT),
            peer: SocketAddr::new(side.other().sync(), SYNC_PORT),
            secret: "what both balancers of a rig know".to_owned(),
        });
        file
    }

    /// A load balancer by name; adds an empty one if it is not there.
    pub fn balancer(&mut self, name: &str) -> &mut LoadBalancer {
        let all = &mut self.loadbalancer;
        let index = all.iter().position(|l| l.name == name).unwrap_or_else(|| {
            all.push(LoadBalancer {
                name: name.to_owned(),
                vip_address: addresses::VIP4,
                topology: None,
                vrrp: None,
                listener: Vec::new(),
                pool: Vec::new(),
            });
            all.len() - 1
        });
        &mut all[index]
    }

    /// Every pool of every load balancer.
    pub fn pools(&mut self) -> impl Iterator<Item = &mut Pool> {
        self.loadbalancer.iter_mut().flat_map(|balancer| &mut balancer.pool)
    }

    /// The file's text.
    ///
    /// # Errors
    /// When TOML cannot say it.
    pub fn text(&self) -> Result<String> {
        toml::to_string(self).context("write a pool file")
    }
}

impl LoadBalancer {
    fn for_rig(topology: Topology, family: Family) -> Self {
        Self {
            name: if family == Family::V4 { "web4" } else { "web6" }.to_owned(),
            vip_address: family.vip(),
            topology: None,
            vrrp: None,
            listener: vec![
                Listener::new("http", "TCP", LISTENER_TCP, "app"),
                Listener::new("echo", "UDP", LISTENER_UDP, "echo"),
            ],
            pool: vec![
                Pool::for_rig(topology, family, "app", "TCP", HTTP_PORT),
                Pool::for_rig(topology, family, "echo", "UDP", UDP_PORT),
            ],
        }
    }
}

impl Listener {
    /// A listener at a port of the VIP, in front of a pool.
    #[must_use]
    pub fn new(name: &str, protocol: &str, port: u16, pool: &str) -> Self {
        Self {
            name: name.to_owned(),
            protocol: protocol.to_owned(),
            protocol_port: port,
            default_pool: pool.to_owned(),
            allowed_cidrs: Vec::new(),
            connection_limit: None,
            new_flows_per_source: None,
        }
    }
}

impl HealthMonitor {
    /// One that asks five times a second, is patient for as long, and believes
    /// the second failure and the first success.
    #[must_use]
    pub fn of(kind: &str) -> Self {
        Self {
            kind: kind.to_owned(),
            delay: 0.2,
            timeout: 0.2,
            max_retries: 1,
            max_retries_down: 2,
            http_method: None,
            http_version: None,
            url_path: None,
            expected_codes: None,
            domain_name: None,
            grpc_service: None,
            tcp_handshake: None,
            flap_damping: None,
            admin_state_up: None,
        }
    }
}

impl Member {
    /// A member with a weight of one that is probed where it serves.
    #[must_use]
    pub fn new(name: &str, address: IpAddr, port: u16) -> Self {
        Self {
            name: name.to_owned(),
            address,
            protocol_port: port,
            weight: 1,
            backup: false,
            admin_state_up: true,
            monitor_address: None,
            monitor_port: None,
            connection_limit: None,
        }
    }
}

impl Pool {
    /// A pool of these members.
    #[must_use]
    pub fn new(name: &str, protocol: &str, member: Vec<Member>, healthmonitor: Option<HealthMonitor>) -> Self {
        Self {
            name: name.to_owned(),
            protocol: protocol.to_owned(),
            lb_algorithm: "SOURCE_IP_PORT".to_owned(),
            forward_mode: None,
            transition_hold: None,
            on_member_down: None,
            panic_threshold: None,
            member,
            healthmonitor,
            session_persistence: None,
        }
    }

    fn for_rig(topology: Topology, family: Family, name: &str, protocol: &str, port: u16) -> Self {
        let member = (0..addresses::MEMBERS).map(|index| Member {
            // The members' UDP servers answer no TCP probe, and their echo has more to do: their web server stands
            // for all.
            monitor_port: (port != HTTP_PORT).then_some(HTTP_PORT),
            ..Member::new(&addresses::member_name(index), topology.member(family, index), port)
        });
        Self::new(name, protocol, member.collect(), Some(HealthMonitor::of("TCP")))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    fn paths() -> Paths {
        Paths::below("/rig".into(), "/rig/pins".into())
    }

    #[test]
    fn only_the_paths_are_replaced() {
        let text = "[dataplane]\ninterfaces = [\"a\"]\npin_path = \"/x\"\n[[loadbalancer]]\nname = \"web\"\n";
        let table: toml::Table = relocated(text, &paths()).unwrap().parse().unwrap();
        assert_eq!(table["dataplane"]["pin_path"].as_str(), Some("/rig/pins"));
        assert_eq!(table["dataplane"]["interfaces"][0].as_str(), Some("a"));
        assert_eq!(table["control"]["socket"].as_str(), Some("/rig/lbd.sock"));
        assert_eq!(table["loadbalancer"][0]["name"].as_str(), Some("web"));
    }

    #[test]
    fn the_example_fits_every_topology() {
        for topology in [Topology::TwoArmed, Topology::OneArmed] {
            let table: toml::Table = example(topology).unwrap().parse().unwrap();
            let interfaces = table["dataplane"]["interfaces"].as_array().unwrap();
            assert!(interfaces.iter().map(|i| i.as_str().unwrap()).eq(topology.interfaces().iter().copied()));
            for (balancer, family) in [(0, Family::V4), (1, Family::V6)] {
                for pool in table["loadbalancer"][balancer]["pool"].as_array().unwrap() {
                    let members = pool["member"].as_array().unwrap();
                    let addresses = members.iter().map(|m| m["address"].as_str().unwrap().to_owned());
                    assert!(addresses.eq((0..addresses::MEMBERS).map(|i| topology.member(family, i).to_string())));
                }
            }
        }
    }

    #[test]
    fn a_file_made_for_a_test_is_toml_with_everything_in_it() {
        let text = PoolFile::for_rig(Topology::TwoArmed, &paths()).text().unwrap();
        let table: toml::Table = text.parse().unwrap();
        let pool = &table["loadbalancer"][1]["pool"][1];
        assert_eq!(pool["member"][2]["address"].as_str(), Some("fd77:1::13"));
        assert_eq!(pool["healthmonitor"]["type"].as_str(), Some("TCP"));
    }

    #[test]
    fn the_files_of_a_pair_differ_in_who_is_who() {
        let standby = Standby { unicast: true, ..Standby::default() };
        let [a, b] = Side::BOTH
            .map(|side| PoolFile::for_pair(side, &paths(), standby).text().unwrap().parse::<toml::Table>().unwrap());
        assert_eq!(a["loadbalancer"], b["loadbalancer"]);
        assert_eq!(a["loadbalancer"][0]["topology"].as_str(), Some("ACTIVE_STANDBY"));
        assert_eq!(a["dataplane"]["hash_seed"], b["dataplane"]["hash_seed"]);
        assert_eq!(a["sync"]["local"], b["sync"]["peer"]);
        assert_eq!(b["vrrp"][1]["priority"].as_integer(), Some(90));
        assert_eq!(b["vrrp"][1]["unicast_peers"][0].as_str(), Some("fd77::3"));
        assert_eq!(a["vrrp"][0]["advert_interval_ms"].as_integer(), Some(100));
    }
}
