//! `docs/drops.md`, written from the source: every reason to drop a packet and
//! every answer, with what they mean and what to look at.
//!
//! The meanings are those that `lbctl drops` shows. What an operator does next
//! is kept here: a reason without it does not compile.

use std::fmt::Write as _;

use lb_common::{
    counters::Event,
    drop_reason::DropReason::{
        self, AdvertStranger, AdvertTtl, ChecksumTooLong, ClientPathGone, ConnectionLimit, EncapSourceMissing,
        ExtensionHeaders, FlowChanged, FlowTableFull, FlowUnknown, Fragment, FragmentUnknown, IcmpUnknownFlow,
        IcmpUnsupported, InterfaceUnknown, MalformedControl, MalformedIpv4, MalformedIpv6, MalformedTransport,
        MemberConnectionLimit, MemberDownReset, MemberMissing, MemberUnresolved, NoHeadroom, NoListener, NotActive,
        NotConfigured, OtherStation, PoolEmpty, SnatPortsExhausted, SourceIsVip, SourceNotAllowed, SourceRate,
        TcpFlags, TooBig, TtlExpired, UnsupportedProtocol,
    },
};

const BEGINNING: &str = "\
# Why packets end here

Every packet that ends in the data path ends with one of these reasons, and is
counted by it: `lbctl drops` shows the counts, `lbctl drops -o json` gives them
to programs, under the labels used here. Numbers and labels never change.
Counts begin with the data path, not with `lbd`: they go on over a restart, and
start at zero after `lbctl dataplane detach`. A count that stands still is
history; look twice, some seconds apart, before you act.

Packets that are not for a VIP are passed to the kernel untouched and counted
nowhere here. Nothing is logged for a packet.

`tcpdump` on the balancer shows neither what the program drops nor what it
forwards, because the program meets a frame before the kernel's taps do. Look
from the client, from the member, or at a mirror port of the switch.

This page is written from the source (`tests/src/drops_page.rs`); do not edit it
by hand.

## Reasons
";

const ANSWERS: &str = "
## Answers

What the program answered, mended or noted itself, counted in the same list. None
of these is a fault by itself.
";

/// The page.
#[must_use]
pub fn page() -> String {
    let mut page = BEGINNING.to_owned();
    head(&mut page);
    for reason in DropReason::ALL {
        row(&mut page, Event::Drop(*reason), reason.label(), reason.meaning(), look_at(*reason));
    }
    page.push_str(ANSWERS);
    head(&mut page);
    for (event, label, meaning) in Event::ANSWERS {
        row(&mut page, event, label, meaning, look_at_answer(event));
    }
    page
}

fn head(page: &mut String) {
    page.push_str("\n| No. | Label | What it means | What to do |\n|---:|---|---|---|\n");
}

fn row(page: &mut String, event: Event, label: &str, meaning: &str, advice: &str) {
    let end = if meaning.ends_with('.') { "" } else { "." };
    // Writing to a string cannot fail.
    let _ = writeln!(page, "| {} | `{label}` | {meaning}{end} | {advice} |", event.index());
}

/// What an operator does about a reason that keeps counting.
const fn look_at(reason: DropReason) -> &'static str {
    match reason {
        MalformedIpv4 | MalformedIpv6 => {
            "A few are noise. If it keeps rising, capture at the sender's side and look for the one whose length \
             fields do not fit its frames; look at the error counters of the link (`ethtool -S`)."
        }
        MalformedTransport => {
            "A few are noise. A burst from many addresses is a scan or an attack: nothing gets through, and no flow is \
             opened."
        }
        Fragment => {
            "Have the sender keep such packets below the path's MTU: nobody pings a VIP with more than fits a packet, \
             and SCTP finds out what its path takes (RFC 8899)."
        }
        ExtensionHeaders => "Find the sender with a capture. Ordinary traffic has none of these.",
        UnsupportedProtocol => {
            "Somebody sends SCTP, GRE, IPsec or the like to a VIP. If that is a service of yours, it cannot be \
             balanced yet; give it an address that is no VIP."
        }
        NoListener => {
            "Compare `lbctl listener list` with what clients use. Late replies of members come here too when their \
             flow was idle for longer than `[dataplane.idle_timeout]` allows. The balancer's own host must not use a \
             VIP as its source address: the answers come here."
        }
        SourceIsVip => {
            "Somebody forges sources: look at `lbctl stats` for the listener and filter spoofed addresses where clients \
             come in. The balancer's own host must not use a VIP as its source address either."
        }
        OtherStation => {
            "Look at the forwarding table of the switch: it floods while it does not know a port, so a rising count \
             means that a station is silent or its entry ages out. If clients get no answer, clear their neighbour \
             entry for the VIP."
        }
        NotActive => {
            "A few after a failover are normal: a switch goes on by what it knew until it has seen the new Active one. \
             If it keeps rising, the switch floods the virtual router's address: see whether the Active one's adverts \
             reach it with that address as their source, and look at its forwarding table."
        }
        AdvertStranger => {
            "Capture adverts on the link (`tcpdump -e ip proto 112 or ip6 proto 112`) and look who sends them. If it is \
             the other balancer, its address is missing in `allowed_sources` or `unicast_peers`; if another pair, give \
             one of the two another `virtual_router_id`."
        }
        AdvertTtl => {
            "No balancer of this pair is behind a router, so somebody forges adverts, or a router forwards multicast \
             for the local link. Find the sender with a capture."
        }
        PoolEmpty => {
            "`lbctl pool list` shows the pool without a member in use, `lbctl member list` why: `ERROR` is the health \
             monitor's word, `DRAINING` and `OFFLINE` are an operator's. A listener without a pool counts here too. TCP clients were answered with a reset \
             (`answered_reset`), UDP clients with silence."
        }
        MemberDownReset => {
            "This is what the pool was told to do. `lbctl health` says which member is down and why. If clients suffer \
             more from the resets than from waiting for a member that is soon back, set `on_member_down = \"keep\"`."
        }
        FlowUnknown => {
            "Harmless in small numbers: a client resets a connection that was forgotten before. Many at once follow \
             the loss of all flows (a detached or replaced data path, another `hash_seed`)."
        }
        FlowTableFull => {
            "`lbctl flow count` against `max_flows` in `lbctl dataplane show`. If most are confirmed the table is too \
             small: `max_flows` is changed with `lbctl dataplane detach` and a new start, which ends established \
             flows. If most of them are idle, shorten `[dataplane.idle_timeout]`, which takes a reload only. A flood of \
             SYNs alone does not cause this: unconfirmed flows give way to each other."
        }
        SnatPortsExhausted => {
            "`lbctl stats` shows which member has very many flows. Each member's address and port has one range of \
             ports for each VIP and protocol: more members, a wider `snat_ports` (a reload) or another VIP help. So does a \
             larger `max_flows`, because a crowded table leaves few of the ports that are tried free."
        }
        MemberUnresolved => {
            "`lbctl member show NAME` says what is missing: a route, a neighbour that does not answer, or an interface \
             that the data path is not attached to. Compare `ip route get ADDRESS` and `ip neigh`. For a moment after \
             a first start this is normal."
        }
        TtlExpired => {
            "A traceroute ends here, because no ICMP error is sent. Anything more is a routing loop: look at the \
             routes between balancer and members, and at what sends packets for the VIP back to the balancer."
        }
        ClientPathGone => {
            "An interface was taken out of `interfaces` or made anew while flows used it. It ends when their clients \
             send again by another interface; if not, compare `lbctl dataplane show` with the pool file."
        }
        MemberMissing => "Keep the output of `lbctl -o json pool list` and of `lbd`'s log, and report it.",
        NotConfigured => {
            "If it keeps rising, a start was cut off before it was done. Look at `lbd`'s log and start it again."
        }
        IcmpUnsupported => {
            "A few are noise: errors about flows are sent on and not counted here. If echo requests end so, this node is \
             not active for the VIP."
        }
        MalformedControl => {
            "A few are noise. What keeps counting is a broken sender, or somebody who sends neighbour solicitations from \
             beyond a router. Find it with a capture."
        }
        ChecksumTooLong => {
            "The sender runs on the same machine (a container, a virtual machine) and sends frames of more than 4096 \
             bytes: `ethtool -K INTERFACE tx off` there, or a smaller MTU."
        }
        InterfaceUnknown => {
            "`lbctl dataplane show` lists the interfaces that it knows. If the program runs on another one, somebody \
             attached it by hand; otherwise start `lbd` again, which enters its interfaces anew."
        }
        FlowChanged => {
            "A few while many flows begin and end are normal. If it keeps rising, the table is crowded: treat it as \
             `flow_table_full`."
        }
        SourceNotAllowed => {
            "Compare the clients' addresses (a capture at the balancer) with `allowed_cidrs` of the listener. From the \
             Internet a count that rises slowly is what the list is for."
        }
        ConnectionLimit => {
            "`lbctl listener show` tells how many flows the listener has. Raise its `connection_limit` if its members \
             can bear more, or find out who holds so many flows with `lbctl flow list`."
        }
        MemberConnectionLimit => {
            "`lbctl member list` tells how many flows each member has. Add members, or raise the members' \
             `connection_limit`."
        }
        SourceRate => {
            "A few addresses open flows faster than `new_flows_per_source` allows. If they are many clients behind one \
             address (a proxy, a NAT), raise it."
        }
        FragmentUnknown => {
            "A few are normal: fragments overtake each other. If it keeps rising, fragments of a datagram take different \
             ways to the balancer, or somebody forges them."
        }
        TooBig => {
            "The sender is told, and sends less. If it keeps rising, ICMP does not get to the clients: set `mss_clamp` on \
             the pool, or raise the MTU between balancer and members."
        }
        IcmpUnknownFlow => "Errors about flows that are over are normal. Many are scans or forgeries.",
        NoHeadroom => {
            "Members of `ipip` and `gue` pools cannot be reached over this driver: attach in generic mode \
             (`xdp_mode = \"generic\"`), or use another forward mode."
        }
        TcpFlags => "Nothing gets through. Many from one address are a port scan.",
        EncapSourceMissing => {
            "Give the interface towards the members an address of their family, or write a prefix of it into \
             `encap_sources` of `[dataplane]`."
        }
    }
}

/// What an operator reads from an answer's count.
const fn look_at_answer(event: Event) -> &'static str {
    match event {
        Event::AnsweredArp => {
            "If it stands still while clients on the same network do not reach an IPv4 VIP, their requests do not \
             arrive: look at the switch, at VLAN tags, and at `lbctl dataplane show`."
        }
        Event::AnsweredNeighbour => {
            "If it stands still while an IPv6 VIP is not reached, the solicitations do not arrive: the interface must \
             let multicast in (`ip link set dev INTERFACE allmulticast on`), and a switch that snoops must not keep \
             it back. Another host that is about to take the VIP as its own address is answered too, and gives it up."
        }
        Event::AnsweredEcho => "Somebody pings a VIP. The program answers whether or not a member is up.",
        Event::AnsweredReset => "Look at `pool_empty` and `member_down_reset`, which count these packets too.",
        Event::ChecksumCompleted => {
            "The sender runs on the same machine and leaves checksums to hardware that its frames never meet. It \
             works; switching tx checksum offload off at the sender saves the balancer the summing."
        }
        Event::FlowNotesLost => {
            "The packets went their way; it is the other balancer that was not told of so many flows when they began or \
             ended. It hears of them when all flows are told again. If it keeps rising, `lbd` does not run, or has no \
             CPU time to read in."
        }
        Event::AnsweredUnreachable => "Look at `pool_empty`, which counts these packets too.",
        Event::AnsweredTooBig => "Look at `too_big`, which counts these packets too.",
        Event::Passed => "Everything that is for no VIP: the host's own traffic, and what a switch floods.",
        Event::Forwarded => "The traffic of all listeners, in both directions.",
        Event::IcmpTranslated => "Path MTU discovery and error reports work for clients and members.",
        Event::FragmentFollowed => {
            "Somebody sends datagrams larger than a path's MTU. They arrive; each costs more than a whole one."
        }
        Event::PlacementLost => {
            "Flows that are not recorded may move when their pool changes. `lbctl flow count` tells how many are there; \
             shorten `[dataplane.idle_timeout]` if most are idle."
        }
        Event::TraceLost => "Trace fewer packets: a narrower filter, or none.",
        Event::Drop(reason) => look_at(reason),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::{env, fs};

    use super::*;

    const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/drops.md");

    #[test]
    fn the_page_on_drops_says_what_the_source_says() {
        if env::var_os("KRATER_BLESS").is_some() {
            fs::write(FILE, page()).unwrap();
        }
        let written = fs::read_to_string(FILE).unwrap_or_default();
        assert!(
            written == page(),
            "docs/drops.md is not what the source says; write it anew with \
             `KRATER_BLESS=1 cargo test --package krater-tests --lib drops_page`"
        );
    }

    #[test]
    fn no_text_breaks_out_of_its_row() {
        let page = page();
        for line in page.lines().filter(|line| line.starts_with('|')) {
            assert_eq!(line.matches('|').count(), 5, "{line}");
        }
        let rows = page.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| No.")).count();
        assert_eq!(rows, DropReason::ALL.len() + Event::ANSWERS.len());
    }
}
