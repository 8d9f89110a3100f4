#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use super::*;
use crate::{dataplane::XdpMode, ha::scene};

fn wish_of(config: &Config, links: &BTreeMap<String, LinkView>) -> Option<Wish> {
    let ids = [("front".to_owned(), InstanceId(1))].into();
    let attached = ["front0".to_owned(), "back0".to_owned()].into();
    let none = BTreeSet::new();
    let wanted = &config.dataplane.interfaces;
    let facts = Facts { links, attached: &attached, wanted, behind: None, load_balancers_down: &none };
    wishes(config, &Around { facts, ids: &ids }).into_iter().next()
}

#[test]
fn an_instance_speaks_from_its_interface_and_announces_by_the_virtual_mac() {
    let wish = wish_of(&scene::config(""), &scene::links()).unwrap();
    let instance = wish.instance;
    assert_eq!((instance.key, instance.name.as_str()), (1, "front"));
    assert_eq!(instance.source, Some([10, 77, 0, 3].into()));
    assert_eq!((instance.interface.ifindex, instance.interface.mac), (3, [2, 0, 0, 0, 0, 3]));
    let mac = [0, 0, 0x5e, 0, 1, 51];
    let vip = IpAddr::from([10, 77, 0, 10]);
    assert_eq!(instance.announced, [Announced { address: vip, ifindex: 3, mac, sender: mac }]);
    assert_eq!(instance.router.addresses, [vip]);
    assert!(instance.virtual_mac && instance.exchange.sources.is_none());
}

#[test]
fn unicast_peers_are_the_only_ones_heard_and_the_interface_keeps_its_own_mac() {
    let config = scene::config("unicast_peers = [\"10.77.0.4\"]");
    let instance = wish_of(&config, &scene::links()).unwrap().instance;
    assert_eq!(instance.announced[0].mac, [2, 0, 0, 0, 0, 3]);
    let peer = IpAddr::from([10, 77, 0, 4]);
    assert_eq!((instance.exchange.peers, instance.exchange.sources), (vec![peer], Some([peer].into())));
    assert_eq!(intents(&config)[0].advert_sources, [(51, peer)].into());
    assert_eq!(intents(&config)[0].mac, None);
}

#[test]
fn an_address_at_another_interface_is_announced_there() {
    let config = scene::config("[[vrrp.address]]\naddress = \"10.77.1.254\"\ninterface = \"back0\"");
    let instance = wish_of(&config, &scene::links()).unwrap().instance;
    let told: Vec<_> = instance.announced.iter().map(|one| (one.address, one.ifindex)).collect();
    assert_eq!(told, [([10, 77, 0, 10].into(), 3), ([10, 77, 1, 254].into(), 4)]);
    assert_eq!(intents(&config)[0].addresses, [IpAddr::from([10, 77, 1, 254])]);
}

#[test]
fn an_instance_whose_interface_is_gone_stays_and_says_why() {
    let mut links = scene::links();
    links.remove("front0");
    let instance = wish_of(&scene::config(""), &links).unwrap().instance;
    assert_eq!((instance.source, instance.announced.len()), (None, 0));
    assert_eq!(instance.fault.as_deref(), Some("interface front0 is not there"));
}

#[test]
fn an_instance_the_data_path_does_not_know_yet_is_not_run() {
    let config = scene::config("");
    let links = scene::links();
    let (attached, none) = (BTreeSet::new(), BTreeSet::new());
    let facts = Facts { links: &links, attached: &attached, wanted: &[], behind: None, load_balancers_down: &none };
    assert!(wishes(&config, &Around { facts, ids: &BTreeMap::new() }).is_empty());
}

#[test]
fn an_instance_that_nothing_moves_with_is_not_run() {
    let file = "[dataplane]\ninterfaces = [\"front0\"]\n[[vrrp]]\nname = \"front\"\ninterface = \"front0\"\n\
                virtual_router_id = 51\nfamily = \"ipv6\"\n";
    let config = crate::config::parse(file, "pair.toml").unwrap_or_else(|refused| panic!("{refused}"));
    assert_eq!(wish_of(&config, &scene::links()), None);
}

#[test]
fn clients_reach_a_vip_by_its_instances_interface() {
    let attachment = |interface: &str, ifindex, port| Attachment {
        interface: interface.to_owned(),
        ifindex,
        port,
        mac: Mac([2, 0, 0, 0, 0, 3]),
        mode: XdpMode::Native,
        fallback: None,
    };
    let attachments = [attachment("front0", 3, 0), attachment("back0", 4, 1)];
    let path = |fields| paths(&scene::config(fields), &attachments)[&IpAddr::from([10, 77, 0, 10])];
    assert_eq!(path(""), ArrivalPath { port: 0, ifindex: 3, own: Mac([0, 0, 0x5e, 0, 1, 51]) });
    assert_eq!(path("virtual_mac = false").own, Mac([2, 0, 0, 0, 0, 3]));
}
