//! The pipeline's view of arrays outside the kernel.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::atomic::Ordering::Relaxed,
};

use lb_common::{
    advert::{AdvertGuard, AdvertLine},
    config::Config,
    counters::Event,
    dnat::DnatLine,
    flow::{Flow4Line, Flow6Line, Return4, Return6},
    flow_note::FlowNote,
    fragment::Fragment,
    instance::Instance,
    listener::{ListenerLine, ListenerOf},
    load::{Load, SourceCell},
    member::Member,
    placement::PlacementLine,
    pool::{Pool, SlotLine},
    port::{Place, Port, Tags},
    trace::{TraceFilter, TraceRecord},
    vip::{Vip4Line, Vip6Line, VipFilter},
};

use super::{FlowArrays, HostTables};
use crate::{
    family::NETWORK_OFFSET,
    far::{self, Call},
    headers::{Ipv4, Ipv6},
    ingress::Ingress,
    packet::Packet,
    tables::{Direction, Tables, Way, add},
};

/// The entry with this number among those that begin with `first`.
fn numbered<T>(part: &[T], first: u32, index: u32) -> Option<&T> {
    part.get(index.checked_sub(first)? as usize)
}

/// The IP version of a packet, which stands in the same place in both.
fn version(ip: &Ipv6) -> u32 {
    u32::from_be(ip.version_class_flow) >> 28
}

impl<A: FlowArrays> Tables for HostTables<A> {
    fn config(&self) -> Option<&Config> {
        Some(self.arrays.config())
    }

    fn jiffies(&self) -> u64 {
        self.jiffies.get()
    }

    fn vip4_line(&self, index: u32) -> Option<&Vip4Line> {
        self.arrays.vips4().get(index as usize)
    }

    fn vip6_line(&self, index: u32) -> Option<&Vip6Line> {
        self.arrays.vips6().get(index as usize)
    }

    fn vip_filter(&self) -> Option<&VipFilter> {
        Some(self.arrays.vip_filter())
    }

    fn instance(&self, id: u8) -> Option<&Instance> {
        self.arrays.instances().get(usize::from(id))
    }

    fn advert_guard(&self) -> Option<&AdvertGuard> {
        Some(self.arrays.advert_guard())
    }

    fn advert_line(&self, index: u32) -> Option<&AdvertLine> {
        self.arrays.advert_sources().get(index as usize)
    }

    fn listener_line(&self, index: u32) -> Option<&ListenerLine> {
        self.arrays.listeners().get(index as usize)
    }

    fn listener_of(&self, id: u16) -> Option<&ListenerOf> {
        self.arrays.listener_keys().get(usize::from(id))
    }

    fn pool(&self, id: u16) -> Option<&Pool> {
        self.arrays.pools().get(usize::from(id))
    }

    fn slot_line(&self, index: u32) -> Option<&SlotLine> {
        self.arrays.slot_line(index)
    }

    fn member(&self, id: u16) -> Option<&Member> {
        self.arrays.members().get(usize::from(id))
    }

    fn flow4_line(&self, index: u32) -> Option<&Flow4Line> {
        numbered(self.arrays.flows4(), self.arrays.first_line(), index)
    }

    fn flow6_line(&self, index: u32) -> Option<&Flow6Line> {
        numbered(self.arrays.flows6(), self.arrays.first_line(), index)
    }

    fn return4(&self, index: u32) -> Option<&Return4> {
        numbered(self.arrays.returns4(), self.arrays.first_return(), index)
    }

    fn return6(&self, index: u32) -> Option<&Return6> {
        numbered(self.arrays.returns6(), self.arrays.first_return(), index)
    }

    fn port(&self, number: u16) -> Option<&Port> {
        self.arrays.ports().get(usize::from(number))
    }

    fn port_at(&self, place: Place) -> Option<u16> {
        let is_there = |port: &Port| {
            let tags = Tags(port.tags.load(Relaxed));
            port.get().is_some_and(|(ifindex, _)| Place::new(ifindex, tags) == place)
        };
        u16::try_from(self.arrays.ports().iter().position(is_there)?).ok()
    }

    fn placement_line(&self, index: u32) -> Option<&PlacementLine> {
        self.arrays.placements().get(index as usize)
    }

    fn listener_load(&self, id: u16) -> Option<&Load> {
        self.arrays.listener_loads().get(usize::from(id))
    }

    fn member_load(&self, id: u16) -> Option<&Load> {
        self.arrays.member_loads().get(usize::from(id))
    }

    fn source_cell(&self, index: u32) -> Option<&SourceCell> {
        self.arrays.sources().get(index as usize)
    }

    fn fragment(&self, index: u32) -> Option<&Fragment> {
        self.arrays.fragments().get(index as usize)
    }

    fn dnat_line(&self, index: u32) -> Option<&DnatLine> {
        self.arrays.dnat_members().get(index as usize)
    }

    fn allows4(&self, listener: u16, address: u32) -> bool {
        self.arrays.allows(listener, IpAddr::V4(Ipv4Addr::from(address.to_ne_bytes())))
    }

    fn allows6(&self, listener: u16, address: [u64; 2]) -> bool {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&address[0].to_ne_bytes());
        bytes[8..].copy_from_slice(&address[1].to_ne_bytes());
        self.arrays.allows(listener, IpAddr::V6(Ipv6Addr::from(bytes)))
    }

    fn trace_filter(&self) -> Option<&TraceFilter> {
        Some(self.arrays.trace_filter())
    }

    fn keep_trace(&self, record: &TraceRecord) {
        self.kept_trace.set(*record);
    }

    fn take_trace(&self) -> Option<TraceRecord> {
        Some(self.kept_trace.take())
    }

    fn trace(&self, record: &TraceRecord) {
        self.traces.borrow_mut().push(*record);
    }

    fn route(&self, packet: &Packet<'_>, _: Ingress, _: [u64; 2]) -> Option<Way> {
        let destination = if let Some(ip) = packet.view::<Ipv6>(NETWORK_OFFSET).filter(|ip| version(ip) == 6) {
            ip.destination
        } else {
            [u64::from(packet.view::<Ipv4>(NETWORK_OFFSET)?.destination), 0]
        };
        self.routes.borrow().get(&destination).copied()
    }

    fn far(&self, packet: &mut Packet<'_>, call: Call, arguments: [u64; 4]) -> u64 {
        far::run(call, packet, self, arguments)
    }

    fn count_listener(&self, id: u16, direction: Direction, bytes: u64) {
        add(self.counts.borrow_mut().listeners.entry(id).or_default(), direction, bytes);
    }

    fn count_member(&self, id: u16, direction: Direction, bytes: u64) {
        add(self.counts.borrow_mut().members.entry(id).or_default(), direction, bytes);
    }

    fn count_new_flow(&self, listener: u16, member: u16) {
        let mut counts = self.counts.borrow_mut();
        counts.listeners.entry(listener).or_default().flows_new += 1;
        counts.members.entry(member).or_default().flows_new += 1;
    }

    fn count_refused(&self, listener: u16) {
        self.counts.borrow_mut().listeners.entry(listener).or_default().flows_refused += 1;
    }

    fn count(&self, event: Event) {
        if let Some(count) = self.counts.borrow_mut().events.get_mut(event.index() as usize) {
            *count += 1;
        }
    }

    fn note(&self, note: FlowNote) {
        if !self.notes.write(note) {
            self.count(Event::FlowNotesLost);
        }
    }
}
