//! A pool file with one instance, and the links of its host, for tests.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeMap;

use lb_common::mac::Mac;

use crate::{
    config::{self, Config},
    net::LinkView,
};

/// A load balancer behind an instance named `front` with these fields more.
pub(super) fn config(fields: &str) -> Config {
    let text = format!(
        "[dataplane]\ninterfaces = [\"front0\", \"back0\"]\n\
         [[vrrp]]\nname = \"front\"\ninterface = \"front0\"\nvirtual_router_id = 51\n{fields}\n\
         [[loadbalancer]]\nname = \"web\"\nvip_address = \"10.77.0.10\"\ntopology = \"ACTIVE_STANDBY\"\n\
         [[loadbalancer.listener]]\nname = \"http\"\nprotocol = \"TCP\"\nprotocol_port = 80\ndefault_pool = \"app\"\n\
         [[loadbalancer.pool]]\nname = \"app\"\nprotocol = \"TCP\"\nlb_algorithm = \"SOURCE_IP_PORT\"\n\
         [[loadbalancer.pool.member]]\naddress = \"10.77.1.11\"\nprotocol_port = 8080\n"
    );
    config::parse(&text, "pair.toml").unwrap_or_else(|refused| panic!("{refused}"))
}

/// Two interfaces that are up, each with addresses.
pub(super) fn links() -> BTreeMap<String, LinkView> {
    let link = |ifindex: u8, name: &str| {
        let addresses = vec![
            [10, 77, 0, ifindex].into(),
            format!("fd77::{ifindex}").parse().unwrap(),
            format!("fe80::{ifindex}").parse().unwrap(),
        ];
        let mac = Mac([2, 0, 0, 0, 0, ifindex]);
        (name.to_owned(), LinkView { ifindex: u32::from(ifindex), mac, up: true, addresses })
    };
    [link(3, "front0"), link(4, "back0")].into()
}
