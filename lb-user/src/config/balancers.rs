//! `[[loadbalancer]]` and all that is in it, up to a checked [`Model`].
//!
//! A value that was refused is replaced by one that would do, so that the rest
//! of the file is checked in the same pass. The replacement never leaves here:
//! a file with a mistake gives no model. What the model's own checks find is
//! left out where it rests on a replaced value.

use std::{
    net::{IpAddr, Ipv4Addr},
    num::NonZeroU16,
};

use vrrp::Family;

use super::{
    fields::{
        BACKUP, CARRIER, DEFAULT_POOL, LB_NAME, LB_UP, LISTENER, LISTENER_NAME, LISTENER_PORT, LISTENER_PROTOCOL,
        LISTENER_UP, LOADBALANCER, MEMBER, MEMBER_ADDRESS, MEMBER_NAME, MEMBER_PORT, MEMBER_UP, MONITOR_ADDRESS,
        MONITOR_PORT, POOL, POOL_NAME, POOL_PROTOCOL, POOL_UP, TOPOLOGY, VIP_ADDRESS, WEIGHT,
    },
    forward,
    guard::{
        self,
        fields::{LISTENER_LIMIT, MEMBER_LIMIT},
    },
    mistake::Complaints,
    monitor,
    reader::{Reader, Spot},
    schema::Field,
};
use crate::model::{Listener, LoadBalancer, Member, Model, ModelError, Name, Place, Pool, Topology, Transport, Weight};

const TRANSPORTS: [(&str, Transport); 3] =
    [("TCP", Transport::Tcp), ("UDP", Transport::Udp), ("SCTP", Transport::Sctp)];

/// How many routers a complaint about a missing one names.
const CARRIERS_NAMED: usize = 8;
/// Stands where an address was refused.
const NO_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
/// Stands where a protocol was refused.
const NO_TRANSPORT: Transport = Transport::Tcp;

/// Where everything of a load balancer was in the file.
struct Spots {
    load_balancer: Spot,
    listeners: Vec<Spot>,
    pools: Vec<PoolSpots>,
}

struct PoolSpots {
    pool: Spot,
    members: Vec<Spot>,
    monitor: Option<Spot>,
}

/// Every load balancer of a file, and where all of it was.
pub(super) struct Balancers {
    pub(super) load_balancers: Vec<LoadBalancer>,
    spots: Vec<Spots>,
}

/// The virtual routers that a load balancer can name.
pub(super) struct Carriers {
    /// Their names and families.
    pub(super) known: Vec<(Name, Family)>,
    /// Whether these are all, with the names and families that they have.
    pub(super) complete: bool,
}

impl Balancers {
    /// Reads every load balancer of a file.
    pub(super) fn read(complaints: &Complaints, file: &Reader<'_>, carriers: &Carriers) -> Self {
        let tables = file.tables(&LOADBALANCER).into_iter();
        let (load_balancers, spots): (Vec<_>, Vec<_>) =
            tables.map(|table| load_balancer(complaints, table, carriers)).unzip();
        if load_balancers.is_empty() {
            // Half a file is in order, too.
            complaints
                .warning(1, "there is no [[loadbalancer]]: nothing is balanced, and a reload ends what was".to_owned());
        }
        Self { load_balancers, spots }
    }

    /// All of it, checked; `None` after a complaint.
    pub(super) fn model(self, complaints: &Complaints) -> Option<Model> {
        match Model::new(self.load_balancers) {
            Ok(model) => Some(model),
            Err(errors) => {
                errors.iter().for_each(|error| report(complaints, &self.spots, error));
                None
            }
        }
    }

    /// Each with its own place.
    pub(super) fn each(&self) -> impl Iterator<Item = (&LoadBalancer, &Spot)> {
        self.load_balancers.iter().zip(self.spots.iter().map(|spots| &spots.load_balancer))
    }

    /// The address of each member, with the member's place.
    pub(super) fn members(&self) -> impl Iterator<Item = (IpAddr, &Spot)> {
        let pools = self.load_balancers.iter().flat_map(|lb| &lb.pools);
        let members = pools.flat_map(|pool| &pool.members).map(|member| member.address);
        members.zip(self.spots.iter().flat_map(|lb| &lb.pools).flat_map(|pool| &pool.members))
    }
}

impl Carriers {
    /// The one that carries a VIP of whose load balancer there is no word: the
    /// only one there is, or the only one of the VIP's family.
    fn only_one_for(&self, vip: Option<IpAddr>) -> Option<&Name> {
        let of_its_family = || self.known.iter().filter(|(_, family)| vip.map(Family::of) == Some(*family));
        match (&self.known[..], of_its_family().count()) {
            ([(only, _)], _) => Some(only),
            (_, 1) => of_its_family().map(|(name, _)| name).next(),
            _ => None,
        }
    }

    /// As in `"a", "b"`.
    fn some(&self) -> String {
        let some = self.known.iter().take(CARRIERS_NAMED).map(|(name, _)| format!("\"{name}\""));
        some.collect::<Vec<_>>().join(", ")
    }
}

/// Whether a load balancer is one of a pair, and which router carries it.
fn topology(table: &Reader<'_>, vip: Option<IpAddr>, carriers: &Carriers) -> Topology {
    let is_one_of_a_pair = table.word(&TOPOLOGY, &[("SINGLE", false), ("ACTIVE_STANDBY", true)]);
    let named = table.name(&CARRIER);
    if is_one_of_a_pair == Some(false) && table.has(CARRIER.key) {
        let text = "with the topology SINGLE nothing moves; write topology = \"ACTIVE_STANDBY\", or remove this";
        table.mistake(CARRIER.key, text.to_owned());
    }
    if is_one_of_a_pair != Some(true) || table.is_wrong(&CARRIER) {
        return Topology::Single;
    }
    let only = carriers.only_one_for(vip);
    let known = |name: &Name| carriers.known.iter().any(|(known, _)| known == name);
    match (named, only) {
        (Some(vrrp), _) if known(&vrrp) || !carriers.complete => return Topology::ActiveStandby { vrrp },
        (None, Some(only)) if carriers.complete => return Topology::ActiveStandby { vrrp: only.clone() },
        _ if carriers.complete && carriers.known.is_empty() => {
            let text = "there is no [[vrrp]] to move the VIP; add one, or write topology = \"SINGLE\"";
            table.mistake(TOPOLOGY.key, text.to_owned());
        }
        (Some(name), _) => {
            table.mistake(CARRIER.key, format!("there is no [[vrrp]] \"{name}\"; there is {}", carriers.some()));
        }
        // Which one it is would follow from a value that was refused.
        (None, _) if !carriers.complete || vip.is_none() => table.mark_wrong(&CARRIER),
        (None, _) => {
            let names = carriers.some();
            let text = format!("is missing, and several [[vrrp]] could be meant; name one of {names}");
            table.mistake(CARRIER.key, text);
        }
    }
    Topology::Single
}

fn load_balancer(complaints: &Complaints, table: Reader<'_>, carriers: &Carriers) -> (LoadBalancer, Spots) {
    let name = required_name(&table, &LB_NAME);
    let vip = table.address(&VIP_ADDRESS);
    let vip_address = vip.unwrap_or(NO_ADDRESS);
    let topology = topology(&table, vip, carriers);
    let admin_state_up = table.flag(&LB_UP);
    let (listeners, listener_spots): (Vec<_>, Vec<_>) =
        table.tables(&LISTENER).into_iter().map(|l| listener(l, vip)).unzip();
    let (pools, pool_spots): (Vec<_>, Vec<_>) =
        table.tables(&POOL).into_iter().map(|p| pool(complaints, p, vip)).unzip();
    let spots = Spots { load_balancer: table.spot(), listeners: listener_spots, pools: pool_spots };
    warn_of_idle_pools(complaints, &listeners, &pools, &spots);
    (LoadBalancer { name, vip_address, topology, admin_state_up, listeners, pools }, spots)
}

fn listener(table: Reader<'_>, vip: Option<IpAddr>) -> (Listener, Spot) {
    let protocol = table.word(&LISTENER_PROTOCOL, &TRANSPORTS).unwrap_or(NO_TRANSPORT);
    let protocol_port = table.port(&LISTENER_PORT).unwrap_or(NonZeroU16::MIN);
    let listener = Listener {
        name: name_or(&table, &LISTENER_NAME, &[&LISTENER_PROTOCOL, &LISTENER_PORT], || {
            format!("{}-{protocol_port}", protocol.name().to_ascii_lowercase())
        }),
        protocol,
        protocol_port,
        default_pool: table.name(&DEFAULT_POOL),
        allowed_cidrs: guard::allowed_cidrs(&table, vip),
        connection_limit: guard::limit(&table, &LISTENER_LIMIT),
        new_flows_per_source: guard::new_flows_per_source(&table),
        admin_state_up: table.flag(&LISTENER_UP),
    };
    (listener, table.spot())
}

fn pool(complaints: &Complaints, table: Reader<'_>, vip: Option<IpAddr>) -> (Pool, PoolSpots) {
    let name = required_name(&table, &POOL_NAME);
    let written = table.word(&POOL_PROTOCOL, &TRANSPORTS);
    let protocol = written.unwrap_or(NO_TRANSPORT);
    let ways = forward::ways(&table, written, vip);
    let admin_state_up = table.flag(&POOL_UP);
    let (members, member_spots): (Vec<_>, Vec<_>) = table.tables(&MEMBER).into_iter().map(member).unzip();
    let (health_monitor, monitor_spot) = monitor::of_pool(&table).unzip();
    let (on_member_down, panic_threshold) = monitor::consequences(&table, protocol, health_monitor.is_some());
    let pool = Pool {
        name,
        protocol,
        lb_algorithm: ways.lb_algorithm,
        forward_mode: ways.forward_mode,
        session_persistence: ways.session_persistence,
        mss_clamp: ways.mss_clamp,
        transition_hold: ways.transition_hold,
        admin_state_up,
        members,
        health_monitor,
        on_member_down,
        panic_threshold,
    };
    monitor::warn_of_other_ports(complaints, &pool, &member_spots);
    (pool, PoolSpots { pool: table.spot(), members: member_spots, monitor: monitor_spot })
}

fn member(table: Reader<'_>) -> (Member, Spot) {
    let address = table.address(&MEMBER_ADDRESS).unwrap_or(NO_ADDRESS);
    let protocol_port = table.port(&MEMBER_PORT).unwrap_or(NonZeroU16::MIN);
    let member = Member {
        name: name_or(&table, &MEMBER_NAME, &[&MEMBER_ADDRESS, &MEMBER_PORT], || format!("{address}:{protocol_port}")),
        address,
        protocol_port,
        weight: table.integer(&WEIGHT).and_then(Weight::new).unwrap_or_default(),
        backup: table.flag(&BACKUP),
        connection_limit: guard::limit(&table, &MEMBER_LIMIT),
        admin_state_up: table.flag(&MEMBER_UP),
        monitor_address: table.address(&MONITOR_ADDRESS),
        monitor_port: table.port(&MONITOR_PORT),
    };
    (member, table.spot())
}

/// A name that has to be there.
fn required_name(table: &Reader<'_>, field: &'static Field) -> Name {
    table.name(field).unwrap_or_else(Name::placeholder)
}

/// A name, or one made of other values.
fn name_or(table: &Reader<'_>, field: &'static Field, of: &[&'static Field], make: impl FnOnce() -> String) -> Name {
    if let Some(name) = table.name(field) {
        return name;
    }
    if of.iter().any(|field| table.is_wrong(field)) {
        table.mark_wrong(field);
    }
    Name::new(make()).unwrap_or_else(|_| Name::placeholder())
}

/// Reports what the model's checks found, unless it rests on a value that was
/// refused already.
fn report(complaints: &Complaints, spots: &[Spots], error: &ModelError) {
    let Some(spot) = spot_at(spots, error.place) else { return };
    let made_up = |(place, field): &(Place, &'static str)| {
        spot_at(spots, *place).is_some_and(|spot| is_made_up(spots, *place, spot, field))
    };
    if error.rests_on().iter().any(made_up) {
        return;
    }
    let other = error.other().and_then(|other| spot_at(spots, other));
    let field = error.field();
    let mut text = error.kind.to_string();
    if let Some(other) = other {
        text.push_str(&format!(" (see line {})", other.line(field)));
    }
    complaints.mistake(spot.line(field), &spot.place, field.unwrap_or_default(), text);
}

/// Whether a value is none that the file gave. Where a load balancer's pools
/// are concerned, it is so if any of them or any of their names is missing.
fn is_made_up(spots: &[Spots], place: Place, spot: &Spot, field: &str) -> bool {
    let unnamed_pool = match place {
        Place::LoadBalancer(at) if field == POOL.key => {
            spots[at].pools.iter().any(|pool| pool.pool.is_wrong(POOL_NAME.key))
        }
        _ => false,
    };
    unnamed_pool || spot.is_wrong(field)
}

fn spot_at(spots: &[Spots], place: Place) -> Option<&Spot> {
    match place {
        Place::LoadBalancer(lb) => spots.get(lb).map(|lb| &lb.load_balancer),
        Place::Listener(lb, listener) => spots.get(lb)?.listeners.get(listener),
        Place::Pool(lb, pool) => spots.get(lb)?.pools.get(pool).map(|pool| &pool.pool),
        Place::Member(lb, pool, member) => spots.get(lb)?.pools.get(pool)?.members.get(member),
        Place::Monitor(lb, pool) => spots.get(lb)?.pools.get(pool)?.monitor.as_ref(),
    }
}

/// A pool that no listener uses gets nothing.
fn warn_of_idle_pools(complaints: &Complaints, listeners: &[Listener], pools: &[Pool], spots: &Spots) {
    let used: std::collections::HashSet<&Name> = listeners.iter().filter_map(|l| l.default_pool.as_ref()).collect();
    for (pool, spots) in pools.iter().zip(&spots.pools).filter(|(pool, _)| !used.contains(&pool.name)) {
        let text = format!(
            "{}: no listener uses it; write default_pool = \"{}\" in one, or remove the pool",
            spots.pool.place, pool.name
        );
        complaints.warning(spots.pool.line(Some(POOL_NAME.key)), text);
    }
}
