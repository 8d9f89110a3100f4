#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::num::NonZeroU16;

use std::net::IpAddr;

use super::*;
use crate::model::{Algorithm, ForwardMode, Listener, Model, MssClamp, Topology, TransitionHold, Weight};
use crate::model::{OnMemberDown, Transport};

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn port(port: u16) -> NonZeroU16 {
    NonZeroU16::new(port).unwrap()
}

fn member(text: &str, address: &str) -> Member {
    Member {
        name: name(text),
        address: address.parse().unwrap(),
        protocol_port: port(8080),
        weight: Weight::default(),
        backup: false,
        connection_limit: None,
        admin_state_up: true,
        monitor_address: None,
        monitor_port: None,
    }
}

fn pool(text: &str, members: Vec<Member>) -> Pool {
    Pool {
        name: name(text),
        protocol: Transport::Tcp,
        lb_algorithm: Algorithm::SourceIp,
        forward_mode: ForwardMode::Nat,
        session_persistence: None,
        mss_clamp: MssClamp::Off,
        transition_hold: TransitionHold::default(),
        admin_state_up: true,
        members,
        health_monitor: None,
        on_member_down: OnMemberDown::Keep,
        panic_threshold: None,
    }
}

fn listener(text: &str, at: u16) -> Listener {
    Listener {
        name: name(text),
        protocol: Transport::Tcp,
        protocol_port: port(at),
        default_pool: Some(name("app")),
        allowed_cidrs: Vec::new(),
        connection_limit: None,
        new_flows_per_source: None,
        admin_state_up: true,
    }
}

fn load_balancer(text: &str, vip: &str, listeners: Vec<Listener>, pools: Vec<Pool>) -> LoadBalancer {
    LoadBalancer {
        name: name(text),
        vip_address: vip.parse().unwrap(),
        topology: Topology::Single,
        admin_state_up: true,
        listeners,
        pools,
    }
}

fn good() -> Vec<LoadBalancer> {
    vec![
        load_balancer(
            "web4",
            "192.0.2.10",
            vec![listener("http", 80), listener("alt", 8080)],
            vec![pool("app", vec![member("m1", "192.0.2.21"), member("m2", "192.0.2.22")]), pool("spare", Vec::new())],
        ),
        load_balancer(
            "web6",
            "2001:db8::10",
            vec![listener("http", 80)],
            vec![pool("app", vec![member("m1", "2001:db8::21")])],
        ),
    ]
}

/// What is wrong with the good model after a change, without the words.
fn errors(change: impl FnOnce(&mut Vec<LoadBalancer>)) -> Vec<ModelError> {
    let mut load_balancers = good();
    change(&mut load_balancers);
    Model::new(load_balancers).err().unwrap_or_default()
}

/// The only thing wrong after a change: its place, field and words.
fn error(change: impl FnOnce(&mut Vec<LoadBalancer>)) -> (Place, &'static str, String) {
    let errors = errors(change);
    assert_eq!(errors.len(), 1, "{errors:?}");
    (errors[0].place, errors[0].field().unwrap_or(""), errors[0].kind.to_string())
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn what_is_in_order_is_taken_as_it_is() {
    assert_eq!(Model::new(good()).unwrap().load_balancers(), good());
    assert!(Model::new(Vec::new()).is_ok());
}

#[test]
fn a_name_is_given_once_among_its_like() {
    let (place, field, words) = error(|lbs| lbs[1].name = name("web4"));
    assert_eq!((place, field), (Place::LoadBalancer(1), "name"));
    assert_eq!(words, "the name \"web4\" is taken; give each load balancer of one pool file a name of its own");
    let (place, ..) = error(|lbs| lbs[0].listeners[1].name = name("http"));
    assert_eq!(place, Place::Listener(0, 1));
    let (place, ..) = error(|lbs| lbs[0].pools[1].name = name("app"));
    assert_eq!(place, Place::Pool(0, 1));
    let (place, _, words) = error(|lbs| lbs[0].pools[0].members[1].name = name("m1"));
    assert_eq!(place, Place::Member(0, 0, 1));
    assert!(words.ends_with("give each member of one pool a name of its own"), "{words}");
}

#[test]
fn a_vip_belongs_to_one_load_balancer() {
    let errors = errors(|lbs| lbs[1] = load_balancer("other", "192.0.2.10", Vec::new(), Vec::new()));
    assert_eq!(errors.len(), 1);
    assert_eq!((errors[0].place, errors[0].field()), (Place::LoadBalancer(1), Some("vip_address")));
    assert_eq!(errors[0].other(), Some(Place::LoadBalancer(0)));
}

#[test]
fn a_port_of_a_protocol_belongs_to_one_listener() {
    let (place, field, words) = error(|lbs| lbs[0].listeners[1].protocol_port = port(80));
    assert_eq!((place, field), (Place::Listener(0, 1), "protocol_port"));
    assert!(words.starts_with("TCP port 80 of this VIP belongs to listener \"http\" already; "), "{words}");
    // The same number is another port in another protocol.
    let udp = |lbs: &mut Vec<LoadBalancer>| {
        lbs[0].listeners[1].protocol = Transport::Udp;
        lbs[0].listeners[1].protocol_port = port(80);
        lbs[0].listeners[1].default_pool = None;
    };
    assert_eq!(errors(udp), []);
}

#[test]
fn a_listener_names_a_pool_of_its_load_balancer_and_protocol() {
    let (place, field, words) = error(|lbs| lbs[0].listeners[0].default_pool = Some(name("nowhere")));
    assert_eq!((place, field), (Place::Listener(0, 0), "default_pool"));
    assert_eq!(words, "the load balancer has no pool \"nowhere\"; it has \"app\", \"spare\"");
    let (_, _, words) = error(|lbs| lbs[1].pools.clear());
    assert_eq!(words, "the load balancer has no pool \"app\"; add one of that name");
    let (place, field, words) = error(|lbs| lbs[1].listeners[0].protocol = Transport::Udp);
    assert_eq!((place, field), (Place::Listener(1, 0), "default_pool"));
    assert_eq!(words, "the listener speaks UDP and its pool \"app\" speaks TCP; name a UDP pool");
}

#[test]
fn a_listener_in_the_snat_range_is_in_order() {
    assert_eq!(errors(|lbs| lbs[0].listeners[0].protocol_port = port(40000)), []);
}

#[test]
fn a_member_is_in_a_pool_once_and_may_be_in_several() {
    let (place, field, words) = error(|lbs| lbs[0].pools[0].members[1].address = address("192.0.2.21"));
    assert_eq!((place, field), (Place::Member(0, 0, 1), "address"));
    assert!(words.starts_with("member \"m1\" of this pool has 192.0.2.21 port 8080 already; "), "{words}");
    let both = |lbs: &mut Vec<LoadBalancer>| lbs[0].pools[1].members.push(member("m1", "192.0.2.21"));
    assert_eq!(errors(both), []);
    let other_port = |lbs: &mut Vec<LoadBalancer>| {
        lbs[0].pools[0].members[1].address = address("192.0.2.21");
        lbs[0].pools[0].members[1].protocol_port = port(8081);
    };
    assert_eq!(errors(other_port), []);
}

#[test]
fn members_have_their_vips_family() {
    let (place, _, words) = error(|lbs| lbs[1].pools[0].members[0].address = address("192.0.2.21"));
    assert_eq!(place, Place::Member(1, 0, 0));
    assert!(words.starts_with("192.0.2.21 is an IPv4 address and the VIP 2001:db8::10 an IPv6 one; "), "{words}");
}

#[test]
fn nothing_is_forwarded_to_a_vip() {
    let (place, field, words) = error(|lbs| lbs[0].pools[0].members[0].address = address("192.0.2.10"));
    assert_eq!((place, field), (Place::Member(0, 0, 0), "address"));
    assert!(words.contains("cannot forward to itself"), "{words}");
    let vip_of_another = |lbs: &mut Vec<LoadBalancer>| {
        lbs.push(load_balancer("third", "192.0.2.21", Vec::new(), Vec::new()));
    };
    assert_eq!(error(vip_of_another).0, Place::Member(0, 0, 0));
    let (_, field, _) = error(|lbs| lbs[0].pools[0].members[0].monitor_address = Some(address("2001:db8::10")));
    assert_eq!(field, "monitor_address");
}

#[test]
fn an_address_is_a_hosts() {
    for (text, flaw) in [
        ("0.0.0.0", AddressFlaw::Unspecified),
        ("0.1.2.3", AddressFlaw::Unspecified),
        ("127.0.0.2", AddressFlaw::Loopback),
        ("224.0.0.18", AddressFlaw::Multicast),
        ("255.255.255.255", AddressFlaw::Broadcast),
        ("::", AddressFlaw::Unspecified),
        ("::1", AddressFlaw::Loopback),
        ("ff02::12", AddressFlaw::Multicast),
        ("fe80::1", AddressFlaw::LinkLocal),
        ("::ffff:192.0.2.1", AddressFlaw::Mapped),
    ] {
        let host = address(text);
        assert_eq!(AddressFlaw::of(host), Some(flaw), "{text}");
        let vip = errors(|lbs| lbs.push(load_balancer("odd", text, Vec::new(), Vec::new())));
        assert_eq!(vip.len(), 1);
        assert_eq!(vip[0].kind, ModelErrorKind::VipUnusable { address: host, flaw });
        let member = errors(|lbs| lbs[0].pools[0].members[0].address = host);
        assert_eq!(member.len(), 1);
        assert_eq!(member[0].kind, ModelErrorKind::MemberUnusable { address: host, flaw });
        let monitor = errors(|lbs| lbs[0].pools[0].members[0].monitor_address = Some(host));
        assert_eq!(monitor.len(), usize::from(flaw != AddressFlaw::Loopback), "{text}");
    }
    for text in ["10.0.0.1", "169.254.0.1", "100.64.0.1", "240.0.0.1", "fd77::1", "2001:db8::1"] {
        assert_eq!(AddressFlaw::of(address(text)), None, "{text}");
    }
}

#[test]
fn a_label_has_room_for_its_names() {
    let long = "x".repeat(60);
    let fits = |lbs: &mut Vec<LoadBalancer>| {
        lbs[0].name = name(&long[..55]);
        lbs[0].listeners[0].name = name(&"y".repeat(64));
    };
    assert_eq!(errors(fits), []);
    let (place, field, words) = error(|lbs| {
        lbs[0].name = name(&long[..56]);
        lbs[0].listeners[0].name = name(&"y".repeat(64));
    });
    assert_eq!((place, field), (Place::Listener(0, 0), "name"));
    assert!(words.contains("has 121 characters, and at most 120"), "{words}");
    let (place, ..) = error(|lbs| {
        lbs[0].name = name(&long);
        lbs[0].pools[0].members[1].name = name(&long);
    });
    assert_eq!(place, Place::Member(0, 0, 1));
}

fn many<T>(count: u32, make: impl Fn(u32) -> T) -> Vec<T> {
    (0..count).map(make).collect()
}

#[test]
fn there_is_a_limit_to_load_balancers() {
    let make = |count| {
        many(count, |n| load_balancer(&format!("b{n}"), &format!("10.0.{}.{}", n / 256, n % 256), vec![], vec![]))
    };
    assert!(Model::new(make(MAX_VIPS)).is_ok());
    let errors = Model::new(make(MAX_VIPS + 2)).unwrap_err();
    let kind = ModelErrorKind::TooMany { what: "load balancers", found: 1026, limit: 1024 };
    assert_eq!(errors, [ModelError { place: Place::LoadBalancer(1024), kind }]);
}

#[test]
fn there_is_a_limit_to_listeners_and_pools() {
    let make = |listeners: u32, pools: u32| {
        let mut listeners = many(listeners, |n| listener(&format!("l{n}"), u16::try_from(n + 1).unwrap()));
        listeners.iter_mut().for_each(|listener| listener.default_pool = None);
        let pools = many(pools, |n| pool(&format!("p{n}"), Vec::new()));
        let last = load_balancer("last", "192.0.2.9", vec![listener("one", 1)], vec![pool("app", Vec::new())]);
        Model::new(vec![load_balancer("many", "192.0.2.8", listeners, pools), last])
    };
    assert!(make(MAX_LISTENERS - 1, MAX_POOLS - 2).is_ok());
    let errors = make(MAX_LISTENERS, MAX_POOLS - 1).unwrap_err();
    let too_many = |what, found, limit| ModelErrorKind::TooMany { what, found, limit };
    let listeners = ModelError { place: Place::Listener(1, 0), kind: too_many("listeners", 4097, 4096) };
    let pools = ModelError { place: Place::Pool(1, 0), kind: too_many("pools", 4096, 4095) };
    assert_eq!(errors, [listeners, pools]);
}

#[test]
fn there_is_a_limit_to_members() {
    let make = |count| {
        let members = many(count, |n| member(&format!("m{n}"), &format!("10.1.{}.{}", n / 256, n % 256)));
        Model::new(vec![load_balancer("many", "192.0.2.8", Vec::new(), vec![pool("app", members)])])
    };
    assert!(make(MAX_MEMBERS - 1).is_ok());
    let errors = make(MAX_MEMBERS).unwrap_err();
    assert_eq!(errors.len(), 1);
    assert_eq!(errors[0].place, Place::Member(0, 0, 16383));
}

#[test]
fn there_is_a_limit_to_the_slots_of_all_tables() {
    // 512 members ask for the first prime from 51200 on, in whole lines.
    let table = u64::from(slots_for(512).next_multiple_of(SLOTS_PER_LINE));
    let fitting = u32::try_from(u64::from(MAX_SLOTS / 2) / table).unwrap();
    // The members come first in each pool, so that the limit on them is not what is met: the smallest pool that has as
    // large a table has one more than half as many.
    let make = |pools| {
        let members = || many(257, |n| member(&format!("m{n}"), &format!("10.1.{}.{}", n / 256, n % 256)));
        let pools = many(pools, |n| pool(&format!("p{n}"), members()));
        Model::new(vec![load_balancer("many", "192.0.2.8", Vec::new(), pools)])
    };
    assert!(make(fitting).is_ok());
    let errors = make(fitting + 1).unwrap_err();
    let place = Place::Pool(0, fitting as usize);
    let found = table * u64::from(fitting + 1);
    assert_eq!(errors, [ModelError { place, kind: ModelErrorKind::TooManySlots { found, limit: 2_097_152 } }]);
}

#[test]
fn everything_wrong_is_found_at_once() {
    let errors = errors(|lbs| {
        lbs[0].listeners[0].default_pool = Some(name("nowhere"));
        lbs[0].listeners[1].protocol_port = port(80);
        lbs[0].pools[0].members[0].address = address("127.0.0.1");
        lbs[1].name = name("web4");
    });
    let places: Vec<Place> = errors.iter().map(|error| error.place).collect();
    let expected = [Place::LoadBalancer(1), Place::Listener(0, 0), Place::Listener(0, 1), Place::Member(0, 0, 0)];
    assert_eq!(places, expected);
}

#[test]
fn an_error_names_the_values_it_rests_on() {
    let errors = errors(|lbs| lbs[0].listeners[1].protocol_port = port(80));
    let (first, second) = (Place::Listener(0, 0), Place::Listener(0, 1));
    let rests_on = [(second, "protocol_port"), (second, "protocol"), (first, "protocol"), (first, "protocol_port")];
    assert_eq!(errors[0].rests_on(), rests_on);
}
