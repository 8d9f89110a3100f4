//! The pool files of the bench.

use std::{fmt::Write as _, net::Ipv4Addr, path::Path, time::Duration};

use crate::rig::Paths;

/// Where the VIP is.
pub(super) const VIP: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 10);
/// The network that all members are in.
pub(super) const MEMBERS: &str = "10.64.0.0/14";
/// Where all members serve TCP and HTTP, and are probed.
pub(super) const PROBED_PORT: u16 = 8080;
/// Where members serve UDP.
pub(super) const UDP_PORT: u16 = 5353;
/// Port of the first pool's listener.
pub(super) const FIRST_LISTENER: u16 = 1000;
/// Members of a pool that is there to be probed and no more.
const USUAL_POOL: u32 = 100;

/// A member's address, by its number.
pub(super) fn address(number: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 64, 0, 0)) + 1 + number)
}

/// The label of a member of the first pool.
pub(super) fn label(number: u32) -> String {
    format!("farm/p0/m{number}")
}

/// How members are probed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Monitor {
    /// The type.
    pub(super) kind: &'static str,
    pub(super) delay: Duration,
    /// The port that is probed.
    pub(super) port: u16,
}

/// A pool file, a pool at a time.
#[derive(Debug)]
pub(super) struct PoolFile {
    before: String,
    pools: String,
    count: u16,
    members: u32,
}

impl PoolFile {
    /// Without a pool.
    pub(super) fn new(paths: &Paths, interfaces: [&str; 2]) -> Self {
        let quoted = |path: &Path| format!("{:?}", path.display().to_string());
        let before = format!(
            "[dataplane]\ninterfaces = {interfaces:?}\nxdp_mode = \"native\"\npin_path = {}\n\n[control]\nsocket = {}\n\
             state_dir = {}\n\n[[loadbalancer]]\nname = \"farm\"\nvip_address = \"{VIP}\"\n",
            quoted(&paths.pin_path),
            quoted(&paths.socket),
            quoted(&paths.state_dir)
        );
        Self { before, pools: String::new(), count: 0, members: 0 }
    }

    /// Adds a pool with the next addresses as members, and a UDP listener.
    pub(super) fn add(&mut self, members: u32, monitor: Monitor) {
        let Self { before, pools, count, members: first } = self;
        // Writing to a string cannot fail.
        let _ = writeln!(
            before,
            "\n[[loadbalancer.listener]]\nname = \"l{count}\"\nprotocol = \"UDP\"\nprotocol_port = {}\n\
             default_pool = \"p{count}\"",
            FIRST_LISTENER + *count
        );
        let _ = writeln!(pools, "\n[[loadbalancer.pool]]\nname = \"p{count}\"\nprotocol = \"UDP\"");
        for number in *first..*first + members {
            let _ = writeln!(
                pools,
                "[[loadbalancer.pool.member]]\nname = \"m{number}\"\naddress = \"{}\"\nprotocol_port = {UDP_PORT}\n\
                 monitor_port = {}",
                address(number),
                monitor.port
            );
        }
        let seconds = monitor.delay.as_secs_f64();
        let _ = writeln!(
            pools,
            "[loadbalancer.pool.healthmonitor]\ntype = {:?}\ndelay = {seconds:?}\ntimeout = {seconds:?}\n\
             max_retries = 1\nmax_retries_down = 2\nflap_damping = false",
            monitor.kind
        );
        *count += 1;
        *first += members;
    }

    /// Adds pools until there are so many members.
    pub(super) fn fill(&mut self, members: u32, monitor: Monitor) {
        while self.members < members {
            self.add(USUAL_POOL.min(members - self.members), monitor);
        }
    }

    pub(super) fn text(&self) -> String {
        format!("{}{}", self.before, self.pools)
    }
}
