//! `lbctl explain`.

use std::{
    fmt::Write as _,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
};

use clap::{Args, ValueEnum};

use super::{
    Session, capture,
    failure::{Failure, tell},
    table::{Screen, facts, listing, or_dash},
};
use crate::control::{
    protocol::{PacketSketch, PacketsAsked, Refusal, RefusalCode, Request, Response, SketchedProtocol},
    view::explain::{ExplainView, ExplanationView},
};

/// The source port of a packet that is described without one.
const ANY_PORT: u16 = 40_000;

/// Which packets are explained.
#[derive(Clone, PartialEq, Eq, Debug, Args)]
#[command(after_help = "\
The data path's own code is run on copies of its tables as they are now: nothing
is sent, no flow is opened and nothing is counted. A described TCP packet is a
SYN unless --flags says otherwise; a source port not given is 40000. Packets of a
capture come one after another, so later ones meet the flows of earlier ones.

What is not tried out: the next hop of a dnat member's packet, which the host's
routes decide (`ip route get`).

Examples:
  lbctl explain tcp 198.51.100.7 192.0.2.10:443
  lbctl explain tcp 198.51.100.7:40112 192.0.2.10:443 --flags ACK
  lbctl explain udp [2001:db8::7]:5000 [2001:db8:1::10]:53 --payload 1400
  lbctl explain icmp 198.51.100.7 192.0.2.10
  lbctl explain --pcap seen.pcap --interface eth0
  lbctl -o json explain tcp 198.51.100.7 192.0.2.10:443 | jq .packets[0].member")]
pub(super) struct Options {
    /// What the packet carries
    #[arg(value_enum, required_unless_present = "pcap", conflicts_with = "pcap")]
    protocol: Option<Protocol>,

    /// Where it comes from: ADDRESS or ADDRESS:PORT
    #[arg(value_name = "SOURCE", value_parser = place, required_unless_present = "pcap")]
    source: Option<Place>,

    /// Where it is sent: ADDRESS:PORT, or ADDRESS for icmp
    #[arg(value_name = "DESTINATION", value_parser = place, required_unless_present = "pcap")]
    destination: Option<Place>,

    /// Flags of a TCP packet
    #[arg(long, value_name = "FLAG", value_enum, ignore_case = true, value_delimiter = ',', num_args = 1..,
          conflicts_with = "pcap", default_values_t = [Flag::Syn])]
    flags: Vec<Flag>,

    /// Bytes behind the transport header
    #[arg(long, value_name = "BYTES", conflicts_with = "pcap", default_value_t = 0,
          value_parser = clap::value_parser!(u16).range(0..=8900))]
    payload: u16,

    /// Take the packets of a capture instead (pcap or pcapng, of Ethernet)
    #[arg(long, value_name = "FILE")]
    pcap: Option<PathBuf>,

    /// The interface they come in by [default: the first that the data path is attached to]
    #[arg(long, value_name = "NAME")]
    interface: Option<String>,
}

/// What a described packet carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Protocol {
    Tcp,
    Udp,
    Sctp,
    Icmp,
}

/// A flag of TCP.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
#[value(rename_all = "UPPER")]
enum Flag {
    Fin = 1,
    Syn = 2,
    Rst = 4,
    Psh = 8,
    Ack = 16,
    Urg = 32,
    // None of them.
    None = 0,
}

/// An address, and a port where one was said.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Place {
    address: IpAddr,
    port: Option<u16>,
}

fn place(text: &str) -> Result<Place, String> {
    if let Ok(both) = text.parse::<SocketAddr>() {
        return Ok(Place { address: both.ip(), port: Some(both.port()) });
    }
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    match bare.parse() {
        Ok(address) => Ok(Place { address, port: None }),
        Err(_) => Err("neither ADDRESS nor ADDRESS:PORT; IPv6 with a port is [ADDRESS]:PORT".to_owned()),
    }
}

pub(super) fn run(options: &Options, session: &Session) -> Result<(), Failure> {
    let packets = match &options.pcap {
        Some(path) => captured(path)?,
        None => described(options)?,
    };
    let request = Request::Explain { packets, interface: options.interface.clone() };
    let Response::Explained(found) = session.source.ask(&request)? else { return Err(Failure::OffTopic) };
    session.output.write(&found, |screen| match found.packets.as_slice() {
        [packet] => one(&found, packet, screen),
        _ => several(&found, screen),
    })
}

fn described(options: &Options) -> Result<PacketsAsked, Failure> {
    let missing = |what: &str| Failure::Refused(Refusal::new(RefusalCode::Invalid, what));
    let (Some(protocol), Some(source), Some(destination)) = (options.protocol, options.source, options.destination)
    else {
        return Err(missing("say what the packet carries, where it comes from and where it is sent"));
    };
    let (source_port, destination_port) = match (protocol, destination.port) {
        (Protocol::Icmp, _) => (0, 0),
        (_, Some(port)) => (source.port.unwrap_or(ANY_PORT), port),
        (_, None) => {
            return Err(missing("say the port that the packet is sent to: DESTINATION is ADDRESS:PORT"));
        }
    };
    Ok(PacketsAsked::Described(PacketSketch {
        protocol: match protocol {
            Protocol::Tcp => SketchedProtocol::Tcp,
            Protocol::Udp => SketchedProtocol::Udp,
            Protocol::Sctp => SketchedProtocol::Sctp,
            Protocol::Icmp => SketchedProtocol::Icmp,
        },
        source: source.address,
        source_port,
        destination: destination.address,
        destination_port,
        tcp_flags: options.flags.iter().fold(0, |flags, flag| flags | *flag as u8),
        payload: options.payload,
    }))
}

fn captured(path: &Path) -> Result<PacketsAsked, Failure> {
    let refused = |reason| Failure::Capture { path: path.to_owned(), reason };
    let capture = capture::read(path).map_err(refused)?;
    if capture.cut > 0 {
        tell(&format!("note: {} packets were captured in part: capture whole ones (`tcpdump -s 0`)", capture.cut));
    }
    if capture.left > 0 {
        let taken = capture.frames.len();
        tell(&format!("note: only the first {taken} packets are explained, {} are left out", capture.left));
    }
    let digits = |frame: &Vec<u8>| {
        frame.iter().fold(String::new(), |mut digits, byte| {
            // A string takes everything.
            let _ = write!(digits, "{byte:02x}");
            digits
        })
    };
    Ok(PacketsAsked::Frames(capture.frames.iter().map(digits).collect()))
}

/// What becomes of a packet, with the reason if it is dropped.
fn verdict(packet: &ExplanationView) -> String {
    let word = packet.verdict.word();
    match (&packet.reason, &packet.leaves_by) {
        (Some(reason), _) => format!("{word}: {reason}"),
        (None, Some(interface)) => format!("{word} by {interface}"),
        (None, None) => word.to_owned(),
    }
}

fn one(found: &ExplainView, packet: &ExplanationView, screen: Screen) -> String {
    let mut lines = vec![("packet", format!("{}, in by {}", packet.packet, found.interface))];
    lines.push(("verdict", verdict(packet)));
    let optional = [
        ("meaning", &packet.meaning),
        ("sent", &packet.sent),
        ("listener", &packet.listener),
        ("pool", &packet.pool),
        ("member", &packet.member),
        ("forward_mode", &packet.forward_mode),
    ];
    lines.extend(optional.into_iter().filter_map(|(key, value)| Some((key, value.clone()?))));
    for (at, step) in packet.steps.iter().enumerate() {
        lines.push((if at == 0 { "steps" } else { "" }, step.clone()));
    }
    facts(screen, lines)
}

fn several(found: &ExplainView, screen: Screen) -> String {
    if found.packets.is_empty() {
        return "no packets\n".to_owned();
    }
    let rows = found.packets.iter().zip(1..).map(|(packet, number)| {
        let number: u32 = number;
        [
            number.to_string(),
            packet.packet.clone(),
            verdict(packet),
            or_dash(packet.listener.as_ref()),
            or_dash(packet.member.as_ref()),
        ]
    });
    listing(screen, ["#", "PACKET", "VERDICT", "LISTENER", "MEMBER"], &["#"], rows)
}

#[cfg(test)]
#[path = "explain_tests.rs"]
mod tests;
