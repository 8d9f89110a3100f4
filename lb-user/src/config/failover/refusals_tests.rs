#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::time::Duration;

use super::tests::{PAIR, SMALLEST, VERSION_2, refused};
use crate::config::{Mistake, Warning, parse};

/// Refuses a good file with one thing replaced, and gives the only mistake. It
/// must be in the first line that differs.
fn mistake_in(good: &str, from: &str, to: &str) -> Mistake {
    parse(good, "pools.toml").unwrap();
    let bad = good.replacen(from, to, 1);
    let refused = refused(&bad);
    assert_eq!(refused.mistakes.len(), 1, "{to}: {refused}");
    let line = bad.lines().zip(good.lines()).position(|(a, b)| a != b).unwrap() + 1;
    assert_eq!(refused.mistakes[0].line, line, "{to}: {refused}");
    assert!(refused.mistakes[0].text.contains("; "), "no remedy: {refused}");
    refused.mistakes[0].clone()
}

fn mistake(from: &str, to: &str) -> Mistake {
    mistake_in(PAIR, from, to)
}

/// The only warning about a good file with one thing replaced.
fn warning_in(good: &str, from: &str, to: &str) -> Warning {
    let text = good.replacen(from, to, 1);
    assert_ne!(text, good);
    let config = parse(&text, "pools.toml").unwrap();
    let [warning] = &config.warnings[..] else { panic!("{to}: {:?}", config.warnings) };
    warning.clone()
}

#[test]
fn every_value_that_vrrp_cannot_say_is_refused_in_its_line() {
    for (from, to, field, words) in [
        (
            "virtual_router_id = 51",
            "virtual_router_id = 0",
            "virtual_router_id",
            "0 is below 1; give a number from 1 to 255",
        ),
        ("virtual_router_id = 51", "virtual_router_id = 256", "virtual_router_id", "256 is above 255"),
        ("priority = 200", "priority = 0", "priority", "0 is below 1; give a number from 1 to 254"),
        ("priority = 200", "priority = 255", "priority", "nobody's own address, and 255 is for"),
        ("priority = 200", "priority = 256", "priority", "256 is above 254"),
        ("= 100\n", "= 9\n", "advert_interval_ms", "9 is below 10"),
        (
            "= 100\n",
            "= 105\n",
            "advert_interval_ms",
            "105 ms is no multiple of 10, and version 3 counts in hundredths of a second; give 110",
        ),
        ("= 100\n", "= 40960\n", "advert_interval_ms", "40960 ms is above 40950"),
        ("= 100\n", "= 255001\n", "advert_interval_ms", "255001 is above 255000"),
        ("preempt_delay = 2.5", "preempt_delay = 3601", "preempt_delay", "3601 s is out of bounds; give 0 to 3600 s"),
        ("= 400", "= 90", "learned_interval_limit_ms", "90 ms is below the 100 ms of advert_interval_ms"),
        ("= 400", "= 40951", "learned_interval_limit_ms", "40951 is above 40950"),
        ("hmac_send = 8", "hmac_send = 9", "hmac_send", "there is no key 9; there is 7, 8"),
        ("hmac_send = 8", "hmac_send = 256", "hmac_send", "256 is above 255"),
        ("hmac_freshness = 10", "hmac_freshness = 0", "hmac_freshness", "0 s is out of bounds"),
        ("id = 8", "id = 7", "id", "key 7 is there already (see line 26); give it another id"),
        ("hex:00", "hex:", "secret", "it has 31 bytes; give 32 to 64"),
        ("a key of thirty-two bytes or more", "a key of fewer", "secret", "it has 14 bytes; give 32 to 64"),
        ("weight = -60", "weight = -254", "weight", "-254 is below -253; give a number from -253 to 253"),
        ("weight = -60", "weight = 254", "weight", "254 is above 253"),
        ("repeat = 3", "repeat = 0", "repeat", "0 is below 1"),
        ("refresh = 30", "refresh = -1", "refresh", "-1 s is out of bounds; give 0 to 86400 s"),
        ("per_millisecond = 50", "per_millisecond = 0", "per_millisecond", "0 is below 1"),
        ("rescan = 10", "rescan = 0.5", "rescan", "0.5 s is out of bounds"),
        ("sixteen bytes....", "sixteen bytes", "secret", "it has 13 bytes; give 16 to 256"),
    ] {
        let mistake = mistake(from, to);
        assert_eq!(mistake.field, field);
        assert!(mistake.text.contains(words), "{to}: {mistake}");
    }
}

#[test]
fn the_bounds_themselves_are_taken() {
    for (from, to) in [
        ("virtual_router_id = 51", "virtual_router_id = 255"),
        ("priority = 200", "priority = 1"),
        ("priority = 200", "priority = 254"),
        ("advert_interval_ms = 100", "advert_interval_ms = 10"),
        ("learned_interval_limit_ms = 400", "learned_interval_limit_ms = 100"),
        ("preempt_delay = 2.5", "preempt_delay = 0"),
        ("weight = -60", "weight = 253"),
        ("weight = -60", "weight = -253"),
        ("id = 7", "id = 0"),
        ("repeat = 3", "repeat = 100"),
    ] {
        let text = PAIR.replacen(from, to, 1);
        assert_ne!(text, PAIR);
        let config = parse(&text, "pools.toml").unwrap();
        assert_eq!(config.router(&config.vrrp[0]).unwrap().check(), Ok(()));
    }
    let longest = SMALLEST.replace("= 51", "= 51\nadvert_interval_ms = 40950");
    assert_eq!(parse(&longest, "pools.toml").unwrap().vrrp[0].advert_interval, Duration::from_millis(40_950));
    let longest = VERSION_2.replace("version = 2", "version = 2\nadvert_interval_ms = 255000");
    assert_eq!(parse(&longest, "pools.toml").unwrap().vrrp[0].advert_interval, Duration::from_secs(255));
}

#[test]
fn what_the_other_version_has_is_refused_with_a_way_out() {
    let key = format!("hmac_key = [{{ id = 1, secret = \"{}\" }}]", "k".repeat(32));
    for (from, to, field, words) in [
        ("password = \"8charPwd\"", "advert_interval_ms = 1500", "advert_interval_ms", "no whole number of seconds"),
        ("password = \"8charPwd\"", "advert_interval_ms = 100", "advert_interval_ms", "no whole number of seconds"),
        (
            "password = \"8charPwd\"",
            "learned_interval_limit_ms = 3000",
            "learned_interval_limit_ms",
            "in version 2 no interval is learned",
        ),
        (
            "password = \"8charPwd\"",
            &key,
            "hmac_key",
            "only version 3 has signatures; write version = 3, or use a password",
        ),
        (
            "password = \"8charPwd\"",
            "hmac_mode = \"enforce\"",
            "hmac_mode",
            "there is no key to sign with; add a [[vrrp.hmac_key]]",
        ),
        ("password = \"8charPwd\"", "hmac_key = []", "hmac_key", "there is none; add a [[vrrp.hmac_key]]"),
        ("\"8charPwd\"", "\"\"", "password", "it is empty; give 1 to 8 characters"),
        ("\"8charPwd\"", "\"nine char\"", "password", "no letter, digit or sign of ASCII"),
        ("\"8charPwd\"", "\"pässword\"", "password", "no letter, digit or sign of ASCII"),
        ("\"8charPwd\"", "\"ninechars\"", "password", "it has 9 characters; give 1 to 8"),
        ("version = 2", "family = \"ipv4\"", "password", "only version 2 has a password; write version = 2, or sign"),
    ] {
        let bad = VERSION_2.replacen(from, to, 1);
        let refused = refused(&bad);
        assert_eq!(refused.mistakes.len(), 1, "{to}: {refused}");
        let mistake = &refused.mistakes[0];
        assert_eq!(mistake.field, field);
        assert!(mistake.text.contains(words) && !mistake.text.contains("ninechars"), "{to}: {mistake}");
    }
    let ipv6 = refused(&VERSION_2.replace("version = 2", "family = \"ipv6\"\nversion = 2"));
    assert_eq!((ipv6.mistakes.len(), ipv6.mistakes[0].line), (1, 9), "{ipv6}");
    assert!(ipv6.to_string().contains("version 2 has no IPv6; write version = 3, or family = \"ipv4\""), "{ipv6}");
}

#[test]
fn an_address_that_adverts_cannot_come_from_or_go_to_is_refused() {
    for (from, to, field, words) in [
        ("\"192.0.2.2\"", "\"2001:db8::2\"", "unicast_source", "of the other family than the router"),
        (
            "\"192.0.2.2\"",
            "\"224.0.0.18\"",
            "unicast_source",
            "is a multicast address; give an address of the router's interface",
        ),
        (
            "\"192.0.2.2\"",
            "\"192.0.2.10\"",
            "unicast_source",
            "is the VIP of load balancer \"web4\" (see line 75); use an address that stays",
        ),
        ("\"192.0.2.3\",", "\"192.0.2.2\",", "unicast_peers", "this balancer's own address, as unicast_source says"),
        ("\"192.0.2.3\",", "\"fe80::1\",", "unicast_peers", "of the other family than the router"),
        ("\"192.0.2.3\",", "\"127.0.0.1\",", "unicast_peers", "is a loopback address; give the other balancer's"),
        ("\"192.0.2.3\",", "\"192.0.2.3/24\",", "unicast_peers", "leave the prefix length out"),
        ("\"192.0.2.3\",", "7,", "unicast_peers", "an integer is no address in quotes; write [\"192.0.2.3\"]"),
        ("\"192.0.2.3\",", "\"192.0.2.10\",", "unicast_peers", "is the VIP of load balancer \"web4\""),
        ("\"192.0.2.3\",", "\"198.51.100.1\",", "unicast_peers", "is an address of router \"pair4\""),
        ("[\"fe80::3\"]", "[\"192.0.2.3\"]", "allowed_sources", "of the other family than the router"),
        ("[\"fe80::3\"]", "[\"ff02::12\"]", "allowed_sources", "is a multicast address"),
        ("[\"fe80::3\"]", "\"fe80::3\"", "allowed_sources", "a string is not a list of IP addresses"),
        ("\"203.0.113.3\"", "\"203.0.113.2\"", "peer", "203.0.113.2 is this balancer's own, as local says"),
        ("\"203.0.113.3\"", "\"[2001:db8::3]:2000\"", "peer", "2001:db8::3 and 203.0.113.2 are of two families"),
        ("\"203.0.113.3\"", "\"203.0.113.3:0\"", "peer", "has no port that can be sent to"),
        (
            "\"203.0.113.3\"",
            "\"203.0.113.3:70000\"",
            "peer",
            "is no IP address with a port; write for example \"192.0.2.3:10112\"",
        ),
        ("\"203.0.113.3\"", "\"peer.example.com\"", "peer", "is no IP address with a port"),
        ("\"203.0.113.3\"", "\"192.0.2.10\"", "peer", "is the VIP of load balancer \"web4\""),
        ("\"203.0.113.2:2000\"", "\"0.0.0.0:2000\"", "local", "is no host's address; give an address of this balancer"),
        ("\"203.0.113.2:2000\"", "\"[fe80::1%3]:2000\"", "local", "depends on an interface"),
    ] {
        let mistake = mistake(from, to);
        assert_eq!(mistake.field, field);
        assert!(mistake.text.contains(words), "{to}: {mistake}");
    }
    // Whose adverts are taken may be the same list on all balancers.
    let all = "allowed_sources = [\"192.0.2.2\", \"192.0.2.3\", \"192.0.2.4\"]\nchecksum";
    parse(&PAIR.replace("checksum", all), "pools.toml").unwrap();
    let twice = refused(&PAIR.replace("\"192.0.2.4\",", "\"192.0.2.3\","));
    assert_eq!((twice.mistakes.len(), twice.mistakes[0].line), (1, 17), "{twice}");
    assert!(twice.to_string().contains("192.0.2.3 is there twice; remove one of the two"), "{twice}");
    let many: Vec<String> = (0..17).map(|n| format!("\"192.0.2.{}\"", 100 + n)).collect();
    let many = SMALLEST.replace("= 51", &format!("= 51\nunicast_peers = [{}]", many.join(", ")));
    assert!(refused(&many).to_string().contains("there are 17, and room for 16; leave some out"));
}

#[test]
fn a_source_without_peers_and_a_guard_without_sources_are_refused() {
    let lonely = "= 51\nunicast_source = \"192.0.2.2\"";
    let refused_lonely = refused(&SMALLEST.replace("= 51", lonely));
    assert!(refused_lonely.to_string().contains("unicast_source: adverts are multicast"), "{refused_lonely}");
    let guarded = refused(&SMALLEST.replace("= 51", "= 51\nguard = true"));
    assert!(guarded.to_string().contains("guard: nobody's adverts are known from a stranger's; add"), "{guarded}");
}

#[test]
fn an_address_that_cannot_move_is_refused() {
    for (from, to, field, words) in [
        ("\"198.51.100.1\"", "\"0.0.0.1\"", "address", "0.0.0.1 is no host's address; give one that others can reach"),
        (
            "\"198.51.100.1\"",
            "\"192.0.2.10\"",
            "address",
            "is the VIP of load balancer \"web4\" (see line 75); use another address",
        ),
        (
            "interface = \"back0\"\nadvertised",
            "interface = \"lan0\"\nadvertised",
            "interface",
            "\"lan0\" is none of the [dataplane] interfaces",
        ),
    ] {
        let mistake = mistake(from, to);
        assert_eq!(mistake.field, field);
        assert!(mistake.text.contains(words), "{to}: {mistake}");
    }
    for (link_local, words) in [
        ("\"2001:db8::1\"", "2001:db8::1 is no link-local address; give one that begins with fe80::"),
        ("\"192.0.2.1\"", "192.0.2.1 is no link-local address"),
    ] {
        let mistake = mistake("family = \"ipv6\"", &format!("link_local = {link_local}\nfamily = \"ipv6\""));
        assert_eq!(mistake.field, "link_local");
        assert!(mistake.text.contains(words), "{mistake}");
    }
    let ipv4 = mistake_in(SMALLEST, "virtual_router_id = 51", "link_local = \"fe80::1\"\nvirtual_router_id = 51");
    assert!(ipv4.text.contains("an IPv4 router has none; remove it, or write family = \"ipv6\""), "{ipv4}");
}

#[test]
fn a_member_is_no_address_that_moves() {
    let refused = refused(&PAIR.replace("\"198.51.100.1\"", "\"198.51.100.21\""));
    assert_eq!(refused.mistakes.len(), 1, "{refused}");
    assert_eq!(PAIR.lines().nth(refused.mistakes[0].line - 1), Some("address = \"198.51.100.21\""));
    assert!(refused.to_string().contains("is an address of router \"pair4\" (see line "), "{refused}");
    assert!(refused.to_string().contains("; use a server's own address"), "{refused}");
}

#[test]
fn interfaces_are_the_data_paths() {
    let mistake = mistake("interface = \"front0\"", "interface = \"eth9\"");
    assert!(mistake.text.contains("\"eth9\" is none of the [dataplane] interfaces; add it there"), "{mistake}");
    let missing = refused(&PAIR.replace("interface = \"front0\"\n", ""));
    assert!(
        missing.to_string().contains("interface: is missing, and there are 2; add for example interface = \"front0\""),
        "{missing}"
    );
    // Where they could not be read, nothing follows from that.
    let unknown = refused(&PAIR.replace("[\"front0\", \"back0\"]", "3"));
    assert_eq!(unknown.mistakes.len(), 1, "{unknown}");
    let unknown = refused(&SMALLEST.replace("[\"eth0\"]", "[\"eth0\", 3]"));
    assert_eq!(unknown.mistakes.len(), 1, "{unknown}");
    // One that is only tracked may be any.
    parse(&PAIR.replace("kind = \"interface\"\nname = \"back0\"", "kind = \"interface\"\nname = \"lo\""), "x").unwrap();
}

#[test]
fn what_is_tracked_exists_and_has_a_name() {
    for (from, to, field, words) in [
        (
            "name = \"web4\"\nweight",
            "name = \"web5\"\nweight",
            "name",
            "there is no load balancer \"web5\"; write the name",
        ),
        (
            "name = \"back0\"\n\n[[vrrp.track]]",
            "name = \"a/b\"\n\n[[vrrp.track]]",
            "name",
            "is no name of an interface",
        ),
        ("weight = -60", "name = \"x\"", "name", "there is one data path only; remove it"),
        (
            "kind = \"data_path\"",
            "kind = \"program\"",
            "kind",
            "\"program\" is not known; use one of interface, data_path, load_balancer",
        ),
    ] {
        let mistake = mistake(from, to);
        assert_eq!(mistake.field, field);
        assert!(mistake.text.contains(words), "{to}: {mistake}");
    }
    let nameless = refused(&PAIR.replace("name = \"web4\"\nweight = 20", "weight = 20"));
    assert!(nameless.to_string().contains("name: is missing; add for example name = \"eth1\""), "{nameless}");
}

#[test]
fn routers_do_not_share_a_name_an_id_or_an_address() {
    let second = |text: &str| format!("{SMALLEST}vrrp = \"pair\"\n[[vrrp]]\n{text}\n");
    let said = |text: &str| {
        let refused = refused(&second(text));
        assert_eq!(refused.mistakes.len(), 1, "{refused}");
        refused.to_string()
    };
    let words = said("name = \"pair\"\nvirtual_router_id = 52");
    assert!(words.contains("the name \"pair\" is taken (see line 6); give each router its own"), "{words}");
    let words = said("name = \"two\"\nvirtual_router_id = 51");
    assert!(words.contains("eth0 has an ipv4 router 51 already (see line 7); use another id"), "{words}");
    // One id may stand for a router of each family.
    parse(&second("name = \"two\"\nvirtual_router_id = 51\nfamily = \"ipv6\""), "x").unwrap();

    let words = said(
        "name = \"a\"\nvirtual_router_id = 1\nfamily = \"ipv6\"\nlink_local = \"fe80::9\"\n\
         [[vrrp]]\nname = \"b\"\nvirtual_router_id = 2\nfamily = \"ipv6\"\nlink_local = \"fe80::9\"",
    );
    assert!(words.contains("fe80::9 is the link-local address of router \"a\" (see line 18); use another"), "{words}");
    let words = said(
        "name = \"a\"\nvirtual_router_id = 1\n[[vrrp.address]]\naddress = \"192.0.2.9\"\n[[vrrp.address]]\naddress = \"192.0.2.9\"",
    );
    assert!(words.contains("192.0.2.9 is an address of router \"a\" (see line 18)"), "{words}");
}

#[test]
fn two_routers_that_the_data_path_cannot_tell_apart_are_guarded_alike() {
    let text = SMALLEST.replace("[\"eth0\"]", "[\"eth0\", \"eth1\"]").replace("= 51", "= 51\ninterface = \"eth0\"");
    let text = format!("{text}vrrp = \"pair\"\n");
    let second =
        "[[vrrp]]\nname = \"two\"\nvirtual_router_id = 51\ninterface = \"eth1\"\nunicast_peers = [\"192.0.2.3\"]\n";
    let refused = refused(&format!("{text}{second}"));
    assert!(
        refused.to_string().contains("guard: this router is guarded and router \"pair\" of the same id"),
        "{refused}"
    );
    parse(&format!("{text}{second}guard = false\n"), "x").unwrap();
}

#[test]
fn a_load_balancer_of_a_pair_has_a_router() {
    for (from, to, field, words) in [
        (
            "vrrp = \"pair4\"",
            "vrrp = \"pair5\"",
            "vrrp",
            "there is no [[vrrp]] \"pair5\"; there is \"pair4\", \"pair6\"",
        ),
        (
            "topology = \"SINGLE\"",
            "topology = \"SINGLE\"\nvrrp = \"pair4\"",
            "vrrp",
            "with the topology SINGLE nothing moves; write",
        ),
        (
            "\"SINGLE\"",
            "\"single\"",
            "topology",
            "\"single\" is not known; did you mean SINGLE? use one of SINGLE, ACTIVE_STANDBY",
        ),
    ] {
        let bad = PAIR.replacen(from, to, 1);
        let refused = refused(&bad);
        assert_eq!((refused.mistakes.len(), refused.mistakes[0].field.as_str()), (1, field), "{refused}");
        assert!(refused.to_string().contains(words), "{to}: {refused}");
    }
    let none = SMALLEST.replace("[[vrrp]]\nname = \"pair\"\nvirtual_router_id = 51\n", "");
    assert!(refused(&none).to_string().contains("topology: there is no [[vrrp]] to move the VIP; add one"));
    let several = format!("{SMALLEST}[[vrrp]]\nname = \"two\"\nvirtual_router_id = 52\n");
    let several = refused(&several).to_string();
    assert!(
        several.contains("vrrp: is missing, and several [[vrrp]] could be meant; name one of \"pair\", \"two\""),
        "{several}"
    );
}

#[test]
fn nothing_follows_from_a_value_that_was_refused() {
    for (from, to) in [
        ("name = \"pair4\"", "name = \"pair 4\""),
        ("virtual_router_id = 51", "virtual_router_id = 520"),
        ("virtual_router_id = 52", "virtual_router_id = 520"),
        ("family = \"ipv6\"", "family = \"inet6\""),
        ("vip_address = \"192.0.2.10\"", "vip_address = \"here\""),
        ("address = \"198.51.100.1\"", "address = \"here\""),
        ("name = \"web4\"\nvip", "name = \"web 4\"\nvip"),
        ("unicast_peers = [\n    \"192.0.2.3\",\n    \"192.0.2.4\",\n]", "unicast_peers = 3"),
    ] {
        let bad = PAIR.replacen(from, to, 1);
        assert_ne!(bad, PAIR);
        assert_eq!(refused(&bad).mistakes.len(), 1, "{to}: {}", refused(&bad));
    }
}

#[test]
fn an_ipv4_router_has_an_ipv4_address_to_name() {
    let refused = refused(&SMALLEST.replace("192.0.2.10", "2001:db8::10"));
    assert_eq!(refused.mistakes.len(), 1, "{refused}");
    assert!(refused.to_string().contains("family: none of what it moves is an IPv4 address"), "{refused}");
    // The other way round there is the link-local one.
    parse(&SMALLEST.replace("= 51", "= 51\nfamily = \"ipv6\""), "x").unwrap();
}

#[test]
fn what_is_probably_not_meant_is_warned_of() {
    for (good, from, to, words) in [
        (SMALLEST, "\"ACTIVE_STANDBY\"", "\"SINGLE\"", "vrrp \"pair\": it has nothing to move; write topology"),
        (SMALLEST, "= 51", "= 51\npreempt = false\npreempt_delay = 5", "preempt_delay: it never comes to that"),
        (SMALLEST, "= 51", "= 51\nnotify = \"/nonexistent/program\"", "notify: there is no such program now; "),
        (
            SMALLEST,
            "= 51",
            "= 51\nunicast_peers = [\"192.0.2.3\"]\nallowed_sources = [\"192.0.2.4\"]",
            "allowed_sources: 192.0.2.3 is one of unicast_peers and not in here: its adverts are refused; add it",
        ),
        (VERSION_2, "= 2\n", "= 2\nchecksum = \"message_only\"\n", "checksum: there is one form of it only"),
        (PAIR, "weight = 20", "weight = 0", "weight: with 0 both balancers give the VIPs up"),
    ] {
        let warning = warning_in(good, from, to);
        assert!(warning.text.contains(words) && warning.text.contains("; "), "{to}: {warning}");
    }
}

#[test]
fn flow_sync_without_a_router_is_taken_with_a_warning() {
    let text = "[dataplane]\ninterfaces = [\"eth0\"]\n[sync]\nlocal = \"192.0.2.2\"\npeer = \"192.0.2.3\"\n\
                secret = \"sixteen bytes....\"\n[[loadbalancer]]\nname = \"alone\"\nvip_address = \"192.0.2.11\"\n";
    let config = parse(text, "pools.toml").unwrap();
    let [warning] = &config.warnings[..] else { panic!("{:?}", config.warnings) };
    assert_eq!(warning.line, 3);
    assert!(warning.text.contains("sync: there is no [[vrrp]], so that nothing ever moves; "), "{warning}");
    for without in ["local = \"192.0.2.2\"\n", "peer = \"192.0.2.3\"\n", "secret = \"sixteen bytes....\"\n"] {
        let refused = refused(&text.replace(without, ""));
        assert_eq!((refused.mistakes.len(), refused.mistakes[0].line), (1, 3), "{refused}");
        assert!(refused.to_string().contains("is missing; add for example "), "{refused}");
    }
    let both = refused(&text.replace("[[load", "secret_file = \"/nonexistent\"\n[[load"));
    assert!(both.to_string().contains("secret_file: there is secret beside it; remove one of the two"), "{both}");
}

#[test]
fn how_much_there_can_be_is_bounded() {
    let routers: String =
        (0..64).map(|n| format!("[[vrrp]]\nname = \"r{n}\"\nvirtual_router_id = {}\n", n + 100)).collect();
    let refused_routers = refused(&format!("{SMALLEST}{routers}").replace("ACTIVE_STANDBY", "SINGLE"));
    assert_eq!(refused_routers.mistakes.len(), 1, "{refused_routers}");
    assert!(refused_routers.to_string().contains("vrrp: there are 65 of them, and room for 63; remove some"));

    // Those that are left out may be named.
    let named = format!("{SMALLEST}vrrp = \"r63\"\n{routers}");
    assert_eq!(refused(&named).mistakes.len(), 1, "{}", refused(&named));

    for (table, count, words) in [
        ("[[vrrp.address]]\naddress = \"2001:db8::1\"\n", 257, "address: there are 257, and room for 256"),
        ("[[vrrp.track]]\nkind = \"data_path\"\n", 33, "track: there are 33, and room for 32"),
        ("[[vrrp.hmac_key]]\nid = 1\nsecret = \"x\"\n", 9, "hmac_key: there are 9, and room for 8"),
    ] {
        let text = SMALLEST.replace("= 51\n", &format!("= 51\n{}", table.repeat(count)));
        let refused = refused(&text);
        assert_eq!(refused.mistakes.len(), 1, "{refused}");
        assert!(refused.to_string().contains(words), "{refused}");
    }

    let load_balancers: String = (0..1022)
        .map(|n| format!("[[loadbalancer]]\nname = \"l{n}\"\nvip_address = \"198.18.{}.{}\"\n", n / 250, n % 250 + 1))
        .collect();
    let full = format!("{SMALLEST}{load_balancers}");
    parse(&full.replace("= 51\n", "= 51\n[[vrrp.address]]\naddress = \"192.0.2.9\"\n"), "x").unwrap();
    let two = "= 51\n[[vrrp.address]]\naddress = \"192.0.2.9\"\n[[vrrp.address]]\naddress = \"192.0.2.8\"\n";
    let refused = refused(&full.replace("= 51\n", two));
    assert!(refused.to_string().contains("have more than 1024 addresses together"), "{refused}");
}
