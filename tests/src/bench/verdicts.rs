//! Measures how long it takes from a monitor's verdict to tables without the
//! member: the controller's part of it, with nothing else to do.
//!
//! The data plane is the kernel's; with `--memory` it is the one in ordinary
//! memory, to see what the kernel adds.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr},
    num::NonZeroU16,
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context as _, Result, anyhow, ensure};
use clap::Args;
use lb_common::{config::IdleLimits, limits::MAX_SLOTS, mac::Mac, protocol::Transport};
use lb_health::{Failure, Handshake, Outcome};
use lb_user::{
    compile::{MemberKey, Overrides, Verdict},
    control::view::DaemonView,
    controller::Controller,
    dataplane::{
        Dataplane, Describe, NextHop, Rehearse, Statistics,
        kernel::{KernelDataplane, KernelOptions},
        memory::MemoryDataplane,
    },
    health::HealthEvent,
    model::{
        Algorithm, ForwardMode, HealthMonitor, Listener, LoadBalancer, Member, Model, MonitorKind, MssClamp, Name,
        OnMemberDown, Pool, ProbePath, Topology, TransitionHold, Weight,
    },
    net::Hops,
};

use super::{machine, scene};

/// What was typed.
#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// Verdicts that are measured of each size
    #[arg(long, default_value_t = 400, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rounds: u32,
    /// Measure over ordinary memory, without a kernel
    #[arg(long)]
    memory: bool,
}

/// Pools, and members of each.
const SIZES: [(u16, u16); 3] = [(1, 1000), (100, 100), (1, 10_000)];

/// Measures all sizes and prints what came out.
pub(super) fn carry_out(arguments: &Arguments) -> Result<()> {
    println!(
        "{:>6} {:>8} {:>12} {:>10} {:>10} {:>10}  milliseconds",
        "pools", "members", "all anew", "median", "p99", "max"
    );
    if !arguments.memory {
        machine::leave_the_network()?;
        scene::remove_leftovers();
    }
    for (pools, members) in SIZES {
        let figures = if arguments.memory {
            measure(MemoryDataplane::new(&options(), MAX_SLOTS), pools, members, arguments.rounds)?
        } else {
            let pins = scene::Pins::new();
            let options = KernelOptions { pin_path: pins.0.clone(), ..options() };
            let (dataplane, _) = KernelDataplane::load(&options).context("load the data path")?;
            measure(dataplane, pools, members, arguments.rounds)?
        };
        let millis = |took: Duration| took.as_secs_f64() * 1000.0;
        let Figures { anew, mut verdicts } = figures;
        verdicts.sort_unstable();
        let at = |share: usize| verdicts.get((verdicts.len() - 1) * share / 100).copied().unwrap_or_default();
        println!(
            "{pools:>6} {:>8} {:>12.2} {:>10.3} {:>10.3} {:>10.3}",
            u32::from(pools) * u32::from(members),
            millis(anew),
            millis(at(50)),
            millis(at(99)),
            millis(at(100)),
        );
    }
    Ok(())
}

struct Figures {
    /// To compile, read and compare everything, with nothing to do.
    anew: Duration,
    /// Each from the verdict to the last word written.
    verdicts: Vec<Duration>,
}

fn measure<D: Dataplane + Statistics + Describe + Rehearse>(
    dataplane: D,
    pools: u16,
    members: u16,
    rounds: u32,
) -> Result<Figures> {
    let model = model(pools, members)?;
    let keys: Vec<MemberKey> = model
        .load_balancers()
        .iter()
        .flat_map(|lb| lb.pools.iter().map(move |pool| (lb, pool)))
        .flat_map(|(lb, pool)| pool.members.iter().map(move |member| MemberKey::of(lb, pool, member)))
        .collect();
    let mut controller = Controller::new(dataplane, model, Overrides::default(), DaemonView::default())?;
    controller.watch(keys.iter().cloned().collect::<BTreeSet<_>>());
    let hop = NextHop { destination: Mac([2, 0, 0, 0, 0, 1]), source: Mac([2, 0, 0, 0, 0, 2]), port: 0 };
    controller.set_hops(&Hops { next_hops: keys.iter().map(|key| (key.address, hop)).collect(), ..Hops::default() });
    ensure!(controller.converge(), "{:?}", controller.behind());
    for key in &keys {
        controller.set_verdict(&event(key, Verdict::Up));
    }
    ensure!(controller.follow(), "{:?}", controller.behind());
    let began = Instant::now();
    ensure!(controller.converge(), "{:?}", controller.behind());
    let anew = began.elapsed();

    let mut verdicts = Vec::new();
    for round in 0..rounds {
        // A step that is prime to the number of members meets all of them.
        let key = &keys[(round as usize / 2 * 7919) % keys.len()];
        let event = event(key, if round % 2 == 0 { Verdict::Down } else { Verdict::Up });
        let began = Instant::now();
        controller.set_verdict(&event);
        let followed = controller.follow();
        verdicts.push(began.elapsed());
        ensure!(followed, "round {round}: {:?}", controller.behind());
    }
    Ok(Figures { anew, verdicts })
}

fn event(member: &MemberKey, verdict: Verdict) -> HealthEvent {
    HealthEvent {
        member: member.clone(),
        verdict,
        outcome: Outcome::Fails(Failure::Told("measured")),
        at: SystemTime::now(),
        decided: Instant::now(),
    }
}

/// What a data path is loaded with; the pins are still to be said.
pub(super) fn options() -> KernelOptions {
    KernelOptions {
        pin_path: "unused".into(),
        max_flows: 1024,
        hash_seed: 0x6a09_e667_f3bc_c908,
        snat_ports: (16384, 65535),
        idle_seconds: IdleLimits { unconfirmed: 10, tcp: 600, tcp_closing: 20, udp: 60 },
    }
}

/// One load balancer with so many listeners, each with a pool of its own.
fn model(pools: u16, members: u16) -> Result<Model> {
    let name = |text: String| Name::new(text).map_err(|e| anyhow!("{e}"));
    let port = |number: u16| NonZeroU16::new(number).context("a port is not zero");
    let monitor = HealthMonitor {
        kind: MonitorKind::Tcp(Handshake::Half),
        delay: Duration::from_secs(1),
        timeout: Duration::from_secs(1),
        max_retries: 3,
        max_retries_down: 3,
        flap_damping: true,
        probe_path: ProbePath::Member,
        admin_state_up: true,
    };
    let (mut listeners, mut made) = (Vec::new(), Vec::new());
    for number in 0..pools {
        let member = |n: u16| -> Result<Member> {
            let place = u32::from(number) * u32::from(members) + u32::from(n) + 1;
            Ok(Member {
                name: name(format!("m{n}"))?,
                address: IpAddr::V4(Ipv4Addr::from(0x0a00_0000 | place)),
                protocol_port: port(8080)?,
                weight: Weight::default(),
                backup: false,
                connection_limit: None,
                admin_state_up: true,
                monitor_address: None,
                monitor_port: None,
            })
        };
        made.push(Pool {
            name: name(format!("pool-{number}"))?,
            protocol: Transport::Tcp,
            lb_algorithm: Algorithm::SourceIpPort,
            forward_mode: ForwardMode::Nat,
            session_persistence: None,
            mss_clamp: MssClamp::Off,
            transition_hold: TransitionHold::default(),
            admin_state_up: true,
            members: (0..members).map(member).collect::<Result<_>>()?,
            health_monitor: Some(monitor.clone()),
            on_member_down: OnMemberDown::Keep,
            panic_threshold: None,
        });
        listeners.push(Listener {
            name: name(format!("listener-{number}"))?,
            protocol: Transport::Tcp,
            protocol_port: port(1000 + number)?,
            default_pool: Some(name(format!("pool-{number}"))?),
            allowed_cidrs: Vec::new(),
            connection_limit: None,
            new_flows_per_source: None,
            admin_state_up: true,
        });
    }
    let lb = LoadBalancer {
        name: name("scale".to_owned())?,
        vip_address: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
        topology: Topology::Single,
        admin_state_up: true,
        listeners,
        pools: made,
    };
    Model::new(vec![lb]).map_err(|errors| anyhow!("{errors:?}"))
}
