//! How the daemon learns the way to its members, from a real kernel: routes,
//! gateways, neighbours that change, fall silent or are forgotten, interfaces
//! that come and go.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use krater_tests::rig::{netns::NetNs, record::Recorder};
use lb_common::{mac::Mac, member::NextHop};
use lb_user::net::{self, Hops, NetError, NextHopWatch};
use tokio::{
    runtime,
    sync::watch::Receiver,
    time::{Instant, timeout_at},
};

/// Longer than anything here takes, and shorter than the watch's own resync.
const LONG: Duration = Duration::from_secs(20);

/// The peer's addresses on the link.
const PEER4: &str = "10.88.0.2";
const PEER6: &str = "fd88::2";
const FIRST: &str = "02:00:00:00:00:02";
const SECOND: &str = "02:00:00:00:00:03";

/// The port number of eth1 in the tests.
const PORT: u16 = 7;

/// Two hosts and a cable: eth1 of the balancer, eth0 of the peer.
struct Cable {
    // Dropped in this order.
    lb: NetNs,
    peer: NetNs,
    _recorder: Recorder,
}

impl Cable {
    fn lay() -> Result<Self> {
        let recorder = Recorder::begin()?;
        let id = recorder.snapshot().id;
        let lb = NetNs::create(&recorder, &format!("kr-{id}-lb"))?;
        let peer = NetNs::create(&recorder, &format!("kr-{id}-peer"))?;
        let cable = Self { lb, peer, _recorder: recorder };
        cable.plug_in("eth1", "eth0", FIRST)?;
        cable.lb.ip_batch("address add 10.88.0.1/24 dev eth1\naddress add fd88::1/64 dev eth1 nodad\n")?;
        let peer = format!("address add {PEER4}/24 dev eth0\naddress add {PEER6}/64 dev eth0 nodad\n");
        cable.peer.ip_batch(&peer)?;
        Ok(cable)
    }

    fn plug_in(&self, ours: &str, theirs: &str, mac: &str) -> Result<()> {
        let peer = self.peer.name();
        self.lb.ip_batch(&format!(
            "link add {ours} type veth peer name {theirs} address {mac} netns {peer}\nlink set {ours} up\n"
        ))?;
        self.peer.ip_batch(&format!("link set {theirs} up\n"))
    }

    /// Makes the kernel doubt and find out within a few seconds.
    fn hurry(&self) -> Result<()> {
        self.lb.hurry_neighbours("eth1")
    }

    /// Plays a test in the balancer's namespace. One thread does everything, so
    /// that a blocking call in the test holds up the watch too.
    fn play<F: Future<Output = Result<()>>>(&self, test: impl FnOnce() -> F + Send) -> Result<()> {
        self.lb.enter(|| runtime::Builder::new_current_thread().enable_all().build()?.block_on(test()))
    }
}

/// A watch and what it last said.
struct Watched {
    watch: NextHopWatch,
    hops: Receiver<Hops>,
}

impl Watched {
    /// Watches the way to some members, with frames leaving by eth1 only.
    async fn start(members: &[&str]) -> Result<Self> {
        let (watch, hops) = NextHopWatch::start()?;
        let watched = Self { watch, hops };
        watched.set(members).await?;
        Ok(watched)
    }

    async fn set(&self, members: &[&str]) -> Result<()> {
        let eth1 = net::interface("eth1").await?;
        let members = members.iter().map(|m| Ok(m.parse()?)).collect::<Result<BTreeSet<IpAddr>>>()?;
        self.watch.set(members, BTreeMap::from([(eth1.ifindex, (PORT, eth1.mac))]));
        Ok(())
    }

    /// Waits until the hops are as wanted.
    async fn until(&mut self, what: &str, is_so: impl Fn(&Hops) -> bool) -> Result<Duration> {
        let start = Instant::now();
        let found = timeout_at(start + LONG, self.hops.wait_for(|hops| is_so(hops))).await.map(|found| found.map(drop));
        match found {
            Ok(found) => found.context("the watch ended")?,
            Err(_) => anyhow::bail!("waited {LONG:?} for {what}; last: {:?}", self.hops.borrow()),
        }
        Ok(start.elapsed())
    }

    async fn until_reached(&mut self, member: &str, mac: &str) -> Result<Duration> {
        let (address, destination) = (member.parse()?, read_mac(mac)?);
        let source = net::interface("eth1").await?.mac;
        let expected = NextHop { destination, source, port: PORT };
        self.until(&format!("{member} at {mac}"), |hops| hops.next_hops.get(&address) == Some(&expected)).await
    }

    async fn until_missing(&mut self, member: &str, why: &str) -> Result<Duration> {
        let address = member.parse()?;
        let is_missing = |hops: &Hops| hops.missing.get(&address).map(String::as_str) == Some(why);
        self.until(&format!("{member} to be missing: {why}"), is_missing).await
    }
}

fn read_mac(text: &str) -> Result<Mac> {
    let bytes = text.split(':').map(|byte| u8::from_str_radix(byte, 16)).collect::<Result<Vec<_>, _>>()?;
    Ok(Mac(<[u8; 6]>::try_from(bytes.as_slice())?))
}

#[test]
fn members_on_the_link_and_behind_gateways_are_found_in_both_families() -> Result<()> {
    let cable = Cable::lay()?;
    cable.lb.ip_batch(&format!(
        "route add 10.99.0.9 via {PEER4}\nroute add fd99::9 via {PEER6}\nroute add 10.99.0.10 via inet6 {PEER6} dev eth1\n"
    ))?;
    cable.play(async || {
        let members = [PEER4, PEER6, "10.99.0.9", "fd99::9", "10.99.0.10"];
        let mut watched = Watched::start(&members).await?;
        for member in members {
            watched.until_reached(member, FIRST).await?;
        }
        ensure!(watched.hops.borrow().missing.is_empty());
        Ok(())
    })
}

#[test]
fn every_way_that_leads_nowhere_has_its_reason() -> Result<()> {
    let cable = Cable::lay()?;
    cable.plug_in("eth7", "eth7", "02:00:00:00:00:07")?;
    cable.lb.ip_batch(
        "address add 10.87.0.1/24 dev eth7\nroute add prohibit 10.99.0.3\nroute add blackhole 10.99.0.4\n\
         route add unreachable 10.99.0.5\nroute add prohibit fd99::3\nroute add blackhole fd99::4\n",
    )?;
    cable.play(async || {
        let reasons = [
            ("10.99.0.2", "no route to 10.99.0.2"),
            ("fd99::2", "no route to fd99::2"),
            ("10.99.0.3", "a route prohibits traffic to 10.99.0.3"),
            ("fd99::3", "a route prohibits traffic to fd99::3"),
            ("10.99.0.4", "a black hole route drops traffic to 10.99.0.4"),
            ("fd99::4", "a black hole route drops traffic to fd99::4"),
            ("10.99.0.5", "no route to 10.99.0.5"),
            ("10.88.0.1", "10.88.0.1 is an address of this host"),
            ("fd88::1", "fd88::1 is an address of this host"),
            ("10.88.0.255", "10.88.0.255 is a broadcast or multicast address"),
            ("10.87.0.2", "leaves by eth7, which the data path is not attached to"),
            ("10.88.0.77", "no answer to ARP from 10.88.0.77 on eth1"),
            ("fd88::77", "no neighbour advertisement from fd88::77 on eth1"),
        ];
        let mut watched = Watched::start(&reasons.map(|(member, _)| member)).await?;
        for (member, why) in reasons {
            watched.until_missing(member, why).await?;
        }
        Ok(())
    })
}

#[test]
fn routes_are_followed_as_they_come_go_and_move() -> Result<()> {
    let cable = Cable::lay()?;
    cable.plug_in("eth7", "eth7", "02:00:00:00:00:07")?;
    cable.peer.ip_batch("address add 10.88.0.3/24 dev eth0\n")?;
    cable.play(async || {
        let mut watched = Watched::start(&["10.99.0.9"]).await?;
        watched.until_missing("10.99.0.9", "no route to 10.99.0.9").await?;
        for (change, outcome) in [
            ("route add 10.99.0.0/24 via 10.88.0.2", Ok(FIRST)),
            ("route replace 10.99.0.0/24 via 10.88.0.3", Ok(FIRST)),
            ("route del 10.99.0.0/24", Err("no route to 10.99.0.9")),
            // A nexthop object is a route's gateway by reference.
            ("nexthop add id 5 via 10.88.0.2 dev eth1\nroute add 10.99.0.0/24 nhid 5", Ok(FIRST)),
            (
                "address add 10.87.0.1/24 dev eth7\nnexthop replace id 5 via 10.87.0.2 dev eth7",
                Err("leaves by eth7, which the data path is not attached to"),
            ),
            (
                "route add prohibit 10.99.0.9 table 88\nrule add to 10.99.0.9 table 88",
                Err("a route prohibits traffic to 10.99.0.9"),
            ),
        ] {
            cable.lb.ip_batch(&format!("{change}\n"))?;
            let took = match outcome {
                Ok(mac) => watched.until_reached("10.99.0.9", mac).await,
                Err(why) => watched.until_missing("10.99.0.9", why).await,
            };
            let took = took.with_context(|| change.to_owned())?;
            ensure!(took < Duration::from_secs(5), "`{change}` took {took:?}: that was the resync, not the event");
        }
        Ok(())
    })
}

#[test]
fn a_neighbour_that_announces_another_address_is_followed() -> Result<()> {
    let cable = Cable::lay()?;
    // Announcements come when the address does.
    cable.peer.set_parameters(&[("ipv4/conf/eth0/arp_notify", "1"), ("ipv6/conf/eth0/ndisc_notify", "1")])?;
    // The kernel believes the second announcement of a second to be a mistake.
    cable.lb.set_parameters(&[("ipv4/neigh/eth1/locktime", "0")])?;
    cable.play(async || {
        let mut watched = Watched::start(&[PEER4, PEER6]).await?;
        watched.until_reached(PEER4, FIRST).await?;
        watched.until_reached(PEER6, FIRST).await?;
        cable.peer.ip_batch(&format!("link set eth0 address {SECOND}\n"))?;
        watched.until_reached(PEER4, SECOND).await?;
        watched.until_reached(PEER6, SECOND).await?;
        Ok(())
    })
}

#[test]
fn a_neighbour_that_changes_without_a_word_is_found_out_although_no_traffic_of_ours_meets_the_kernel() -> Result<()> {
    let cable = Cable::lay()?;
    cable.hurry()?;
    cable.play(async || {
        let mut watched = Watched::start(&[PEER4, PEER6]).await?;
        watched.until_reached(PEER4, FIRST).await?;
        watched.until_reached(PEER6, FIRST).await?;
        cable.peer.ip_batch(&format!("link set eth0 address {SECOND}\n"))?;
        watched.until_reached(PEER4, SECOND).await?;
        watched.until_reached(PEER6, SECOND).await?;
        Ok(())
    })
}

#[test]
fn a_neighbour_that_falls_silent_is_missing_and_is_found_again_when_it_is_back() -> Result<()> {
    let cable = Cable::lay()?;
    cable.hurry()?;
    cable.play(async || {
        let mut watched = Watched::start(&[PEER4]).await?;
        watched.until_reached(PEER4, FIRST).await?;
        cable.peer.ip_batch("address del 10.88.0.2/24 dev eth0\n")?;
        watched.until_missing(PEER4, "no answer to ARP from 10.88.0.2 on eth1").await?;
        let generation = watched.hops.borrow().generation;
        tokio::time::sleep(Duration::from_secs(3)).await;
        ensure!(watched.hops.borrow().generation == generation, "asking in vain again and again is no news");
        cable.peer.ip_batch("address add 10.88.0.2/24 dev eth0\n")?;
        watched.until_reached(PEER4, FIRST).await?;
        Ok(())
    })
}

#[test]
fn a_flushed_table_of_neighbours_does_not_interrupt_anything() -> Result<()> {
    let cable = Cable::lay()?;
    cable.play(async || {
        let mut watched = Watched::start(&[PEER4, PEER6]).await?;
        watched.until_reached(PEER4, FIRST).await?;
        watched.until_reached(PEER6, FIRST).await?;
        let generation = watched.hops.borrow().generation;
        for _ in 0..5 {
            cable.lb.run("ip", &["neigh", "flush", "dev", "eth1"])?;
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        // The kernel did forget, and is made to find out again.
        let known = [PEER4, PEER6].map(|peer| format!("{peer} lladdr {FIRST}"));
        let end = Instant::now() + LONG;
        loop {
            let shown = cable.lb.run("ip", &["neigh", "show", "dev", "eth1"])?;
            if known.iter().all(|line| shown.contains(line)) {
                break;
            }
            ensure!(Instant::now() < end, "{shown:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        ensure!(watched.hops.borrow().generation == generation, "{:?}", watched.hops.borrow());
        Ok(())
    })
}

#[test]
fn an_operators_permanent_entry_counts_and_stays_permanent() -> Result<()> {
    let cable = Cable::lay()?;
    cable.lb.ip_batch(&format!("neigh add 10.88.0.99 lladdr {SECOND} dev eth1 nud permanent\n"))?;
    cable.play(async || {
        let mut watched = Watched::start(&["10.88.0.99"]).await?;
        watched.until_reached("10.88.0.99", SECOND).await?;
        tokio::time::sleep(Duration::from_millis(2500)).await;
        let shown = cable.lb.run("ip", &["neigh", "show", "10.88.0.99"])?;
        ensure!(shown.contains("PERMANENT"), "{shown:?}");
        ensure!(watched.hops.borrow().missing.is_empty());
        Ok(())
    })
}

#[test]
fn an_interface_that_is_switched_off_removed_and_made_again_is_seen() -> Result<()> {
    let cable = Cable::lay()?;
    cable.play(async || {
        let mut watched = Watched::start(&[PEER4]).await?;
        watched.until_reached(PEER4, FIRST).await?;
        let before = net::interface("eth1").await?;
        ensure!(before.up && before.mtu == 1500, "{before:?}");
        let seen = watched.hops.borrow().links.get("eth1").cloned();
        let seen = seen.context("eth1 is among the links")?;
        ensure!((seen.ifindex, seen.mac, seen.up) == (before.ifindex, before.mac, true), "{seen:?}");
        ensure!(seen.primary4() == Some([10, 88, 0, 1].into()), "{seen:?}");

        cable.peer.ip_batch("link set eth0 down\n")?;
        watched.until_missing(PEER4, "leaves by eth1, which is down or has no carrier").await?;
        ensure!(!net::interface("eth1").await?.up);
        cable.peer.ip_batch("link set eth0 up\n")?;
        watched.until_reached(PEER4, FIRST).await?;

        cable.lb.ip_batch("link del eth1\n")?;
        watched.until("eth1 to be gone", |hops| !hops.links.contains_key("eth1")).await?;
        watched.until_missing(PEER4, &format!("no route to {PEER4}")).await?;
        let gone = net::interface("eth1").await;
        ensure!(matches!(gone, Err(NetError::NoSuchInterface { .. })), "{gone:?}");

        cable.plug_in("eth1", "eth0", SECOND)?;
        cable.lb.ip_batch("address add 10.88.0.1/24 dev eth1\n")?;
        cable.peer.ip_batch("address add 10.88.0.2/24 dev eth0\n")?;
        watched.until("eth1 to be back", |hops| hops.links.contains_key("eth1")).await?;
        let after = net::interface("eth1").await?;
        ensure!(after.ifindex != before.ifindex, "the same number: {after:?}");
        watched.until_missing(PEER4, "leaves by eth1, which the data path is not attached to").await?;
        watched.set(&[PEER4]).await?;
        watched.until_reached(PEER4, SECOND).await?;
        Ok(())
    })
}

#[test]
fn what_happened_while_events_were_lost_is_seen_all_the_same() -> Result<()> {
    let cable = Cable::lay()?;
    cable.play(async || {
        let mut watched = Watched::start(&[PEER4, "10.99.0.9"]).await?;
        watched.until_reached(PEER4, FIRST).await?;
        // More than fits into the socket, while nobody reads; what matters comes last.
        let routes = (0..20_000).map(|n| format!("route add 10.{}.{}.1 via {PEER4}\n", 100 + n / 250, n % 250));
        cable.lb.ip_batch(&routes.collect::<String>())?;
        cable.lb.ip_batch(&format!(
            "neigh replace {PEER4} lladdr {SECOND} dev eth1 nud permanent\nroute add 10.99.0.9 via {PEER4}\n"
        ))?;
        let took = watched.until_reached(PEER4, SECOND).await?;
        watched.until_reached("10.99.0.9", SECOND).await?;
        ensure!(took < Duration::from_secs(10), "{took:?}: that was the resync, not the loss");
        Ok(())
    })
}

#[test]
fn many_members_are_found_and_a_dropped_watch_is_over() -> Result<()> {
    let cable = Cable::lay()?;
    let members: Vec<String> = (1..=1000u32).map(|n| format!("10.99.{}.{}", n / 250, n % 250 + 1)).collect();
    cable.lb.ip_batch(&format!("route add 10.99.0.0/16 via {PEER4}\n"))?;
    cable.play(async || {
        let members: Vec<_> = members.iter().map(String::as_str).collect();
        let mut watched = Watched::start(&members).await?;
        let took = watched.until("1000 members", |hops| hops.next_hops.len() == 1000).await?;
        ensure!(took < Duration::from_secs(5), "{took:?}");
        let Watched { watch, mut hops } = watched;
        drop(watch);
        let ended = tokio::time::timeout(LONG, async { while hops.changed().await.is_ok() {} }).await;
        ended.context("the watch outlives its owner")
    })
}
