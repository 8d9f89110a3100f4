//! Records as lbd would send them, for the tests of what is shown.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{collections::BTreeMap, net::IpAddr};

use crate::control::{
    events::Kind,
    view::{
        CountersView, CountsView, DaemonView, DataplaneView, FlowState, FlowView, InterfaceView, ListenerView,
        LoadBalancerView, MapView, MemberView, NextHopView, OperatingStatus, Percent, PoolView, Role,
        SessionPersistenceView, StatsView, StatusView, TrafficView,
        events::EventView,
        health::{
            HealthListView, HealthMonitorView, HealthSummaryView, HealthView, MemberHealthView, QuestionView,
            ResultKind, ResultView, TransitionView, VerdictView,
        },
        sync::{AdoptedView, LossView, PassView, PeerPassView, SyncState, SyncTrafficView, SyncView},
        vrrp::{AnnouncedView, PeerView, RunnerView, TimersView, TrackView, VrrpCountersView, VrrpState, VrrpView},
    },
};
use crate::ha::sync::Reason;

/// A moment, in seconds since 1970.
pub(crate) const NOW: u64 = 1_700_000_000;

/// A moment five minutes before [`NOW`].
pub(crate) const SINCE: &str = "2023-11-14T22:08:20.000Z";

const VIP: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 10));

const COUNTERS: CountersView = CountersView {
    packets_in: 1_000_000,
    bytes_in: 4_718_592,
    packets_out: 999_001,
    bytes_out: 1 << 30,
    flows_new: 12_345,
    flows_refused: 7,
};

pub(crate) fn load_balancer() -> LoadBalancerView {
    LoadBalancerView {
        name: "web".to_owned(),
        vip_address: VIP,
        admin_state_up: Some(true),
        operating_status: OperatingStatus::Degraded,
        status_reason: Some("pool web/app: 1 of 2 members is down: app-2 (connection refused)".to_owned()),
        status_since: Some(SINCE.to_owned()),
        role: Some(Role::Active),
        listeners: vec!["web/http".to_owned()],
        pools: vec!["web/app".to_owned()],
    }
}

pub(crate) fn listener() -> ListenerView {
    ListenerView {
        name: "web/http".to_owned(),
        protocol: "TCP".to_owned(),
        vip_address: VIP,
        protocol_port: 80,
        default_pool: Some("web/app".to_owned()),
        admin_state_up: Some(true),
        operating_status: OperatingStatus::Degraded,
        status_reason: Some("pool web/app: 1 of 2 members is down: app-2 (connection refused)".to_owned()),
        status_since: Some(SINCE.to_owned()),
        in_dataplane: true,
        counters: Some(COUNTERS),
        active_flows: Some(42),
        allowed_cidrs: Some(vec!["198.51.100.0/24".to_owned(), "203.0.113.7/32".to_owned()]),
        connection_limit: Some(10_000),
        live_connections: Some(41),
        new_flows_per_source: Some(100),
    }
}

pub(crate) fn pool() -> PoolView {
    PoolView {
        name: "web/app".to_owned(),
        protocol: Some("TCP".to_owned()),
        lb_algorithm: "SOURCE_IP_PORT".to_owned(),
        forward_mode: "nat".to_owned(),
        admin_state_up: Some(true),
        operating_status: OperatingStatus::Degraded,
        status_reason: Some("1 of 2 members is down: app-2 (connection refused)".to_owned()),
        status_since: Some(SINCE.to_owned()),
        health_monitor: Some(health_monitor()),
        listeners: vec!["web/http".to_owned()],
        members: 2,
        members_in_use: 1,
        table_slots: 211,
        session_persistence: Some(SessionPersistenceView {
            kind: "SOURCE_IP".to_owned(),
            persistence_timeout: 360,
            persistence_granularity: "255.255.255.0".to_owned(),
        }),
        mss_clamp: Some("auto".to_owned()),
        transition_hold: Some(300.0),
        changing: Some(true),
    }
}

pub(crate) fn health_monitor() -> HealthMonitorView {
    HealthMonitorView {
        kind: "TCP".to_owned(),
        delay: 0.5,
        timeout: 1.0,
        max_retries: 2,
        max_retries_down: 3,
        admin_state_up: true,
        operating_status: OperatingStatus::Online,
        status_reason: None,
        status_since: Some(SINCE.to_owned()),
        flap_damping: true,
        probe_path: "member".to_owned(),
        question: QuestionView { tcp_handshake: Some("half".to_owned()), ..QuestionView::default() },
    }
}

pub(crate) fn member() -> MemberView {
    MemberView {
        name: "web/app/app-1".to_owned(),
        address: IpAddr::from([198, 51, 100, 11]),
        protocol_port: 8080,
        weight: Some(1),
        effective_weight: 1,
        admin_state_up: true,
        backup: false,
        operating_status: OperatingStatus::Online,
        status_reason: None,
        status_since: Some(SINCE.to_owned()),
        next_hop: Some(NextHopView {
            destination: "02:00:00:00:00:0b".to_owned(),
            source: "02:00:00:00:00:02".to_owned(),
            interface: Some("eth1".to_owned()),
            port: 1,
        }),
        next_hop_missing: None,
        overridden: None,
        share_percent: Percent::of(1, 2),
        retired: false,
        in_dataplane: true,
        counters: Some(COUNTERS),
        active_flows: Some(42),
        connection_limit: Some(500),
    }
}

pub(crate) fn flow() -> FlowView {
    FlowView {
        protocol: Some("TCP".to_owned()),
        client_address: IpAddr::from([203, 0, 113, 7]),
        client_port: 5001,
        listener: "web/http".to_owned(),
        member: "web/app/app-1".to_owned(),
        member_address: Some(IpAddr::from([198, 51, 100, 11])),
        member_port: Some(8080),
        snat_port: 20_001,
        state: FlowState::Established,
        confirmed: true,
        idle_seconds: 65,
    }
}

pub(crate) fn stats() -> StatsView {
    let traffic = |name: &str| TrafficView { name: name.to_owned(), counters: COUNTERS, active_flows: 42 };
    StatsView { listeners: vec![traffic("web/http")], members: vec![traffic("web/app/app-1")] }
}

pub(crate) fn interfaces() -> Vec<InterfaceView> {
    let interface = |name: &str, ifindex, port, mode: &str, fallback: Option<&str>| InterfaceView {
        name: name.to_owned(),
        ifindex,
        port,
        mac: format!("02:00:00:00:00:0{}", port + 1),
        xdp_mode: mode.to_owned(),
        fallback: fallback.map(str::to_owned),
    };
    vec![interface("eth0", 2, 0, "native", None), interface("eth1", 3, 1, "generic", Some("operation not supported"))]
}

pub(crate) fn dataplane() -> DataplaneView {
    let map = |name: &str, entries, mebibytes: u64| MapView { name: name.to_owned(), entries, bytes: mebibytes << 20 };
    DataplaneView {
        pin_path: "/sys/fs/bpf/krater".to_owned(),
        abi_version: 3,
        program_id: 77,
        jited_bytes: 20_480,
        verified_instructions: 54_321,
        max_flows: 1 << 20,
        snat_ports: (10_000, 65_535),
        interfaces: interfaces(),
        maps: vec![map("FLOWS4", 1 << 20, 64), map("CONFIG", 1, 1)],
    }
}

pub(crate) fn status() -> StatusView {
    StatusView {
        source: "lbd".to_owned(),
        daemon: Some(DaemonView {
            pid: 4242,
            version: "0.1.0".to_owned(),
            uptime_seconds: 273_600,
            config_file: "/etc/krater/krater.toml".to_owned(),
            reloads: 2,
            loaded_at: NOW - 300,
            last_error: None,
        }),
        operating_status: OperatingStatus::Degraded,
        status_reason: Some(
            "load balancer web: pool web/app: 1 of 2 members is down: app-2 (connection refused)".to_owned(),
        ),
        role: Some(Role::Active),
        counts: CountsView {
            load_balancers: 1,
            listeners: 2,
            pools: 1,
            members: 3,
            members_online: 1,
            members_error: 1,
            members_draining: 1,
            members_overridden: 1,
            ..CountsView::default()
        },
        interfaces: interfaces(),
        interfaces_missing: Vec::new(),
        packets_dropped: 12_345,
        vrrp: vec![(&vrrp()).into()],
        sync: Some((&sync()).into()),
    }
}

/// An instance that became Active three hours ago.
pub(crate) fn vrrp() -> VrrpView {
    VrrpView {
        name: "front".to_owned(),
        interface: "eth0".to_owned(),
        virtual_router_id: 51,
        family: "ipv4".to_owned(),
        version: 3,
        state: VrrpState::Active,
        reason: "no other Active was heard".to_owned(),
        state_millis: 11_045_000,
        carrying: true,
        priority: 80,
        configured_priority: 100,
        preempt: true,
        preempt_delay_millis: 0,
        paused: false,
        yielded: false,
        fault: None,
        mode: "multicast".to_owned(),
        source_address: Some(IpAddr::from([192, 0, 2, 2])),
        unicast_peers: Vec::new(),
        virtual_mac: Some("00:00:5e:00:01:33".to_owned()),
        addresses: vec![VIP],
        announced: vec![AnnouncedView {
            address: VIP,
            interface: "eth0".to_owned(),
            mac: "00:00:5e:00:01:33".to_owned(),
        }],
        load_balancers: vec!["web".to_owned()],
        timers: TimersView {
            advert_interval_micros: 100_000,
            learned_interval_micros: 100_000,
            skew_micros: 68_750,
            active_down_micros: 368_750,
            deadline_micros: Some(41_250),
        },
        peers: vec![PeerView {
            address: IpAddr::from([192, 0, 2, 3]),
            priority: 90,
            advert_interval_micros: 100_000,
            heard_millis: 11_045_060,
            adverts: 17,
            checksum: Some("pseudo_header".to_owned()),
        }],
        tracking: vec![
            TrackView {
                kind: "interface".to_owned(),
                name: Some("eth1".to_owned()),
                weight: 0,
                well: Some(true),
                reason: None,
            },
            TrackView {
                kind: "load_balancer".to_owned(),
                name: Some("web".to_owned()),
                weight: -20,
                well: Some(false),
                reason: Some("ERROR".to_owned()),
            },
        ],
        counters: VrrpCountersView {
            adverts_sent: 110_450,
            adverts_not_sent: 0,
            adverts_received: 17,
            adverts_refused: BTreeMap::from([("hops".to_owned(), 3), ("checksum".to_owned(), 1)]),
            transitions: 2,
            announcements: 5,
        },
        runner: RunnerView { realtime: true, realtime_refused: None, late_max_micros: 870, late_p99_micros: 42 },
    }
}

pub(crate) fn sync() -> SyncView {
    SyncView {
        local: "198.51.100.1:5405".parse().unwrap(),
        peer: "198.51.100.2:5405".parse().unwrap(),
        socket_problem: None,
        state: SyncState::Present,
        state_millis: 11_045_000,
        heard_millis: Some(80),
        epoch: "00000000000000aa".to_owned(),
        peer_epoch: Some("00000000000000bb".to_owned()),
        peer_starts: 1,
        seeds_match: Some(true),
        peer_flows: Some(45),
        sent: SyncTrafficView { datagrams: 12_345, bytes: 4_718_592, flows: 45_600, placements: 120 },
        received: SyncTrafficView { datagrams: 30, bytes: 2_048, flows: 41, placements: 8 },
        adopted: AdoptedView {
            new: 25,
            refreshed: 10,
            ended: 5,
            refused: BTreeMap::from([("place_taken".to_owned(), 1)]),
        },
        adopted_placements: AdoptedView {
            new: 5,
            refreshed: 2,
            ended: 0,
            refused: BTreeMap::from([("unknown_member".to_owned(), 1)]),
        },
        peer_adopted: 45_599,
        peer_refused: 1,
        lost: LossView { sent: 2, resent: 2, notes: 17, ..LossView::default() },
        lag_millis: 12,
        queued: 3,
        under_way: 1,
        passes: PassView {
            running: Some(Reason::Loss),
            running_flows: 100,
            running_placements: 10,
            finished: 184,
            last: Some(Reason::Regular),
            last_flows: Some(40_000),
            last_placements: Some(90),
            last_millis: Some(1250),
        },
        peer_passes: PeerPassView { running: false, finished: 2, last_flows: Some(45), last_placements: Some(7) },
        unknown_records: 2,
        malformed_records: 0,
        refused: BTreeMap::from([("authentication".to_owned(), 7)]),
    }
}

/// A member that fails and has flapped.
pub(crate) fn member_health() -> MemberHealthView {
    MemberHealthView {
        name: "web/app/app-2".to_owned(),
        kind: "HTTP".to_owned(),
        monitor_address: IpAddr::from([198, 51, 100, 12]),
        monitor_port: Some(9090),
        url_path: Some("/healthz".to_owned()),
        verdict: Some(VerdictView::Down),
        since: Some(SINCE.to_owned()),
        operating_status: OperatingStatus::Error,
        status_reason: Some("status 503, expected 200".to_owned()),
        last: Some(probe_failed()),
        against: 1,
        needed: 16,
        damping: 3,
    }
}

fn probe_failed() -> ResultView {
    ResultView {
        time: "2023-11-14T22:13:19.250Z".to_owned(),
        result: ResultKind::Failure,
        took_micros: 1420,
        text: "status 503, expected 200".to_owned(),
    }
}

pub(crate) fn health_summary() -> HealthSummaryView {
    HealthSummaryView {
        members: 3,
        up: 1,
        down: 1,
        unknown: 1,
        damped: 1,
        in_flight: 2,
        most_in_flight: 3,
        not_asked: 0,
        probes: 45_600,
        late: 0,
        late_max_micros: 870,
        late_max_per_mille: 1,
    }
}

pub(crate) fn health_list() -> HealthListView {
    let up = MemberHealthView {
        name: "web/app/app-1".to_owned(),
        kind: "PING".to_owned(),
        monitor_address: IpAddr::from([198, 51, 100, 11]),
        monitor_port: None,
        url_path: None,
        verdict: Some(VerdictView::Up),
        operating_status: OperatingStatus::Draining,
        status_reason: Some("drained by an operator".to_owned()),
        last: Some(ResultView {
            result: ResultKind::Success,
            took_micros: 310,
            text: "echoes".to_owned(),
            ..probe_failed()
        }),
        against: 0,
        needed: 3,
        damping: 0,
        ..member_health()
    };
    let unknown = MemberHealthView {
        name: "web/app/app-10".to_owned(),
        verdict: None,
        since: None,
        operating_status: OperatingStatus::Online,
        status_reason: None,
        last: None,
        damping: 0,
        needed: 3,
        against: 0,
        ..member_health()
    };
    HealthListView { summary: health_summary(), matching: 3, members: vec![up, unknown, member_health()] }
}

pub(crate) fn health() -> HealthView {
    HealthView {
        member: member_health(),
        address: IpAddr::from([198, 51, 100, 12]),
        protocol_port: 8080,
        health_monitor: HealthMonitorView {
            kind: "HTTP".to_owned(),
            question: QuestionView {
                http_method: Some("GET".to_owned()),
                http_version: Some("1.1".to_owned()),
                url_path: Some("/healthz".to_owned()),
                expected_codes: Some("200".to_owned()),
                domain_name: Some("www.example.org".to_owned()),
                ..QuestionView::default()
            },
            ..health_monitor()
        },
        to_vip: false,
        asking: false,
        probes: 1234,
        failures: 17,
        next_hop_missing: None,
        results: vec![
            probe_failed(),
            ResultView {
                time: "2023-11-14T22:13:18.750Z".to_owned(),
                result: ResultKind::Success,
                took_micros: 900,
                text: "status 200".to_owned(),
            },
        ],
        transitions: vec![TransitionView {
            time: SINCE.to_owned(),
            verdict: VerdictView::Down,
            text: "no status line within 1 s".to_owned(),
        }],
    }
}

pub(crate) fn event(seq: u64, kind: Kind, subject: &str, text: &str) -> EventView {
    EventView {
        seq,
        time: "2026-11-24T17:44:00.250Z".to_owned(),
        kind: kind.label().to_owned(),
        subject: subject.to_owned(),
        text: text.to_owned(),
        detail: serde_json::Map::new(),
    }
}
