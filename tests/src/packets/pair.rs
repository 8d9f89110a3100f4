//! Two balancers with the same pool file, each with numbers of its own.

use std::collections::BTreeMap;

use lb_common::{
    atomic::Ordering::Relaxed,
    flow::{self, Stage},
    listener,
    mac::Mac,
    member::{MemberState, NextHop},
    protocol::{Transport, vip_and_transport},
};
use lb_ebpf::{
    family::{Family, ForwardEntry, ReturnEntry, V4, V6},
    flow::{Moment, back_of, find},
    host::{Arrays, FlowArrays as _},
    tables::Verdict,
};
use lb_user::dataplane::{
    ListenerId, ListenerRules, MemberId, MemberPath, MemberRecord, Op, PoolId, PoolRecord, VipId,
    exchange::{ArrivalPath, FlowExchange, MemoryExchange, SharedFlow},
};

use super::{
    case::Talk,
    model::Reading,
    scene::{Kind, OWN, Version},
    spec::Spec,
    world::{Host, INGRESS, World as _},
};

/// A listener's port that lies in the SNAT range.
pub const HIGH_PORT: u16 = Kind::InSnatRange as u16;

/// Which of the two balancers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Which {
    /// The one whose numbers begin with the first VIP, at port 0.
    First,
    /// The other.
    Second,
}

/// One of two balancers.
pub struct Side {
    /// Its data path.
    pub host: Host,
    /// Its flows, as the other one is told of them.
    pub exchange: MemoryExchange,
    which: Which,
    port: u16,
    own: Mac,
}

/// The VIPs, each with a load balancer.
fn vips() -> Vec<(Version, std::net::IpAddr)> {
    Version::BOTH.into_iter().flat_map(|v| [(v, v.vip()), (v, v.standby_vip())]).collect()
}

impl Side {
    /// A balancer that notes its flows.
    pub fn new(which: Which) -> Self {
        let host = Host::new(false);
        host.dataplane.set_noting(true);
        let exchange = host.dataplane.exchange();
        let (port, own) = if which == Which::First { (0, OWN) } else { (3, Mac([0x02, 0, 0, 0, 0, 0xb1])) };
        host.enter_port(port, INGRESS, own);
        let mut side = Self { host, exchange, which, port, own };
        side.operations().iter().for_each(|op| side.host.apply(op));
        side
    }

    /// How clients reach it.
    pub fn path(&self) -> ArrivalPath {
        ArrivalPath { port: self.port, ifindex: INGRESS, own: self.own }
    }

    /// The place of a load balancer among those that got numbers.
    fn number(&self, vip: std::net::IpAddr) -> u16 {
        let mut vips = vips();
        if self.which == Which::Second {
            vips.reverse();
        }
        u16::try_from(vips.iter().position(|(_, v)| *v == vip).unwrap()).unwrap()
    }

    /// The id of a VIP's member.
    pub fn member_id(&self, vip: std::net::IpAddr, member: u16) -> MemberId {
        MemberId(1 + self.number(vip) * 3 + member)
    }

    /// Puts a member of a VIP, or changes what it is like.
    pub fn put_member(&self, version: Version, vip: std::net::IpAddr, member: u16, flags: u64) -> Op {
        let place = version.member(member);
        let next_hop = NextHop { destination: place.station, source: self.own, port: self.port };
        let record = MemberRecord {
            label: format!("lb{}/pool/m{member}", self.number(vip)),
            address: place.address,
            port: place.port,
            pool: PoolId(1 + self.number(vip)),
            flags,
            weight: 1,
            next_hop: Some(next_hop),
            path: MemberPath::default(),
            connection_limit: 0,
        };
        Op::PutMember { id: self.member_id(vip, member), record }
    }

    /// Gives a VIP's pool some of its members.
    pub fn put_pool(&self, vip: std::net::IpAddr, members: &[u16]) -> Op {
        let table = members.iter().map(|m| self.member_id(vip, *m)).collect();
        let number = self.number(vip);
        Op::PutPool {
            id: PoolId(1 + number),
            record: PoolRecord::named(format!("lb{number}/pool")),
            table,
            hold: std::time::Duration::ZERO,
        }
    }

    fn listener(&self, vip: std::net::IpAddr, transport: Transport, port: u16) -> (ListenerId, VipId) {
        let number = self.number(vip);
        let which = transport.code() - 1 + if port == HIGH_PORT { 2 } else { 0 };
        (ListenerId(10 + number * 4 + which), VipId(20 + number))
    }

    /// The id of the listener that a record is about, if it has such a VIP.
    pub fn listener_of(&self, flow: &SharedFlow) -> Option<u16> {
        let known = vips().iter().any(|(_, vip)| *vip == flow.vip);
        known.then(|| self.listener(flow.vip, flow.transport, flow.listener_port).0.0)
    }

    /// The id of the member that a record is about, if its VIP has it.
    pub fn member_of(&self, flow: &SharedFlow) -> Option<u16> {
        self.listener_of(flow)?;
        let is_it = |member: &u16| {
            let member = Version::BOTH.map(|version| version.member(*member));
            member.iter().any(|m| (m.address, m.port) == (flow.member, flow.member_port))
        };
        (0..2).find(is_it).map(|member| self.member_id(flow.vip, member).0)
    }

    /// Puts a listener.
    pub fn put_listener(&self, vip: std::net::IpAddr, transport: Transport, port: u16) -> Op {
        let (id, vip_id) = self.listener(vip, transport, port);
        let pool = PoolId(1 + self.number(vip));
        let label = format!("lb{}/{port}", self.number(vip));
        Op::PutListener {
            id,
            vip: vip_id,
            transport,
            port,
            label,
            pool,
            in_snat_range: port == HIGH_PORT,
            rules: ListenerRules::default(),
        }
    }

    /// Removes one.
    pub fn remove_listener(&self, vip: std::net::IpAddr, transport: Transport, port: u16) -> Op {
        let (id, vip) = self.listener(vip, transport, port);
        Op::RemoveListener { id, vip, transport, port }
    }

    fn operations(&self) -> Vec<Op> {
        let mut ops = Vec::new();
        for (version, vip) in vips() {
            let id = VipId(20 + self.number(vip));
            ops.extend([0, 1].map(|member| self.put_member(version, vip, member, MemberState::UP)));
            ops.push(self.put_pool(vip, &[0, 1, 0, 1, 0, 1]));
            ops.push(Op::PutVip { id, address: vip, label: "lb".to_owned(), active: true, instance: None });
            for transport in [Transport::Tcp, Transport::Udp] {
                ops.push(self.put_listener(vip, transport, Kind::OneArm as u16));
            }
            ops.push(self.put_listener(vip, Transport::Tcp, HIGH_PORT));
        }
        ops
    }

    /// Sends a client's packet and notes which member got it by which port.
    ///
    /// # Panics
    /// When no member gets it.
    pub fn ask(&mut self, talk: &Talk, packet: &Spec) -> Talk {
        let frame = packet.clone().with(|s| s.to = self.own).bytes();
        let (verdict, out) = self.host.send_by(INGRESS, &frame);
        assert_eq!(verdict, Verdict::Transmit, "{talk:?}");
        let got = Reading::of(&out).unwrap();
        let version = if talk.vip.is_ipv4() { Version::V4 } else { Version::V6 };
        let members = [0, 1].map(|number| version.member(number));
        let member = *members.iter().find(|m| (m.address, m.port) == got.destination).unwrap();
        assert_eq!((&out[..6], got.source.0), (&member.station.0[..], talk.vip));
        Talk { member, snat_port: got.source.1, ..*talk }
    }

    /// Sends a member's packet, which must get to the client by its router.
    ///
    /// # Panics
    /// When it does not.
    pub fn answer(&mut self, talk: &Talk, packet: &Spec) {
        let frame = packet.clone().with(|s| s.to = self.own).bytes();
        let (verdict, out) = self.host.send_by(INGRESS, &frame);
        assert_eq!(verdict, Verdict::Transmit, "{talk:?}");
        let got = Reading::of(&out).unwrap();
        assert_eq!((got.source, got.destination), ((talk.vip, talk.port), talk.client));
        assert_eq!((&out[..6], &out[6..12]), (&talk.router.0[..], &self.own.0[..]));
    }

    /// What its notes say.
    ///
    /// # Panics
    /// When notes were lost.
    pub fn drain(&mut self) -> Vec<SharedFlow> {
        let mut flows = Vec::new();
        let drained = self.exchange.drain(1000, &mut |shared| flows.extend(shared.flow()));
        assert!(!drained.more && drained.lost == 0, "{drained:?}");
        flows
    }

    /// What a look through all flows finds, so many lines at a time.
    pub fn scan(&self, lines: u32) -> Vec<SharedFlow> {
        scan(&self.exchange, lines)
    }

    /// New flows of all listeners.
    pub fn opened(&self) -> u64 {
        self.host.tables().counts.borrow().listeners.values().map(|l| l.flows_new).sum()
    }
}

/// All flows that a look through the table finds, so many lines at a time.
///
/// # Panics
/// When the look does not end where it began.
pub fn scan(exchange: &dyn FlowExchange, lines: u32) -> Vec<SharedFlow> {
    let (mut flows, mut cursor) = (Vec::new(), Default::default());
    while exchange.scan(&mut cursor, lines, &mut |shared| flows.extend(shared.flow())) {}
    assert_eq!(cursor, Default::default());
    flows
}

/// What is wrong with the flow tables of a host.
///
/// # Errors
/// The first thing that is.
pub fn check(host: &Host) -> Result<(), String> {
    check_family::<V4>(host, host.tables().arrays.returns4())?;
    check_family::<V6>(host, host.tables().arrays.returns6())
}

fn check_family<F: Family>(host: &Host, returns: &[F::Return]) -> Result<(), String> {
    let tables = host.tables();
    let moment = Moment::read(tables).ok_or("there is no configuration")?;
    let mut keys = BTreeMap::new();
    let mut forwards = 0;
    let ways = (0..=F::line_mask(moment.config)).filter_map(|line| F::line(tables, line)).flat_map(F::ways);
    for way in ways {
        let ctl = flow::ctl(way.ctl());
        if ctl.stage() == Stage::Free {
            continue;
        }
        if !ctl.is_live() {
            return Err(format!("an entry is claimed and nobody works on it: {ctl:?}"));
        }
        forwards += 1;
        let (client, port, id) = F::key_parts(way.key());
        if keys.insert((F::words(client), port, id), ctl).is_some() {
            return Err(format!("a client's port {port} at listener {id} has two flows"));
        }
        let key = tables.arrays.listener_keys()[usize::from(id)].key.load(Relaxed);
        let Some((vip, transport, _)) = listener::parts(key).filter(|_| key != 0) else {
            return Err(format!("a flow belongs to listener {id}, which is not there"));
        };
        let member = tables.arrays.members()[usize::from(ctl.member())].state();
        if !member.has(MemberState::VALID) {
            return Err(format!("a flow names member {}, which is not there", ctl.member()));
        }
        if back_of::<F, _>(tables, &moment, way.key(), ctl, vip_and_transport(vip, transport)).is_none() {
            return Err(format!("{ctl:?} has no other half"));
        }
    }
    let many = F::return_mask(moment.config) as usize + 1;
    let backs = returns.iter().take(many).filter(|entry| flow::ctl(entry.ctl()).stage() != Stage::Free);
    let mut count = 0;
    for entry in backs {
        let ctl = flow::ctl(entry.ctl());
        count += 1;
        if find::<F, _>(tables, &moment, entry.key()).is_none_or(|forward| !forward.ctl.same_flow(ctl)) {
            return Err(format!("{ctl:?} of a member has no other half"));
        }
    }
    if count == forwards { Ok(()) } else { Err(format!("{forwards} entries one way, {count} the other")) }
}
