//! A rig whose members have servers of the test's choice, and questions to ask them.

use std::{
    net::SocketAddr,
    sync::atomic::AtomicBool,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use krater_tests::rig::{
    Family, Options, Rig, Topology,
    addresses::{LISTENER_TCP, LISTENER_UDP},
    backends::{
        Crowd,
        tcp::{Manner, TcpServer},
    },
    health::{Details, Health},
    lbd::{Answer, Ctl, Lbd, MemberStatus},
    load::{self, Background, Kind, Load, Report},
    pool_file::{HealthMonitor, Listener, Member, Pool, PoolFile},
    wait,
};
use serde_json::Value;

/// Longer than anything here takes, on a machine that does much else.
pub(crate) const LONG: Duration = Duration::from_secs(30);
/// Where [`Stage::doctors`] listen.
pub(crate) const DOCTOR_PORT: u16 = 8081;
/// The first listener port of questions.
const FIRST_PORT: u16 = 1000;

/// A rig, and the thread its servers run on.
pub(crate) struct Stage {
    // Dropped in this order.
    pub(crate) crowd: Crowd,
    pub(crate) rig: Rig,
}

/// A running lbd with its pool file.
pub(crate) struct Balancer {
    pub(crate) lbd: Lbd,
    pub(crate) file: PoolFile,
}

/// What a monitor asks of whom, and what it should make of it.
pub(crate) struct Question {
    name: &'static str,
    monitor: HealthMonitor,
    member: usize,
    port: u16,
    expect: Expect,
}

/// What a monitor should make of a member.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Expect {
    /// It is up, and the last probe met this.
    Up(&'static str),
    /// It is down, for a reason with this in it, or with one of these, between bars.
    Down(&'static str),
}

/// A monitor that gives a busy machine time to answer.
pub(crate) fn patient(kind: &str) -> HealthMonitor {
    HealthMonitor { timeout: 3.0, ..HealthMonitor::of(kind) }
}

/// A monitor whose members are not going to answer.
pub(crate) fn hasty(kind: &str) -> HealthMonitor {
    HealthMonitor { timeout: 0.3, ..HealthMonitor::of(kind) }
}

/// Asks member `member` (from 0) at a port.
pub(crate) fn ask(
    name: &'static str,
    monitor: HealthMonitor,
    (member, port): (usize, u16),
    expect: Expect,
) -> Question {
    Question { name, monitor, member, port, expect }
}

/// The TCP listener of a family, in the rig's usual pool file.
pub(crate) fn tcp(family: Family) -> SocketAddr {
    SocketAddr::new(family.vip(), LISTENER_TCP)
}

/// The UDP listener of a family, in the rig's usual pool file.
pub(crate) fn udp(family: Family) -> SocketAddr {
    SocketAddr::new(family.vip(), LISTENER_UDP)
}

/// The name of a family's load balancer.
pub(crate) const fn balancer_of(family: Family) -> &'static str {
    match family {
        Family::V4 => "web4",
        Family::V6 => "web6",
    }
}

/// Whether a text has one of these in it, between bars.
fn has_any(text: &str, words: &str) -> bool {
    words.split('|').any(|word| text.contains(word))
}

impl Stage {
    pub(crate) fn raise() -> Result<Self> {
        Ok(Self { crowd: Crowd::gather()?, rig: Rig::up(Options::default())? })
    }

    /// Beside each member's web server, at each of its addresses, one that only the
    /// monitor asks: two for each member, in their order.
    pub(crate) fn doctors(&self, manner: Manner) -> Result<Vec<TcpServer>> {
        let mut doctors = Vec::new();
        for member in self.rig.members() {
            for address in member.addresses() {
                let address = SocketAddr::new(address, DOCTOR_PORT);
                doctors.push(TcpServer::start(&self.crowd, member.namespace(), address, manner)?);
            }
        }
        Ok(doctors)
    }

    /// Where member `member` (from 0) has a port.
    pub(crate) fn at(&self, member: usize, family: Family, port: u16) -> SocketAddr {
        let [v4, v6] = self.rig.member(member).addresses();
        SocketAddr::new(if family == Family::V4 { v4 } else { v6 }, port)
    }

    /// The rig's usual pool file.
    pub(crate) fn file(&self) -> PoolFile {
        PoolFile::for_rig(Topology::TwoArmed, self.rig.paths())
    }

    /// A pool file with a pool for each question and family, and nothing else.
    pub(crate) fn file_of(&self, questions: &[Question], families: &[Family]) -> PoolFile {
        let mut file = self.file();
        file.loadbalancer.retain(|balancer| families.iter().any(|family| balancer.name == balancer_of(*family)));
        for (balancer, family) in file.loadbalancer.iter_mut().zip(families) {
            (balancer.listener, balancer.pool) = questions
                .iter()
                .zip(FIRST_PORT..)
                .map(|(question, port)| {
                    let datagrams = ["UDP-CONNECT", "SCTP"].contains(&question.monitor.kind.as_str());
                    let protocol = if datagrams { "UDP" } else { "TCP" };
                    let name = question.name;
                    let address = self.at(question.member, *family, question.port).ip();
                    let member = Member::new("m", address, question.port);
                    let pool = Pool::new(name, protocol, vec![member], Some(question.monitor.clone()));
                    (Listener::new(name, protocol, port, name), pool)
                })
                .unzip();
        }
        file
    }

    /// Starts lbd.
    pub(crate) fn balance(&self, file: PoolFile) -> Result<Balancer> {
        let lbd = Lbd::start(&self.rig, &file.text()?)?;
        Ok(Balancer { lbd, file })
    }

    /// Starts lbd with questions over both families and waits until it makes of
    /// the members what it should.
    pub(crate) fn expect(&self, questions: &[Question]) -> Result<Balancer> {
        let balancer = self.balance(self.file_of(questions, &Family::BOTH))?;
        balancer.expect(questions)?;
        Ok(balancer)
    }

    /// Sends requests from the client and sums them up.
    pub(crate) fn drive(&self, kind: Kind, target: SocketAddr, requests: u64) -> Result<Report> {
        let load = Load::new(kind, target, requests);
        let samples = self.rig.client().enter(|| Ok(load::run(&load, &AtomicBool::new(false))))?;
        Ok(Report::of(&samples))
    }

    /// Sends requests, none of which may fail, and checks that just these members
    /// get them.
    pub(crate) fn expect_served_by(&self, kind: Kind, target: SocketAddr, members: &[&str]) -> Result<()> {
        let report = self.drive(kind, target, 60)?;
        ensure!(report.errors == 0, "{kind:?} to {target}: {:?}", report.error_kinds);
        let served: Vec<&str> = report.members.keys().map(String::as_str).collect();
        ensure!(served == members, "{kind:?} to {target} went to {served:?}, and should go to {members:?}");
        Ok(())
    }

    /// A trickle of requests beside whatever else happens.
    pub(crate) fn trickle(&self, kind: Kind, target: SocketAddr) -> Background {
        Background::start(self.rig.client().name(), Load::trickle(kind, target))
    }
}

impl Balancer {
    pub(crate) fn ctl(&self) -> Ctl {
        self.lbd.ctl()
    }

    /// Lbctl, which has to succeed.
    pub(crate) fn lbctl(&self, arguments: &[&str]) -> Result<Answer> {
        let answer = self.ctl().run(arguments)?;
        ensure!(answer.status.success(), "lbctl {}: {}: {}", arguments.join(" "), answer.status, answer.stderr);
        Ok(answer)
    }

    /// A member.
    pub(crate) fn member(&self, name: &str) -> Result<MemberStatus> {
        let members = self.ctl().members()?;
        members.into_iter().find(|m| m.name == name).with_context(|| format!("there is no member {name}"))
    }

    /// What the monitor knows of a member.
    pub(crate) fn health(&self, name: &str) -> Result<Details> {
        Details::of(&self.ctl(), name)
    }

    /// Waits for something about lbd; its log is added to a failure.
    pub(crate) fn wait(&self, what: &str, holds: impl FnMut() -> Result<bool>) -> Result<Duration> {
        wait::until_true(what, LONG, holds).with_context(|| self.lbd.log_tail())
    }

    /// Waits until a member has a status.
    pub(crate) fn wait_status(&self, name: &str, status: &str) -> Result<()> {
        self.wait(&format!("{name} to be {status}"), || {
            let member = self.member(name)?;
            let reason = member.status_reason.unwrap_or_default();
            ensure!(member.operating_status == status, "it is {}: {reason}", member.operating_status);
            Ok(true)
        })
        .map(drop)
    }

    /// Waits until a member is down for a reason with these words in it.
    pub(crate) fn wait_down(&self, name: &str, why: &str) -> Result<()> {
        self.wait(&format!("{name} to be down: {why}"), || {
            let member = self.member(name)?;
            let reason = member.status_reason.unwrap_or_default();
            ensure!(
                member.operating_status == "ERROR" && has_any(&reason, why),
                "it is {}: {reason}",
                member.operating_status
            );
            Ok(true)
        })
        .map(drop)
    }

    /// Waits until every member of every pool is up and has been probed.
    pub(crate) fn wait_all_up(&self) -> Result<()> {
        self.lbd.wait_all_usable()?;
        self.wait("every member to have answered", || {
            let all = Health::all(&self.ctl())?;
            ensure!(!all.is_empty(), "nobody is watched");
            match all.iter().find(|health| !health.is_up()) {
                Some(health) => anyhow::bail!("{health:?}"),
                None => Ok(true),
            }
        })
        .map(drop)
    }

    /// Waits until lbd makes of the members what it should.
    pub(crate) fn expect(&self, questions: &[Question]) -> Result<()> {
        self.wait("every verdict to be as expected", || {
            let complaints = self.complaints(questions)?;
            ensure!(complaints.is_empty(), "\n  {}", complaints.join("\n  "));
            Ok(true)
        })
        .map(drop)
    }

    fn complaints(&self, questions: &[Question]) -> Result<Vec<String>> {
        let (members, watched) = (self.ctl().members()?, Health::all(&self.ctl())?);
        let mut complaints = Vec::new();
        for member in &members {
            let pool = member.name.split('/').nth(1).unwrap_or_default();
            let question = questions.iter().find(|question| question.name == pool);
            let question = question.with_context(|| format!("nobody asked {}", member.name))?;
            let Some(health) = watched.iter().find(|health| health.name == member.name) else {
                complaints.push(format!("{} is not watched", member.name));
                continue;
            };
            let (status, reason) = (member.operating_status.as_str(), member.status_reason.as_deref().unwrap_or(""));
            let holds = match question.expect {
                Expect::Up(met) => status == "ONLINE" && health.is_up() && health.last_text() == met,
                Expect::Down(why) => status == "ERROR" && health.is_down() && has_any(reason, why),
            };
            if !holds {
                let last = health.last_text();
                complaints.push(format!(
                    "{} should be {:?} and is {status} ({reason:?}), last met {last:?}",
                    member.name, question.expect
                ));
            }
        }
        Ok(complaints)
    }

    /// Replaces the pool file by `self.file` and waits until lbd has taken it.
    pub(crate) fn reload(&self) -> Result<()> {
        let reloads = || Ok::<_, anyhow::Error>(self.ctl().json(&["status"])?["daemon"]["reloads"].as_u64());
        let before = reloads()?.context("`lbctl status` shows no count of reloads")?;
        self.lbd.reload(&self.file.text()?)?;
        self.wait("lbd to take the new pool file", || Ok(reloads()? > Some(before))).map(drop)
    }

    /// The events so far, oldest first.
    pub(crate) fn events(&self) -> Result<Vec<Value>> {
        let answer = self.lbctl(&["-o", "json", "events"])?;
        let lines = answer.stdout.lines().map(serde_json::from_str);
        lines.collect::<Result<_, _>>().context("read `lbctl events -o json`")
    }

    /// The events of a kind about a subject, oldest first.
    pub(crate) fn events_of(&self, kind: &str, subject: &str) -> Result<Vec<Value>> {
        let events = self.events()?;
        Ok(events.into_iter().filter(|event| event["kind"] == kind && event["subject"] == subject).collect())
    }
}

/// The requests that began at or after a moment, none of which may have failed
/// or gone to `gone`.
pub(crate) fn expect_moved(load: Background, moment: Instant, gone: &str) -> Result<()> {
    let samples = load.finish()?;
    let report = Report::of(samples.iter().filter(|sample| sample.started >= moment));
    ensure!(report.requests > 10, "only {} requests were sent", report.requests);
    ensure!(report.errors == 0, "{} of {} failed: {:?}", report.errors, report.requests, report.error_kinds);
    ensure!(report.answered_by(gone) == 0, "{gone} still got {}", report.answered_by(gone));
    Ok(())
}
