#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fmt::Write as _;

use proptest::{collection::vec, option, prelude::*, sample::select};
use vrrp::{HmacKeys, HmacMode};

use super::*;
use crate::config::parse;

const INTERFACES: [&str; 3] = ["eth0", "eth1", "eth2"];

fn milliseconds(range: std::ops::RangeInclusive<u64>) -> impl Strategy<Value = Duration> {
    range.prop_map(Duration::from_millis)
}

/// An address of a family and of a kind that no other kind's is.
fn address(family: Family, kind: u8, number: u16) -> IpAddr {
    let [high, low] = number.to_be_bytes();
    match family {
        Family::V4 => [198, 18 + kind, high, low.max(1)].into(),
        Family::V6 => [0x2001, 0xdb8, kind.into(), 0, 0, 0, 0, number].into(),
    }
}

fn hmac() -> impl Strategy<Value = Authentication> {
    let modes = select(&[HmacMode::Enforce, HmacMode::Permissive, HmacMode::ReceiveOnly][..]);
    let keys = vec(vec(any::<u8>(), 32..=64), 1..=8);
    (modes, keys, any::<u8>(), any::<prop::sample::Index>(), option::of(milliseconds(1000..=3_600_000))).prop_map(
        |(mode, keys, first, send, freshness)| {
            let ids = (0..=u8::MAX).map(|n| first.wrapping_add(n));
            let keys: Vec<_> = ids.zip(keys.into_iter().map(Secret::new)).collect();
            Authentication::Hmac(HmacKeys { mode, send: keys[send.index(keys.len())].0, keys, freshness })
        },
    )
}

/// What goes with a version and only with it.
fn exchange() -> impl Strategy<Value = (Version, Duration, Authentication, Option<Duration>)> {
    let password = "[!-~]{1,8}".prop_map(|text| {
        let mut password = [0; 8];
        password[..text.len()].copy_from_slice(text.as_bytes());
        Authentication::Password(password)
    });
    let version_2 = (1..=255u64, prop_oneof![Just(Authentication::None), password])
        .prop_map(|(seconds, authentication)| (Version::V2, Duration::from_secs(seconds), authentication, None));
    let version_3 = (1..=4095u64, prop_oneof![Just(Authentication::None), hmac()], option::of(0..=40_950u64)).prop_map(
        |(centiseconds, authentication, limit)| {
            let interval = centiseconds * 10;
            let limit = limit.map(|limit| Duration::from_millis(limit.max(interval)));
            (Version::V3, Duration::from_millis(interval), authentication, limit)
        },
    );
    prop_oneof![version_2, version_3]
}

prop_compose! {
    fn announce()(
        repeat in 1..=100u8, gap in milliseconds(1..=10_000), refresh in option::of(milliseconds(1..=86_400_000)),
        refresh_repeat in 1..=100u8, per_millisecond in 1..=1000u16,
    ) -> AnnounceConfig {
        AnnounceConfig { repeat, repeat_gap: gap, refresh, refresh_repeat, per_millisecond }
    }
}

prop_compose! {
    fn track()(kind in 0..3u8, interface in "[a-z]{1,15}", weight in -253..=253i16) -> Track {
        let kind = match kind {
            0 => TrackKind::Interface(interface),
            1 => TrackKind::DataPath,
            _ => TrackKind::LoadBalancer(Name::new("lb0").unwrap()),
        };
        Track { kind, weight }
    }
}

prop_compose! {
    /// A router whose addresses nobody else of another number has.
    fn router()(
        interface in select(&INTERFACES[..]), is_ipv6: bool, exchange in exchange(), priority in 1..=254u8,
        preempt: bool, preempt_delay in milliseconds(0..=3_600_000), flags: [bool; 5],
        counts in [0..=16u16, 0..=32, 1..=20], more in vec((option::of(select(&INTERFACES[..])), any::<bool>()), 20),
        track in vec(track(), 0..=32), announce in announce(), notify in option::of("/nonexistent/[a-z]{1,20}"),
    ) -> VrrpConfig {
        let (version, advert_interval, authentication, learned_interval_limit) = exchange;
        let family = if is_ipv6 && version == Version::V3 { Family::V6 } else { Family::V4 };
        let [virtual_mac, guard, checksum, source, realtime] = flags;
        let [peers, allowed, addresses] = counts;
        let others = |kind: u8, count: u16| (1..=count).map(|n| address(family, kind, n)).collect::<Vec<_>>();
        let checksum = if checksum { ChecksumForm::MessageOnly } else { ChecksumForm::PseudoHeader };
        let addresses = (0..addresses).zip(more).map(|(n, (interface, advertised))| VirtualAddress {
            address: address(if n == 0 { family } else { Family::V6 }, 2, n),
            interface: interface.map(str::to_owned),
            advertised: advertised || n == 0,
        });
        VrrpConfig {
            name: Name::new("_").unwrap(),
            interface: interface.to_owned(),
            virtual_router_id: Vrid::new(1).unwrap(),
            family,
            version,
            priority: Priority::new(priority).unwrap(),
            advert_interval,
            preempt,
            preempt_delay,
            virtual_mac,
            unicast_source: (source && peers > 0).then(|| address(family, 3, 1)),
            unicast_peers: others(0, peers),
            allowed_sources: others(1, allowed),
            guard: guard && peers + allowed > 0,
            checksum,
            authentication,
            learned_interval_limit,
            addresses: addresses.collect(),
            link_local: None,
            track,
            announce,
            notify: notify.map(PathBuf::from),
            realtime,
        }
    }
}

/// Several, each with a name, an id and addresses of its own.
fn routers() -> impl Strategy<Value = Vec<VrrpConfig>> {
    vec(router(), 1..6).prop_map(|mut routers| {
        for (n, router) in (1u8..).zip(&mut routers) {
            router.name = Name::new(format!("router{n}")).unwrap();
            router.virtual_router_id = Vrid::new(n * 40).unwrap();
            let of_its_own = |one: &mut VirtualAddress| {
                let number = u16::from(n) * 256 + u16::from(one.address.is_ipv6());
                let at = match one.address {
                    IpAddr::V4(address) => address.octets()[3].into(),
                    IpAddr::V6(address) => address.segments()[7],
                };
                one.address = address(Family::of(one.address), 2, number + at * 2);
            };
            router.addresses.iter_mut().for_each(of_its_own);
            let by_hand = n.is_multiple_of(2);
            let made = if by_hand { 0x1000 + u16::from(n) } else { 0x0200 + u16::from(n) * 40 };
            let second = if by_hand { [0, 0, 0] } else { [0x0200, 0x5eff, 0xfe00] };
            let [a, b, c] = second;
            router.link_local = (router.family == Family::V6).then(|| Ipv6Addr::new(0xfe80, 0, 0, 0, a, b, c, made));
        }
        routers
    })
}

prop_compose! {
    fn sync()(
        is_ipv6: bool, ports in [1..=u16::MAX, 1..=u16::MAX], secret in vec(any::<u8>(), 16..=256),
        rescan in milliseconds(1000..=3_600_000),
    ) -> SyncConfig {
        let family = if is_ipv6 { Family::V6 } else { Family::V4 };
        let [local, peer] = ports;
        SyncConfig {
            local: (address(family, 4, 1), local).into(),
            peer: (address(family, 4, 2), peer).into(),
            secret: Secret::new(secret),
            rescan,
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold("hex:".to_owned(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

fn list(addresses: &[IpAddr]) -> String {
    let quoted: Vec<String> = addresses.iter().map(|address| format!("\"{address}\"")).collect();
    format!("[{}]", quoted.join(", "))
}

fn written(routers: &[VrrpConfig], sync: Option<&SyncConfig>, carried: &[Option<Name>]) -> String {
    let mut text = format!("[dataplane]\ninterfaces = {INTERFACES:?}\n");
    let mut line = |words: std::fmt::Arguments<'_>| writeln!(text, "{words}").unwrap();
    for vrrp in routers {
        line(format_args!("[[vrrp]]\nname = \"{}\"\ninterface = {:?}", vrrp.name, vrrp.interface));
        line(format_args!("virtual_router_id = {}\nfamily = \"{}\"", vrrp.virtual_router_id, vrrp.family));
        line(format_args!("version = {}\npriority = {}", vrrp.version, vrrp.priority));
        line(format_args!("advert_interval_ms = {}", vrrp.advert_interval.as_millis()));
        line(format_args!("preempt = {}\npreempt_delay = {:?}", vrrp.preempt, vrrp.preempt_delay.as_secs_f64()));
        line(format_args!("virtual_mac = {}\nguard = {}\nrealtime = {}", vrrp.virtual_mac, vrrp.guard, vrrp.realtime));
        line(format_args!("unicast_peers = {}", list(&vrrp.unicast_peers)));
        line(format_args!("allowed_sources = {}", list(&vrrp.allowed_sources)));
        line(format_args!("checksum = \"{}\"", vrrp.checksum.label()));
        if let Some(source) = vrrp.unicast_source {
            line(format_args!("unicast_source = \"{source}\""));
        }
        if let Some(limit) = vrrp.learned_interval_limit {
            line(format_args!("learned_interval_limit_ms = {}", limit.as_millis()));
        }
        if let Some(link_local) = vrrp.link_local {
            line(format_args!("link_local = \"{link_local}\""));
        }
        if let Some(notify) = &vrrp.notify {
            line(format_args!("notify = {notify:?}"));
        }
        match &vrrp.authentication {
            Authentication::None => {}
            Authentication::Password(password) => {
                let text: String = password.iter().filter(|byte| **byte != 0).map(|byte| char::from(*byte)).collect();
                line(format_args!("password = {text:?}"));
            }
            Authentication::Hmac(keys) => {
                let mode = match keys.mode {
                    HmacMode::Enforce => "enforce",
                    HmacMode::Permissive => "permissive",
                    HmacMode::ReceiveOnly => "receive_only",
                };
                line(format_args!("hmac_mode = \"{mode}\"\nhmac_send = {}", keys.send));
                if let Some(freshness) = keys.freshness {
                    line(format_args!("hmac_freshness = {:?}", freshness.as_secs_f64()));
                }
                for (id, key) in &keys.keys {
                    line(format_args!("[[vrrp.hmac_key]]\nid = {id}\nsecret = \"{}\"", hex(key.expose())));
                }
            }
        }
        for one in &vrrp.addresses {
            line(format_args!("[[vrrp.address]]\naddress = \"{}\"\nadvertised = {}", one.address, one.advertised));
            if let Some(interface) = &one.interface {
                line(format_args!("interface = {interface:?}"));
            }
        }
        for track in &vrrp.track {
            let (kind, name) = match &track.kind {
                TrackKind::Interface(name) => ("interface", Some(name.as_str())),
                TrackKind::DataPath => ("data_path", None),
                TrackKind::LoadBalancer(name) => ("load_balancer", Some(name.as_str())),
            };
            line(format_args!("[[vrrp.track]]\nkind = \"{kind}\"\nweight = {}", track.weight));
            if let Some(name) = name {
                line(format_args!("name = \"{name}\""));
            }
        }
        let announce = &vrrp.announce;
        line(format_args!("[vrrp.announce]\nrepeat = {}", announce.repeat));
        line(format_args!("repeat_gap_ms = {}", announce.repeat_gap.as_millis()));
        line(format_args!("refresh = {:?}", announce.refresh.unwrap_or_default().as_secs_f64()));
        line(format_args!("refresh_repeat = {}", announce.refresh_repeat));
        line(format_args!("per_millisecond = {}", announce.per_millisecond));
    }
    if let Some(sync) = sync {
        line(format_args!("[sync]\nlocal = \"{}\"\npeer = \"{}\"", sync.local, sync.peer));
        line(format_args!("secret = \"{}\"\nrescan = {:?}", hex(sync.secret.expose()), sync.rescan.as_secs_f64()));
    }
    for (n, carrier) in carried.iter().enumerate() {
        line(format_args!("[[loadbalancer]]\nname = \"lb{n}\"\nvip_address = \"192.0.2.{}\"", n + 1));
        match carrier {
            None => line(format_args!("topology = \"SINGLE\"")),
            Some(vrrp) => line(format_args!("topology = \"ACTIVE_STANDBY\"\nvrrp = \"{vrrp}\"")),
        }
    }
    text
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_pair_that_is_written_is_what_is_read(
        routers in routers(), sync in option::of(sync()),
        carried in vec(option::of(any::<prop::sample::Index>()), 1..6),
    ) {
        let name_of = |index: prop::sample::Index| routers[index.index(routers.len())].name.clone();
        let carried: Vec<Option<Name>> = carried.into_iter().map(|index| index.map(name_of)).collect();
        let text = written(&routers, sync.as_ref(), &carried);
        let config = parse(&text, "x.toml").map_err(|refused| TestCaseError::fail(format!("{refused}\n{text}")))?;
        prop_assert_eq!(&config.vrrp, &routers);
        prop_assert_eq!(&config.sync, &sync);
        let topology = |carrier: Option<Name>| match carrier {
            None => Topology::Single,
            Some(vrrp) => Topology::ActiveStandby { vrrp },
        };
        let read: Vec<_> = config.model.load_balancers().iter().map(|lb| lb.topology.clone()).collect();
        prop_assert_eq!(read, carried.into_iter().map(topology).collect::<Vec<_>>());
        for vrrp in &config.vrrp {
            let router = config.router(vrrp).unwrap();
            prop_assert_eq!(router.check(), Ok(()));
            prop_assert_eq!(vrrp.exchange().check(&router), Ok(()));
            // What is advertised moves, in the same order.
            let moving: Vec<IpAddr> = config.virtual_addresses(vrrp).iter().map(|one| one.address).collect();
            let mut rest = moving.iter();
            prop_assert!(router.addresses.iter().all(|address| rest.any(|one| one == address)));
        }
    }
}
