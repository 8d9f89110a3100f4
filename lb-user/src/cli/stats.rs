//! `lbctl stats`.

use std::{
    collections::HashMap,
    thread,
    time::{Duration, Instant},
};

use clap::Args;

use super::{
    Session,
    failure::Failure,
    numbers::{bytes, bytes_per_second, count, per_second},
    output::{self, Format},
    table::{Screen, by_name, listing},
};
use crate::control::{
    protocol::{Request, Response},
    view::{CountersView, StatsView, TrafficView},
};

/// Clears a terminal and goes to its upper left corner.
const CLEAR: &str = "\u{1b}[H\u{1b}[2J";

/// How traffic is shown.
#[derive(Clone, PartialEq, Eq, Debug, Args)]
#[command(after_help = "\
Traffic is counted since the data path was loaded. In is towards the members,
out towards the clients; bytes are counted from the IP header on.

Examples:
  lbctl stats                               totals
  lbctl stats --watch                       rates, every second until Ctrl-C
  lbctl -o json stats --watch 10            totals, an object a line every ten seconds")]
pub(super) struct Options {
    /// Show rates again and again, every so many seconds
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "1",
          value_parser = clap::value_parser!(u64).range(1..=3600))]
    watch: Option<u64>,
}

pub(super) fn run(options: &Options, session: &Session) -> Result<(), Failure> {
    if let Some(seconds) = options.watch {
        return watch(session, Duration::from_secs(seconds));
    }
    let stats = ask(session)?;
    session.output.write(&stats, |screen| totals(&stats, screen))
}

fn ask(session: &Session) -> Result<StatsView, Failure> {
    match session.source.ask(&Request::Stats)? {
        Response::Stats(stats) => Ok(stats),
        _ => Err(Failure::OffTopic),
    }
}

/// Ends with the reader or with lbd.
fn watch(session: &Session, interval: Duration) -> Result<(), Failure> {
    let mut before = (ask(session)?, Instant::now());
    loop {
        if session.output.format == Format::Json {
            output::write(output::json_line(&before.0)?.as_bytes())?;
        }
        thread::sleep(interval);
        let now = (ask(session)?, Instant::now());
        if session.output.format == Format::Table {
            let screen = session.output.screen;
            let clear = if screen.width.is_some() { CLEAR } else { "" };
            let table = rates(&before.0, &now.0, now.1 - before.1, screen);
            output::write(format!("{clear}{table}\n").as_bytes())?;
        }
        before = now;
    }
}

const TOTALS: [&str; 7] = ["FLOWS", "NEW", "REFUSED", "PACKETS IN", "PACKETS OUT", "BYTES IN", "BYTES OUT"];
const RATES: [&str; 7] = ["FLOWS", "NEW/s", "REFUSED/s", "PACKETS IN/s", "PACKETS OUT/s", "BYTES IN/s", "BYTES OUT/s"];

fn totals(stats: &StatsView, screen: Screen) -> String {
    let row = |traffic: &TrafficView| {
        let c = traffic.counters;
        [
            count(traffic.active_flows),
            count(c.flows_new),
            count(c.flows_refused),
            count(c.packets_in),
            count(c.packets_out),
            bytes(c.bytes_in),
            bytes(c.bytes_out),
        ]
    };
    both(stats, TOTALS, screen, row)
}

/// What passed between two looks, a second.
fn rates(before: &StatsView, now: &StatsView, elapsed: Duration, screen: Screen) -> String {
    let earlier: HashMap<&str, &CountersView> =
        before.listeners.iter().chain(&before.members).map(|t| (t.name.as_str(), &t.counters)).collect();
    // Two looks in one moment are no reason to divide by nothing.
    let seconds = elapsed.as_secs_f64().max(0.001);
    let row = |traffic: &TrafficView| {
        let c = traffic.counters;
        // What appeared in between has no rate yet.
        let then = earlier.get(traffic.name.as_str()).map_or(c, |counters| **counters);
        // Counters begin again when a data path does.
        let rate = |now: u64, then: u64| now.saturating_sub(then) as f64 / seconds;
        [
            count(traffic.active_flows),
            per_second(rate(c.flows_new, then.flows_new)),
            per_second(rate(c.flows_refused, then.flows_refused)),
            per_second(rate(c.packets_in, then.packets_in)),
            per_second(rate(c.packets_out, then.packets_out)),
            bytes_per_second(rate(c.bytes_in, then.bytes_in)),
            bytes_per_second(rate(c.bytes_out, then.bytes_out)),
        ]
    };
    both(now, RATES, screen, row)
}

/// Listeners, then members, in the same columns.
fn both(
    stats: &StatsView,
    headings: [&str; 7],
    screen: Screen,
    numbers: impl Fn(&TrafficView) -> [String; 7],
) -> String {
    let table = |what: &'static str, traffic: &[TrafficView]| {
        let mut traffic: Vec<&TrafficView> = traffic.iter().collect();
        traffic.sort_by(|a, b| by_name(&a.name, &b.name));
        let rows = traffic.into_iter().map(|t| {
            let [flows, new, refused, packets_in, packets_out, bytes_in, bytes_out] = numbers(t);
            [t.name.clone(), flows, new, refused, packets_in, packets_out, bytes_in, bytes_out]
        });
        let [flows, new, refused, packets_in, packets_out, bytes_in, bytes_out] = headings;
        let named = [what, flows, new, refused, packets_in, packets_out, bytes_in, bytes_out];
        listing(screen, named, &headings, rows)
    };
    format!("{}\n{}", table("LISTENER", &stats.listeners), table("MEMBER", &stats.members))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::sample;

    #[test]
    fn totals_are_of_listeners_and_then_of_members() {
        assert_eq!(
            totals(&sample::stats(), Screen::default()),
            "LISTENER  FLOWS     NEW  REFUSED  PACKETS IN  PACKETS OUT  BYTES IN  BYTES OUT\n\
             web/http     42  12.3 k        7       1.0 M        999 k   4.5 MiB    1.0 GiB\n\
             \n\
             MEMBER         FLOWS     NEW  REFUSED  PACKETS IN  PACKETS OUT  BYTES IN  BYTES OUT\n\
             web/app/app-1     42  12.3 k        7       1.0 M        999 k   4.5 MiB    1.0 GiB\n"
        );
    }

    #[test]
    fn rates_are_what_passed_in_a_second() {
        let before = sample::stats();
        let mut now = before.clone();
        now.listeners[0].counters.flows_new += 30;
        now.listeners[0].counters.bytes_out += 4 << 20;
        // The member's data path was loaded anew, and another one has appeared.
        now.members[0].counters.packets_in = 0;
        let mut late = now.members[0].clone();
        (late.name, late.counters.packets_in) = ("web/app/late".to_owned(), 5000);
        now.members.push(late);
        let text = rates(&before, &now, Duration::from_secs(2), Screen::default());
        let row = |name: &str| -> Vec<String> {
            let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
            line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).map(str::to_owned).collect()
        };
        assert_eq!(row("web/http"), ["web/http", "42", "15", "0", "0", "0", "0 B", "2.0 MiB"]);
        assert_eq!(row("web/app/app-1"), ["web/app/app-1", "42", "0", "0", "0", "0", "0 B", "0 B"]);
        assert_eq!(row("web/app/late")[4], "0");
    }
}
