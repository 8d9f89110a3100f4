//! `lbctl trace`.

use std::{
    net::{IpAddr, SocketAddr},
    os::fd::AsFd as _,
    path::PathBuf,
    time::{Duration, Instant, SystemTime},
};

use clap::{Args, ValueEnum};
use nix::{
    net::if_::if_indextoname,
    sys::{
        signal::{SigSet, Signal},
        signalfd::{SfdFlags, SignalFd},
    },
};
use serde::Serialize;

use super::{
    Session,
    failure::{Failure, tell},
    output::{self, Format},
    reach::Source,
    table::{Screen, line},
};
use crate::{
    control::{
        moment::rfc3339,
        protocol::{Request, Response},
    },
    dataplane::{Fate, TraceWanted, Traced, Tracer},
};

/// How long one wait for packets lasts, in milliseconds. After each it is looked
/// whether anybody still reads what is written.
const WAIT_MILLIS: u16 = 500;

/// Which packets are watched, and how many.
#[derive(Clone, PartialEq, Eq, Debug, Args)]
#[command(after_help = "\
Packets are told as they came, with what became of them; a reason to drop is
explained by `lbctl drops`. The maps are read where lbd has pinned them, which
takes root. One trace runs at a time, and it ends what it switched on; while none
runs, it costs the data path nothing. Fragments match by address alone, packets
with IPv6 extension headers by address and first header.

Examples:
  lbctl trace                               the next 100 packets
  lbctl trace --host 198.51.100.7 --port 443
  lbctl trace --host 198.51.100.0/24 --fate dropped --count 20
  lbctl trace --protocol udp --for 10       for ten seconds
  lbctl -o json trace --fate dropped | jq -r .reason")]
pub(super) struct Options {
    /// Either end: an address or a network
    #[arg(long, value_name = "ADDRESS[/LENGTH]", value_parser = network)]
    host: Option<(IpAddr, u8)>,

    /// The port of either end
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,

    /// What they carry: tcp, udp, sctp, icmp, icmp6, or a number
    #[arg(long, value_name = "PROTOCOL", value_parser = protocol)]
    protocol: Option<u8>,

    /// What became of them
    #[arg(long, value_name = "FATE", value_enum)]
    fate: Option<FateWanted>,

    /// How many at most
    #[arg(short = 'n', long, value_name = "N", default_value_t = 100,
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    count: u32,

    /// For how long, in seconds [default: until --count or Ctrl-C]
    #[arg(long = "for", value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: Option<u64>,
}

/// What became of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum FateWanted {
    // Left to the host.
    Passed,
    // Ended.
    Dropped,
    // Sent out by the interface they came in by.
    Returned,
    // Sent out by another.
    Redirected,
}

fn network(text: &str) -> Result<(IpAddr, u8), String> {
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, Some(length)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().map_err(|_| format!("{address} is no IP address"))?;
    let bits = if address.is_ipv4() { 32 } else { 128 };
    match length.map(str::parse) {
        None => Ok((address, bits)),
        Some(Ok(length)) if length <= bits => Ok((address, length)),
        Some(_) => Err(format!("the length of a network is a number up to {bits} here")),
    }
}

fn protocol(text: &str) -> Result<u8, String> {
    let known = PROTOCOLS.iter().find(|(_, name)| name.eq_ignore_ascii_case(text)).map(|(number, _)| *number);
    let number = known.or_else(|| text.parse().ok()).filter(|number| *number != 0);
    number.ok_or_else(|| "neither tcp, udp, sctp, icmp, icmp6 nor a number from 1 to 255".to_owned())
}

const PROTOCOLS: [(u8, &str); 5] = [(6, "TCP"), (17, "UDP"), (132, "SCTP"), (1, "ICMP"), (58, "ICMP6")];

impl Options {
    fn wanted(&self) -> TraceWanted {
        TraceWanted {
            network: self.host,
            port: self.port,
            protocol: self.protocol,
            ipv6: None,
            fate: self.fate.map(|fate| match fate {
                FateWanted::Passed => Fate::Passed,
                FateWanted::Dropped => Fate::Dropped,
                FateWanted::Returned => Fate::Returned,
                FateWanted::Redirected => Fate::Redirected,
            }),
        }
    }
}

/// A packet as a record.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
struct TracedView {
    time: String,
    interface: String,
    length: u16,
    protocol: Option<String>,
    source: Option<IpAddr>,
    source_port: Option<u16>,
    destination: Option<IpAddr>,
    destination_port: Option<u16>,
    tcp_flags: Vec<&'static str>,
    fate: &'static str,
    reason: Option<&'static str>,
}

impl TracedView {
    fn new(traced: &Traced, time: String, interface: String) -> Self {
        let is_ip = traced.ends.is_some();
        let has_ports = is_ip && matches!(traced.protocol, 6 | 17 | 132) && traced.ports != (0, 0);
        let name = PROTOCOLS.iter().find(|(number, _)| *number == traced.protocol);
        let name = name.map_or_else(|| format!("IP {}", traced.protocol), |(_, name)| (*name).to_owned());
        const FLAGS: [(u8, &str); 6] = [(2, "SYN"), (1, "FIN"), (4, "RST"), (8, "PSH"), (16, "ACK"), (32, "URG")];
        Self {
            time,
            interface,
            length: traced.length,
            protocol: is_ip.then_some(name),
            source: traced.ends.map(|(source, _)| source),
            source_port: has_ports.then_some(traced.ports.0),
            destination: traced.ends.map(|(_, destination)| destination),
            destination_port: has_ports.then_some(traced.ports.1),
            tcp_flags: FLAGS.iter().filter(|(bit, _)| traced.tcp_flags & bit != 0).map(|(_, name)| *name).collect(),
            fate: match traced.fate {
                Fate::Passed => "passed",
                Fate::Dropped => "dropped",
                Fate::Returned => "returned",
                Fate::Redirected => "redirected",
            },
            reason: traced.reason.map(|reason| reason.label()),
        }
    }

    /// On a line.
    fn in_words(&self, screen: Screen) -> String {
        let place = |address: IpAddr, port: Option<u16>| match port {
            Some(port) => SocketAddr::new(address, port).to_string(),
            None => address.to_string(),
        };
        let packet = match (&self.protocol, self.source, self.destination) {
            (Some(protocol), Some(source), Some(destination)) => format!(
                "{protocol} {} → {}",
                place(source, self.source_port),
                place(destination, self.destination_port)
            ),
            _ => "no IP packet".to_owned(),
        };
        let flags: String = self.tcp_flags.iter().map(|flag| format!(" {flag}")).collect();
        let reason = self.reason.map(|reason| format!(": {reason}")).unwrap_or_default();
        let Self { time, interface, length, fate, .. } = self;
        line(screen, &format!("{time}  {interface}  {packet}{flags}, {length} bytes  {fate}{reason}"))
    }
}

/// Where the maps are that packets are traced in.
fn pin_path(source: &Source) -> Result<PathBuf, Failure> {
    match source {
        Source::PinnedMaps { pin_path, .. } => Ok(pin_path.clone()),
        Source::Lbd(_) => match source.ask(&Request::Dataplane)? {
            Response::Dataplane(its) => Ok(its.pin_path.into()),
            _ => Err(Failure::OffTopic),
        },
    }
}

pub(super) fn run(options: &Options, session: &Session) -> Result<(), Failure> {
    // Kept for the end: whatever stops this, tracing is switched off.
    let mut stop = SigSet::empty();
    [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().for_each(|signal| stop.add(signal));
    let stopped = stop
        .thread_block()
        .and_then(|()| SignalFd::with_flags(&stop, SfdFlags::SFD_CLOEXEC))
        .map_err(|error| Failure::Trace(error.into()))?;
    let pin_path = pin_path(&session.source)?;
    let mut tracer = Tracer::start(&pin_path, &options.wanted(), options.count).map_err(Failure::Pinned)?;
    let end = options.seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let mut told = 0;
    let is_over = loop {
        while told < options.count
            && let Some(traced) = tracer.read()
        {
            show(&traced, session)?;
            told += 1;
        }
        let left = end.map(|end| end.saturating_duration_since(Instant::now()));
        if told == options.count || left == Some(Duration::ZERO) {
            break left == Some(Duration::ZERO);
        }
        if output::reader_is_gone() {
            return Err(Failure::ReaderGone);
        }
        let wait = left
            .map_or(WAIT_MILLIS, |left| u16::try_from(left.as_millis().max(1)).unwrap_or(u16::MAX).min(WAIT_MILLIS));
        if tracer.wait(stopped.as_fd(), wait).map_err(Failure::Trace)? {
            break true;
        }
    };
    if told == 0 && is_over {
        tell("no packet matched");
    }
    Ok(())
}

fn show(traced: &Traced, session: &Session) -> Result<(), Failure> {
    let name = if_indextoname(traced.ifindex).ok().and_then(|name| name.into_string().ok());
    let interface = name.unwrap_or_else(|| format!("#{}", traced.ifindex));
    let view = TracedView::new(traced, rfc3339(SystemTime::now()), interface);
    let text = match session.output.format {
        Format::Table => view.in_words(session.output.screen),
        Format::Json => output::json_line(&view)?,
    };
    output::write(text.as_bytes())
}

#[cfg(test)]
#[path = "trace_tests.rs"]
mod tests;
