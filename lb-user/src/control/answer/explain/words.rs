//! What the pipeline does, in an operator's words.

use crate::dataplane::{Call, Event};

/// What it means that the pipeline goes off the way of most packets; nothing where
/// that says no more than other steps.
pub(super) const fn of_call(call: Call) -> Option<&'static str> {
    Some(match call {
        Call::Attend4 | Call::Attend6 => "no flow of it is plainly going on",
        Call::Begin4 | Call::Begin6 => "it belongs to no flow, so one would begin",
        Call::FindRecord4 | Call::FindRecord6 => "the record of its flow is looked for",
        Call::Choose4 | Call::Choose6 => "the pool's table alone does not tell its member",
        Call::ChooseNew4 | Call::ChooseNew6 => "it has no record, so its member is chosen anew",
        Call::WriteRecord4 | Call::WriteRecord6 => "where its flow goes is recorded",
        Call::Heard4 | Call::Heard6 => "it changes the state of its flow",
        Call::Open4 | Call::Open6 => "a flow is opened",
        Call::Draw4 | Call::Draw6 => "the pool's algorithm chooses a member",
        Call::WriteSession4 | Call::WriteSession6 => "the client's session is recorded (session_persistence)",
        Call::Admit => "the listener's rules are asked (allowed_cidrs, limits)",
        Call::Refuse4 | Call::Refuse6 => "the client is told that it is refused",
        Call::Icmp4 | Call::Icmp6 => "it is an ICMP message to a VIP",
        Call::IcmpFind4 | Call::IcmpFind6 => "the flow that the ICMP error is about is looked for",
        Call::IcmpToClient4 | Call::IcmpToClient6 => "the ICMP error concerns a client and is translated for it",
        Call::IcmpToMember4 | Call::IcmpToMember6 => "the ICMP error concerns a member and is translated for it",
        Call::IcmpByTable4 | Call::IcmpByTable6 => "the pool's table tells which member the ICMP error concerns",
        Call::Later4 | Call::Later6 => "it is a fragment without ports: the first one's way is looked up",
        Call::Remember4 | Call::Remember6 | Call::RememberBack4 | Call::RememberBack6 => {
            "it is a first fragment: the way of the others is kept"
        }
        Call::TooBig4 | Call::TooBig6 => "it does not fit the path to its member, and the sender is told",
        Call::Wrap4 | Call::Wrap6 => "it is wrapped for its member",
        Call::LowerMss => "the MSS that it offers is lowered (mss_clamp)",
        Call::Complete => "its checksum is completed",
        Call::Arp => "it is an ARP message",
        Call::Neighbour => "it may be a neighbour solicitation",
        Call::Advert4 | Call::Advert6 => "it is a VRRP advert: its sender is looked for",
        Call::DnatOrigin4 | Call::DnatOrigin6 => "it is for no VIP; is it a dnat member's answer?",
        Call::DnatBack4 | Call::DnatBack6 => "it is a dnat member's answer, and gets the VIP as its source",
        Call::Untag => "its VLAN tags are compared with those of the interfaces",
        Call::Tag | Call::Retag => "VLAN tags are put on",
        Call::ClaimBack4
        | Call::ClaimBack6
        | Call::ClaimForward4
        | Call::ClaimForward6
        | Call::Direct4
        | Call::Direct6
        | Call::SctpPorts
        | Call::Extensions
        | Call::Trace
        | Call::TraceBegin => return None,
    })
}

/// What it means that an event is counted; nothing where the verdict says it.
pub(super) fn of_event(event: Event) -> Option<&'static str> {
    match event {
        Event::Drop(_) | Event::Passed | Event::Forwarded => None,
        _ => Event::ANSWERS.iter().find(|(answer, ..)| *answer == event).map(|(.., meaning)| *meaning),
    }
}
