#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    net::{IpAddr, Ipv4Addr},
    num::{NonZeroU16, NonZeroU32},
    time::Duration,
};

use lb_common::config::IdleLimits;
use proptest::{collection::vec, option, prelude::*, sample::select};

use super::{
    monitor::samples::{monitor, monitor_lines},
    *,
};
use crate::model::{
    Algorithm, Cidr, ForwardMode, Listener, LoadBalancer, Member, Model, Mss, MssClamp, Name, OnMemberDown, Percent,
    Persistence, Pool, Topology, TransitionHold, Transport, Weight,
};

/// Files in order, with no secret in a file that is not here.
const EXAMPLES: [&str; 3] = [
    include_str!("../../../examples/krater.toml"),
    include_str!("../../../examples/octavia-pair.toml"),
    super::failover::PAIR,
];

/// What a file is likely to be broken with: the grammar's own characters, ends
/// of lines, and pieces of values.
const PIECES: [&str; 24] = [
    "",
    "\n",
    "\"",
    "'",
    "[",
    "]",
    "[[",
    "{",
    "}",
    "=",
    ".",
    ",",
    "#",
    "-",
    "1e999",
    "0x",
    "\"\"\"",
    "\\u0000",
    "\u{feff}",
    "é",
    "99999999999999999999",
    "[loadbalancer.pool]\n",
    "name = 1\n",
    "\0",
];

fn bad_or_good(text: &str) {
    match parse(text, "x.toml") {
        Ok(config) => {
            assert!(!config.dataplane.interfaces.is_empty());
            routers_can_be_what_they_are_told(&config);
        }
        Err(refused) => {
            let lines = text.split('\n').count();
            assert!(!refused.mistakes.is_empty());
            for mistake in &refused.mistakes {
                assert!((1..=lines).contains(&mistake.line), "{mistake} in line {} of {lines}", mistake.line);
                assert!(!mistake.text.is_empty());
            }
            // One line for each mistake, so that nothing of the file's own can pass for one.
            let shown = refused.to_string().lines().count();
            assert_eq!(shown, refused.mistakes.len() + usize::from(refused.more > 0));
        }
    }
}

/// The state machine takes what was read, and no address moves twice.
fn routers_can_be_what_they_are_told(config: &Config) {
    let mut addresses = std::collections::HashSet::new();
    for vrrp in &config.vrrp {
        for one in config.virtual_addresses(vrrp) {
            assert!(addresses.insert(one.address), "{} is there twice", one.address);
        }
        assert!(config.dataplane.interfaces.contains(&vrrp.interface));
        assert!(vrrp.priority < vrrp::Priority::OWNER);
        assert!(!vrrp.guard || vrrp.sources().is_some());
        match config.router(vrrp) {
            Some(router) => assert_eq!((router.check(), vrrp.exchange().check(&router)), (Ok(()), Ok(()))),
            None => assert!(config.virtual_addresses(vrrp).is_empty(), "there is nothing to advertise of {vrrp:?}"),
        }
    }
}

/// A good file with some pieces cut out and others put in.
fn mutated() -> impl Strategy<Value = String> {
    let cuts = vec((any::<prop::sample::Index>(), 0..40usize, select(&PIECES[..])), 1..6);
    (select(&EXAMPLES[..]), cuts).prop_map(|(example, cuts)| {
        let mut text: Vec<char> = example.chars().collect();
        for (at, length, piece) in cuts {
            let at = at.index(text.len() + 1);
            let end = (at + length).min(text.len());
            text.splice(at..end, piece.chars());
        }
        text.into_iter().collect()
    })
}

/// A good file with whole lines left out, doubled or swapped.
fn shuffled() -> impl Strategy<Value = String> {
    let moves = vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0..3u8), 1..8);
    (select(&EXAMPLES[..]), moves).prop_map(|(example, moves)| {
        let mut lines: Vec<&str> = example.lines().filter(|line| !line.starts_with('#')).collect();
        for (from, to, what) in moves {
            let (from, to) = (from.index(lines.len()), to.index(lines.len()));
            match what {
                0 => drop(lines.remove(from)),
                1 => lines.insert(to, lines[from]),
                _ => lines.swap(from, to),
            }
        }
        lines.join("\n")
    })
}

fn name() -> impl Strategy<Value = Name> {
    "[a-zA-Z0-9._:-]{1,30}".prop_map(|text| Name::new(text).unwrap())
}

fn port() -> impl Strategy<Value = NonZeroU16> {
    (1..=u16::MAX).prop_map(|port| NonZeroU16::new(port).unwrap())
}

fn address(ipv6: bool) -> impl Strategy<Value = IpAddr> {
    any::<u64>().prop_map(move |bits| {
        if ipv6 {
            std::net::Ipv6Addr::from(0x2001_0db8u128 << 96 | u128::from(bits)).into()
        } else {
            std::net::Ipv4Addr::from(10 << 24 | bits as u32 >> 8).into()
        }
    })
}

fn limit() -> impl Strategy<Value = Option<NonZeroU32>> {
    any::<u32>().prop_map(NonZeroU32::new)
}

fn cidr(ipv6: bool) -> impl Strategy<Value = Cidr> {
    (address(ipv6), 0..=128u8).prop_map(|(address, prefix)| Cidr::network_of(address, prefix))
}

prop_compose! {
    fn member(ipv6: bool)(
        name in name(), address in address(ipv6), protocol_port in port(), weight in 0..=256u16, backup: bool,
        connection_limit in limit(),
        admin_state_up: bool, monitor_address in option::of(address(ipv6)), monitor_port in option::of(port()),
    ) -> Member {
        let weight = Weight::new(weight).unwrap();
        Member { name, address, protocol_port, weight, backup, connection_limit, admin_state_up, monitor_address, monitor_port }
    }
}

fn pool(ipv6: bool) -> impl Strategy<Value = Pool> {
    let modes = select(&ForwardMode::ALL[..]);
    (select(&[Transport::Tcp, Transport::Udp, Transport::Sctp][..]), modes, any::<bool>()).prop_flat_map(
        move |(protocol, mode, other)| pool_of(protocol, mode, ipv6, ipv6 != (other && mode.crosses_families())),
    )
}

/// Of one family: only its granularity can be written.
fn persistence(ipv6: bool) -> impl Strategy<Value = Persistence> {
    (1..=Persistence::MAX_TIMEOUT, 1..=128u8).prop_map(move |(timeout, prefix)| {
        let (four, six) = if ipv6 { (32, prefix) } else { (prefix.div_ceil(4), 128) };
        Persistence::new(timeout, four, six).unwrap()
    })
}

fn mss_clamp() -> impl Strategy<Value = MssClamp> {
    let at = (Mss::MIN..=Mss::MAX).prop_map(|bytes| MssClamp::At(Mss::new(bytes).unwrap()));
    prop_oneof![Just(MssClamp::Off), Just(MssClamp::Auto), at]
}

prop_compose! {
    fn pool_of(protocol: Transport, forward_mode: ForwardMode, ipv6: bool, members_ipv6: bool)(
        name in name(), lb_algorithm in select(&Algorithm::ALL[..]), admin_state_up: bool,
        session_persistence in option::of(persistence(ipv6)), mss_clamp in mss_clamp(), hold in 0..=25_200_000u64,
        members in vec(member(members_ipv6), 0..5), health_monitor in option::of(monitor(protocol)),
        on_member_down in select(&[OnMemberDown::Keep, OnMemberDown::Reset][..]), panic_threshold in option::of(1..=99u8),
    ) -> Pool {
        Pool {
            name,
            protocol,
            lb_algorithm,
            forward_mode,
            session_persistence,
            mss_clamp,
            transition_hold: TransitionHold::new(Duration::from_millis(hold)).unwrap(),
            admin_state_up,
            members,
            health_monitor,
            on_member_down,
            panic_threshold: panic_threshold.and_then(Percent::new),
        }
    }
}

fn listeners(ipv6: bool, pools: Vec<Pool>) -> impl Strategy<Value = (Vec<Pool>, Vec<Listener>)> {
    let rules = (vec(cidr(ipv6), 0..4), limit(), limit());
    let one = (name(), port(), any::<Option<prop::sample::Index>>(), any::<bool>(), rules);
    vec(one, 0..4).prop_map(move |all| {
        let mut pools = pools.clone();
        let mut taken = BTreeMap::new();
        let listeners = all.into_iter().map(|(name, protocol_port, pool, admin_state_up, rules)| {
            let index = pool.filter(|_| !pools.is_empty()).map(|index| index.index(pools.len()));
            // A pool has one listener, and its members that one's port, as its mode says.
            let index = index.filter(|index| {
                pools[*index].forward_mode == ForwardMode::Nat
                    || *taken.entry(*index).or_insert(protocol_port) == protocol_port
            });
            let pool = index.map(|index| &mut pools[index]);
            let (protocol, default_pool) = match pool {
                None => (Transport::Udp, None),
                Some(pool) => {
                    if pool.forward_mode.is_direct() {
                        pool.members.iter_mut().for_each(|member| member.protocol_port = protocol_port);
                    }
                    (pool.protocol, Some(pool.name.clone()))
                }
            };
            let (cidrs, connection_limit, new_flows_per_source) = rules;
            let allowed_cidrs = cidrs.into_iter().collect::<BTreeSet<_>>().into_iter().collect();
            Listener {
                name,
                protocol,
                protocol_port,
                default_pool,
                allowed_cidrs,
                connection_limit,
                new_flows_per_source,
                admin_state_up,
            }
        });
        let listeners = listeners.collect();
        (pools, listeners)
    })
}

fn load_balancer() -> impl Strategy<Value = LoadBalancer> {
    any::<bool>().prop_flat_map(|ipv6| {
        let rest = vec(pool(ipv6), 0..4).prop_flat_map(move |pools| listeners(ipv6, pools));
        (name(), address(ipv6), any::<bool>(), rest).prop_map(|(name, vip_address, admin_state_up, rest)| {
            let (pools, listeners) = rest;
            LoadBalancer { name, vip_address, topology: Topology::Single, admin_state_up, listeners, pools }
        })
    })
}

prop_compose! {
    fn dataplane()(
        count in 1..=64usize, xdp_mode in select(&[XdpMode::Auto, XdpMode::Native, XdpMode::Generic][..]),
        pin in "/sys/fs/bpf/[a-z0-9_-]{1,20}", max_flows in 1024..=8_388_608u32, low in 1024..=65528u16, more in 7..u16::MAX,
        hash_seed: Option<u64>, on_exit in select(&[OnExit::Keep, OnExit::Remove][..]), idle in [1..=43200u16, 1..=43200, 1..=43200, 1..=43200],
        sources in (address(false), 8..=32u8, address(true), 32..=128u8),
    ) -> DataplaneConfig {
        let [unconfirmed, tcp, tcp_closing, udp] = idle;
        DataplaneConfig {
            interfaces: (0..count).map(|n| format!("eth{n}")).collect(),
            xdp_mode,
            pin_path: pin.into(),
            max_flows,
            snat_ports: (low, low.saturating_add(more)),
            hash_seed,
            on_exit,
            encap_sources: EncapSources::new(
                Cidr::network_of(sources.0, sources.1), Cidr::network_of(sources.2, sources.3),
            ).unwrap(),
            idle_seconds: IdleLimits { unconfirmed, tcp, tcp_closing, udp },
        }
    }
}

fn written(dataplane: &DataplaneConfig, control: &ControlConfig, model: &Model) -> String {
    let mut text = String::new();
    let mut line = |words: std::fmt::Arguments<'_>| writeln!(text, "{words}").unwrap();
    line(format_args!("[dataplane]\ninterfaces = {:?}", dataplane.interfaces));
    line(format_args!("xdp_mode = \"{}\"", format!("{:?}", dataplane.xdp_mode).to_lowercase()));
    line(format_args!("pin_path = {:?}\nmax_flows = {}", dataplane.pin_path, dataplane.max_flows));
    line(format_args!("snat_ports = \"{}-{}\"", dataplane.snat_ports.0, dataplane.snat_ports.1));
    if let Some(seed) = dataplane.hash_seed {
        line(format_args!("hash_seed = {seed}"));
    }
    line(format_args!("on_exit = \"{}\"", format!("{:?}", dataplane.on_exit).to_lowercase()));
    let sources = dataplane.encap_sources;
    line(format_args!("encap_sources = [\"{}\", \"{}\"]", sources.v6(), sources.v4()));
    let idle = dataplane.idle_seconds;
    line(format_args!("[dataplane.idle_timeout]\nunconfirmed = {}\ntcp = {}", idle.unconfirmed, idle.tcp));
    line(format_args!("tcp_closing = {}\nudp = {}", idle.tcp_closing, idle.udp));
    line(format_args!("[control]\nsocket = {:?}\nstate_dir = {:?}", control.socket, control.state_dir));
    for lb in model.load_balancers() {
        line(format_args!("[[loadbalancer]]\nname = \"{}\"\nvip_address = \"{}\"", lb.name, lb.vip_address));
        line(format_args!("admin_state_up = {}", lb.admin_state_up));
        for listener in &lb.listeners {
            line(format_args!("[[loadbalancer.listener]]\nname = \"{}\"", listener.name));
            line(format_args!("protocol = \"{}\"\nprotocol_port = {}", listener.protocol, listener.protocol_port));
            if let Some(pool) = &listener.default_pool {
                line(format_args!("default_pool = \"{pool}\""));
            }
            if !listener.allowed_cidrs.is_empty() {
                let cidrs: Vec<String> = listener.allowed_cidrs.iter().map(ToString::to_string).collect();
                line(format_args!("allowed_cidrs = {cidrs:?}"));
            }
            line(format_args!("connection_limit = {}", listener.connection_limit.map_or(-1, |n| i64::from(n.get()))));
            let rate = listener.new_flows_per_source.map_or(0, NonZeroU32::get);
            line(format_args!("new_flows_per_source = {rate}\nadmin_state_up = {}", listener.admin_state_up));
        }
        for pool in &lb.pools {
            line(format_args!("[[loadbalancer.pool]]\nname = \"{}\"\nprotocol = \"{}\"", pool.name, pool.protocol));
            let (algorithm, mode) = (pool.lb_algorithm.name(), pool.forward_mode.name());
            line(format_args!("lb_algorithm = \"{algorithm}\"\nforward_mode = \"{mode}\""));
            match pool.mss_clamp {
                MssClamp::Off => line(format_args!("mss_clamp = \"off\"")),
                MssClamp::Auto => line(format_args!("mss_clamp = \"auto\"")),
                MssClamp::At(mss) => line(format_args!("mss_clamp = {}", mss.get())),
            }
            line(format_args!("transition_hold = {}", pool.transition_hold.get().as_secs_f64()));
            if let Some(persistence) = pool.session_persistence {
                let granularity = if lb.vip_address.is_ipv6() {
                    persistence.prefix6().to_string()
                } else {
                    Ipv4Addr::from_bits(u32::MAX << (32 - persistence.prefix4())).to_string()
                };
                let timeout = persistence.timeout();
                line(format_args!(
                    "session_persistence = {{ type = \"SOURCE_IP\", persistence_timeout = {timeout}, \
                     persistence_granularity = \"{granularity}\" }}"
                ));
            }
            line(format_args!("admin_state_up = {}", pool.admin_state_up));
            line(format_args!("on_member_down = \"{}\"", format!("{:?}", pool.on_member_down).to_lowercase()));
            if let Some(percent) = pool.panic_threshold {
                line(format_args!("panic_threshold = {}", percent.get()));
            }
            for member in &pool.members {
                line(format_args!("[[loadbalancer.pool.member]]\nname = \"{}\"", member.name));
                line(format_args!("address = \"{}\"\nprotocol_port = {}", member.address, member.protocol_port));
                line(format_args!("weight = {}\nbackup = {}", member.weight.get(), member.backup));
                if let Some(limit) = member.connection_limit {
                    line(format_args!("connection_limit = {limit}"));
                }
                line(format_args!("admin_state_up = {}", member.admin_state_up));
                if let Some(address) = member.monitor_address {
                    line(format_args!("monitor_address = \"{address}\""));
                }
                if let Some(port) = member.monitor_port {
                    line(format_args!("monitor_port = {port}"));
                }
            }
            if let Some(monitor) = &pool.health_monitor {
                line(format_args!("[loadbalancer.pool.healthmonitor]\n{}", monitor_lines(monitor)));
            }
        }
    }
    text
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_text_is_answered(text in "(?s).{0,400}") {
        bad_or_good(&text);
    }

    #[test]
    fn any_bytes_are_answered(bytes in vec(any::<u8>(), 0..400)) {
        bad_or_good(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn any_bytes_in_a_file_are_answered(bytes in vec(any::<u8>(), 0..200)) {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        std::io::Write::write_all(&mut file, &bytes).unwrap();
        prop_assert!(load(file.path()).is_err());
    }

    #[test]
    fn a_good_file_with_pieces_broken_out_is_answered(text in mutated()) {
        bad_or_good(&text);
    }

    #[test]
    fn a_good_file_with_its_lines_in_disorder_is_answered(text in shuffled()) {
        bad_or_good(&text);
    }

    #[test]
    fn what_is_written_is_what_is_read(
        dataplane in dataplane(), load_balancers in vec(load_balancer(), 0..4),
        socket in "/[a-z0-9/._-]{1,20}[a-z]", state_dir in "/[a-z]{1,20}",
    ) {
        // Names and addresses clash seldom: they are random.
        prop_assume!(!socket.contains(".."));
        let Ok(model) = Model::new(load_balancers) else { return Err(TestCaseError::reject("names clash")) };
        let control = ControlConfig { socket: socket.into(), state_dir: state_dir.into() };
        let text = written(&dataplane, &control, &model);
        let read = parse(&text, "x.toml").map_err(|refused| TestCaseError::fail(format!("{refused}\n{text}")))?;
        prop_assert_eq!(read.dataplane, dataplane);
        prop_assert_eq!(read.control, control);
        prop_assert_eq!(read.model, model);
    }
}
