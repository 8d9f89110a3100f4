//! The pool files: listeners, and two pools that they may name.

use std::{fmt::Write as _, net::Ipv4Addr};

/// What a file says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct PoolFile {
    /// Listeners, all of one VIP and with the same pool.
    pub(super) listeners: u16,
    /// Members of each pool.
    pub(super) members: u32,
    /// The word for how members are reached.
    pub(super) mode: &'static str,
    /// How many pools there are.
    pub(super) pools: u32,
    /// The number of the pool that the listeners have.
    pub(super) pool: u32,
    /// Which of two lists of members the first pool has.
    pub(super) list: u32,
}

/// The first address of the members; those of other pools and lists lie behind.
const FIRST: u32 = u32::from_be_bytes([10, 64, 0, 1]);

/// A member's address: its number within one of two lists of a pool.
pub(super) fn address(members: u32, pool: u32, list: u32, number: u32) -> Ipv4Addr {
    Ipv4Addr::from(FIRST + (pool * 2 + list) * members + number)
}

/// The name of a member, the same in either list.
pub(super) fn member(number: u32) -> String {
    format!("m{number}")
}

impl PoolFile {
    /// The text.
    pub(super) fn text(&self) -> String {
        let Self { listeners, members, mode, pools, pool, list } = self;
        let mut text =
            "[dataplane]\ninterfaces = [\"eth0\"]\n\n[[loadbalancer]]\nname = \"scale\"\nvip_address = \"192.0.2.1\"\n"
                .to_owned();
        // Writing to a string cannot fail.
        for number in 0..*listeners {
            let _ = write!(
                text,
                "\n[[loadbalancer.listener]]\nname = \"l{number}\"\nprotocol = \"TCP\"\nprotocol_port = {}\n\
                 default_pool = \"p{pool}\"\n",
                1000 + number
            );
        }
        for number in 0..*pools {
            let _ = write!(
                text,
                "\n[[loadbalancer.pool]]\nname = \"p{number}\"\nprotocol = \"TCP\"\nforward_mode = \"{mode}\"\n"
            );
            let list = if number == 0 { *list } else { 0 };
            for n in 0..*members {
                let _ = write!(
                    text,
                    "[[loadbalancer.pool.member]]\nname = \"{}\"\naddress = \"{}\"\nprotocol_port = 1000\n",
                    member(n),
                    address(*members, number, list, n)
                );
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use lb_user::config;

    use super::*;

    #[test]
    fn a_file_is_read_and_says_what_was_asked_for() {
        let file = PoolFile { listeners: 3, members: 4, mode: "nat", pools: 2, pool: 1, list: 1 };
        let config = config::parse(&file.text(), "bench").unwrap();
        let lb = &config.model.load_balancers()[0];
        assert_eq!((lb.listeners.len(), lb.pools.len()), (3, 2));
        assert!(lb.listeners.iter().all(|l| l.default_pool.as_ref().is_some_and(|name| name.as_str() == "p1")));
        let addresses: Vec<_> = lb.pools.iter().flat_map(|pool| pool.members.iter().map(|m| m.address)).collect();
        let expected = [4, 5, 6, 7, 8, 9, 10, 11].map(|n| std::net::IpAddr::V4(Ipv4Addr::from(FIRST + n)));
        assert_eq!(addresses, expected, "the first pool's other list, and the second pool's first");
    }
}
