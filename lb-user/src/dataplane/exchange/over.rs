//! The exchange of flows over tables, wherever they are.

use std::{collections::HashSet, net::IpAddr};

use lb_common::{
    atomic::Ordering::Relaxed,
    flow::{self, Ctl, Stage},
    flow_note::FlowNote,
    limits::PLACEMENT_LINES,
    listener,
    mac::Mac,
    protocol::{Transport, vip_and_transport},
    time::{Tick, tick_millis},
};
use lb_ebpf::{
    family::{Family, ForwardEntry, ReturnEntry, V4, V6},
    flow::{
        Moment,
        adopt::{Foreign, Taken, adopt, is_confirmed},
        back_at, back_of, find, is_over,
    },
    host::{FlowArrays, HostTables},
    lookup,
    tables::Tables as _,
};

use super::{
    super::tables::{address_from_words, address_words},
    AdoptRefusal, Adopted, ArrivalPath, Drained, FlowExchange, ScanCursor, Shared, SharedFlow, SharedPlacement, Table,
    directory::{Members, Vips},
};

/// Where time and notes come from.
pub(super) trait Source: Send {
    /// The jiffies, if it is later than the tables' own clock says.
    fn jiffies(&self) -> Option<u64>;
    /// The oldest note that nobody has read.
    fn next_note(&mut self) -> Option<FlowNote>;
    /// How many notes were lost.
    fn lost(&self) -> u64;
}

/// The exchange of the flows in these tables.
#[derive(Debug)]
pub(super) struct Exchange<A, S> {
    pub(super) tables: HostTables<A>,
    source: S,
    pub(super) members: Members,
    pub(super) vips: Vips,
    /// Flows of the notes that are being read, and the first note about each.
    seen: HashSet<u64>,
    noted: Vec<FlowNote>,
}

impl<A: FlowArrays, S: Source> Exchange<A, S> {
    pub(super) fn new(tables: HostTables<A>, source: S) -> Self {
        let (members, vips) = (Members::default(), Vips::default());
        Self { tables, source, members, vips, seen: HashSet::new(), noted: Vec::new() }
    }

    fn look_at_the_clock(&self) {
        if let Some(jiffies) = self.source.jiffies() {
            self.tables.jiffies.set(jiffies);
        }
    }

    /// The flow that a note is about, as it is by now.
    fn of_note<F: Family>(&self, note: FlowNote) -> Option<SharedFlow> {
        let moment = Moment::read(&self.tables)?;
        let named = Ctl::new(Stage::Established, note.snat_port(), note.member(), Tick(0), 0);
        let (entry, back) = back_at::<F, _>(&self.tables, &moment, named, note.vip_and_transport())?;
        let forward = find::<F, _>(&self.tables, &moment, entry.key())?;
        self.share::<F>(&moment, forward.ctl, entry, back)
    }

    /// Calls `each` for the confirmed flows of some lines.
    fn scan_lines<F: Family>(&self, lines: std::ops::Range<u32>, each: &mut dyn FnMut(SharedFlow)) {
        let Some(moment) = Moment::read(&self.tables) else { return };
        for way in lines.map_while(|line| F::line(&self.tables, line)).flat_map(F::ways) {
            let forward = flow::ctl(way.ctl());
            if !forward.is_live() {
                continue;
            }
            let key = way.key();
            let Some((vip, transport, _)) = self.listener(F::key_parts(key).2) else { continue };
            let back = back_of::<F, _>(&self.tables, &moment, key, forward, vip_and_transport(vip, transport));
            let Some((entry, back)) = back else { continue };
            if is_over(forward.stage(), back.stage()) || is_idle(&moment, transport, forward, back) {
                continue;
            }
            if let Some(flow) = self.share::<F>(&moment, forward, entry, back) {
                each(flow);
            }
        }
    }

    /// VIP id, transport and port of a listener.
    pub(super) fn listener(&self, id: u16) -> Option<(u16, Transport, u16)> {
        listener::parts(self.tables.listener_of(id)?.key.load(Relaxed))
    }

    /// A flow with its two control words, in words that mean the same everywhere;
    /// `None` if it is unconfirmed, or has changed while it was looked at.
    fn share<F: Family>(&self, moment: &Moment<'_>, forward: Ctl, entry: &F::Return, back: Ctl) -> Option<SharedFlow> {
        if !is_confirmed(forward.stage(), back.stage()) {
            return None;
        }
        let (client, client_port, listener) = F::key_parts(entry.key());
        let (vip, transport, listener_port) = self.listener(listener)?;
        let member = self.tables.member(back.member())?;
        let words = [member.address[0].load(Relaxed), member.address[1].load(Relaxed)];
        let (address, port) = (F::from_words(words), member.state().port());
        let last_hop = Mac::from_high(entry.last_hop().load(Relaxed));
        let same = entry.is_from(address, port, vip_and_transport(vip, transport))
            && back.same_flow(forward)
            && back.same_flow(flow::ctl(entry.ctl()));
        if !same {
            return None;
        }
        let idle = moment.now.age(forward.seen()).min(moment.now.age(back.seen()));
        Some(SharedFlow {
            transport,
            vip: self.vips.find(&self.tables, vip)?,
            listener_port,
            client: address_from_words(F::words(client), F::IS_V6),
            client_port,
            member: address_from_words(words, F::IS_V6),
            member_port: port,
            snat_port: back.snat_port(),
            forward: forward.stage(),
            back: back.stage(),
            idle_millis: u32::from(idle) * self.tick_millis(),
            last_hop,
        })
    }

    pub(super) fn tick_millis(&self) -> u32 {
        tick_millis(self.tables.arrays.config().hz.load(Relaxed) as u32).max(1)
    }

    fn adopt_as<F: Family>(&self, flow: &SharedFlow, path: ArrivalPath) -> Result<Adopted, AdoptRefusal> {
        if contradicts_itself(flow) {
            return Err(AdoptRefusal::Malformed);
        }
        let there = self.tables.port(path.port).and_then(|port| port.get()).map(|(ifindex, _)| ifindex);
        if there != Some(path.ifindex) || !is_station(path.own) {
            return Err(AdoptRefusal::NoPath);
        }
        let tables = &self.tables;
        let moment = Moment::read(tables).ok_or(AdoptRefusal::UnknownListener)?;
        let address = |ip| F::from_words(address_words(ip));
        let vip = F::vip(tables, address(flow.vip)).ok_or(AdoptRefusal::UnknownListener)?;
        let vip_and_transport = vip_and_transport(vip.id(), flow.transport);
        let listener = |port| lookup::listener(tables, listener::key_of(vip_and_transport, port));
        let found = listener(flow.listener_port).ok_or(AdoptRefusal::UnknownListener)?;
        let (low, count) = moment.config.snat_ports();
        let in_range = flow.snat_port >= low && u32::from(flow.snat_port - low) < count;
        if !in_range || listener(flow.snat_port).is_some() || F::vip(tables, address(flow.client)).is_some() {
            return Err(AdoptRefusal::Malformed);
        }
        let place = (found.pool(), flow.member, flow.member_port);
        let member = self.members.find(&tables.arrays, place).ok_or(AdoptRefusal::UnknownMember)?;
        let tick = self.tick_millis();
        let foreign = Foreign {
            vip: address(flow.vip),
            vip_and_transport,
            listener: found,
            client: address(flow.client),
            client_port: flow.client_port,
            member,
            member_address: address(flow.member),
            member_port: flow.member_port,
            snat_port: flow.snat_port,
            forward: flow.forward,
            back: flow.back,
            idle: flow.idle_millis.saturating_add(tick / 2) / tick,
            last_hop: flow.last_hop.with_low(path.port),
            own: path.own.with_low(flow.listener_port),
            ifindex: path.ifindex,
        };
        match adopt::<F, _>(tables, &moment, &foreign) {
            Taken::New => Ok(Adopted::New),
            Taken::Refreshed => Ok(Adopted::Refreshed),
            Taken::Ended => Ok(Adopted::Ended),
            Taken::Place => Err(AdoptRefusal::PlaceTaken),
            Taken::Full => Err(AdoptRefusal::TableFull),
            Taken::Gone if listener(flow.listener_port).is_none() => Err(AdoptRefusal::UnknownListener),
            Taken::Gone => Err(AdoptRefusal::UnknownMember),
        }
    }
}

impl<A: FlowArrays + Send, S: Source> FlowExchange for Exchange<A, S> {
    fn drain(&mut self, limit: usize, each: &mut dyn FnMut(Shared)) -> Drained {
        self.look_at_the_clock();
        self.vips.begin();
        self.seen.clear();
        self.noted.clear();
        let mut notes = 0;
        while notes < limit
            && let Some(note) = self.source.next_note()
        {
            notes += 1;
            if self.seen.insert(note.flow()) {
                self.noted.push(note);
            }
        }
        for note in &self.noted {
            let shared = match note.placement() {
                Some((line, way)) => self.placement_at(line, way).map(Shared::Placement),
                None if note.is_ipv6() => self.of_note::<V6>(*note).map(Shared::Flow),
                None => self.of_note::<V4>(*note).map(Shared::Flow),
            };
            if let Some(shared) = shared {
                each(shared);
            }
        }
        Drained { notes, more: notes == limit, lost: self.source.lost() }
    }

    fn scan(&self, cursor: &mut ScanCursor, lines: u32, each: &mut dyn FnMut(Shared)) -> bool {
        self.look_at_the_clock();
        self.vips.begin();
        let config = self.tables.arrays.config();
        let (last, next) = match cursor.table {
            Table::Flows4 => (V4::line_mask(config), Table::Flows6),
            Table::Flows6 => (V6::line_mask(config), Table::Placements),
            Table::Placements => (PLACEMENT_LINES - 1, Table::Flows4),
        };
        let end = cursor.line.saturating_add(lines.max(1));
        let range = cursor.line..end.min(last + 1);
        match cursor.table {
            Table::Flows4 => self.scan_lines::<V4>(range, &mut |flow| each(Shared::Flow(flow))),
            Table::Flows6 => self.scan_lines::<V6>(range, &mut |flow| each(Shared::Flow(flow))),
            Table::Placements => self.scan_placements(range, &mut |placement| each(Shared::Placement(placement))),
        }
        *cursor = if end <= last { ScanCursor { line: end, ..*cursor } } else { ScanCursor { table: next, line: 0 } };
        *cursor != ScanCursor::default()
    }

    fn adopt(&self, flow: &SharedFlow, path: ArrivalPath) -> Adopted {
        self.look_at_the_clock();
        let adopted = match (flow.vip, flow.client, flow.member) {
            (IpAddr::V4(_), IpAddr::V4(_), IpAddr::V4(_)) => self.adopt_as::<V4>(flow, path),
            (IpAddr::V6(_), IpAddr::V6(_), IpAddr::V6(_)) => self.adopt_as::<V6>(flow, path),
            _ => Err(AdoptRefusal::Malformed),
        };
        adopted.unwrap_or_else(Adopted::Refused)
    }

    fn adopt_placement(&self, placement: &SharedPlacement) -> Adopted {
        self.look_at_the_clock();
        let adopted = match placement.vip {
            IpAddr::V4(_) => self.adopt_placed::<V4>(placement),
            IpAddr::V6(_) => self.adopt_placed::<V6>(placement),
        };
        adopted.unwrap_or_else(Adopted::Refused)
    }
}

/// Whether a flow has been idle for longer than it may be.
fn is_idle(moment: &Moment<'_>, transport: Transport, forward: Ctl, back: Ctl) -> bool {
    let idle = moment.now.age(forward.seen()).min(moment.now.age(back.seen()));
    let tcp = !matches!(transport, Transport::Udp);
    idle > flow::idle_limit(moment.config.idle_limits(), tcp, forward.stage(), back.stage())
}

/// Whether an address is one that a single station has.
fn is_station(mac: Mac) -> bool {
    mac != Mac::ZERO && !mac.is_group()
}

/// Whether a record says what no confirmed flow can be like.
fn contradicts_itself(flow: &SharedFlow) -> bool {
    let SharedFlow { forward, back, .. } = *flow;
    let ports = [flow.listener_port, flow.client_port, flow.member_port, flow.snat_port];
    let nobody = match flow.client {
        IpAddr::V4(a) => a.is_unspecified() || a.is_multicast() || a.is_broadcast(),
        IpAddr::V6(a) => a.is_unspecified() || a.is_multicast(),
    };
    let impossible = matches!(forward, Stage::Free | Stage::Claimed | Stage::Answered)
        || matches!(back, Stage::Free | Stage::Claimed)
        || flow.transport == Transport::Udp && forward.max(back) > Stage::Established;
    nobody || ports.contains(&0) || impossible || !is_confirmed(forward, back) || !is_station(flow.last_hop)
}
