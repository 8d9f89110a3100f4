//! What shows only with routers, load balancers and flow sync side by side.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
};

use lb_common::limits::MAX_VIPS;
use vrrp::Family;

use super::{
    TrackKind,
    fields::{
        ADDRESS_ADDRESS, ALLOWED_SOURCES, FAMILY, GUARD, INTERFACE, LINK_LOCAL, LOCAL, MAX_ROUTERS, NAME, PEER,
        TRACK_NAME, UNICAST_PEERS, UNICAST_SOURCE, VIRTUAL_ROUTER_ID, VRRP,
    },
    routers::Router,
    sync::Sync,
};
use crate::{
    config::{
        balancers::{Balancers, Carriers},
        fields::{CARRIER, LB_NAME, MEMBER_ADDRESS, TOPOLOGY, VIP_ADDRESS},
        mistake::Complaints,
        reader::{Reader, Spot},
    },
    model::{LoadBalancer, Name, Topology},
};

/// Whether there is room for every router; those for which there is none are
/// left out after a complaint.
pub(super) fn there_is_room(complaints: &Complaints, tables: &mut Vec<Reader<'_>>) -> bool {
    let found = tables.len();
    if let Some(beyond) = tables.drain(found.min(MAX_ROUTERS)..).next() {
        let text = format!("there are {found} of them, and room for {MAX_ROUTERS}; remove some");
        complaints.mistake(beyond.spot().line(None), "", VRRP.key, text);
        return false;
    }
    true
}

/// What a load balancer may name as its router.
pub(super) fn carriers(routers: &[Router], complete: bool) -> Carriers {
    let names: HashSet<&Name> = routers.iter().map(|router| &router.vrrp.name).collect();
    let is_wrong = |router: &Router| router.is_wrong(&NAME) || router.is_wrong(&FAMILY);
    Carriers {
        known: routers.iter().map(|router| (router.vrrp.name.clone(), router.vrrp.family)).collect(),
        complete: complete && names.len() == routers.len() && !routers.iter().any(is_wrong),
    }
}

/// Checks routers against each other.
pub(super) fn routers(complaints: &Complaints, routers: &[Router]) {
    for (at, router) in routers.iter().enumerate() {
        let place = &router.spot.place;
        let complain = |key: &'static str, text: String| {
            complaints.mistake(router.spot.line(Some(key)), place, key, text);
        };
        let before = || routers[..at].iter();
        let same_name = before().find(|other| other.vrrp.name == router.vrrp.name && !other.is_wrong(&NAME));
        if let Some(other) = same_name.filter(|_| !router.is_wrong(&NAME)) {
            let line = other.spot.line(Some(NAME.key));
            let name = &router.vrrp.name;
            complain(NAME.key, format!("the name \"{name}\" is taken (see line {line}); give each router its own"));
        }
        let same_id = before().find(|other| is_the_same(other, router));
        if let Some(other) = same_id {
            let (id, family, interface) = (router.vrrp.virtual_router_id, router.vrrp.family, &router.vrrp.interface);
            let line = other.spot.line(Some(VIRTUAL_ROUTER_ID.key));
            complain(
                VIRTUAL_ROUTER_ID.key,
                format!("{interface} has an {family} router {id} already (see line {line}); use another id"),
            );
        }
        guards_agree(complaints, router, before());
    }
}

/// Whether two are one virtual router to everybody else.
fn is_the_same(one: &Router, other: &Router) -> bool {
    has_the_same_id(one, other)
        && one.vrrp.interface == other.vrrp.interface
        && ![one, other].iter().any(|router| router.is_wrong(&INTERFACE))
}

fn has_the_same_id(one: &Router, other: &Router) -> bool {
    let of = |router: &Router| (router.vrrp.virtual_router_id, router.vrrp.family);
    let is_made_up = |router: &Router| router.is_wrong(&VIRTUAL_ROUTER_ID) || router.is_wrong(&FAMILY);
    of(one) == of(other) && !is_made_up(one) && !is_made_up(other)
}

/// The data path knows adverts by the id and the family alone: what it drops
/// of one router it drops of another that has both.
fn guards_agree<'r>(complaints: &Complaints, router: &Router, mut others: impl Iterator<Item = &'r Router>) {
    let differs = |other: &&Router| has_the_same_id(other, router) && other.vrrp.guard != router.vrrp.guard;
    let Some(other) = others.find(differs).filter(|_| !router.is_wrong(&GUARD)) else { return };
    if other.is_wrong(&GUARD) {
        return;
    }
    let line = other.spot.line(Some(GUARD.key));
    let text = format!(
        "this router is {} and router \"{}\" of the same id and family {} (see line {line}), which the data path \
         cannot tell apart; write guard = false for both, or name both routers' allowed_sources",
        guarded(router.vrrp.guard),
        other.vrrp.name,
        guarded(other.vrrp.guard)
    );
    complaints.mistake(router.spot.line(Some(GUARD.key)), &router.spot.place, GUARD.key, text);
}

const fn guarded(guard: bool) -> &'static str {
    if guard { "guarded" } else { "unguarded" }
}

/// Checks routers and flow sync against load balancers.
pub(super) fn everything(complaints: &Complaints, routers: &[Router], sync: Option<&Sync>, balancers: &Balancers) {
    let taken = addresses(complaints, routers, balancers);
    let names: HashSet<&Name> = balancers.load_balancers.iter().map(|lb| &lb.name).collect();
    room(complaints, routers, &balancers.load_balancers);
    for router in routers {
        if !balancers.each().any(|(_, spot)| spot.is_wrong(LB_NAME.key)) {
            tracked(complaints, router, &names);
        }
        carried(complaints, router, balancers);
        own_addresses(complaints, router, &taken);
    }
    members(complaints, balancers, &taken);
    if let Some(sync) = sync {
        for (field, endpoint) in [(&LOCAL, sync.local), (&PEER, sync.peer)] {
            if let Some(taken) = endpoint.and_then(|endpoint| taken.get(&endpoint.ip())) {
                taken.refuse(complaints, &sync.spot, sync.spot.line(Some(field.key)), field.key, HOST);
            }
        }
        if routers.is_empty() {
            let text = "sync: there is no [[vrrp]], so that nothing ever moves; add one, or remove this".to_owned();
            complaints.warning(sync.spot.line(None), text);
        }
    }
}

/// Whose a virtual address is.
struct Taken {
    address: IpAddr,
    /// As in `the VIP of load balancer "web"`.
    of: String,
    line: usize,
    is_vip: bool,
}

/// What to use instead of a virtual address.
const HOST: &str = "use an address that stays with its host";

impl Taken {
    fn refuse(&self, complaints: &Complaints, spot: &Spot, line: usize, key: &str, remedy: &str) {
        let text = format!("{} is {} (see line {}); {remedy}", self.address, self.of, self.line);
        complaints.mistake(line, &spot.place, key, text);
    }
}

/// Every address that moves or is served, by who has it first. Two load
/// balancers with one VIP are the model's business.
fn addresses(complaints: &Complaints, routers: &[Router], balancers: &Balancers) -> HashMap<IpAddr, Taken> {
    let mut taken = HashMap::new();
    for (lb, spot) in balancers.each().filter(|(_, spot)| !spot.is_wrong(VIP_ADDRESS.key)) {
        let of = format!("the VIP of load balancer \"{}\"", lb.name);
        let (address, line) = (lb.vip_address, spot.line(Some(VIP_ADDRESS.key)));
        taken.entry(address).or_insert(Taken { address, of, line, is_vip: true });
    }
    let mut take = |address: IpAddr, of: String, spot: &Spot, key: &'static str| {
        let line = spot.line(Some(key));
        if let Some(first) = taken.get(&address) {
            first.refuse(complaints, spot, line, key, "use another address, or leave it out");
        } else {
            taken.insert(address, Taken { address, of, line, is_vip: false });
        }
    };
    for router in routers.iter().filter(|router| !router.is_wrong(&LINK_LOCAL)) {
        if let Some(address) = router.vrrp.link_local {
            let of = format!("the link-local address of router \"{}\"", router.vrrp.name);
            take(address.into(), of, &router.spot, LINK_LOCAL.key);
        }
    }
    for router in routers {
        for (address, spot) in router.vrrp.addresses.iter().zip(&router.addresses) {
            if !spot.is_wrong(ADDRESS_ADDRESS.key) {
                let of = format!("an address of router \"{}\"", router.vrrp.name);
                take(address.address, of, spot, ADDRESS_ADDRESS.key);
            }
        }
    }
    taken
}

/// The data path has one table for VIPs and for what else moves.
fn room(complaints: &Complaints, routers: &[Router], load_balancers: &[LoadBalancer]) {
    let limit = MAX_VIPS as usize;
    let mut found = load_balancers.len();
    if found > limit {
        return;
    }
    for router in routers {
        found += router.vrrp.addresses.len() + usize::from(router.vrrp.link_local.is_some());
        if found > limit {
            let text = format!(
                "load balancers and routers have more than {limit} addresses together, which is how many there is room \
                 for; leave some out"
            );
            return complaints.mistake(router.spot.line(None), &router.spot.place, "", text);
        }
    }
}

fn tracked(complaints: &Complaints, router: &Router, load_balancers: &HashSet<&Name>) {
    for (track, spot) in router.vrrp.track.iter().zip(&router.tracks) {
        if let TrackKind::LoadBalancer(name) = &track.kind
            && !load_balancers.contains(name)
        {
            let text = format!("there is no load balancer \"{name}\"; write the name of a [[loadbalancer]]");
            complaints.mistake(spot.line(Some(TRACK_NAME.key)), &spot.place, TRACK_NAME.key, text);
        }
    }
}

/// Whether a router moves anything, and whether its adverts can say so.
fn carried(complaints: &Complaints, router: &Router, balancers: &Balancers) {
    let vrrp = &router.vrrp;
    let carries =
        |lb: &&LoadBalancer| matches!(&lb.topology, Topology::ActiveStandby { vrrp: name } if *name == vrrp.name);
    let vips: Vec<IpAddr> = balancers.load_balancers.iter().filter(carries).map(|lb| lb.vip_address).collect();
    let place = &router.spot.place;
    if vips.is_empty() && vrrp.addresses.is_empty() {
        let text = format!(
            "{place}: it has nothing to move; write topology = \"ACTIVE_STANDBY\" in a [[loadbalancer]], or add a \
             [[vrrp.address]]"
        );
        return complaints.warning(router.spot.line(Some(NAME.key)), text);
    }
    let others = vrrp.addresses.iter().filter(|one| one.advertised).map(|one| one.address);
    let named = vips.iter().copied().chain(others).filter(|address| vrrp.can_name(*address)).count();
    let named = named + usize::from(vrrp.link_local.is_some());
    let is_wrong = |spot: &Spot| [&TOPOLOGY, &CARRIER].iter().any(|field| spot.is_wrong(field.key));
    let is_made_up = [&NAME, &FAMILY, &LINK_LOCAL].iter().any(|field| router.is_wrong(field))
        || router.addresses.iter().any(|spot| spot.is_wrong(ADDRESS_ADDRESS.key))
        || balancers.each().any(|(_, spot)| is_wrong(spot));
    let room = vrrp.family.max_addresses();
    if named == 0 && vrrp.family == Family::V4 && !is_made_up {
        let text = "none of what it moves is an IPv4 address that adverts may name, and there is no advert without one; \
                    write family = \"ipv6\", or add an IPv4 [[vrrp.address]]";
        complaints.mistake(router.spot.line(Some(FAMILY.key)), place, FAMILY.key, text.to_owned());
    } else if named > room {
        let text = format!(
            "{place}: an advert has room for {room} addresses and not for {named}: the first {room} are named, and all \
             move; spread them over two routers if the other side has to see all"
        );
        complaints.warning(router.spot.line(Some(NAME.key)), text);
    }
}

/// Adverts do not come from, or go to, what moves.
fn own_addresses(complaints: &Complaints, router: &Router, taken: &HashMap<IpAddr, Taken>) {
    let vrrp = &router.vrrp;
    if let Some(taken) = vrrp.unicast_source.and_then(|source| taken.get(&source)) {
        let line = router.spot.line(Some(UNICAST_SOURCE.key));
        taken.refuse(complaints, &router.spot, line, UNICAST_SOURCE.key, HOST);
    }
    let peers = vrrp.unicast_peers.iter().map(|peer| (peer, UNICAST_PEERS.key));
    let allowed = vrrp.allowed_sources.iter().map(|source| (source, ALLOWED_SOURCES.key));
    for ((address, key), line) in peers.chain(allowed).zip(&router.lines_of_others) {
        if let Some(taken) = taken.get(address) {
            taken.refuse(complaints, &router.spot, *line, key, HOST);
        }
    }
}

/// A member that is a VIP is the model's business.
fn members(complaints: &Complaints, balancers: &Balancers, taken: &HashMap<IpAddr, Taken>) {
    for (address, spot) in balancers.members() {
        if let Some(taken) = taken.get(&address).filter(|taken| !taken.is_vip) {
            let remedy = "use a server's own address";
            taken.refuse(complaints, spot, spot.line(Some(MEMBER_ADDRESS.key)), MEMBER_ADDRESS.key, remedy);
        }
    }
}
