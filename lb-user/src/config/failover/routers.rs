//! `[[vrrp]]`, one router after the other. What it takes several of them, or
//! the load balancers, to see is looked at in [`super::together`].

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use vrrp::{ChecksumForm, Family, Priority, Version, Vrid};

use super::{
    AnnounceConfig, Track, TrackKind, VirtualAddress, VrrpConfig,
    authentication::authentication,
    fields::{
        ADDRESS, ADDRESS_ADDRESS, ADDRESS_INTERFACE, ADVERT_INTERVAL, ADVERTISED, ALLOWED_SOURCES, ANNOUNCE, CHECKSUM,
        FAMILY, GUARD, INTERFACE, LEARNED_INTERVAL_LIMIT, LINK_LOCAL, MAX_ADDRESSES, MAX_TRACKED, NAME, NOTIFY,
        PER_MILLISECOND, PREEMPT, PREEMPT_DELAY, PRIORITY, REALTIME, REFRESH, REFRESH_REPEAT, REPEAT, REPEAT_GAP,
        TRACK, TRACK_KIND, TRACK_NAME, TRACK_WEIGHT, UNICAST_PEERS, UNICAST_SOURCE, VERSION, VIRTUAL_MAC,
        VIRTUAL_ROUTER_ID,
    },
    secrets::flaw_of_program,
};
use crate::{
    config::{
        mistake::quoted,
        reader::{Reader, Spot},
        schema::Field,
    },
    model::{AddressFlaw, Name},
};

const FAMILIES: [(&str, Family); 2] = [("ipv4", Family::V4), ("ipv6", Family::V6)];
const CHECKSUMS: [(&str, ChecksumForm); 2] =
    [("pseudo_header", ChecksumForm::PseudoHeader), ("message_only", ChecksumForm::MessageOnly)];
/// The longest interval of version 3 in milliseconds.
const MAX_INTERVAL_3: u32 = 40_950;
/// Stands where an address was refused.
const NO_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// A router and where all of it was in the file. Where the spot knows of a
/// value that was refused, another one stands for it.
pub(super) struct Router {
    pub(super) vrrp: VrrpConfig,
    pub(super) spot: Spot,
    pub(super) addresses: Vec<Spot>,
    pub(super) tracks: Vec<Spot>,
    /// The line of each of [`VrrpConfig::unicast_peers`] and then of
    /// [`VrrpConfig::allowed_sources`].
    pub(super) lines_of_others: Vec<usize>,
}

impl Router {
    /// Whether a field's value is none that the file gave.
    pub(super) fn is_wrong(&self, field: &Field) -> bool {
        self.spot.is_wrong(field.key)
    }
}

/// A router of the file. `interfaces` are the data path's, if they could be
/// read.
pub(super) fn router(table: Reader<'_>, interfaces: Option<&[String]>) -> Router {
    let name = table.name(&NAME).unwrap_or_else(Name::placeholder);
    let interface = interface(&table, interfaces).unwrap_or_default();
    let virtual_router_id = table.integer(&VIRTUAL_ROUTER_ID).and_then(Vrid::new);
    let family = table.word(&FAMILY, &FAMILIES);
    let version = version(&table, family);
    let priority = priority(&table).unwrap_or(Priority::LOWEST);
    let advert_interval = advert_interval(&table, version);
    let (preempt, preempt_delay) = (table.flag(&PREEMPT), table.seconds(&PREEMPT_DELAY).unwrap_or_default());
    if !preempt && !preempt_delay.is_zero() {
        table.warning(PREEMPT_DELAY.key, "it never comes to that with preempt = false; remove one of the two");
    }
    let unicast_source = unicast_source(&table, family);
    let peers = others(&table, &UNICAST_PEERS, family, unicast_source);
    // Itself it may name: then the line is the same in all files.
    let allowed = others(&table, &ALLOWED_SOURCES, family, None);
    let lines_of_others = peers.iter().chain(&allowed).map(|(line, _)| *line).collect();
    let addresses_only = |list: Vec<(usize, IpAddr)>| list.into_iter().map(|(_, address)| address).collect::<Vec<_>>();
    let (unicast_peers, allowed_sources) = (addresses_only(peers), addresses_only(allowed));
    if unicast_source.is_some() && unicast_peers.is_empty() && !table.is_wrong(&UNICAST_PEERS) {
        let text =
            "adverts are multicast, and come from the interface's first address; remove it, or add unicast_peers";
        table.mistake(UNICAST_SOURCE.key, text.to_owned());
    }
    warn_of_peers_that_are_not_allowed(&table, &unicast_peers, &allowed_sources);
    let virtual_mac = table.flag_or(&VIRTUAL_MAC, unicast_peers.is_empty());
    let guard = guard(&table, &unicast_peers, &allowed_sources);
    let checksum = checksum(&table, family, version);
    let authentication = authentication(&table, version);
    let learned_interval_limit = learned_interval_limit(&table, version, advert_interval);
    let link_local = link_local(&table, family, virtual_router_id);
    let (addresses, address_spots) = addresses(&table, interfaces);
    let (track, tracks) = tracks(&table);
    let announce = announce(&table.table_or_empty(&ANNOUNCE), virtual_mac);
    let notify = table.path(&NOTIFY);
    if let Some(flaw) = notify.as_deref().and_then(flaw_of_program) {
        table.warning(NOTIFY.key, flaw);
    }
    let vrrp = VrrpConfig {
        name,
        interface,
        virtual_router_id: virtual_router_id.unwrap_or(LOWEST_ID),
        family: family.unwrap_or(Family::V4),
        version: version.unwrap_or(Version::V3),
        priority,
        advert_interval: advert_interval.unwrap_or(Duration::from_secs(1)),
        preempt,
        preempt_delay,
        virtual_mac,
        unicast_source,
        unicast_peers,
        allowed_sources,
        guard,
        checksum,
        authentication,
        learned_interval_limit,
        addresses,
        link_local,
        track,
        announce,
        notify,
        realtime: table.flag(&REALTIME),
    };
    Router { vrrp, spot: table.spot(), addresses: address_spots, tracks, lines_of_others }
}

/// Stands where an id was refused.
const LOWEST_ID: Vrid = Vrid::new(1).unwrap();

/// The router's interface, or the only one there is.
fn interface(table: &Reader<'_>, interfaces: Option<&[String]>) -> Option<String> {
    if table.has(INTERFACE.key) {
        return one_of(table, &INTERFACE, interfaces);
    }
    match interfaces {
        Some([only]) => Some(only.clone()),
        // Without a list there is a complaint about it already.
        None | Some([]) => {
            table.mark_wrong(&INTERFACE);
            None
        }
        Some(several) => {
            let text =
                format!("is missing, and there are {}; add for example interface = \"{}\"", several.len(), several[0]);
            table.mistake(INTERFACE.key, text);
            None
        }
    }
}

/// An interface that is one of the data path's.
fn one_of(table: &Reader<'_>, field: &'static Field, interfaces: Option<&[String]>) -> Option<String> {
    let name = table.interface(field)?;
    match interfaces {
        Some(known) if !known.contains(&name) => {
            let text =
                format!("{} is none of the [dataplane] interfaces; add it there, or name one of them", quoted(&name));
            table.mistake(field.key, text);
            None
        }
        _ => Some(name),
    }
}

fn priority(table: &Reader<'_>) -> Option<Priority> {
    if table.says(&PRIORITY, Priority::OWNER.get().into()) {
        let text = "a VIP is nobody's own address, and 255 is for whoever has it as one; give a number from 1 to 254";
        table.mistake(PRIORITY.key, text.to_owned());
        return None;
    }
    table.integer(&PRIORITY).and_then(Priority::new)
}

fn version(table: &Reader<'_>, family: Option<Family>) -> Option<Version> {
    let version = match table.integer::<u8>(&VERSION)? {
        2 => Version::V2,
        _ => Version::V3,
    };
    if version == Version::V2 && family == Some(Family::V6) {
        let text = "version 2 has no IPv6; write version = 3, or family = \"ipv4\"".to_owned();
        table.mistake(VERSION.key, text);
        return None;
    }
    Some(version)
}

fn advert_interval(table: &Reader<'_>, version: Option<Version>) -> Option<Duration> {
    let milliseconds = table.integer::<u32>(&ADVERT_INTERVAL)?;
    let flaw = match version? {
        Version::V2 if !milliseconds.is_multiple_of(1000) => {
            format!(
                "{milliseconds} ms is no whole number of seconds, which is all that version 2 can say; give 1000 or 2000"
            )
        }
        Version::V3 if milliseconds > MAX_INTERVAL_3 => {
            format!("{milliseconds} ms is above {MAX_INTERVAL_3}, which is all that version 3 can say; give less")
        }
        Version::V3 if !milliseconds.is_multiple_of(10) => {
            format!(
                "{milliseconds} ms is no multiple of 10, and version 3 counts in hundredths of a second; give {}",
                milliseconds.next_multiple_of(10).min(MAX_INTERVAL_3)
            )
        }
        _ => return Some(Duration::from_millis(milliseconds.into())),
    };
    table.mistake(ADVERT_INTERVAL.key, flaw);
    None
}

fn unicast_source(table: &Reader<'_>, family: Option<Family>) -> Option<IpAddr> {
    let source = table.address(&UNICAST_SOURCE)?;
    if let Some(flaw) = flaw_of_end(source, family) {
        table.mistake(UNICAST_SOURCE.key, format!("{source} is {flaw}; give an address of the router's interface"));
        return None;
    }
    Some(source)
}

/// Other routers' addresses, each with its line; those that cannot be are left
/// out after a complaint.
fn others(
    table: &Reader<'_>,
    field: &'static Field,
    family: Option<Family>,
    ourselves: Option<IpAddr>,
) -> Vec<(usize, IpAddr)> {
    let is_another = |(line, address): &(usize, IpAddr)| {
        let flaw = if Some(*address) == ourselves {
            "this balancer's own address, as unicast_source says; leave it out".to_owned()
        } else if let Some(flaw) = flaw_of_end(*address, family) {
            format!("{flaw}; give the other balancer's address at this network")
        } else {
            return true;
        };
        table.mistake_at(*line, field.key, format!("{address} is {flaw}"));
        false
    };
    table.addresses(field).into_iter().filter(is_another).collect()
}

/// Why adverts cannot go from or to an address. A link-local one is what they
/// come from in IPv6.
fn flaw_of_end(address: IpAddr, family: Option<Family>) -> Option<String> {
    match AddressFlaw::of(address) {
        Some(flaw) if flaw != AddressFlaw::LinkLocal => Some(flaw.to_string()),
        _ if family.is_some_and(|family| family != Family::of(address)) => {
            Some("of the other family than the router".to_owned())
        }
        _ => None,
    }
}

fn warn_of_peers_that_are_not_allowed(table: &Reader<'_>, peers: &[IpAddr], allowed: &[IpAddr]) {
    if allowed.is_empty() {
        return;
    }
    for peer in peers.iter().filter(|peer| !allowed.contains(peer)) {
        let text = format!("{peer} is one of unicast_peers and not in here: its adverts are refused; add it");
        table.warning(ALLOWED_SOURCES.key, &text);
    }
}

fn guard(table: &Reader<'_>, peers: &[IpAddr], allowed: &[IpAddr]) -> bool {
    let somebody_is_known = !peers.is_empty() || !allowed.is_empty();
    let guard = table.flag_or(&GUARD, somebody_is_known);
    let unknown = [&UNICAST_PEERS, &ALLOWED_SOURCES].iter().all(|field| !table.is_wrong(field));
    if guard && !somebody_is_known && unknown {
        let text = "nobody's adverts are known from a stranger's; add allowed_sources, or write guard = false";
        table.mistake(GUARD.key, text.to_owned());
    }
    guard
}

fn checksum(table: &Reader<'_>, family: Option<Family>, version: Option<Version>) -> ChecksumForm {
    let checksum = table.word(&CHECKSUM, &CHECKSUMS).unwrap_or(ChecksumForm::PseudoHeader);
    let has_one_form = family == Some(Family::V6) || version == Some(Version::V2);
    if checksum == ChecksumForm::MessageOnly && has_one_form {
        table.warning(CHECKSUM.key, "there is one form of it only in IPv6 and in version 2; remove it");
    }
    checksum
}

fn learned_interval_limit(table: &Reader<'_>, version: Option<Version>, own: Option<Duration>) -> Option<Duration> {
    let milliseconds = table.integer::<u32>(&LEARNED_INTERVAL_LIMIT)?;
    let limit = Duration::from_millis(milliseconds.into());
    let flaw = if version == Some(Version::V2) {
        "in version 2 no interval is learned; remove it".to_owned()
    } else if own.is_some_and(|own| limit < own) {
        let own = own.unwrap_or_default().as_millis();
        format!("{milliseconds} ms is below the {own} ms of advert_interval_ms; give at least that")
    } else {
        return Some(limit);
    };
    table.mistake(LEARNED_INTERVAL_LIMIT.key, flaw);
    None
}

fn link_local(table: &Reader<'_>, family: Option<Family>, id: Option<Vrid>) -> Option<Ipv6Addr> {
    match (table.address(&LINK_LOCAL), family?) {
        (Some(_), Family::V4) => {
            let text = "an IPv4 router has none; remove it, or write family = \"ipv6\"".to_owned();
            table.mistake(LINK_LOCAL.key, text);
            None
        }
        (Some(IpAddr::V6(address)), Family::V6) if address.is_unicast_link_local() => Some(address),
        (Some(address), Family::V6) => {
            let text = format!("{address} is no link-local address; give one that begins with fe80::, or leave it out");
            table.mistake(LINK_LOCAL.key, text);
            None
        }
        (None, Family::V6) if !table.is_wrong(&LINK_LOCAL) => {
            if id.is_none() {
                table.mark_wrong(&LINK_LOCAL);
            }
            id.map(link_local_of)
        }
        (None, _) => None,
    }
}

/// The address that the virtual MAC address of a router stands for (RFC 4291,
/// appendix A).
const fn link_local_of(id: Vrid) -> Ipv6Addr {
    Ipv6Addr::new(0xfe80, 0, 0, 0, 0x0200, 0x5eff, 0xfe00, 0x0200 | id.get() as u16)
}

fn addresses(table: &Reader<'_>, interfaces: Option<&[String]>) -> (Vec<VirtualAddress>, Vec<Spot>) {
    let tables = table.tables(&ADDRESS);
    if tables.len() > MAX_ADDRESSES {
        let text = format!("there are {}, and room for {MAX_ADDRESSES}; leave some out", tables.len());
        table.mistake(ADDRESS.key, text);
        return (Vec::new(), Vec::new());
    }
    tables.into_iter().map(|table| virtual_address(table, interfaces)).unzip()
}

fn virtual_address(table: Reader<'_>, interfaces: Option<&[String]>) -> (VirtualAddress, Spot) {
    let address = table.address(&ADDRESS_ADDRESS).unwrap_or(NO_ADDRESS);
    // Hosts may well have a link-local gateway.
    if let Some(flaw) = AddressFlaw::of(address).filter(|flaw| *flaw != AddressFlaw::LinkLocal)
        && !table.is_wrong(&ADDRESS_ADDRESS)
    {
        table.mistake(ADDRESS_ADDRESS.key, format!("{address} is {flaw}; give one that others can reach"));
    }
    let interface =
        if table.has(ADDRESS_INTERFACE.key) { one_of(&table, &ADDRESS_INTERFACE, interfaces) } else { None };
    let advertised = table.flag(&ADVERTISED);
    (VirtualAddress { address, interface, advertised }, table.spot())
}

/// What is tracked, without what was refused, each with its spot.
fn tracks(table: &Reader<'_>) -> (Vec<Track>, Vec<Spot>) {
    let tables = table.tables(&TRACK);
    if tables.len() > MAX_TRACKED {
        let text = format!("there are {}, and room for {MAX_TRACKED}; leave some out", tables.len());
        table.mistake(TRACK.key, text);
        return (Vec::new(), Vec::new());
    }
    tables.into_iter().filter_map(track).unzip()
}

#[derive(Clone, Copy)]
enum Kind {
    Interface,
    DataPath,
    LoadBalancer,
}

fn track(table: Reader<'_>) -> Option<(Track, Spot)> {
    let kinds = [("interface", Kind::Interface), ("data_path", Kind::DataPath), ("load_balancer", Kind::LoadBalancer)];
    let kind = table.word(&TRACK_KIND, &kinds);
    let weight = table.integer::<i16>(&TRACK_WEIGHT);
    let named = table.has(TRACK_NAME.key);
    let kind = match kind? {
        Kind::DataPath if named => {
            table.mistake(TRACK_NAME.key, "there is one data path only; remove it".to_owned());
            return None;
        }
        Kind::DataPath => TrackKind::DataPath,
        _ if !named => {
            table.mistake(TRACK_NAME.key, format!("is missing; add for example name = {}", TRACK_NAME.example));
            return None;
        }
        Kind::Interface => TrackKind::Interface(table.interface(&TRACK_NAME)?),
        Kind::LoadBalancer => TrackKind::LoadBalancer(table.name(&TRACK_NAME)?),
    };
    if matches!(kind, TrackKind::LoadBalancer(_)) && weight == Some(0) {
        let text = "with 0 both balancers give the VIPs up when the members themselves are down; give a weight below 0";
        table.warning(TRACK_WEIGHT.key, text);
    }
    Some((Track { kind, weight: weight? }, table.spot()))
}

fn announce(table: &Reader<'_>, virtual_mac: bool) -> AnnounceConfig {
    // With a MAC address of their own, adverts keep switches informed and no
    // host's table has anything to learn.
    let often = if virtual_mac { Duration::ZERO } else { Duration::from_secs(5) };
    let refresh = table.seconds(&REFRESH).unwrap_or(often);
    AnnounceConfig {
        repeat: table.integer(&REPEAT).unwrap_or(1),
        repeat_gap: Duration::from_millis(table.integer(&REPEAT_GAP).unwrap_or(1)),
        refresh: (!refresh.is_zero()).then_some(refresh),
        refresh_repeat: table.integer(&REFRESH_REPEAT).unwrap_or(1),
        per_millisecond: table.integer(&PER_MILLISECOND).unwrap_or(1),
    }
}
