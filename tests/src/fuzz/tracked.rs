//! Tables that remember what was looked at, so that they can be made as new in
//! less time than it takes to look through them.

use std::{
    cell::RefCell,
    sync::{Arc, atomic::Ordering::Relaxed},
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
    port::{Place, Port},
    trace::{TraceFilter, TraceRecord},
    vip::{Vip4Line, Vip6Line, VipFilter},
};
use lb_ebpf::{
    far::{self, Call},
    host::{Arrays as _, FlowArrays as _, HostTables, OwnedArrays},
    ingress::Ingress,
    packet::Packet,
    tables::{Direction, Tables, Way},
};

/// Indices of what was looked at, in order and with repetitions.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Touched {
    lines4: Vec<u32>,
    lines6: Vec<u32>,
    backs4: Vec<u32>,
    backs6: Vec<u32>,
    placements: Vec<u32>,
    sources: Vec<u32>,
    fragments: Vec<u32>,
    listeners: Vec<u32>,
    members: Vec<u32>,
}

impl Touched {
    /// Makes everything that was looked at as it is in tables nobody has used.
    pub(super) fn clear(&mut self, arrays: &OwnedArrays) {
        for index in self.lines4.drain(..) {
            arrays.flows4()[index as usize].ways.iter().for_each(|way| way.ctl.store(0, Relaxed));
        }
        for index in self.lines6.drain(..) {
            arrays.flows6()[index as usize].ways.iter().for_each(|way| way.ctl.store(0, Relaxed));
        }
        self.backs4.drain(..).for_each(|index| arrays.returns4()[index as usize].ctl.store(0, Relaxed));
        self.backs6.drain(..).for_each(|index| arrays.returns6()[index as usize].ctl.store(0, Relaxed));
        for index in self.placements.drain(..) {
            for way in &arrays.placements()[index as usize].ways {
                way.word.store(0, Relaxed);
                way.fingerprint.store(0, Relaxed);
            }
        }
        self.sources.drain(..).for_each(|index| arrays.sources()[index as usize].word.store(0, Relaxed));
        for index in self.fragments.drain(..) {
            let fragment = &arrays.fragments()[index as usize];
            fragment.word.store(0, Relaxed);
            fragment.fingerprint.store(0, Relaxed);
        }
        self.listeners.drain(..).for_each(|id| arrays.listener_loads()[id as usize].live.store(0, Relaxed));
        self.members.drain(..).for_each(|id| arrays.member_loads()[id as usize].live.store(0, Relaxed));
    }
}

/// The tables with that memory.
#[derive(Debug)]
pub(super) struct Tracked<'t> {
    pub(super) tables: &'t HostTables<Arc<OwnedArrays>>,
    pub(super) touched: &'t RefCell<Touched>,
}

/// Methods that hand on what they are asked.
macro_rules! handed_on {
    ($(fn $name:ident(&self $(, $argument:ident: $type:ty)*) $(-> $result:ty)?;)*) => {
        $(fn $name(&self $(, $argument: $type)*) $(-> $result)? { self.tables.$name($($argument),*) })*
    };
}

/// The same for what packets leave something in.
macro_rules! remembered {
    ($(fn $name:ident(&self, $index:ident: $type:ty) -> $result:ty, $list:ident;)*) => {
        $(fn $name(&self, $index: $type) -> $result {
            let found = self.tables.$name($index);
            if found.is_some() {
                self.touched.borrow_mut().$list.push(u32::from($index));
            }
            found
        })*
    };
}

impl Tables for Tracked<'_> {
    remembered! {
        fn flow4_line(&self, index: u32) -> Option<&Flow4Line>, lines4;
        fn flow6_line(&self, index: u32) -> Option<&Flow6Line>, lines6;
        fn return4(&self, index: u32) -> Option<&Return4>, backs4;
        fn return6(&self, index: u32) -> Option<&Return6>, backs6;
        fn placement_line(&self, index: u32) -> Option<&PlacementLine>, placements;
        fn source_cell(&self, index: u32) -> Option<&SourceCell>, sources;
        fn fragment(&self, index: u32) -> Option<&Fragment>, fragments;
        fn listener_load(&self, id: u16) -> Option<&Load>, listeners;
        fn member_load(&self, id: u16) -> Option<&Load>, members;
    }

    handed_on! {
        fn config(&self) -> Option<&Config>;
        fn jiffies(&self) -> u64;
        fn vip4_line(&self, index: u32) -> Option<&Vip4Line>;
        fn vip6_line(&self, index: u32) -> Option<&Vip6Line>;
        fn vip_filter(&self) -> Option<&VipFilter>;
        fn instance(&self, id: u8) -> Option<&Instance>;
        fn advert_guard(&self) -> Option<&AdvertGuard>;
        fn advert_line(&self, index: u32) -> Option<&AdvertLine>;
        fn listener_line(&self, index: u32) -> Option<&ListenerLine>;
        fn listener_of(&self, id: u16) -> Option<&ListenerOf>;
        fn pool(&self, id: u16) -> Option<&Pool>;
        fn slot_line(&self, index: u32) -> Option<&SlotLine>;
        fn member(&self, id: u16) -> Option<&Member>;
        fn port(&self, number: u16) -> Option<&Port>;
        fn port_at(&self, place: Place) -> Option<u16>;
        fn dnat_line(&self, index: u32) -> Option<&DnatLine>;
        fn allows4(&self, listener: u16, address: u32) -> bool;
        fn allows6(&self, listener: u16, address: [u64; 2]) -> bool;
        fn trace_filter(&self) -> Option<&TraceFilter>;
        fn keep_trace(&self, record: &TraceRecord);
        fn take_trace(&self) -> Option<TraceRecord>;
        fn trace(&self, record: &TraceRecord);
        fn route(&self, packet: &Packet<'_>, ingress: Ingress, source: [u64; 2]) -> Option<Way>;
        fn count_listener(&self, id: u16, direction: Direction, bytes: u64);
        fn count_member(&self, id: u16, direction: Direction, bytes: u64);
        fn count_new_flow(&self, listener: u16, member: u16);
        fn count_refused(&self, listener: u16);
        fn count(&self, event: Event);
        fn note(&self, note: FlowNote);
    }

    fn far(&self, packet: &mut Packet<'_>, call: Call, arguments: [u64; 4]) -> u64 {
        far::run(call, packet, self, arguments)
    }
}
