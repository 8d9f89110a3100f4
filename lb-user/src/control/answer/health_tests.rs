//! What lbd answers about health, from records as the monitors keep them.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{
    collections::VecDeque,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use lb_health::{
    Answer, ExpectedCodes, Failure, GrpcQuestion, Handshake, HttpQuestion, Lateness, Pace, Transition, UrlPath,
};

use super::{
    super::scene::{Scene, member},
    *,
};
use crate::control::{
    protocol::{Request, Response, encode_response},
    view::OperatingStatus,
};

fn http() -> Kind {
    Kind::Http(Arc::new(HttpQuestion {
        method: lb_health::HttpMethod::Get,
        version: lb_health::HttpVersion::V11,
        path: UrlPath::new("/healthz").unwrap(),
        expected: ExpectedCodes::new("200-204").unwrap(),
        domain_name: lb_health::DomainName::new("www.example.org").ok(),
    }))
}

fn moment(second: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_700_000_000 + second)
}

fn refused() -> Outcome {
    Outcome::Fails(Failure::Status { got: 503, expected: "200-204".into() })
}

fn record(kind: Kind, to: &str, verdict: Option<Verdict>, outcome: Outcome) -> Record {
    let to: SocketAddr = to.parse().unwrap();
    let transitions = verdict.map(|verdict| Transition { at: moment(5), verdict, outcome: outcome.clone() });
    let result = |second, outcome| lb_health::Result { at: moment(second), took: Duration::from_micros(420), outcome };
    Record {
        question: Arc::new(Question { kind, to, delivery: Delivery::Routed }),
        pace: Pace { delay: Duration::from_secs(1), timeout: Duration::from_secs(1), rise: 2, fall: 3, damping: true },
        verdict,
        against: 1,
        needed: 8,
        damping: 2,
        asking: true,
        probes: 17,
        failures: 4,
        results: VecDeque::from([result(9, outcome), result(8, Outcome::Answers(Answer::Status(200)))]),
        transitions: transitions.into_iter().collect(),
    }
}

/// `m1` answers, `m2` is down, nothing is known of `m3`, whose first probe failed.
fn scene() -> Scene {
    let mut scene = Scene::empty();
    scene.pool(0).health_monitor.as_mut().unwrap().kind = http();
    scene.health.insert(Scene::key("web/app", 2), Verdict::Down);
    scene.health_reasons.insert(Scene::key("web/app", 2), refused().to_string());
    scene.settle();
    let accepts = Outcome::Answers(Answer::Status(204));
    let mut up = record(http(), "10.0.0.1:8080", Some(Verdict::Up), accepts);
    up.damping = 0;
    let down = record(http(), "10.1.0.2:9090", Some(Verdict::Down), refused());
    let unknown = record(http(), "10.0.0.3:8080", None, Outcome::NotAsked("too many open files".into()));
    for (last, record) in [(1, up), (2, down), (3, unknown)] {
        scene.monitors.records.insert(Scene::key("web/app", last), record);
    }
    scene.monitors.workload = Workload {
        members: 3,
        up: 1,
        down: 1,
        damped: 2,
        in_flight: 3,
        most_in_flight: 40,
        not_asked: 1,
        lateness: Lateness { probes: 51, late: 2, max_us: 870, max_per_mille: 60 },
    };
    scene
}

fn ask(scene: &Scene, pool: Option<&str>, failing: bool, limit: u32) -> HealthListView {
    match scene.ask(&Request::ListHealth { pool: pool.map(str::to_owned), failing, limit }) {
        Response::HealthList(found) => found,
        other => panic!("{other:?}"),
    }
}

fn show(scene: &Scene, member: &str) -> Result<HealthView, Refusal> {
    match scene.ask(&Request::ShowHealth { member: member.to_owned() }) {
        Response::Health(found) => Ok(*found),
        Response::Refused(refusal) => Err(refusal),
        other => panic!("{other:?}"),
    }
}

#[test]
fn members_are_listed_with_what_they_are_asked_and_what_they_answer() {
    let found = ask(&scene(), None, false, 100);
    let names: Vec<&str> = found.members.iter().map(|member| member.name.as_str()).collect();
    assert_eq!((names, found.matching), (vec!["web/app/m1", "web/app/m2", "web/app/m3"], 3));
    let [up, down, unknown] = &found.members[..] else { panic!("{found:?}") };
    assert_eq!((up.verdict, up.operating_status), (Some(VerdictView::Up), OperatingStatus::Online));
    assert_eq!((up.kind.as_str(), up.url_path.as_deref()), ("HTTP", Some("/healthz")));
    let last = up.last.as_ref().unwrap();
    assert_eq!((last.text.as_str(), last.result, last.took_micros), ("status 204", ResultKind::Success, 420));
    assert_eq!(down.monitor_address, IpAddr::from([10, 1, 0, 2]), "where it is asked is not where clients go");
    assert_eq!(down.monitor_port, Some(9090));
    assert_eq!((down.verdict, down.operating_status), (Some(VerdictView::Down), OperatingStatus::Error));
    assert_eq!(down.status_reason.as_deref(), Some("status 503, expected 200-204"));
    assert_eq!(down.since.as_deref(), Some("2023-11-14T22:13:25.000Z"));
    assert_eq!((down.against, down.needed, down.damping), (1, 8, 2));
    assert_eq!((unknown.verdict, &unknown.since), (None, &None));
    assert_eq!(unknown.last.as_ref().unwrap().result, ResultKind::NotAsked);
}

#[test]
fn those_that_fail_are_those_that_are_down_or_failed_last() {
    let scene = scene();
    let names = |found: HealthListView| found.members.into_iter().map(|member| member.name).collect::<Vec<_>>();
    assert_eq!(names(ask(&scene, None, true, 100)), ["web/app/m2", "web/app/m3"]);
    assert_eq!(names(ask(&scene, Some("app"), true, 100)), ["web/app/m2", "web/app/m3"]);
    assert_eq!(names(ask(&scene, Some("names"), false, 100)), Vec::<String>::new());
    let refusal = scene.ask(&Request::ListHealth { pool: Some("nowhere".to_owned()), failing: false, limit: 1 });
    assert!(matches!(refusal, Response::Refused(Refusal { code: RefusalCode::NotFound, .. })), "{refusal:?}");
}

#[test]
fn a_limit_leaves_members_out_and_neither_the_count_nor_the_summary() {
    let scene = scene();
    for limit in [0, 1, 3] {
        let found = ask(&scene, None, false, limit);
        assert_eq!((found.members.len(), found.matching), (limit as usize, 3));
        let HealthSummaryView { members, up, down, unknown, damped, .. } = found.summary;
        assert_eq!((members, up, down, unknown, damped), (3, 1, 1, 1, 2));
        let HealthSummaryView { in_flight, most_in_flight, not_asked, probes, late, .. } = found.summary;
        assert_eq!((in_flight, most_in_flight, not_asked, probes, late), (3, 40, 1, 51, 2));
        assert_eq!((found.summary.late_max_micros, found.summary.late_max_per_mille), (870, 60));
    }
    let request = Request::ListHealth { pool: None, failing: false, limit: MAX_HEALTH_LISTED + 1 };
    assert!(matches!(scene.ask(&request), Response::Refused(Refusal { code: RefusalCode::Invalid, .. })));
}

#[test]
fn a_member_is_shown_with_everything_that_is_known() {
    let found = show(&scene(), "m2").unwrap();
    assert_eq!((found.address, found.protocol_port), (member("m2", 2).address, 8080));
    assert_eq!((found.probes, found.failures, found.asking, found.to_vip), (17, 4, true, false));
    let texts: Vec<_> = found.results.iter().map(|result| (result.time.as_str(), result.text.as_str())).collect();
    assert_eq!(
        texts,
        [("2023-11-14T22:13:29.000Z", "status 503, expected 200-204"), ("2023-11-14T22:13:28.000Z", "status 200")]
    );
    let [transition] = &found.transitions[..] else { panic!("{found:?}") };
    assert_eq!((transition.verdict, transition.text.as_str()), (VerdictView::Down, "status 503, expected 200-204"));
    let monitor = &found.health_monitor;
    assert_eq!((monitor.max_retries, monitor.max_retries_down, monitor.flap_damping), (2, 3, true));
    assert_eq!(monitor.question.http_method.as_deref(), Some("GET"));
    assert_eq!(monitor.question.expected_codes.as_deref(), Some("200-204"));
    assert_eq!(monitor.question.domain_name.as_deref(), Some("www.example.org"));
    assert_eq!(monitor.question.grpc_service, None);
    assert_eq!(found.next_hop_missing, None);
}

#[test]
fn a_member_is_meant_as_everywhere_else() {
    let scene = scene();
    for select in ["web/app/m2", "app/m2", "m2", "10.0.0.2:8080", "web/app/10.0.0.2:8080"] {
        assert_eq!(show(&scene, select).unwrap().member.name, "web/app/m2", "{select}");
    }
    assert_eq!(show(&scene, "m1").unwrap_err().code, RefusalCode::Ambiguous);
    assert_eq!(show(&scene, "m7").unwrap_err().code, RefusalCode::NotFound);
}

#[test]
fn who_is_not_watched_is_refused_with_the_reason() {
    let mut scene = scene();
    let refusal = show(&scene, "n2").unwrap_err();
    assert!(refusal.message.contains("pool web/names has no [loadbalancer.pool.healthmonitor]"), "{refusal}");
    scene.overrides.set_admin_state_up(Scene::key("web/app", 3), Some(false));
    scene.monitors.records.remove(&Scene::key("web/app", 3));
    scene.settle();
    let refusal = show(&scene, "m3").unwrap_err();
    assert!(refusal.message.ends_with("now: switched off (admin_state_up = false)"), "{refusal}");
    scene.pool(0).health_monitor.as_mut().unwrap().admin_state_up = false;
    scene.monitors.records.clear();
    scene.settle();
    let refusal = show(&scene, "web/app/m1").unwrap_err();
    assert!(refusal.message.ends_with("its health monitor is switched off (admin_state_up = false)"), "{refusal}");
}

#[test]
fn without_lbd_nothing_is_known_of_health_and_where_to_look_is_said() {
    let scene = scene();
    for request in
        [Request::ListHealth { pool: None, failing: false, limit: 10 }, Request::ShowHealth { member: "m2".to_owned() }]
    {
        match scene.ask_offline(&request) {
            Response::Refused(Refusal { code: RefusalCode::Invalid, message }) => {
                assert!(message.contains("lbctl --offline member list"), "{message}");
            }
            other => panic!("{other:?}"),
        }
        assert!(request.is_about_health() && request.is_read_only() && !request.is_about_the_pair());
    }
    assert!(!Request::Status.is_about_health());
}

#[test]
fn every_type_of_monitor_is_told_in_the_pool_files_words() {
    let mut scene = Scene::empty();
    let grpc = GrpcQuestion { service: "shop.Cart".to_owned(), domain_name: None };
    let none = QuestionView::default;
    let text = |text: &str| Some(text.to_owned());
    for (kind, name, expected) in [
        (Kind::Ping, "PING", none()),
        (Kind::Tcp(Handshake::Half), "TCP", QuestionView { tcp_handshake: text("half"), ..none() }),
        (Kind::Tcp(Handshake::Full), "TCP", QuestionView { tcp_handshake: text("full"), ..none() }),
        (Kind::UdpConnect, "UDP-CONNECT", none()),
        (Kind::Sctp, "SCTP", none()),
        (Kind::TlsHello(lb_health::DomainName::new("a.example").ok()), "TLS-HELLO", {
            QuestionView { domain_name: text("a.example"), ..none() }
        }),
        (Kind::Grpc(Arc::new(grpc)), "GRPC", QuestionView { grpc_service: text("shop.Cart"), ..none() }),
    ] {
        // Octavia has some of them for TCP and some for UDP only.
        let (at, pool) = if matches!(kind, Kind::UdpConnect | Kind::Sctp) { (1, "web/names") } else { (0, "web/app") };
        let monitor = Scene::empty().pool(0).health_monitor.clone().unwrap();
        scene.pool(at).health_monitor = Some(HealthMonitor { kind: kind.clone(), ..monitor });
        scene.settle();
        scene.monitors.records.insert(Scene::key(pool, 1), record(kind, "10.0.0.1:8080", None, refused()));
        let found = show(&scene, &format!("{pool}/m1")).unwrap();
        assert_eq!((found.health_monitor.kind.as_str(), &found.health_monitor.question), (name, &expected));
        assert_eq!((found.member.monitor_port.is_none(), found.member.url_path), (name == "PING", None), "{name}");
    }
}

/// A client reads 80 MB at most and flows come in 20 MB at most: health, too.
#[test]
fn the_longest_answer_is_no_longer_than_the_longest_about_flows() {
    let scene = scene();
    let name = "n".repeat(64);
    let row = &ask(&scene, None, true, 1).members[0];
    let longest = MemberHealthView {
        name: format!("{name}/{name}/{name}"),
        monitor_address: "2001:db8:1111:2222:3333:4444:5555:6666".parse().unwrap(),
        ..row.clone()
    };
    let bytes = |members: Vec<MemberHealthView>| {
        let found = HealthListView { matching: members.len(), members, ..HealthListView::default() };
        encode_response(&Response::HealthList(found)).unwrap().len()
    };
    let each = (bytes(vec![longest.clone(); 100]) - bytes(Vec::new())) / 100;
    assert!(each * MAX_HEALTH_LISTED as usize <= 24_000_000, "{each} bytes each");
    // What ten thousand members of ordinary names come to.
    let usual = bytes(vec![row.clone(); 10_000]);
    assert!(usual < 6_000_000, "{usual} bytes");
}
