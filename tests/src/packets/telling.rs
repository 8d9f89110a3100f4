//! What happens to a balancer that is told of another's flows while packets come,
//! and what of its flow table must hold then.
//!
//! Nothing here draws anything: events come from the property tests and from
//! fuzzers.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use lb_common::{atomic::Ordering::Relaxed, flow::Stage, protocol::Transport};
use lb_ebpf::tables::Verdict;
use lb_user::dataplane::{
    FlowRecord, Statistics as _,
    exchange::{AdoptRefusal, Adopted, FlowExchange as _, SharedFlow},
};

use super::{
    model::Reading,
    pair::{Side, Which, check},
    scene::{Kind, SNAT_PORTS, Version},
    spec::Spec,
    world::{Host, IDLE, INGRESS, World as _},
};

/// What happens to a balancer.
#[derive(Clone, Debug)]
pub enum Event {
    /// It is told of a flow.
    Told(SharedFlow),
    /// It is told again of a flow that it has, the one at this place in the list.
    Again(usize, Stage, Stage, u32),
    /// A client sends something.
    Asked(Spec),
    /// A member answers the newest packet of the flow at this place in the list.
    Answered(usize, u8),
    /// Time passes, in seconds.
    Waited(u64),
    /// What is idle is swept away.
    Swept,
    /// A listener of a VIP is removed and put again.
    Reborn(Version, bool),
}

/// How many SNAT ports there are: few, so that flows meet each other often.
pub const FEW: u16 = 3;

/// What tells flows apart: the client and its port, the listener, the member and
/// the SNAT port.
type Identity = (IpAddr, u16, u16, u16, u16);
type Flows = BTreeMap<Identity, FlowRecord>;

/// A balancer with few SNAT ports.
pub struct Crowd {
    /// The balancer.
    pub side: Side,
    listeners: BTreeMap<u16, (IpAddr, Transport, u16)>,
    members: BTreeMap<u16, (IpAddr, u16)>,
}

impl std::fmt::Debug for Crowd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Crowd").finish_non_exhaustive()
    }
}

impl Default for Crowd {
    fn default() -> Self {
        Self::new(None)
    }
}

/// All flows, none of which looks like another to its client or its member.
fn flows(host: &Host, listeners: &BTreeMap<u16, (IpAddr, Transport, u16)>) -> Result<Flows, String> {
    let mut all = Flows::new();
    let (mut clients, mut members) = (BTreeSet::new(), BTreeSet::new());
    let mut twice = None;
    let looked = host.dataplane.for_each_flow(&mut |flow| {
        let vip = listeners.get(&flow.listener.0).map(|(vip, transport, _)| (*vip, *transport));
        let new = clients.insert((flow.client, flow.client_port, flow.listener))
            && members.insert((flow.member, vip, flow.snat_port));
        if !new {
            twice = Some(format!("{flow:?} looks like another"));
        }
        all.insert((flow.client, flow.client_port, flow.listener.0, flow.member.0, flow.snat_port), flow);
    });
    looked.map_err(|e| e.to_string())?;
    twice.map_or(Ok(all), Err)
}

impl Crowd {
    /// A balancer; `masks` of its flow tables' sizes, IPv4's lines, IPv6's and the
    /// return entries, each one less than a power of two and no smaller than a bucket
    /// (2 and 4 lines), or as they are.
    #[must_use]
    pub fn new(masks: Option<[u32; 3]>) -> Self {
        let mut side = Side::new(Which::Second);
        side.host.tamper(&|arrays| {
            arrays.config().snat_ports.store(u64::from(SNAT_PORTS.0) | u64::from(FEW) << 16, Relaxed);
            if let Some([lines4, lines6, returns]) = masks {
                let two = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
                arrays.config().flow_masks.store(two(lines4, lines6), Relaxed);
                arrays.config().return_masks.store(two(returns, returns), Relaxed);
            }
        });
        let observed = side.host.observe();
        let listeners = observed.listeners.iter().map(|(key, l)| (l.id.0, (key.vip, key.transport, key.port)));
        let members = observed.members.iter().map(|(id, m)| (id.0, (m.address, m.port)));
        Self { listeners: listeners.collect(), members: members.collect(), side }
    }

    fn flows(&self) -> Result<Flows, String> {
        flows(&self.side.host, &self.listeners)
    }

    /// Whether a flow may not be displaced: it is confirmed, in use, and has not
    /// been idle for too long.
    fn is_kept(&self, flow: &FlowRecord) -> bool {
        let over = |stage| matches!(stage, Stage::Closing | Stage::Reset);
        let udp = self.listeners.get(&flow.listener.0).is_some_and(|(_, transport, _)| *transport == Transport::Udp);
        let limit = if over(flow.forward) || over(flow.back) {
            IDLE.tcp_closing
        } else if udp {
            IDLE.udp
        } else {
            IDLE.tcp
        };
        // Ticks are of about a second, and told to about one.
        let young = flow.idle_millis + 3000 <= u64::from(limit) * 950;
        flow.confirmed
            && young
            && !(over(flow.forward) && over(flow.back))
            && flow.forward != Stage::Reset
            && flow.back != Stage::Reset
    }

    /// No flow that may not be displaced was, but for those of a listener.
    fn all_kept<'f>(
        &self,
        before: impl IntoIterator<Item = (&'f Identity, &'f FlowRecord)>,
        after: &Flows,
        but: Option<u16>,
    ) -> Result<(), String> {
        let lost =
            before.into_iter().find(|(id, flow)| Some(id.2) != but && self.is_kept(flow) && !after.contains_key(id));
        lost.map_or(Ok(()), |(_, flow)| Err(format!("{flow:?} was displaced")))
    }

    /// A member's packet in a flow.
    fn answer(&self, flow: &FlowRecord, tcp_flags: u8) -> Option<Spec> {
        let (vip, transport, _) = *self.listeners.get(&flow.listener.0)?;
        let (from, to) = (*self.members.get(&flow.member.0)?, (vip, flow.snat_port));
        Some(match transport {
            Transport::Tcp => Spec::tcp(from, to, tcp_flags).numbers(5000, 1),
            Transport::Udp | Transport::Sctp => Spec::udp(from, to),
        })
    }

    /// Something happens. What became of a record that was told, if one was.
    ///
    /// # Errors
    /// What is not as it must be then.
    pub fn happen(&mut self, event: &Event) -> Result<Option<Adopted>, String> {
        let adopted = self.happened(event).map_err(|e| format!("after {event:?}: {e}"))?;
        check(&self.side.host).map_err(|e| format!("after {event:?}: {e}"))?;
        Ok(adopted)
    }

    fn happened(&mut self, event: &Event) -> Result<Option<Adopted>, String> {
        let before = self.flows()?;
        let nth = |at: &usize| before.values().nth(at % before.len().max(1));
        match event {
            Event::Told(told) => return self.tell(&before, told).map(Some),
            Event::Again(at, forward, back, idle_millis) => {
                let flows = self.side.scan(1000);
                let Some(flow) = flows.get(at % flows.len().max(1)) else { return Ok(None) };
                let (forward, back, idle_millis) = (*forward, *back, *idle_millis);
                return self.tell(&before, &SharedFlow { forward, back, idle_millis, ..*flow }).map(Some);
            }
            Event::Asked(packet) => self.ask(&before, packet)?,
            Event::Answered(at, flags) => {
                let Some(flow) = nth(at).cloned() else { return Ok(None) };
                let Some(packet) = self.answer(&flow, *flags) else { return Ok(None) };
                self.answered(&flow, &packet)?;
            }
            Event::Waited(seconds) => {
                // What has been idle for too long is not listed any more.
                self.side.host.wait(*seconds);
                return Ok(None);
            }
            Event::Swept => drop(self.side.host.dataplane.sweep()),
            Event::Reborn(version, standby) => {
                let vip = if *standby { version.standby_vip() } else { version.vip() };
                let port = Kind::OneArm as u16;
                let remove = self.side.remove_listener(vip, Transport::Tcp, port);
                let put = self.side.put_listener(vip, Transport::Tcp, port);
                [remove, put].iter().for_each(|op| self.side.host.apply(op));
                let is_it = |of: &(IpAddr, Transport, u16)| *of == (vip, Transport::Tcp, port);
                let reborn = self.listeners.iter().find(|(_, of)| is_it(of)).map(|(id, _)| *id);
                let after = self.flows()?;
                if after.keys().any(|id| Some(id.2) == reborn) {
                    return Err("a listener that is new has flows".to_owned());
                }
                self.all_kept(&before, &after, reborn)?;
                return Ok(None);
            }
        }
        self.all_kept(&before, &self.flows()?, None)?;
        Ok(None)
    }

    /// A client's packet goes to the member that its flow has, and to no other as
    /// long as the flow may not be displaced.
    fn ask(&mut self, before: &Flows, packet: &Spec) -> Result<(), String> {
        let own = self.side.path().own;
        let frame = packet.clone().with(|s| s.to = own).bytes();
        let (verdict, out) = self.side.host.send_by(INGRESS, &frame);
        let asked = Reading::of(&frame).ok_or("a client's packet is none")?;
        let key = (asked.destination.0, asked.transport, asked.destination.1);
        let listener = self.listeners.iter().find(|(_, of)| **of == key).map(|(id, _)| *id);
        let is_its = |id: &Identity| (id.0, id.1) == asked.source && Some(id.2) == listener;
        let had = before.iter().find(|(id, flow)| is_its(id) && self.is_kept(flow)).map(|(id, _)| *id);
        let after = self.flows()?;
        let has = after.keys().find(|id| is_its(id));
        if verdict != Verdict::Transmit {
            return had.map_or(Ok(()), |id| Err(format!("{verdict:?} in the flow {id:?}")));
        }
        let sent = Reading::of(&out).ok_or("what was sent on is no packet")?;
        let id = has.ok_or("a packet went to a member without a flow")?;
        if had.is_some_and(|had| had != *id) {
            return Err(format!("the flow {had:?} became {id:?}"));
        }
        let member = self.members.get(&id.3).ok_or("there is no such member")?;
        if (sent.destination, sent.source) != (*member, (key.0, id.4)) {
            return Err(format!("a packet of {id:?} went to {:?} from {:?}", sent.destination, sent.source));
        }
        Ok(())
    }

    /// A member's packet in a flow goes to the flow's client.
    fn answered(&mut self, flow: &FlowRecord, packet: &Spec) -> Result<(), String> {
        let own = self.side.path().own;
        let (verdict, out) = self.side.host.send_by(INGRESS, &packet.clone().with(|s| s.to = own).bytes());
        if verdict != Verdict::Transmit {
            return if self.is_kept(flow) { Err(format!("{verdict:?} of an answer in {flow:?}")) } else { Ok(()) };
        }
        let sent = Reading::of(&out).ok_or("what was sent on is no packet")?;
        let at = self.listeners.get(&flow.listener.0).map(|(vip, _, port)| (*vip, *port));
        if sent.destination != (flow.client, flow.client_port) || Some(sent.source) != at {
            return Err(format!("an answer in {flow:?} went to {:?} from {:?}", sent.destination, sent.source));
        }
        Ok(())
    }

    /// Tells a balancer of a flow, and whether it did right.
    fn tell(&self, before: &Flows, told: &SharedFlow) -> Result<Adopted, String> {
        let adopted = self.side.exchange.adopt(told, self.side.path());
        let after = self.flows()?;
        let listener = self.side.listener_of(told);
        let member = self.side.member_of(told);
        let is_told = |id: &Identity| {
            let ends = (id.0, id.1, id.4) == (told.client, told.client_port, told.snat_port);
            ends && (Some(id.2), Some(id.3)) == (listener, member)
        };
        // A flow that is told to be over ends, and may have ended long ago.
        let ends = told.forward.max(told.back) > Stage::Established;
        let others = before.iter().filter(|(id, _)| !(ends && is_told(id)));
        self.all_kept(others, &after, None)?;
        let here = after.iter().find(|(id, _)| is_told(id)).map(|(_, flow)| flow);
        match adopted {
            Adopted::New => {
                let Some(flow) = here else { return Err(format!("it is not there, but {after:?}")) };
                let is_new = !before.keys().any(is_told);
                if (flow.forward, flow.back) != (told.forward, told.back) || !is_new {
                    return Err(format!("it became {flow:?}"));
                }
            }
            Adopted::Refreshed => {}
            Adopted::Ended => {
                if here.is_some_and(|flow| self.is_kept(flow) && flow.forward.max(flow.back) <= Stage::Established) {
                    return Err(format!("it is to be over, and {here:?} is open"));
                }
            }
            Adopted::Refused(reason) => {
                // Whatever the record itself is at fault for changes nothing.
                let untouched = !matches!(reason, AdoptRefusal::PlaceTaken | AdoptRefusal::TableFull);
                if untouched && *before != after {
                    return Err(format!("it was refused as {reason:?}, and the flows changed"));
                }
            }
        }
        Ok(adopted)
    }
}
