#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::fmt::Write as _;

use proptest::prelude::*;

use super::*;
use crate::config::{Config, Refused, parse};

/// A file with a pool of a transport, and these lines in its health monitor.
fn file(protocol: &str, of_pool: &str, of_monitor: &str) -> String {
    format!(
        r#"
[dataplane]
interfaces = ["eth0"]

[[loadbalancer]]
name = "web"
vip_address = "192.0.2.10"

[[loadbalancer.listener]]
protocol = "{protocol}"
protocol_port = 80
default_pool = "app"

[[loadbalancer.pool]]
name = "app"
protocol = "{protocol}"
{of_pool}

[[loadbalancer.pool.member]]
address = "198.51.100.1"
protocol_port = 8080

[loadbalancer.pool.healthmonitor]
delay = 5
timeout = 3
max_retries = 2
{of_monitor}
"#
    )
}

fn good(protocol: &str, of_monitor: &str) -> Config {
    parse(&file(protocol, "", of_monitor), "x.toml").unwrap()
}

fn monitor(config: &Config) -> HealthMonitor {
    config.model.load_balancers()[0].pools[0].health_monitor.clone().unwrap()
}

fn refused(protocol: &str, of_monitor: &str) -> Refused {
    parse(&file(protocol, "", of_monitor), "x.toml").unwrap_err()
}

/// The only mistake, as `field: text`; it is in the line of its field.
fn only_mistake(protocol: &str, of_monitor: &str) -> String {
    let refused = refused(protocol, of_monitor);
    assert_eq!(refused.mistakes.len(), 1, "{of_monitor}: {refused}");
    let mistake = &refused.mistakes[0];
    assert!(mistake.place.ends_with("pool \"app\" healthmonitor"), "{mistake}");
    let text = file(protocol, "", of_monitor);
    let line = text.lines().nth(mistake.line - 1).unwrap();
    assert!(line.starts_with(&format!("{} = ", mistake.field)), "{mistake}: {line}");
    format!("{}: {}", mistake.field, mistake.text)
}

fn only_warning(text: &str) -> (usize, String) {
    let config = parse(text, "x.toml").unwrap();
    let [warning] = &config.warnings[..] else { panic!("{:?}", config.warnings) };
    (warning.line, warning.text.clone())
}

fn line_of(text: &str, start: &str) -> usize {
    text.lines().position(|line| line.starts_with(start)).unwrap() + 1
}

#[test]
fn every_type_is_read_with_what_it_asks() {
    let name = |text: &str| Some(DomainName::new(text).unwrap());
    let full = "http_method = \"HEAD\"\nhttp_version = \"1.1\"\nurl_path = \"/h?a=%20b\"\nexpected_codes = \"200, 204\"\n\
                domain_name = \"www.example.com\"";
    let question = Arc::new(HttpQuestion {
        method: HttpMethod::Head,
        version: HttpVersion::V11,
        path: UrlPath::new("/h?a=%20b").unwrap(),
        expected: ExpectedCodes::List([200, 204].into()),
        domain_name: name("www.example.com"),
    });
    let grpc = |service: &str, domain_name| {
        MonitorKind::Grpc(Arc::new(GrpcQuestion { service: service.to_owned(), domain_name }))
    };
    for (protocol, lines, kind) in [
        ("TCP", "type = \"PING\"".to_owned(), MonitorKind::Ping),
        ("TCP", "type = \"TCP\"".to_owned(), MonitorKind::Tcp(Handshake::Half)),
        ("UDP", "type = \"TCP\"\ntcp_handshake = \"full\"".to_owned(), MonitorKind::Tcp(Handshake::Full)),
        ("TCP", format!("type = \"HTTP\"\n{full}"), MonitorKind::Http(Arc::clone(&question))),
        ("UDP", format!("type = \"HTTP\"\n{full}"), MonitorKind::Http(Arc::clone(&question))),
        ("TCP", format!("type = \"HTTPS\"\n{full}"), MonitorKind::Https(question)),
        ("TCP", "type = \"TLS-HELLO\"".to_owned(), MonitorKind::TlsHello(None)),
        ("TCP", "type = \"TLS-HELLO\"\ndomain_name = \"a\"".to_owned(), MonitorKind::TlsHello(name("a"))),
        ("UDP", "type = \"UDP-CONNECT\"".to_owned(), MonitorKind::UdpConnect),
        ("UDP", "type = \"SCTP\"".to_owned(), MonitorKind::Sctp),
        ("TCP", "type = \"GRPC\"".to_owned(), grpc("", None)),
        (
            "TCP",
            "type = \"GRPC\"\ngrpc_service = \"shop.v1.Cart\"\ndomain_name = \"shop\"".to_owned(),
            grpc("shop.v1.Cart", name("shop")),
        ),
    ] {
        assert_eq!(monitor(&good(protocol, &lines)).kind, kind, "{protocol} {lines}");
    }
}

#[test]
fn what_is_not_written_is_as_in_octavia_and_damping_is_on() {
    let monitor = monitor(&good("TCP", "type = \"HTTP\""));
    let MonitorKind::Http(question) = &monitor.kind else { panic!("{monitor:?}") };
    let HttpQuestion { method, version, path, expected, domain_name } = &**question;
    assert_eq!((*method, *version, path.as_str()), (HttpMethod::Get, HttpVersion::V10, "/"));
    assert_eq!((expected.to_string().as_str(), domain_name), ("200", &None));
    assert_eq!((monitor.max_retries_down, monitor.flap_damping), (3, true));
    assert_eq!((monitor.probe_path, monitor.admin_state_up), (ProbePath::Member, true));
}

#[test]
fn a_version_is_a_word_or_a_number() {
    for (written, version) in [
        ("\"1.0\"", HttpVersion::V10),
        ("1.0", HttpVersion::V10),
        ("1", HttpVersion::V10),
        ("\"1.1\"", HttpVersion::V11),
        ("1.1", HttpVersion::V11),
        ("1.10", HttpVersion::V11),
    ] {
        let config = good("TCP", &format!("type = \"HTTP\"\nhttp_version = {written}"));
        let MonitorKind::Http(question) = monitor(&config).kind else { panic!("{config:?}") };
        assert_eq!(question.version, version, "{written}");
    }
    for written in ["2", "\"1\"", "\"HTTP/1.1\"", "1.2", "nan", "-1.1", "99999999999999999999999999"] {
        let mistake = only_mistake("TCP", &format!("type = \"HTTP\"\nhttp_version = {written}"));
        assert!(mistake.contains("is not known; use one of 1.0, 1.1"), "{written}: {mistake}");
    }
    let mistake = only_mistake("TCP", "type = \"HTTP\"\nhttp_version = true");
    assert!(mistake.contains("a boolean is not a version; write for example http_version = \"1.1\""), "{mistake}");
}

/// Octavia's answers 148, 149, 153 and those of its source.
#[test]
fn a_pool_has_the_monitors_that_octavia_gives_it() {
    let udp = "a pool that speaks UDP has no PING monitor; use one of UDP-CONNECT, SCTP, TCP, HTTP";
    assert_eq!(only_mistake("UDP", "type = \"PING\""), format!("type: {udp}"));
    for (protocol, of_type) in
        [("UDP", "HTTPS"), ("UDP", "TLS-HELLO"), ("UDP", "GRPC"), ("TCP", "UDP-CONNECT"), ("TCP", "SCTP")]
    {
        let mistake = only_mistake(protocol, &format!("type = \"{of_type}\""));
        assert!(mistake.contains(&format!("a pool that speaks {protocol} has no {of_type} monitor")), "{mistake}");
    }
    let mistake = only_mistake("TCP", "type = \"udp-connect\"");
    assert!(mistake.contains("did you mean UDP-CONNECT?"), "{mistake}");
}

#[test]
fn a_field_of_another_type_is_refused_with_the_types_that_have_it() {
    for (protocol, of_type, field, types) in [
        ("TCP", "TCP", "url_path = \"/\"", "a type that has it: HTTP, HTTPS"),
        ("TCP", "PING", "http_method = \"GET\"", "a type that has it: HTTP, HTTPS"),
        ("UDP", "UDP-CONNECT", "expected_codes = \"200\"", "a type that has it: HTTP, HTTPS"),
        ("TCP", "GRPC", "http_version = 1.1", "a type that has it: HTTP, HTTPS"),
        ("UDP", "SCTP", "domain_name = \"a\"", "a type that has it: HTTP, HTTPS, TLS-HELLO, GRPC"),
        ("TCP", "TCP", "domain_name = \"a\"", "a type that has it: HTTP, HTTPS, TLS-HELLO, GRPC"),
        ("TCP", "HTTP", "grpc_service = \"a\"", "the type that has it: GRPC"),
        ("TCP", "TLS-HELLO", "tcp_handshake = \"full\"", "the type that has it: TCP"),
        // Whatever is written there.
        ("TCP", "TCP", "url_path = [7]", "a type that has it: HTTP, HTTPS"),
    ] {
        let mistake = only_mistake(protocol, &format!("type = \"{of_type}\"\n{field}"));
        let reason = format!("a monitor of type {of_type} has no such field; remove it, or use {types}");
        assert!(mistake.ends_with(&reason), "{of_type} {field}: {mistake}");
    }
}

#[test]
fn a_misspelt_type_hides_no_other_mistake_and_makes_none_up() {
    let refused =
        refused("UDP", "type = \"HTPP\"\nurl_path = \"nope\"\ndomain_name = \"a\"\ntcp_handshake = \"third\"");
    let fields: Vec<&str> = refused.mistakes.iter().map(|mistake| mistake.field.as_str()).collect();
    assert_eq!(fields, ["type", "url_path", "tcp_handshake"], "{refused}");
}

#[test]
fn a_name_to_ask_for_needs_http_1_1_as_in_octavia() {
    for version in ["", "http_version = \"1.0\"\n"] {
        let mistake = only_mistake("TCP", &format!("type = \"HTTP\"\n{version}domain_name = \"www.example.com\""));
        assert!(mistake.starts_with("domain_name: it goes into the Host header"), "{mistake}");
        assert!(mistake.contains("write http_version = \"1.1\" beside it"), "{mistake}");
    }
    // A version that was refused is the only mistake.
    let mistake = only_mistake("TCP", "type = \"HTTPS\"\nhttp_version = 3\ndomain_name = \"www.example.com\"");
    assert!(mistake.starts_with("http_version: "), "{mistake}");
}

/// Octavia's answer 159, its pattern, and what cannot be meant.
#[test]
fn codes_are_written_as_octavia_writes_them() {
    for (written, read) in
        [("200", "200"), ("200,202", "200,202"), ("200 , 202,  404", "200,202,404"), ("200-204", "200-204")]
    {
        let config = good("TCP", &format!("type = \"HTTP\"\nexpected_codes = \"{written}\""));
        let MonitorKind::Http(question) = monitor(&config).kind else { panic!("{config:?}") };
        assert_eq!(question.expected.to_string(), read);
    }
    let many = vec!["200"; 17].join(",");
    for written in [
        "abc",
        "",
        "20",
        "2000",
        "200,",
        ",200",
        "200-",
        "-200",
        "200 - 204",
        "204-200",
        "200-204,302",
        "2xx",
        " 200",
        "２００",
        &many,
    ] {
        let mistake = only_mistake("TCP", &format!("type = \"HTTP\"\nexpected_codes = \"{written}\""));
        assert!(mistake.contains("must be codes of three digits in at most 64 characters: one (200)"), "{mistake}");
    }
    let mistake = only_mistake("TCP", "type = \"HTTP\"\nexpected_codes = 200");
    assert!(mistake.contains("an integer is not a text with codes in quotes"), "{mistake}");
}

/// Octavia's answer 160, and what would be a request of the file's own making.
#[test]
fn what_would_leave_its_place_in_a_request_is_refused() {
    let long = format!("/{}", "a".repeat(2048));
    let huge = format!("/{}", "a".repeat(1 << 20));
    for path in [
        "nope",
        "",
        "http://a/b",
        "/a b",
        "/a\\r\\nHost: b",
        "/a\\nb",
        "/\\u0000",
        "/\\u001b[31m",
        "/\\t",
        "/é",
        "/\\u202e",
        "/%2",
        "/%zz",
        "/a#b",
        "/\\\"",
        "*",
        &long,
        &huge,
    ] {
        let mistake = only_mistake("TCP", &format!("type = \"HTTP\"\nurl_path = \"{path}\""));
        assert!(mistake.contains("must be a URL path: it begins with a slash"), "{mistake}");
        is_fit_for_a_terminal(&mistake);
    }
    let label = "a".repeat(64);
    let long = vec!["abc"; 64].join(".");
    for name in [
        "",
        ".",
        "a..b",
        "a b",
        "-a",
        "a-",
        "a_b",
        "__a",
        "a..",
        "a:80",
        "[::1]",
        "a/b",
        "a\\r\\nX-Evil: 1",
        "a\\u0000",
        "bücher.example",
        "\\u202ea",
        &label,
        &long,
        &huge,
    ] {
        for of_type in ["type = \"HTTP\"\nhttp_version = 1.1", "type = \"TLS-HELLO\"", "type = \"GRPC\""] {
            let mistake = only_mistake("TCP", &format!("{of_type}\ndomain_name = \"{name}\""));
            assert!(mistake.contains("must be a host name: labels of letters"), "{mistake}");
            is_fit_for_a_terminal(&mistake);
        }
    }
    let long = "a".repeat(256);
    for service in ["a b", "a\\r\\nb", "\\u0000", "é", "\\u001b[2J", &long, &huge] {
        let mistake = only_mistake("TCP", &format!("type = \"GRPC\"\ngrpc_service = \"{service}\""));
        assert!(mistake.contains("must be a service's name: at most 255 letters"), "{mistake}");
        is_fit_for_a_terminal(&mistake);
    }
}

fn is_fit_for_a_terminal(text: &str) {
    assert!(text.len() < 600, "{} bytes", text.len());
    assert!(!text.chars().any(char::is_control), "{text:?}");
}

#[test]
fn probes_to_the_vip_are_refused_where_members_do_not_hold_it() {
    let mistake = only_mistake("TCP", "type = \"TCP\"\nprobe_path = \"vip\"");
    assert_eq!(
        mistake,
        "probe_path: members of a nat pool do not hold the VIP, so that none could answer for it; write probe_path = \
         \"member\", or remove this"
    );
    good("TCP", "type = \"TCP\"\nprobe_path = \"member\"");
}

#[test]
fn numbers_have_octavias_bounds() {
    for (line, words) in [
        ("max_retries_down = 11", "11 is above 10; give a number from 1 to 10"),
        ("max_retries_down = 0", "0 is below 1; give a number from 1 to 10"),
        ("flap_damping = \"no\"", "a string is not true or false"),
    ] {
        let mistake = only_mistake("TCP", &format!("type = \"TCP\"\n{line}"));
        assert!(mistake.contains(words), "{mistake}");
    }
    for (line, words) in [
        ("panic_threshold = 0", "0 is below 1; give a number from 1 to 99"),
        ("panic_threshold = 100", "100 is above 99; give a number from 1 to 99"),
        ("panic_threshold = 50.5", "a number with decimals is not a whole number"),
        ("on_member_down = \"drop\"", "\"drop\" is not known; use one of keep, reset"),
    ] {
        let refused = parse(&file("TCP", line, "type = \"TCP\""), "x.toml").unwrap_err();
        assert!(refused.mistakes.len() == 1 && refused.to_string().contains(words), "{refused}");
    }
}

#[test]
fn a_pool_says_what_follows_when_members_go_down() {
    let of_pool = |lines: &str| {
        let config = parse(&file("TCP", lines, "type = \"TCP\""), "x.toml").unwrap();
        assert_eq!(config.warnings, []);
        let pool = &config.model.load_balancers()[0].pools[0];
        (pool.on_member_down, pool.panic_threshold.map(Percent::get))
    };
    assert_eq!(of_pool(""), (OnMemberDown::Keep, None));
    assert_eq!(of_pool("on_member_down = \"reset\"\npanic_threshold = 60"), (OnMemberDown::Reset, Some(60)));
}

#[test]
fn what_a_pool_says_to_no_effect_is_taken_with_a_warning() {
    let unwatched = |protocol, of_pool| {
        let text = file(protocol, of_pool, "");
        text[..text.find("[loadbalancer.pool.healthmonitor]").unwrap()].to_owned()
    };
    for line in ["panic_threshold = 60", "on_member_down = \"reset\""] {
        let text = unwatched("TCP", line);
        let (at, warning) = only_warning(&text);
        assert_eq!(at, line_of(&text, line));
        assert!(warning.contains("without a health monitor no member goes down"), "{warning}");
    }
    let text = file("UDP", "on_member_down = \"reset\"", "type = \"UDP-CONNECT\"");
    let (at, warning) = only_warning(&text);
    assert_eq!(at, line_of(&text, "on_member_down"));
    assert!(warning.contains("there are no resets in UDP"), "{warning}");
    assert!(only_warning(&unwatched("UDP", "on_member_down = \"reset\"")).1.contains("there are no resets in UDP"));
}

#[test]
fn a_timeout_above_the_delay_means_other_things_to_other_types() {
    let text = |protocol, of_type: &str| {
        file(protocol, "", &format!("type = \"{of_type}\"")).replace("timeout = 3", "timeout = 6")
    };
    let (at, warning) = only_warning(&text("TCP", "HTTPS"));
    assert_eq!(at, line_of(&text("TCP", "HTTPS"), "timeout = "));
    assert!(warning.contains("healthmonitor: timeout: 6 s is longer than the 5 s"), "{warning}");
    assert!(warning.contains("a silent member is noticed late"), "{warning}");
    let (_, warning) = only_warning(&text("UDP", "UDP-CONNECT"));
    assert!(warning.contains("it is probed less often than delay says"), "{warning}");
}

/// Octavia refuses it, for the sake of a script; the reason here is another one.
#[test]
fn a_udp_monitor_faster_than_octavias_is_taken_with_a_warning() {
    let text = |delay: &str| {
        file("UDP", "", "type = \"UDP-CONNECT\"").replace("delay = 5", delay).replace("timeout = 3", "timeout = 0.5")
    };
    let (at, warning) = only_warning(&text("delay = 2.9"));
    assert_eq!(at, line_of(&text("delay = 2.9"), "delay = "));
    assert!(warning.contains("delay: 2.9 s is less than the 3 s that Octavia asks for"), "{warning}");
    assert_eq!(parse(&text("delay = 3"), "x.toml").unwrap().warnings, []);
    assert_eq!(good("TCP", "type = \"TCP\"").warnings, []);
}

#[test]
fn codes_that_no_answer_has_are_taken_with_a_warning() {
    let text = |codes: &str| file("TCP", "", &format!("type = \"HTTPS\"\nexpected_codes = \"{codes}\""));
    for codes in ["100-199", "100", "101,103"] {
        let (at, warning) = only_warning(&text(codes));
        assert_eq!(at, line_of(&text(codes), "expected_codes"));
        assert!(warning.contains(&format!("no answer ends with {codes}")), "{warning}");
    }
    for codes in ["100-200", "100,200", "999"] {
        assert_eq!(parse(&text(codes), "x.toml").unwrap().warnings, [], "{codes}");
    }
}

#[test]
fn a_udp_port_that_is_asked_in_another_protocol_is_taken_with_a_warning() {
    for (of_type, says) in [("TCP", "over TCP"), ("HTTP", "over HTTP"), ("SCTP", "over SCTP")] {
        let text = file("UDP", "", &format!("type = \"{of_type}\""));
        let (at, warning) = only_warning(&text);
        assert_eq!(at, line_of(&text, "protocol_port = 8080"));
        assert!(warning.contains(says) && warning.contains("write type = \"UDP-CONNECT\""), "{warning}");
        let elsewhere = text.replace("protocol_port = 8080", "protocol_port = 8080\nmonitor_port = 8081");
        assert_eq!(parse(&elsewhere, "x.toml").unwrap().warnings, []);
    }
    assert_eq!(good("UDP", "type = \"UDP-CONNECT\"").warnings, []);
    assert_eq!(good("TCP", "type = \"HTTP\"").warnings, []);
}

#[test]
fn the_page_about_health_names_every_type_field_and_number() {
    let page = include_str!("../../../../docs/health.md");
    let types = TYPES.iter().map(|(name, _)| *name);
    let fields = HEALTHMONITOR.fields.iter().copied().chain([&ON_MEMBER_DOWN, &PANIC_THRESHOLD]).map(|field| field.key);
    for word in types.chain(fields) {
        assert!(
            page.contains(&format!("`{word}`")) || page.contains(&format!("`{word} = ")),
            "docs/health.md: no {word}"
        );
    }
    let flights = lb_health::MAX_IN_FLIGHT;
    for number in [
        format!("{},{:03}", flights / 1000, flights % 1000),
        format!("{} times at most", number_word(lb_health::MAX_DAMPING)),
    ] {
        assert!(page.contains(&number), "docs/health.md: no {number}");
    }
}

fn number_word(number: u8) -> &'static str {
    ["no", "one", "two", "three", "four", "five", "six"].get(usize::from(number)).copied().unwrap_or("many")
}

proptest! {
    /// Whatever is written for a field, of whatever type: an answer with a line for
    /// each mistake, or a monitor whose parts can stand in a request.
    #[test]
    fn any_text_in_any_field_is_answered(
        protocol in prop::sample::select(&["TCP", "UDP"][..]), of_type in 0..TYPES.len(),
        values in prop::collection::vec(prop::option::of("(?s)[/a-z0-9]{0,3}.{0,12}"), 7),
    ) {
        let mut lines = format!("type = \"{}\"\n", TYPES[of_type].0);
        for (field, value) in of_some_types().zip(&values) {
            if let Some(value) = value {
                writeln!(lines, "{} = {}", field.key, toml::Value::from(value.as_str())).unwrap();
            }
        }
        match parse(&file(protocol, "", &lines), "x.toml") {
            Ok(config) => {
                let parts = match monitor(&config).kind {
                    MonitorKind::Http(question) | MonitorKind::Https(question) => {
                        let name = question.domain_name.as_ref().map_or("", |name| name.as_str());
                        format!("{}{name}{}", question.path.as_str(), question.expected)
                    }
                    MonitorKind::Grpc(question) => question.service.clone(),
                    MonitorKind::TlsHello(Some(name)) => name.as_str().to_owned(),
                    _ => String::new(),
                };
                prop_assert!(parts.bytes().all(|byte| byte.is_ascii_graphic()), "{parts:?}");
            }
            Err(refused) => prop_assert_eq!(refused.to_string().lines().count(), refused.mistakes.len()),
        }
    }
}
