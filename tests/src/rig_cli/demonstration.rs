//! What `krater-rig run` shows: traffic spread by weight, a member leaving
//! under traffic, and its return.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::atomic::AtomicBool,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};

use super::table::{self, Row};
use crate::rig::{
    Family, Rig,
    addresses::{LISTENER_TCP, LISTENER_UDP},
    http,
    lbd::{Lbd, MemberStatus},
    load::{self, Background, Kind, Load, Report, Sample},
    servers::{BULK_PATH, bulk},
};

/// The member that leaves and comes back, from 0.
const LEAVING: usize = 1;
const CURLS: u64 = 30;
/// How long traffic goes on after a member was noticed missing, and beside everything else before it leaves.
const STEADY: Duration = Duration::from_millis(700);
/// Longer than a request takes.
const UNDER_WAY: Duration = Duration::from_millis(50);

/// A rig with a running balancer, about to be shown.
pub(super) struct Demonstration<'a> {
    pub(super) rig: &'a mut Rig,
    pub(super) lbd: &'a Lbd,
    pub(super) requests: u64,
}

/// A listener and what is sent to it.
#[derive(Clone, Copy)]
struct Target {
    kind: Kind,
    family: Family,
}

impl Target {
    const ALL: [Self; 4] = [
        Self { kind: Kind::Http, family: Family::V4 },
        Self { kind: Kind::Http, family: Family::V6 },
        Self { kind: Kind::Udp, family: Family::V4 },
        Self { kind: Kind::Udp, family: Family::V6 },
    ];

    const fn protocol(self) -> &'static str {
        match self.kind {
            Kind::Http => "HTTP",
            Kind::Udp => "UDP",
        }
    }

    fn address(self) -> SocketAddr {
        let port = match self.kind {
            Kind::Http => LISTENER_TCP,
            Kind::Udp => LISTENER_UDP,
        };
        SocketAddr::new(self.family.vip(), port)
    }
}

impl Demonstration<'_> {
    /// Shows everything.
    pub(super) fn run(&mut self) -> Result<()> {
        println!("\n{} requests each, over connections and ports of their own:", self.requests);
        self.spread("with three members")?;
        self.curl()?;
        self.bulk()?;
        self.member_leaves()?;
        println!("\nthe same again, with two members:");
        self.spread("with two members")?;
        self.member_returns()?;
        println!("\nthe same again, with three members:");
        self.spread("with three members again")
    }

    /// Sends requests to every listener and compares the spread with the weights in force.
    fn spread(&self, when: &str) -> Result<()> {
        let mut rows = Vec::new();
        for target in Target::ALL {
            let load = Load::new(target.kind, target.address(), self.requests);
            let samples = self.rig.client().enter(|| Ok(load::run(&load, &AtomicBool::new(false))))?;
            rows.push(Row {
                protocol: target.protocol(),
                family: target.family.name(),
                report: Report::of(&samples),
                weights: self.weights(target.address())?,
            });
        }
        table::print(&rows);
        let complaints: Vec<String> = rows.iter().map(Row::complaints).filter(|words| !words.is_empty()).collect();
        if complaints.is_empty() {
            println!("  no errors, and the spread follows the weights");
            Ok(())
        } else {
            bail!("{when}: {}", complaints.join("\n"))
        }
    }

    /// The weights in force behind a listener, by the rig's names of members;
    /// zero for members that take nothing.
    fn weights(&self, listener: SocketAddr) -> Result<BTreeMap<String, u64>> {
        let listeners = self.lbd.ctl().json(&["listener", "list"])?;
        let pool = listeners
            .as_array()
            .into_iter()
            .flatten()
            .find(|l| {
                let protocol = if listener.port() == LISTENER_TCP { "TCP" } else { "UDP" };
                l["protocol"] == protocol
                    && l["protocol_port"] == listener.port()
                    && l["vip_address"].as_str().and_then(|a| a.parse::<IpAddr>().ok()) == Some(listener.ip())
            })
            .and_then(|l| l["default_pool"].as_str())
            .with_context(|| format!("lbctl shows no listener with a pool at {listener}: {listeners}"))?;
        let prefix = format!("{pool}/");
        let members = self.lbd.ctl().members()?;
        let here = members.iter().filter(|m| m.name.starts_with(&prefix));
        Ok(here
            .filter_map(|m| {
                let weight = if m.share_percent > 0.0 { m.effective_weight } else { 0 };
                Some((self.rig.member_at(m.address)?.name().to_owned(), weight))
            })
            .collect())
    }

    /// The same with curl: a client that knows nothing of us.
    fn curl(&self) -> Result<()> {
        for family in Family::BOTH {
            let host = SocketAddr::new(family.vip(), LISTENER_TCP);
            // A connection for each: the header makes the server close it.
            let url = format!("http://{host}/?[1-{CURLS}]");
            let said = self
                .rig
                .client()
                .run("curl", &["-sS", "--fail", "--max-time", "3", "-H", "Connection: close", &url])
                .with_context(|| format!("curl over {}", family.name()))?;
            let mut counts = BTreeMap::<&str, u64>::new();
            for line in said.lines() {
                *counts.entry(line).or_default() += 1;
            }
            ensure!(counts.values().sum::<u64>() == CURLS, "curl got {said:?}");
            let shown: Vec<String> = counts.iter().map(|(member, count)| format!("{member} {count}")).collect();
            println!("  curl over {}: {CURLS} answers, {}", family.name(), shown.join(", "));
        }
        Ok(())
    }

    /// A large file, byte by byte.
    fn bulk(&self) -> Result<()> {
        let expected = bulk();
        for family in Family::BOTH {
            let target = SocketAddr::new(family.vip(), LISTENER_TCP);
            let (response, took) = self.rig.client().enter(|| {
                let start = Instant::now();
                let response = http::get(target, BULK_PATH, http::Source::default())
                    .with_context(|| format!("download over {}", family.name()))?;
                Ok((response, start.elapsed()))
            })?;
            ensure!(response.body == expected, "the file downloaded over {} is another one", family.name());
            let megabits = 8.0 * expected.len() as f64 / 1e6 / took.as_secs_f64();
            println!("  1 MiB over {}: content right, {megabits:.0} Mbit/s", family.name());
        }
        Ok(())
    }

    /// Takes a member away under traffic, and checks that errors end when it is noticed.
    fn member_leaves(&mut self) -> Result<()> {
        let name = self.rig.member(LEAVING).name().to_owned();
        let addresses = self.rig.member(LEAVING).addresses();
        println!("\n{name} leaves: its servers are killed while requests keep coming");
        let client = self.rig.client().name().to_owned();
        let loads = Target::ALL
            .map(|target| (target, Background::start(&client, Load::trickle(target.kind, target.address()))));
        thread::sleep(STEADY);
        let killed = Instant::now();
        self.rig.member_mut(LEAVING).kill_servers();
        self.lbd.wait_members(&format!("lbd to notice that {name} is gone"), Duration::from_secs(20), |members| {
            let gone = |m: &&MemberStatus| addresses.contains(&m.address);
            members.iter().filter(gone).all(|m| m.operating_status == "ERROR" && m.share_percent == 0.0)
        })?;
        let noticed = Instant::now();
        println!("  noticed after {:.2} s", (noticed - killed).as_secs_f64());
        thread::sleep(STEADY);
        let mut failures = Vec::new();
        for (target, load) in loads {
            let samples = load.finish()?;
            let part = |from: Option<Instant>, to: Option<Instant>| {
                let within = |s: &&Sample| from.is_none_or(|t| s.started >= t) && to.is_none_or(|t| s.started < t);
                Report::of(samples.iter().filter(within))
            };
            // A request just under way when its server died is none of those before.
            let dying = killed - UNDER_WAY;
            let before = part(None, Some(dying));
            let between = part(Some(dying), Some(noticed));
            let after = part(Some(noticed), None);
            println!(
                "  {:4} over {}: errors {} of {} before, {} of {} until it was noticed, {} of {} after",
                target.protocol(),
                target.family.name(),
                before.errors,
                before.requests,
                between.errors,
                between.requests,
                after.errors,
                after.requests
            );
            if before.errors > 0 || after.errors > 0 || after.answered_by(&name) > 0 || after.requests == 0 {
                failures.push(format!(
                    "{} over {}: before {:?}, after {:?}",
                    target.protocol(),
                    target.family.name(),
                    before.error_kinds,
                    after.error_kinds
                ));
            }
        }
        if failures.is_empty() {
            Ok(())
        } else {
            bail!("there were errors besides those until {name} was noticed missing: {}", failures.join("; "))
        }
    }

    fn member_returns(&mut self) -> Result<()> {
        let member = self.rig.member_mut(LEAVING);
        println!("\n{} comes back", member.name());
        member.start_servers()?;
        member.wait_serving(Duration::from_secs(5))?;
        let took = self.lbd.wait_members("every member to be in use again", Duration::from_secs(20), |members| {
            members.iter().all(|m| m.is_usable() && (m.share_percent > 0.0 || m.effective_weight == 0))
        })?;
        println!("  noticed after {:.2} s", took.as_secs_f64());
        Ok(())
    }
}
