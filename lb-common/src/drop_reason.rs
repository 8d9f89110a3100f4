//! Why a packet ended here. One append-only list that yields the counter, the
//! metric label and the text an operator reads.

macro_rules! drop_reasons {
    ($($(#[doc = $doc:literal])+ $name:ident = $number:literal, $label:literal;)+) => {
        /// A reason to drop a packet. Numbers are never reused or changed.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[repr(u8)]
        pub enum DropReason {
            $($(#[doc = $doc])+ $name = $number,)+
        }

        impl DropReason {
            /// Every reason, in numeric order.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The name in metrics and on the command line.
            #[must_use]
            pub const fn label(self) -> &'static str {
                match self { $(Self::$name => $label,)+ }
            }

            /// The reason with a number; what no reason has is "not configured".
            #[inline(always)]
            #[must_use]
            pub const fn from_number(number: u8) -> Self {
                match number { $($number => Self::$name,)+ _ => Self::NotConfigured }
            }

            /// What it means and what to look at, for `lbctl drops`.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$name => concat!($($doc),+).trim_ascii(),)+ }
            }
        }
    };
}

drop_reasons! {
    /// An IPv4 header to a VIP is cut short or contradicts the frame's length: a broken sender or a broken link.
    MalformedIpv4 = 1, "malformed_ipv4";
    /// An IPv6 header to a VIP is cut short or contradicts the frame's length: a broken sender or a broken link.
    MalformedIpv6 = 2, "malformed_ipv6";
    /// A TCP or UDP header to a VIP is cut short or has an impossible length.
    MalformedTransport = 3, "malformed_transport";
    /// A fragment of an ICMP message, or of an SCTP packet whose ports would have to change, was sent to a VIP: their checksums can only be made with the whole packet at hand. Look for a path MTU below the sender's.
    Fragment = 4, "fragment";
    /// An IPv6 packet to a VIP has more extension headers than are looked through, or one that cannot be skipped.
    ExtensionHeaders = 5, "extension_headers";
    /// A packet to a VIP is neither TCP, UDP, ICMP nor ICMPv6.
    UnsupportedProtocol = 6, "unsupported_protocol";
    /// A packet to a VIP is for a port without listener and belongs to no flow: a port scan, a late reply, or a missing listener.
    NoListener = 7, "no_listener";
    /// A listener's pool had no member to take a new flow: look at the members' health and administrative state.
    PoolEmpty = 8, "pool_empty";
    /// A TCP reset from a client belongs to no flow; there is nobody to pass it to.
    FlowUnknown = 9, "flow_unknown";
    /// No place for a new flow that would not displace a confirmed one: raise max_flows.
    FlowTableFull = 10, "flow_table_full";
    /// No SNAT port towards a member was free among those tried: add members, or another VIP, or widen snat_ports.
    SnatPortsExhausted = 11, "snat_ports_exhausted";
    /// The next hop of the chosen member has no known link-layer address: look at the route and the neighbour entry.
    MemberUnresolved = 12, "member_unresolved";
    /// The TTL or hop limit would have become zero: a routing loop, or a traceroute.
    TtlExpired = 13, "ttl_expired";
    /// The interface a client's flow came in by is gone from the data path.
    ClientPathGone = 14, "client_path_gone";
    /// A table named a member that does not exist; this is a defect, please report it.
    MemberMissing = 15, "member_missing";
    /// The data path has no configuration yet; this passes as soon as lbd has started.
    NotConfigured = 16, "not_configured";
    /// An ICMP message to a VIP that is neither an echo request nor an error about a flow (a redirect, source quench, an answer to nobody), or an echo request to a VIP that this node is not active for.
    IcmpUnsupported = 17, "icmp_unsupported";
    /// An ICMP, ARP or neighbour discovery message for a VIP is cut short or contradicts itself.
    MalformedControl = 18, "malformed_control";
    /// A frame whose checksum the sender left to its hardware is longer than the program can sum up: switch tx checksum offload off at the sender.
    ChecksumTooLong = 19, "checksum_too_long";
    /// A packet came in by an interface the data path was not told about.
    InterfaceUnknown = 20, "interface_unknown";
    /// A flow entry changed hands while a packet was using it; the sender's retransmission finds the new one.
    FlowChanged = 21, "flow_changed";
    /// A packet to a listener gives a VIP as its source: forged, since a VIP opens no connections; its answers would come back here for ever.
    SourceIsVip = 22, "source_is_vip";
    /// A frame with a packet for a listener was addressed to another station than the interface it came in by, or to another virtual router than the VIP's: a switch floods it to every port, or a neighbour entry is wrong. Whoever it was for forwards it.
    OtherStation = 23, "other_station";
    /// A frame to a VIP was addressed to the VIP's virtual router while this balancer is not the Active one: a switch has not learned where the virtual router is, or both balancers' frames are flooded. The Active one forwards it.
    NotActive = 24, "not_active";
    /// A VRRP advert for a guarded virtual router came from an address that is not listed for it: another pair uses the same virtual_router_id on this link, or somebody forges adverts.
    AdvertStranger = 25, "advert_stranger";
    /// A VRRP advert for a guarded virtual router had another TTL or hop limit than 255: it was routed here, so it is not from this link.
    AdvertTtl = 26, "advert_ttl";
    /// A client's packet of an established TCP flow whose member is down, in a pool with on_member_down = "reset": it was answered with a reset, so that the client comes again and finds another member.
    MemberDownReset = 27, "member_down_reset";
    /// A client's address is in none of the listener's allowed_cidrs.
    SourceNotAllowed = 28, "source_not_allowed";
    /// The listener has as many flows as its connection_limit allows: new ones are refused until some end.
    ConnectionLimit = 29, "connection_limit";
    /// Every member that the flow could have gone to has as many flows as its connection_limit allows.
    MemberConnectionLimit = 30, "member_connection_limit";
    /// A client opened flows faster than new_flows_per_source allows.
    SourceRate = 31, "source_rate";
    /// A later fragment of a datagram whose first one did not come here before it: the sender has to send the datagram again.
    FragmentUnknown = 32, "fragment_unknown";
    /// A packet no longer fits the path to its member: encapsulation made it too long, or the member's interface takes less than the client's. The client was told by ICMP.
    TooBig = 33, "too_big";
    /// An ICMP error to a VIP is about no flow that is known here.
    IcmpUnknownFlow = 34, "icmp_unknown_flow";
    /// The driver left no room in front of the frame for another header: look for a driver that has XDP headroom.
    NoHeadroom = 35, "no_headroom";
    /// A TCP segment has flags that no connection uses: none at all, or SYN with FIN or RST. A port scan.
    TcpFlags = 36, "tcp_flags";
    /// There is no address to send encapsulated packets to the member from: set encap_sources, or give the interface an address.
    EncapSourceMissing = 37, "encap_source_missing";
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counters::Event;

    #[test]
    fn numbers_rise_labels_differ_and_answers_stay_clear_of_them() {
        let mut last = 0;
        for (i, reason) in DropReason::ALL.iter().enumerate() {
            assert!(*reason as u8 > last);
            last = *reason as u8;
            assert!(DropReason::ALL[..i].iter().all(|r| r.label() != reason.label()));
            assert!(!reason.meaning().is_empty());
        }
        assert!(
            Event::ANSWERS.iter().all(|(e, ..)| e.index() > u32::from(last) && e.index() < crate::counters::EVENTS)
        );
    }
}
