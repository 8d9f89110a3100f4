//! The bare balancers of `lb-ebpf/src/floor.rs`: loads them, and fills their
//! tables with the scene's VIP, members and slots. Layouts are shared with them
//! as words.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use aya::{
    Ebpf, EbpfLoader,
    maps::{Array, HashMap, MapData, PerCpuArray},
    programs::{ProgramFd, Xdp},
};
use lb_common::protocol::Transport;

use super::{
    frames::{LISTENER_PORT, MEMBER_MAC, Protocols},
    scene::{MEMBERS, SLOTS},
};

/// Words of a member: its address and its station.
const MEMBER_WORDS: usize = 3;

/// A bare balancer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Floor {
    /// Wraps everything for one member.
    Constant,
    /// The VIP from a kernel hash, a slot, a member, counters; wraps.
    Ipip,
    /// The same without wrapping.
    Dsr,
    /// [`Floor::Ipip`] with an LRU map of flows in front. IPv4 only.
    Lru,
}

impl Floor {
    pub(super) const ALL: [Self; 4] = [Self::Constant, Self::Ipip, Self::Dsr, Self::Lru];

    /// What the table calls it behind its case's name.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Constant => "constant",
            Self::Ipip | Self::Dsr => "floor",
            Self::Lru => "lru",
        }
    }

    /// What a reader of the table needs to know.
    pub(super) fn meaning(self) -> &'static str {
        match self {
            Self::Constant => "parsed, and wrapped for one member that never varies",
            Self::Ipip => "bare balancer: VIP in a kernel hash, slot, member, two counters, wrapped",
            Self::Dsr => "bare balancer: VIP in a kernel hash, slot, member, two counters, addressed",
            Self::Lru => "the bare balancer with a kernel LRU map of flows",
        }
    }

    /// Whether it counts what it forwards.
    pub(super) fn counts(self) -> bool {
        self != Self::Constant
    }

    fn program(self) -> &'static str {
        match self {
            Self::Constant => "floor_constant",
            Self::Ipip => "floor_ipip",
            Self::Dsr => "floor_dsr",
            Self::Lru => "floor_lru",
        }
    }
}

/// The loaded bare balancers.
pub(super) struct Floors {
    /// Holds the programs and the maps that are only written once.
    _object: Ebpf,
    programs: Vec<(Floor, ProgramFd)>,
    vip_counts: PerCpuArray<MapData, [u64; 2]>,
    member_counts: PerCpuArray<MapData, [u64; 2]>,
}

impl Floors {
    /// Loads them and fills their tables.
    pub(super) fn load() -> Result<Self> {
        let path = object_path();
        let object = std::fs::read(&path).with_context(|| {
            format!("read the bare balancers at {}; build them with `cargo xtask build-ebpf`", path.display())
        })?;
        let mut object = EbpfLoader::new().load(&object).with_context(|| format!("load {}", path.display()))?;
        let mut programs = Vec::new();
        for floor in Floor::ALL {
            let name = floor.program();
            let program: &mut Xdp = object.program_mut(name).context("the object lacks a program")?.try_into()?;
            program.load().with_context(|| format!("load program {name}"))?;
            programs.push((floor, program.info()?.fd()?));
        }
        let mut map = |name| object.take_map(name).with_context(|| format!("the object lacks the map {name}"));
        let vip_counts = PerCpuArray::try_from(map("VIP_COUNTS")?)?;
        let member_counts = PerCpuArray::try_from(map("MEMBER_COUNTS")?)?;
        let mut vips: HashMap<MapData, [u32; 5], u32> = HashMap::try_from(map("VIP")?)?;
        let mut slots: Array<MapData, u32> = Array::try_from(map("SLOT")?)?;
        let mut members: Array<MapData, [u64; MEMBER_WORDS]> = Array::try_from(map("MEMBER")?)?;
        for (number, ipv6) in [(0u32, false), (1, true)] {
            let protocols = Protocols { ipv6, transport: Transport::Tcp };
            vips.insert(vip_key(protocols), number, 0).context("write VIP")?;
            for id in 1..=MEMBERS {
                members.set(member_number(number, id), member_words(protocols, id), 0).context("write MEMBER")?;
            }
            for (slot, id) in (0..u32::try_from(SLOTS)?).zip((1..=MEMBERS).cycle()) {
                slots.set(number * u32::try_from(SLOTS)? + slot, member_number(number, id), 0).context("write SLOT")?;
            }
        }
        Ok(Self { _object: object, programs, vip_counts, member_counts })
    }

    /// One of them.
    pub(super) fn program(&self, floor: Floor) -> Option<&ProgramFd> {
        self.programs.iter().find(|(one, _)| *one == floor).map(|(_, fd)| fd)
    }

    /// Packets counted of VIPs, and of members.
    pub(super) fn counted(&self) -> Result<[u64; 2]> {
        let sum = |map: &PerCpuArray<MapData, [u64; 2]>, numbers: u32| {
            let mut packets = 0;
            for number in 0..numbers {
                packets += map.get(&number, 0).context("read counters")?.iter().map(|counts| counts[0]).sum::<u64>();
            }
            Ok::<_, anyhow::Error>(packets)
        };
        Ok([sum(&self.vip_counts, 2)?, sum(&self.member_counts, member_number(2, 0))?])
    }
}

fn member_number(vip: u32, id: u16) -> u32 {
    vip * (u32::from(MEMBERS) + 1) + u32::from(id)
}

/// The words that have these bytes in memory, as many as fit.
fn bytes_of(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(a) => {
            let mut bytes = [0; 16];
            bytes[..4].copy_from_slice(&a.octets());
            bytes
        }
        IpAddr::V6(a) => a.octets(),
    }
}

fn vip_key(protocols: Protocols) -> [u32; 5] {
    let bytes = bytes_of(protocols.vip());
    let word = |at: usize| u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    let [high, low] = LISTENER_PORT.to_be_bytes();
    let protocol = if protocols.transport == Transport::Udp { 17 } else { 6 };
    [word(0), word(4), word(8), word(12), u32::from_ne_bytes([high, low, protocol, 0])]
}

fn member_words(protocols: Protocols, id: u16) -> [u64; MEMBER_WORDS] {
    let bytes = bytes_of(protocols.member(id));
    let word = |bytes: &[u8]| {
        let mut word = [0; 8];
        word[..bytes.len()].copy_from_slice(bytes);
        u64::from_ne_bytes(word)
    };
    [word(&bytes[..8]), word(&bytes[8..]), word(&MEMBER_MAC)]
}

fn object_path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/bpf/bpfel-unknown-none/bpf/floor")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_members_have_their_bytes_in_the_order_of_the_frame() {
        let of = |ipv6| Protocols { ipv6, transport: Transport::Tcp };
        let key: Vec<u8> = vip_key(of(false)).iter().flat_map(|word| word.to_ne_bytes()).collect();
        assert_eq!(key, [192, 0, 2, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 187, 6, 0]);
        let member: Vec<u8> = member_words(of(true), 2).iter().flat_map(|word| word.to_ne_bytes()).collect();
        let expected = [0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 198, 18, 0, 2, 2, 0, 0, 0, 0, 3, 0, 0];
        assert_eq!(member, expected);
    }

    #[test]
    fn members_of_two_vips_have_different_numbers() {
        assert!(member_number(0, MEMBERS) < member_number(1, 1));
        assert_eq!(member_number(1, 1) - member_number(0, 1), u32::from(MEMBERS) + 1);
    }
}
