//! `krater-rig run --ha` and `up --ha`: two balancers, a planned and an
//! unplanned failover under live traffic, and what its clients noticed.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};

use super::hints;
use crate::rig::{
    Family, Side,
    connections::{Connections, Outcome},
    duo::Duo,
    load::{Background, Kind, Load, Report},
    pair::Pair,
    pool_file::Standby,
    prober::{self, Figures, Target},
};

/// Before and after each failover.
const STEADY: Duration = Duration::from_millis(800);
/// TCP tries again after ever longer pauses.
const PATIENCE: Duration = Duration::from_secs(30);
/// Longer than either failover takes at any sensible interval.
const LIMIT: Duration = Duration::from_secs(20);
/// What a busy machine may add to the protocol's own time.
const ALLOWANCE: Duration = Duration::from_millis(250);

/// Datagrams that a planned failover may lose: of a flow that nobody has
/// answered yet the other balancer is not told, and the answer goes to that one.
const FIRST_OF_A_FLOW: u64 = 1;

/// What is shown.
#[derive(Clone, Copy, Debug)]
pub(super) struct Show {
    /// How the balancers stand by each other.
    pub(super) standby: Standby,
    /// Connections to hold open, over each family.
    pub(super) connections: usize,
}

/// Raises a pair, demonstrates both failovers and, unless `keep`, removes it.
pub(super) fn run(show: Show, keep: bool) -> Result<()> {
    let start = Instant::now();
    let mut duo = raise(show.standby)?;
    let demonstrated = demonstrate(&mut duo, show);
    if let Err(error) = &demonstrated {
        eprintln!("\nkrater-rig: {error:#}\n{}", duo.account());
    }
    if keep {
        hints::print_pair(duo.pair())?;
        duo.keep()?;
    } else {
        drop(duo);
    }
    demonstrated.context("the demonstration failed")?;
    println!("\nAll of it worked, in {:.1} s.", start.elapsed().as_secs_f64());
    Ok(())
}

/// Raises a pair and leaves it up.
pub(super) fn up(show: Show) -> Result<()> {
    let duo = raise(show.standby)?;
    print_routers(&duo)?;
    hints::print_pair(duo.pair())?;
    duo.keep()
}

fn raise(standby: Standby) -> Result<Duo> {
    println!("raising client – two balancers – three members, each with nginx, a UDP server and a TCP echo");
    let pair = Pair::up(true).context("raise the pair")?;
    let nodes = pair.recorder().snapshot().namespaces.join(", ");
    println!("  rig {} is up in {:.2} s: {nodes}", pair.id(), pair.raised_in().as_secs_f64());
    let start = Instant::now();
    let duo = Duo::on(pair, standby, |_, _| {}).context("start lbd on both")?;
    println!(
        "  lbd is process {} in lb-a and {} in lb-b; lb-a is Active and lb-b stands by after {:.2} s",
        duo.lbd(Side::A).pid(),
        duo.lbd(Side::B).pid(),
        start.elapsed().as_secs_f64()
    );
    Ok(duo)
}

/// What an operator would see.
fn print_routers(duo: &Duo) -> Result<()> {
    for side in Side::BOTH {
        let shown = duo.lbctl(side, &["vrrp", "show"])?.stdout;
        println!("\n{}: lbctl vrrp show", side.node());
        shown.lines().for_each(|line| println!("  {line}"));
    }
    Ok(())
}

/// A failover and what was noticed of it.
struct Act {
    name: &'static str,
    /// How long the VIPs may be unanswered.
    allowed: Duration,
    probes: Vec<(Target, Figures)>,
    requests: Vec<(Kind, Family, Report)>,
}

fn demonstrate(duo: &mut Duo, show: Show) -> Result<()> {
    print_routers(duo)?;
    let client = duo.pair().client().name().to_owned();
    println!("\nopening {} connections over each family, a quarter of them busy", show.connections);
    let before = duo.adopted(Side::B)?;
    let mut held = Vec::new();
    for family in Family::BOTH {
        let plan = Duo::connections(family, show.connections, show.connections / 4);
        held.push((family, Connections::open(&client, plan)?));
    }
    let took = duo.wait_adopted(Side::B, before + u64::try_from(2 * show.connections)?)?;
    println!("  lb-b knows of all of them after {:.2} s", took.as_secs_f64());

    println!("\nplanned: lbctl vrrp failover at lb-a, under HTTP and UDP requests and 1 ms probes");
    let planned = act(duo, "planned", Duration::ZERO, |duo| {
        duo.failover(Side::A)?;
        duo.wait_order(Side::B, LIMIT)
    })?;
    println!("\nunplanned: the switch ports of lb-b's host go down, under the same");
    let limit = duo.active_down(Side::A) + ALLOWANCE;
    let unplanned = act(duo, "host death", limit, |duo| {
        duo.pair().unplug(Side::B)?;
        duo.wait_active(Side::A, LIMIT)
    })?;
    println!("\nasking every connection for one more line");
    let outcomes = held
        .into_iter()
        .map(|(family, connections)| Ok((family, connections.settle(PATIENCE)?)))
        .collect::<Result<Vec<_>>>()?;

    let acts = [planned, unplanned];
    print_acts(&acts);
    print_outcomes(&outcomes);
    println!("\nlb-b's host comes back");
    duo.pair().plug_in(Side::B)?;
    let took = duo.wait_order(Side::A, LIMIT)?;
    println!("  it stands by after {:.2} s", took.as_secs_f64());
    print_routers(duo)?;

    let complaints: Vec<String> =
        acts.iter().flat_map(Act::complaints).chain(outcomes.iter().filter_map(complaint)).collect();
    if complaints.is_empty() { Ok(()) } else { bail!("{}", complaints.join("\n")) }
}

/// Lets something happen under traffic; returns what was noticed.
fn act(
    duo: &mut Duo,
    name: &'static str,
    allowed: Duration,
    event: impl FnOnce(&mut Duo) -> Result<Duration>,
) -> Result<Act> {
    let client = duo.pair().client().name().to_owned();
    let mut loads = Vec::new();
    for family in Family::BOTH {
        let [tcp, udp] = Duo::listeners(family);
        for (kind, target) in [(Kind::Http, tcp), (Kind::Udp, udp)] {
            loads.push((kind, family, Background::start(&client, Load::trickle(kind, target))));
        }
    }
    let (traces, took) = prober::around(&client, &Duo::all_probes(), [STEADY, STEADY], || event(duo))?;
    println!("  the other one is Active {:.0} ms later, as lbctl sees it", took.as_secs_f64() * 1e3);
    let requests = loads
        .into_iter()
        .map(|(kind, family, load)| Ok((kind, family, Report::of(&load.finish()?))))
        .collect::<Result<Vec<_>>>()?;
    let probes = traces.iter().map(|trace| (trace.target, trace.figures())).collect();
    Ok(Act { name, allowed, probes, requests })
}

impl Act {
    /// What should not have been noticed.
    fn complaints(&self) -> Vec<String> {
        let mut words = Vec::new();
        for (target, figures) in &self.probes {
            if !figures.recovered || figures.gap > self.allowed {
                words.push(format!("{}, {target}: {figures}; {:?} are allowed", self.name, self.allowed));
            }
        }
        for (kind, family, report) in &self.requests {
            // A datagram that is lost is lost, and which ones the probes tell; a connection is to go on.
            let excused = match kind {
                Kind::Http => 0,
                Kind::Udp if self.allowed.is_zero() => FIRST_OF_A_FLOW,
                Kind::Udp => u64::MAX,
            };
            if report.errors > excused {
                let kinds = &report.error_kinds;
                words.push(format!("{}, {} over {}: {kinds:?}", self.name, protocol(*kind), family.name()));
            }
        }
        words
    }
}

fn complaint((family, outcome): &(Family, Outcome)) -> Option<String> {
    let words = outcome.complaints();
    (!words.is_empty()).then(|| format!("connections over {}: {words}", family.name()))
}

const fn protocol(kind: Kind) -> &'static str {
    match kind {
        Kind::Http => "HTTP",
        Kind::Udp => "UDP",
    }
}

fn table(header: &[&str], rows: Vec<Vec<String>>, text_columns: usize) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header);
    table.add_rows(rows);
    for index in text_columns..table.column_count() {
        if let Some(column) = table.column_mut(index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

fn print_acts(acts: &[Act]) {
    let mut rows = Vec::new();
    for act in acts {
        for (target, figures) in &act.probes {
            rows.push(vec![
                act.name.to_owned(),
                format!("1 ms probes, {target}"),
                figures.sent.to_string(),
                figures.lost.to_string(),
                format!("{:.1}", figures.gap.as_secs_f64() * 1e3),
                figures.duplicates.to_string(),
            ]);
        }
        for (kind, family, report) in &act.requests {
            let what = format!("{} requests over {}", protocol(*kind), family.name());
            let (none, sent, errors) = (String::new(), report.requests.to_string(), report.errors.to_string());
            rows.push(vec![act.name.to_owned(), what, sent, errors, none.clone(), none]);
        }
    }
    println!("\n{}", table(&["failover", "what was sent", "sent", "lost", "gap ms", "twice answered"], rows, 2));
}

fn print_outcomes(outcomes: &[(Family, Outcome)]) {
    let row = |(family, outcome): &(Family, Outcome)| {
        vec![
            family.name().to_owned(),
            outcome.opened.to_string(),
            outcome.busy.to_string(),
            outcome.resets.to_string(),
            (outcome.ended.values().sum::<usize>() - outcome.resets).to_string(),
            outcome.wrong.to_string(),
            outcome.unanswered.to_string(),
            outcome.resumed.to_string(),
            format!("{:.0}", outcome.longest_wait.as_secs_f64() * 1e3),
        ]
    };
    let header = [
        "connections",
        "open",
        "busy",
        "reset",
        "ended otherwise",
        "wrong bytes",
        "unanswered",
        "resumed",
        "longest wait ms",
    ];
    println!("{}", table(&header, outcomes.iter().map(row).collect(), 1));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rig::prober::Probe;

    fn act(name: &'static str, allowed: u64, gap: u64, kind: Kind) -> Act {
        let figures = Figures {
            sent: 1000,
            lost: gap,
            gap: Duration::from_millis(gap),
            gap_at: Duration::ZERO,
            recovered: true,
            duplicates: 0,
            p99: Duration::ZERO,
            coarsest: Duration::ZERO,
        };
        let report = Report { requests: 10, errors: gap.min(1), ..Report::default() };
        Act {
            name,
            allowed: Duration::from_millis(allowed),
            probes: vec![(Target { probe: Probe::Udp, address: Family::V4.vip() }, figures)],
            requests: vec![(kind, Family::V4, report)],
        }
    }

    #[test]
    fn a_planned_failover_may_lose_no_probe_and_an_unplanned_one_only_datagrams_for_a_while() {
        assert!(act("planned", 0, 0, Kind::Udp).complaints().is_empty());
        assert_eq!(act("planned", 0, 1, Kind::Http).complaints().len(), 2);
        assert!(act("host death", 400, 300, Kind::Udp).complaints().is_empty());
        assert_eq!(act("host death", 400, 500, Kind::Udp).complaints().len(), 1);
        assert_eq!(act("host death", 400, 300, Kind::Http).complaints().len(), 1);
    }

    #[test]
    fn connections_that_were_reset_are_complained_of() {
        let mut outcome = Outcome { opened: 2, resumed: 1, resets: 1, ..Outcome::default() };
        outcome.ended.insert("reset".to_owned(), 1);
        assert!(complaint(&(Family::V6, outcome)).is_some_and(|words| words.contains("IPv6: 1 ended (reset)")));
        assert_eq!(complaint(&(Family::V4, Outcome::default())), None);
    }
}
