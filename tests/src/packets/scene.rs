//! The tables that most fixtures start from: VIPs of both families, a listener
//! for every kind of pool, and members behind either interface.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use lb_common::{
    mac::Mac,
    member::{MemberState, NextHop},
    protocol::Transport,
};
use lb_user::dataplane::{
    Algorithm, InstanceId, ListenerId, ListenerRules, MemberId, MemberPath, MemberRecord, Op, PoolId, PoolRecord, VipId,
};

/// Our address on port 0, by which every frame comes in.
pub const OWN: Mac = Mac([0x02, 0, 0, 0, 0, 0x01]);
/// Our address on port 1.
pub const OWN_BACK: Mac = Mac([0x02, 0, 0, 0, 0, 0x02]);
/// The client's router.
pub const ROUTER: Mac = Mac([0x02, 0, 0, 0, 0, 0xc1]);
/// Another router of the client's.
pub const OTHER_ROUTER: Mac = Mac([0x02, 0, 0, 0, 0, 0xc2]);
/// The lowest and highest SNAT port.
pub const SNAT_PORTS: (u16, u16) = (32768, 49151);
/// Our side and the client's port of most fixtures.
pub const CLIENT_PORT: u16 = 51000;

/// IPv4 or IPv6.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Version {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// A member.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Member {
    /// Its id in the maps.
    pub id: u16,
    /// Its address.
    pub address: IpAddr,
    /// Its port.
    pub port: u16,
    /// The station that frames to it go to.
    pub station: Mac,
    /// The number of the port they leave by.
    pub via: u16,
}

/// A listener's port by what its pool is like.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Kind {
    /// One member behind the interface that clients come by.
    OneArm = 80,
    /// One member behind the other interface.
    TwoArms = 81,
    /// A pool without members.
    Empty = 82,
    /// One member whose next hop is not known.
    Unresolved = 83,
    /// Two members, by addresses and ports.
    Spread = 84,
    /// Two members, by the client's address.
    Sticky = 85,
    /// No pool at all.
    Poolless = 86,
    /// As `OneArm`, at a port among those that flows get.
    InSnatRange = 40000,
}

impl Kind {
    const ALL: [Self; 8] = [
        Self::OneArm,
        Self::TwoArms,
        Self::Empty,
        Self::Unresolved,
        Self::Spread,
        Self::Sticky,
        Self::Poolless,
        Self::InSnatRange,
    ];
}

impl Version {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::V4, Self::V6];

    /// That of an address.
    #[must_use]
    pub const fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    const fn pick<T: Copy>(self, v4: T, v6: T) -> T {
        match self {
            Self::V4 => v4,
            Self::V6 => v6,
        }
    }

    const fn address(self, v4: [u8; 4], v6: [u16; 8]) -> IpAddr {
        match self {
            Self::V4 => IpAddr::V4(Ipv4Addr::new(v4[0], v4[1], v4[2], v4[3])),
            Self::V6 => {
                let [a, b, c, d, e, f, g, h] = v6;
                IpAddr::V6(Ipv6Addr::new(a, b, c, d, e, f, g, h))
            }
        }
    }

    /// The client.
    #[must_use]
    pub const fn client(self) -> IpAddr {
        self.numbered_client(7)
    }

    /// One of 65536 clients.
    #[must_use]
    pub const fn numbered_client(self, number: u16) -> IpAddr {
        let [high, low] = number.to_be_bytes();
        self.address([198, 18, high, low], [0x2001, 0xdb8, 0xc, 0, 0, 0, 0, number])
    }

    /// The VIP we answer for.
    #[must_use]
    pub const fn vip(self) -> IpAddr {
        self.address([203, 0, 113, 10], [0x2001, 0xdb8, 0xf, 0, 0, 0, 0, 0x10])
    }

    /// The VIP we forward for and do not answer for.
    #[must_use]
    pub const fn standby_vip(self) -> IpAddr {
        self.address([203, 0, 113, 11], [0x2001, 0xdb8, 0xf, 0, 0, 0, 0, 0x11])
    }

    /// An address nobody told us about.
    #[must_use]
    pub const fn stranger(self) -> IpAddr {
        self.address([203, 0, 113, 99], [0x2001, 0xdb8, 0xf, 0, 0, 0, 0, 0x99])
    }

    /// Member 0 is reached by port 0, member 1 by port 1, member 2 not at all.
    #[must_use]
    pub const fn member(self, number: u16) -> Member {
        Member {
            id: 1 + number + self.pick(0, 3),
            address: self.address([10, 77, 1, 11 + number as u8], [0xfd77, 1, 0, 0, 0, 0, 0, 0x11 + number]),
            port: 8080 + number,
            station: Mac([0x02, 0, 0, 0, 0, 0xa1 + number as u8]),
            via: number & 1,
        }
    }

    /// The VIP's id.
    #[must_use]
    pub const fn vip_id(self) -> u16 {
        self.pick(1, 3)
    }

    /// The VRRP instance that fixtures have the VIP moved by.
    #[must_use]
    pub const fn instance(self) -> InstanceId {
        InstanceId(self.pick(1, 63))
    }

    /// Its virtual router's address.
    #[must_use]
    pub const fn virtual_router(self) -> Mac {
        Mac([0, 0, 0x5e, 0, self.pick(1, 2), 51])
    }

    /// A listener's id.
    #[must_use]
    pub fn listener_id(self, kind: Kind, transport: Transport) -> u16 {
        let number = Kind::ALL.iter().position(|k| *k == kind).map_or(0, |n| u16::try_from(n).unwrap());
        1 + number * 4 + self.pick(0, 2) + transport as u16 - 1
    }

    /// The pool's id.
    #[must_use]
    pub const fn pool_id(self, kind: Kind) -> u16 {
        let number = match kind {
            Kind::OneArm | Kind::InSnatRange => 1,
            Kind::TwoArms => 3,
            Kind::Empty => 5,
            Kind::Unresolved => 7,
            Kind::Spread => 9,
            Kind::Sticky => 11,
            Kind::Poolless => return 0,
        };
        number + self.pick(0, 1)
    }

    /// The members of a pool, slot by slot.
    #[must_use]
    pub fn slots(self, kind: Kind) -> Vec<MemberId> {
        let id = |number| MemberId(self.member(number).id);
        match kind {
            Kind::OneArm | Kind::InSnatRange => vec![id(0)],
            Kind::TwoArms => vec![id(1)],
            Kind::Empty | Kind::Poolless => Vec::new(),
            Kind::Unresolved => vec![id(2)],
            Kind::Spread | Kind::Sticky => (0..8).map(|n| id(n % 2)).collect(),
        }
    }
}

/// Creates or changes a member: `flags` is [`MemberState::UP`] for one that
/// takes traffic.
#[must_use]
pub fn put_member(member: Member, flags: u64, resolved: bool) -> Op {
    let source = if member.via == 0 { OWN } else { OWN_BACK };
    let record = MemberRecord {
        label: format!("lb/pool/m{}", member.id),
        address: member.address,
        port: member.port,
        pool: PoolId(1),
        flags,
        weight: 1,
        next_hop: resolved.then_some(NextHop { destination: member.station, source, port: member.via }),
        path: MemberPath::default(),
        connection_limit: 0,
    };
    Op::PutMember { id: MemberId(member.id), record }
}

/// Gives a kind of pool another table.
#[must_use]
pub fn put_pool(version: Version, kind: Kind, table: Vec<MemberId>) -> Op {
    let algorithm = if kind == Kind::Sticky { Algorithm::SourceIp } else { Algorithm::SourceIpPort };
    let record = PoolRecord::named(format!("lb/{kind:?}")).picked_by(algorithm);
    Op::PutPool { id: PoolId(version.pool_id(kind)), record, table, hold: std::time::Duration::ZERO }
}

/// Takes members out of service or back, as the controller does: the tables, and
/// each member's flags. `flags` are those of members 0 and 1; who is not up is in
/// no table.
#[must_use]
pub fn stand(version: Version, flags: [u64; 2]) -> Vec<Op> {
    let up = |id: &MemberId| {
        let number = (0..2).find(|number| version.member(*number).id == id.0);
        number.is_none_or(|number| flags[usize::from(number)] & MemberState::UP != 0)
    };
    let put = |number: u16| put_member(version.member(number), flags[usize::from(number)], true);
    let filled = Kind::ALL.into_iter().filter(|kind| !matches!(kind, Kind::Poolless | Kind::InSnatRange));
    let tables = filled.map(|kind| put_pool(version, kind, version.slots(kind).into_iter().filter(up).collect()));
    [0, 1].map(put).into_iter().chain(tables).collect()
}

/// Creates a listener of the VIP, or gives it a pool again.
#[must_use]
pub fn put_listener(version: Version, kind: Kind, transport: Transport) -> Op {
    Op::PutListener {
        id: ListenerId(version.listener_id(kind, transport)),
        vip: VipId(version.vip_id()),
        transport,
        port: kind as u16,
        label: format!("lb/{kind:?}"),
        pool: PoolId(version.pool_id(kind)),
        in_snat_range: kind == Kind::InSnatRange,
        rules: ListenerRules::default(),
    }
}

/// Removes a listener of the VIP.
#[must_use]
pub fn remove_listener(version: Version, kind: Kind, transport: Transport) -> Op {
    Op::RemoveListener {
        id: ListenerId(version.listener_id(kind, transport)),
        vip: VipId(version.vip_id()),
        transport,
        port: kind as u16,
    }
}

/// Creates the instance of a family, or changes its virtual router's address.
#[must_use]
pub fn put_instance(version: Version, mac: Option<Mac>) -> Op {
    Op::PutInstance { id: version.instance(), label: format!("{version:?}"), mac }
}

/// Has an instance move a VIP, the one we answer for or the other.
#[must_use]
pub fn put_moved_vip(version: Version, address: IpAddr, instance: Option<InstanceId>) -> Op {
    let id = VipId(version.vip_id() + u16::from(address != version.vip()));
    Op::PutVip { id, address, label: "lb".to_owned(), active: true, instance }
}

/// Has the instance of each family move the VIP we answer for.
#[must_use]
pub fn moved() -> Vec<Op> {
    let ops = Version::BOTH.map(|version| {
        let vip = put_moved_vip(version, version.vip(), Some(version.instance()));
        [put_instance(version, Some(version.virtual_router())), vip]
    });
    ops.concat()
}

/// Everything, in an order in which it can be applied.
#[must_use]
pub fn standard() -> Vec<Op> {
    let mut ops = Vec::new();
    for version in Version::BOTH {
        for number in 0..3 {
            ops.push(put_member(version.member(number), MemberState::UP, number < 2));
        }
        for kind in Kind::ALL.into_iter().filter(|k| !matches!(k, Kind::Poolless | Kind::InSnatRange)) {
            ops.push(put_pool(version, kind, version.slots(kind)));
        }
        let vip =
            |id, address, active| Op::PutVip { id: VipId(id), address, label: "lb".to_owned(), active, instance: None };
        ops.push(vip(version.vip_id(), version.vip(), true));
        ops.push(vip(version.vip_id() + 1, version.standby_vip(), false));
        for transport in [Transport::Tcp, Transport::Udp] {
            ops.extend(Kind::ALL.map(|kind| put_listener(version, kind, transport)));
            ops.push(Op::PutListener {
                id: ListenerId(100 + version.pick(0, 2) + transport as u16),
                vip: VipId(version.vip_id() + 1),
                transport,
                port: Kind::OneArm as u16,
                label: "standby/listener".to_owned(),
                pool: PoolId(version.pool_id(Kind::OneArm)),
                in_snat_range: false,
                rules: ListenerRules::default(),
            });
        }
    }
    ops
}
