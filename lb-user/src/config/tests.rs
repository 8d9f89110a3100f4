#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{fs, io::Write as _, time::Duration};

use lb_common::limits;

use super::*;
use crate::model::{Algorithm, MonitorKind, Transport};
use lb_health::Handshake;

/// A file in order that leaves little to defaults; lines are found in it by
/// what they say.
const GOOD: &str = r#"
[dataplane]
interfaces = ["front0", "back0"]
xdp_mode = "native"
pin_path = "/sys/fs/bpf/test"
max_flows = 4096
snat_ports = "20000-29999"
hash_seed = 18446744073709551615
on_exit = "remove"

[dataplane.idle_timeout]
unconfirmed = 5
tcp = 43200
tcp_closing = 7
udp = 60

[control]
socket = "/run/test.sock"
state_dir = "/var/lib/test"

[[loadbalancer]]
name = "web4"
vip_address = "192.0.2.10"

[[loadbalancer.listener]]
protocol = "TCP"
protocol_port = 80
default_pool = "app"

[[loadbalancer.listener]]
name = "echo"
protocol = "UDP"
protocol_port = 7
admin_state_up = false

[[loadbalancer.pool]]
name = "app"
protocol = "TCP"
lb_algorithm = "SOURCE_IP"
forward_mode = "nat"

[[loadbalancer.pool.member]]
address = "198.51.100.1"
protocol_port = 8080
weight = 256
monitor_address = "127.0.0.1"
monitor_port = 9000

[[loadbalancer.pool.member]]
name = "second"
address = "198.51.100.2"
protocol_port = 8080
backup = true

[loadbalancer.pool.healthmonitor]
type = "TCP"
delay = 2
timeout = 0.25
max_retries = 10

[[loadbalancer]]
name = "web6"
vip_address = "2001:db8::10"
admin_state_up = false
"#;

const SMALLEST: &str = "[dataplane]\ninterfaces = [\"eth0\"]\n";

fn refused(text: &str) -> Refused {
    parse(text, "pools.toml").unwrap_err()
}

/// Refuses the good file with one thing replaced, and gives the only mistake.
/// It must be in the line that differs.
fn mistake(from: &str, to: &str) -> Mistake {
    let bad = GOOD.replacen(from, to, 1);
    let refused = refused(&bad);
    assert_eq!(refused.mistakes.len(), 1, "{to}: {refused}");
    let line = bad.lines().zip(GOOD.lines()).position(|(a, b)| a != b).unwrap() + 1;
    assert_eq!(refused.mistakes[0].line, line, "{to}: {refused}");
    refused.mistakes[0].clone()
}

#[test]
fn a_good_file_says_what_it_says() {
    let config = parse(GOOD, "pools.toml").unwrap();
    let dataplane = DataplaneConfig {
        interfaces: vec!["front0".to_owned(), "back0".to_owned()],
        xdp_mode: XdpMode::Native,
        pin_path: "/sys/fs/bpf/test".into(),
        max_flows: 4096,
        snat_ports: (20000, 29999),
        hash_seed: Some(u64::MAX),
        on_exit: OnExit::Remove,
        encap_sources: EncapSources::default(),
        idle_seconds: IdleLimits { unconfirmed: 5, tcp: 43200, tcp_closing: 7, udp: 60 },
    };
    assert_eq!(config.dataplane, dataplane);
    assert_eq!(config.control, ControlConfig { socket: "/run/test.sock".into(), state_dir: "/var/lib/test".into() });
    assert_eq!(config.warnings, []);

    let [web4, web6] = config.model.load_balancers() else { panic!("{:?}", config.model) };
    assert!(web4.admin_state_up && !web6.admin_state_up);
    assert_eq!((web6.name.as_str(), web6.vip_address.to_string()), ("web6", "2001:db8::10".to_owned()));
    let [http, echo] = &web4.listeners[..] else { panic!("{web4:?}") };
    assert_eq!((http.name.as_str(), http.protocol, http.protocol_port.get()), ("tcp-80", Transport::Tcp, 80));
    assert_eq!(http.default_pool.as_ref().unwrap().as_str(), "app");
    assert_eq!((echo.name.as_str(), echo.protocol, echo.admin_state_up), ("echo", Transport::Udp, false));
    assert_eq!(echo.default_pool, None);
    let [app] = &web4.pools[..] else { panic!("{web4:?}") };
    assert_eq!((app.lb_algorithm, app.admin_state_up), (Algorithm::SourceIp, true));
    let [first, second] = &app.members[..] else { panic!("{app:?}") };
    assert_eq!((first.name.as_str(), first.weight.get(), first.backup), ("198.51.100.1:8080", 256, false));
    assert_eq!(first.monitor_address.unwrap().to_string(), "127.0.0.1");
    assert_eq!(first.monitor_port.unwrap().get(), 9000);
    assert_eq!((second.name.as_str(), second.weight.get(), second.backup), ("second", 1, true));
    assert_eq!((second.monitor_address, second.monitor_port), (None, None));
    let monitor = app.health_monitor.as_ref().unwrap();
    assert_eq!((monitor.delay, monitor.timeout), (Duration::from_secs(2), Duration::from_millis(250)));
    assert_eq!(
        (monitor.kind.clone(), monitor.max_retries, monitor.max_retries_down),
        (MonitorKind::Tcp(Handshake::Half), 10, 3)
    );
    assert!(monitor.admin_state_up);
}

#[test]
fn the_smallest_file_has_every_default() {
    let config = parse(SMALLEST, "pools.toml").unwrap();
    let dataplane = DataplaneConfig {
        interfaces: vec!["eth0".to_owned()],
        xdp_mode: XdpMode::Auto,
        pin_path: DEFAULT_PIN_PATH.into(),
        max_flows: limits::DEFAULT_MAX_FLOWS,
        snat_ports: (limits::DEFAULT_SNAT_PORT_LOW, limits::DEFAULT_SNAT_PORT_HIGH),
        hash_seed: None,
        on_exit: OnExit::default(),
        encap_sources: EncapSources::default(),
        idle_seconds: IdleLimits { unconfirmed: 10, tcp: 7440, tcp_closing: 30, udp: 120 },
    };
    assert_eq!(config.dataplane, dataplane);
    assert_eq!(config.control, ControlConfig { socket: DEFAULT_SOCKET.into(), state_dir: DEFAULT_STATE_DIR.into() });
    assert_eq!(config.model, Model::default());
}

#[test]
fn the_example_is_in_order_without_a_warning() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/krater.toml");
    let config = load(&path).unwrap();
    assert_eq!(config.warnings, []);
    assert_eq!(config.dataplane.interfaces, ["front0", "back0"]);
    let pools = config.model.load_balancers().iter().flat_map(|lb| &lb.pools);
    let weights: Vec<Vec<u16>> = pools.map(|pool| pool.members.iter().map(|m| m.weight.get()).collect()).collect();
    assert_eq!(weights, vec![vec![1, 1, 2]; 4]);
}

#[test]
fn the_examples_of_pairs_are_in_order_without_a_warning() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let octavia = fs::read_to_string(examples.join("octavia-pair.toml")).unwrap();
    let octavia = parse(&octavia, "octavia-pair.toml").unwrap();
    assert_eq!(octavia.warnings, []);
    let router = octavia.router(&octavia.vrrp[0]).unwrap();
    assert_eq!(router.version, vrrp::Version::V2);
    assert_eq!(router.addresses, ["192.0.2.10".parse::<std::net::IpAddr>().unwrap()]);

    // The pair has its secret in a file that is made before the first start.
    let mut key = tempfile::NamedTempFile::new().unwrap();
    writeln!(key, "{}", "0123456789abcdef".repeat(4)).unwrap();
    let first = fs::read_to_string(examples.join("pair.toml")).unwrap();
    let first = first.replace("/etc/krater/sync.key", key.path().to_str().unwrap());
    let pair = parse(&first, "pair.toml").unwrap();
    assert_eq!(pair.warnings, []);

    // The other balancer's file, by what the comments say.
    let line = |line: &str| match line.split_once("# lb-b: ") {
        Some((here, there)) => format!("{}= {}", here.split('=').next().unwrap(), quoted_if_address(there)),
        None => line.to_owned(),
    };
    let second: Vec<String> = first.lines().map(line).collect();
    let other = parse(&second.join("\n"), "pair.toml").unwrap();
    assert_eq!(other.warnings, []);
    let priorities = |config: &Config| config.vrrp.iter().map(|vrrp| vrrp.priority.get()).collect::<Vec<_>>();
    assert_eq!((priorities(&pair), priorities(&other)), (vec![250, 250], vec![240, 240]));
    let (here, there) = (pair.sync.unwrap(), other.sync.unwrap());
    assert_eq!((here.local, here.peer, here.secret), (there.peer, there.local, there.secret));
    assert_eq!(pair.model, other.model);
}

fn quoted_if_address(value: &str) -> String {
    if value.contains('.') { format!("\"{value}\"") } else { value.to_owned() }
}

#[test]
fn a_refusal_has_file_line_place_field_reason_and_remedy() {
    let refused = refused(&GOOD.replace("weight = 256", "weight = 257"));
    assert_eq!(
        refused.to_string(),
        "pools.toml:45: loadbalancer \"web4\" pool \"app\" member number 1: weight: 257 is above 256; give a number \
         from 0 to 256"
    );
}

#[test]
fn every_value_out_of_bounds_is_refused_in_its_line() {
    for (from, to, field, words) in [
        ("weight = 256", "weight = -1", "weight", "-1 is below 0; give a number from 0 to 256"),
        ("weight = 256", "weight = 0x1ff", "weight", "0x1ff is above 256"),
        ("weight = 256", "weight = 99999999999999999999999999999999999999999", "weight", "is above 256"),
        ("protocol_port = 80\n", "protocol_port = 0\n", "protocol_port", "0 is below 1"),
        ("protocol_port = 80\n", "protocol_port = 65536\n", "protocol_port", "65536 is above 65535"),
        ("monitor_port = 9000", "monitor_port = 0", "monitor_port", "0 is below 1"),
        ("max_flows = 4096", "max_flows = 1023", "max_flows", "1023 is below 1024"),
        ("max_flows = 4096", "max_flows = 8388609", "max_flows", "8388609 is above 8388608"),
        ("hash_seed = 18446744073709551615", "hash_seed = 18446744073709551616", "hash_seed", "is above"),
        ("tcp = 43200", "tcp = 43201", "tcp", "43201 is above 43200"),
        ("udp = 60", "udp = 0", "udp", "0 is below 1"),
        ("max_retries = 10", "max_retries = 11", "max_retries", "11 is above 10"),
        ("delay = 2", "delay = 0.049", "delay", "0.049 s is out of bounds; give 0.05 to 3600 s: probes closer"),
        ("delay = 2", "delay = 3600.1", "delay", "3600.1 s is out of bounds"),
        ("delay = 2", "delay = -5", "delay", "-5 s is out of bounds"),
        ("delay = 2", "delay = nan", "delay", "NaN s is out of bounds"),
        ("delay = 2", "delay = inf", "delay", "inf s is out of bounds"),
        ("delay = 2", "delay = 1e400", "delay", "s is out of bounds"),
        ("timeout = 0.25", "timeout = 0", "timeout", "0 s is out of bounds; give 0.01 to 3600 s"),
        ("\"20000-29999\"", "\"29999-20000\"", "snat_ports", "29999 is above 20000; write the lower port first"),
        ("\"20000-29999\"", "\"1023-2000\"", "snat_ports", "1023 is below 1024; "),
        ("\"20000-29999\"", "\"20000-20006\"", "snat_ports", "20000 to 20006 are fewer than 8 ports"),
        ("\"20000-29999\"", "\"20000-70000\"", "snat_ports", "is no range of ports; write for example \"20000-60999\""),
        ("\"20000-29999\"", "\"20000\"", "snat_ports", "\"20000\" is no range of ports"),
    ] {
        let mistake = mistake(from, to);
        assert_eq!(mistake.field, field);
        assert!(mistake.text.contains(words), "{to}: {mistake}");
        assert!(mistake.text.contains("; "), "no remedy: {mistake}");
    }
}

#[test]
fn the_bounds_themselves_are_taken() {
    for (from, to) in [
        ("weight = 256", "weight = 0"),
        ("protocol_port = 80\n", "protocol_port = 65535\n"),
        ("max_flows = 4096", "max_flows = 8_388_608"),
        ("hash_seed = 18446744073709551615", "hash_seed = 0"),
        ("delay = 2", "delay = 0.05"),
        ("delay = 2", "delay = 3_600.0"),
        ("timeout = 0.25", "timeout = 0.01"),
        ("max_retries = 10", "max_retries = 1"),
        ("\"20000-29999\"", "\"1024 - 1031\""),
        ("\"20000-29999\"", "\"1024-65535\""),
    ] {
        let text = GOOD.replacen(from, to, 1);
        assert_ne!(text, GOOD);
        parse(&text, "pools.toml").unwrap();
    }
}

#[test]
fn every_text_that_is_none_of_its_kind_is_refused_in_its_line() {
    let long_name = format!("name = \"{}\"", "x".repeat(65));
    let long_socket = format!("\"/{}\"", "x".repeat(107));
    for (from, to, words) in [
        ("name = \"web4\"", "name = \"\"", "\"\" is no name: a name must not be empty; write for example \"web\""),
        ("name = \"web4\"", "name = \"my web\"", "\"my web\" is no name: a name has letters, digits"),
        ("name = \"web4\"", &long_name, "is no name: a name has at most 64 characters"),
        ("\"192.0.2.10\"", "\"192.0.2.300\"", "\"192.0.2.300\" is no IP address; write an IPv4 or IPv6 address"),
        ("\"192.0.2.10\"", "\"192.0.2.10/24\"", "leave the prefix length out"),
        ("\"192.0.2.10\"", "\"192.0.2.10:80\"", "leave the port out"),
        ("\"2001:db8::10\"", "\"[2001:db8::10]:80\"", "leave the port out"),
        ("\"2001:db8::10\"", "\"fe80::1%eth0\"", "use one that needs no interface"),
        ("\"/run/test.sock\"", "\"run/test.sock\"", "is not absolute; begin it with a /"),
        ("\"/run/test.sock\"", "\"/run/../test.sock\"", "has .. in it"),
        ("\"/run/test.sock\"", "\"/run/\\u0000\"", "\"/run/\\0\" has a zero byte in it"),
        ("\"/run/test.sock\"", &long_socket, "has 108 bytes; the system takes no more than 107"),
        ("\"/sys/fs/bpf/test\"", "\"/sys/fs/bpf/a.b\"", "has a dot in it"),
        ("\"back0\"", "\"a-name-too-long-for-linux\"", "is no name of an interface"),
        ("\"back0\"", "\"back/0\"", "is no name of an interface"),
        ("\"back0\"", "\"front0\"", "\"front0\" is there twice"),
        ("[\"front0\", \"back0\"]", "[]", "there is none; name at least one"),
        ("[\"front0\", \"back0\"]", "[1]", "a list of names in quotes is wanted"),
    ] {
        let mistake = mistake(from, to);
        assert!(mistake.text.contains(words), "{to}: {mistake}");
    }
}

#[test]
fn a_mistake_in_a_list_has_the_line_of_its_element() {
    let refused = refused("[dataplane]\ninterfaces = [\n  \"eth0\",\n  \"eth0\",\n  7,\n]\n");
    let lines: Vec<usize> = refused.mistakes.iter().map(|mistake| mistake.line).collect();
    assert_eq!(lines, [4, 5], "{refused}");
    let many: Vec<String> = (0..65).map(|n| format!("\"eth{n}\"")).collect();
    let refused = self::refused(&format!("[dataplane]\ninterfaces = [{}]\n", many.join(",")));
    assert!(refused.to_string().contains("there are 65, and room for 64"), "{refused}");
}

#[test]
fn a_misspelt_word_is_answered_with_the_good_ones() {
    for (from, to, words) in [
        ("\"SOURCE_IP\"", "\"FASTEST\"", "\"FASTEST\" is not known; use one of SOURCE_IP_PORT, SOURCE_IP"),
        ("\"SOURCE_IP\"", "\"SOURCE_PI\"", "did you mean SOURCE_IP?"),
        (
            "protocol = \"UDP\"",
            "protocol = \"udp\"",
            "\"udp\" is not known; did you mean UDP? use one of TCP, UDP, SCTP",
        ),
        ("\"native\"", "\"offload\"", "use one of auto, native, generic"),
        ("on_exit = \"remove\"", "on_exit = \"stop\"", "use one of keep, remove"),
        ("forward_mode = \"nat\"", "forward_mode = \"tunnel\"", "use one of nat, dnat, dsr, ipip, gue"),
    ] {
        let mistake = mistake(from, to);
        assert!(mistake.text.contains(words), "{to}: {mistake}");
    }
}

#[test]
fn what_only_a_later_version_has_is_refused_as_that() {
    for (from, to, words) in [
        ("protocol = \"TCP\"\nprotocol_port", "protocol = \"TERMINATED_HTTPS\"\nprotocol_port", "not available yet"),
        ("protocol = \"TCP\"\nlb_", "protocol = \"HTTP\"\nlb_", "HTTP is not available yet"),
        ("backup = true", "session_persistence = true", "is not known"),
        ("admin_state_up = false\n\n[[loadbalancer.pool]]", "timeout_client_data = 5\n\n[[loadbalancer.pool]]", "yet"),
    ] {
        let mistake = mistake(from, to);
        assert!(mistake.text.contains(words), "{to}: {mistake}");
    }
}

#[test]
fn an_unknown_key_is_refused_with_the_nearest_known_one() {
    for (from, to, field, words) in [
        ("max_flows", "max_flow", "max_flow", "is not known; did you mean max_flows?"),
        ("weight", "wieght", "wieght", "did you mean weight?"),
        ("backup = true", "colour = \"red\"", "colour", "is not known; what can be here is name, address"),
        ("[control]", "[controls]", "controls", "did you mean control?"),
        ("unconfirmed", "\"a\\nb\"", "a\\nb", "is not known"),
    ] {
        let mistake = mistake(from, to);
        assert_eq!(mistake.field, field);
        assert!(mistake.text.contains(words), "{to}: {mistake}");
    }
}

#[test]
fn what_is_missing_is_missed_in_its_table() {
    for (line, field, header) in [
        ("name = \"web4\"\n", "name", "[[loadbalancer]]"),
        ("vip_address = \"192.0.2.10\"\n", "vip_address", "[[loadbalancer]]"),
        ("protocol_port = 80\n", "protocol_port", "[[loadbalancer.listener]]"),
        ("type = \"TCP\"\n", "type", "[loadbalancer.pool.healthmonitor]"),
        ("delay = 2\n", "delay", "[loadbalancer.pool.healthmonitor]"),
        ("max_retries = 10\n", "max_retries", "[loadbalancer.pool.healthmonitor]"),
        ("address = \"198.51.100.1\"\n", "address", "[[loadbalancer.pool.member]]"),
        ("interfaces = [\"front0\", \"back0\"]\n", "interfaces", "[dataplane]"),
    ] {
        let refused = refused(&GOOD.replacen(line, "", 1));
        assert_eq!(refused.mistakes.len(), 1, "{refused}");
        let mistake = &refused.mistakes[0];
        assert_eq!(mistake.field, field);
        assert!(mistake.text.contains("is missing; add for example "), "{mistake}");
        assert_eq!(GOOD.lines().nth(mistake.line - 1), Some(header));
    }
    let empty = refused("");
    assert_eq!(
        empty.to_string(),
        "pools.toml:1: dataplane: interfaces: is missing; add for example interfaces = [\"eth0\", \"eth1\"]"
    );
}

#[test]
fn a_value_of_another_type_is_refused() {
    for (from, to, words) in [
        ("weight = 256", "weight = \"256\"", "a string is not a whole number; write for example weight = 2"),
        ("weight = 256", "weight = 1.0", "a number with decimals is not a whole number"),
        ("backup = true", "backup = 1", "an integer is not true or false; write for example backup = true"),
        ("delay = 2", "delay = \"2s\"", "a string is not a number of seconds"),
        ("name = \"web4\"", "name = 4", "an integer is not a name in quotes"),
        ("\"192.0.2.10\"", "1979-05-27", "a date or time is not an IP address in quotes"),
        ("[\"front0\", \"back0\"]", "\"front0\"", "a string is not a list of interfaces"),
        ("[dataplane.idle_timeout]", "[[dataplane.idle_timeout]]", "a list is not a table"),
        ("\"20000-29999\"", "[20000, 29999]", "a list is not two ports in quotes"),
    ] {
        let mistake = mistake(from, to);
        assert!(mistake.text.contains(words), "{to}: {mistake}");
    }
    for (text, words) in [
        ("loadbalancer = 3\n", "loadbalancer: an integer is not a list of tables; write [[loadbalancer]]"),
        ("loadbalancer = [3]\n", "loadbalancer: an integer is not a table; write [[loadbalancer]]"),
        ("[loadbalancer]\n", "loadbalancer: a table is not a list of tables; write [[loadbalancer]]"),
        ("control = 3\n", "control: an integer is not a table; write [control]"),
    ] {
        let text = if text.starts_with('[') { format!("{SMALLEST}{text}") } else { format!("{text}{SMALLEST}") };
        assert!(refused(&text).to_string().contains(words), "{}", refused(&text));
    }
}

#[test]
fn what_the_model_finds_is_in_the_line_of_its_value() {
    for (from, to, field, words) in [
        ("default_pool = \"app\"", "default_pool = \"nowhere\"", "default_pool", "has no pool \"nowhere\""),
        ("name = \"web6\"", "name = \"web4\"", "name", "is taken"),
        ("vip_address = \"2001:db8::10\"", "vip_address = \"192.0.2.10\"", "vip_address", "(see line 23)"),
        ("vip_address = \"2001:db8::10\"", "vip_address = \"::1\"", "vip_address", "is a loopback address"),
        ("address = \"198.51.100.2\"", "address = \"198.51.100.1\"", "address", "(see line 43)"),
        ("address = \"198.51.100.2\"", "address = \"192.0.2.10\"", "address", "cannot forward to itself"),
        ("address = \"198.51.100.2\"", "address = \"2001:db8::2\"", "address", "use members of the VIP's family"),
    ] {
        let mistake = mistake(from, to);
        assert_eq!(mistake.field, field);
        assert!(mistake.text.contains(words), "{to}: {mistake}");
    }
    // A name that was made of the port clashes where there is no line for it: in the table's.
    let twice = GOOD.replacen("name = \"echo\"", "name = \"tcp-80\"", 1);
    assert!(refused(&twice).to_string().contains("the name \"tcp-80\" is taken"), "{}", refused(&twice));
}

#[test]
fn every_mistake_is_named_at_once_and_none_that_only_follows_from_another() {
    let bad = GOOD
        .replacen("weight = 256", "weight = 300", 1)
        .replacen("default_pool = \"app\"", "default_pool = \"nowhere\"", 1)
        .replacen("vip_address = \"192.0.2.10\"", "vip_address = \"here\"", 1)
        .replacen("protocol = \"TCP\"\nprotocol_port", "protocol = \"HTTP\"\nprotocol_port", 1)
        .replacen("name = \"web6\"", "name = \"web 6\"", 1)
        .replacen("address = \"198.51.100.1\"", "address = \"nowhere\"", 1)
        .replacen("max_flows", "max_flow", 1);
    let refused = refused(&bad);
    let fields: Vec<&str> = refused.mistakes.iter().map(|mistake| mistake.field.as_str()).collect();
    assert_eq!(fields, ["max_flow", "vip_address", "protocol", "default_pool", "address", "weight", "name"]);
    assert!(refused.mistakes.is_sorted_by_key(|mistake| mistake.line));
}

#[test]
fn a_pool_without_a_readable_name_may_be_the_one_that_is_meant() {
    let mistake = mistake("name = \"app\"\nprotocol", "name = \"a p p\"\nprotocol");
    assert_eq!(mistake.field, "name");
    let refused = refused(&format!(
        "{SMALLEST}[[loadbalancer]]\nname = \"a\"\nvip_address = \"192.0.2.1\"\npool = 3\n[[loadbalancer.listener]]\nprotocol = \"TCP\"\nprotocol_port = 1\ndefault_pool = \"p\"\n"
    ));
    assert_eq!(refused.mistakes.len(), 1, "{refused}");
}

#[test]
fn two_values_that_were_refused_do_not_clash() {
    let bad = GOOD
        .replace("name = \"web4\"", "name = \"?\"")
        .replace("name = \"web6\"", "name = \"?\"")
        .replace("\"198.51.100.1\"", "\"?\"")
        .replace("\"198.51.100.2\"", "\"?\"");
    assert_eq!(refused(&bad).mistakes.len(), 4, "{}", refused(&bad));
}

#[test]
fn a_timeout_above_the_delay_is_taken_with_a_warning() {
    let config = parse(&GOOD.replace("timeout = 0.25", "timeout = 2.5"), "pools.toml").unwrap();
    let monitor = config.model.load_balancers()[0].pools[0].health_monitor.clone().unwrap();
    assert_eq!(monitor.timeout, Duration::from_millis(2500));
    let [warning] = &config.warnings[..] else { panic!("{:?}", config.warnings) };
    assert_eq!(GOOD.lines().nth(warning.line - 1), Some("timeout = 0.25"));
    assert!(warning.text.contains("timeout: 2.5 s is longer than the 2 s"), "{warning}");
    let same = parse(&GOOD.replace("timeout = 0.25", "timeout = 2"), "pools.toml").unwrap();
    assert_eq!(same.warnings, []);
}

#[test]
fn a_pool_that_nobody_uses_is_taken_with_a_warning() {
    let config = parse(&GOOD.replace("default_pool = \"app\"\n", ""), "pools.toml").unwrap();
    let [warning] = &config.warnings[..] else { panic!("{:?}", config.warnings) };
    assert!(warning.text.contains("pool \"app\": no listener uses it"), "{warning}");
}

#[test]
fn a_file_without_a_load_balancer_is_taken_with_a_warning() {
    let half = &GOOD[..GOOD.find("[[loadbalancer]]").unwrap()];
    let config = parse(half, "pools.toml").unwrap();
    let [warning] = &config.warnings[..] else { panic!("{:?}", config.warnings) };
    assert!(warning.text.contains("no [[loadbalancer]]"), "{warning}");
}

#[test]
fn what_is_no_toml_has_the_line_where_it_breaks() {
    for (text, line) in [
        ("[dataplane\n", 1),
        ("[dataplane]\ninterfaces = [\"eth0\"]\nmax_flows = \n", 3),
        ("[dataplane]\nmax_flows = 1\nmax_flows = 2\n", 3),
        ("[control]\n\n\n[control]\n", 4),
    ] {
        let refused = refused(text);
        assert_eq!(refused.mistakes.len(), 1, "{refused}");
        assert_eq!(refused.mistakes[0].line, line, "{refused}");
        assert!(refused.to_string().contains("this is no TOML: "), "{refused}");
        assert!(!refused.to_string().contains('\n'), "{refused}");
    }
}

#[test]
fn depth_is_refused_and_not_followed() {
    let brackets = format!("a = {}1{}\n", "[".repeat(100_000), "]".repeat(100_000));
    let dots = format!("{}a = 1\n", "a.".repeat(100_000));
    let header = format!("[{}a]\n", "a.".repeat(100_000));
    let tables = format!("a = {}\n", "{a=".repeat(100_000));
    for text in [brackets, dots, header, tables] {
        assert!(refused(&text).to_string().contains("this is no TOML"));
    }
}

#[test]
fn a_hopeless_file_is_answered_with_a_bounded_number_of_mistakes() {
    let refused = refused(&"[[loadbalancer]]\n".repeat(5000));
    assert_eq!(refused.mistakes.len(), 1000);
    // Two fields each, the interfaces, and that there are too many.
    assert_eq!(refused.mistakes.len() + refused.more, 10_002);
    assert!(refused.to_string().ends_with("and 9002 more mistakes; correct these first"));
}

#[test]
fn a_long_value_is_not_repeated_in_full() {
    let text =
        format!("{SMALLEST}[[loadbalancer]]\nname = \"{}\"\nvip_address = \"\\u001b[31m\"\n", "é".repeat(10_000));
    let said = refused(&text).to_string();
    assert!(said.len() < 1000 && !said.contains('\u{1b}'), "{said}");
}

#[test]
fn a_file_is_loaded_or_the_reason_says_which_and_why() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("pools.toml");
    let shown = path.display().to_string();

    let missing = load(&path).unwrap_err();
    assert!(matches!(missing, LoadError::Unreadable { .. }));
    assert!(missing.to_string().starts_with(&format!("cannot read pool file {shown}: ")), "{missing}");

    fs::write(&path, GOOD).unwrap();
    assert_eq!(load(&path).unwrap(), parse(GOOD, "any").unwrap());

    fs::write(&path, b"[dataplane]\n# \xff\n").unwrap();
    let text = load(&path).unwrap_err();
    assert!(text.to_string().starts_with(&format!("{shown}:2: this is no UTF-8 text; ")), "{text}");

    let mut file = fs::File::create(&path).unwrap();
    file.write_all(SMALLEST.as_bytes()).unwrap();
    file.set_len(MAX_FILE_BYTES + 1).unwrap();
    let large = load(&path).unwrap_err();
    assert!(matches!(large, LoadError::TooLarge { .. }), "{large}");

    let directory = load(directory.path()).unwrap_err();
    assert!(matches!(directory, LoadError::Unreadable { .. }), "{directory}");
}

#[test]
fn the_largest_balancer_fits_into_the_largest_file() {
    let name = "n".repeat(34);
    let members: String = (0..limits::MAX_MEMBERS - 1)
        .map(|n| {
            format!(
                "[[loadbalancer.pool.member]]\nname = \"{name}{n:05}\"\naddress = \"2001:db8:1111:2222:3333:4444:5555:{n:04x}\"\n\
                 protocol_port = 65535\nweight = 256\nbackup = false\nadmin_state_up = true\n\
                 monitor_address = \"2001:db8:1111:2222:3333:4444:6666:{n:04x}\"\nmonitor_port = 65535\n\n"
            )
        })
        .collect();
    let text = format!(
        "{SMALLEST}[[loadbalancer]]\nname = \"{name}\"\nvip_address = \"2001:db8::1\"\n[[loadbalancer.pool]]\n\
         name = \"{name}\"\nprotocol = \"TCP\"\n{members}"
    );
    assert!((text.len() as u64) < MAX_FILE_BYTES);
    let config = parse(&text, "pools.toml").unwrap();
    assert_eq!(config.model.load_balancers()[0].pools[0].members.len(), 16383);
}
