//! The arrays whose address the data path has in its code.
//!
//! A BPF program asks the kernel for an entry of an array map by an index that it has
//! to put on its stack. The kernel writes a dozen instructions in place of each such
//! question, and moves all that follow for it. Of an array with one entry a program can
//! have the address instead (`BPF_PSEUDO_MAP_VALUE`, Linux 5.2), so each of these is one
//! entry of the map however many entries of its own it has, and the verifier proves that
//! an index stays within it. For userspace, which maps the memory, it is the same.
//!
//! The object is compiled before there is a map. Wherever the program needs an address it
//! loads a 64-bit constant that stands for it, [`FixedArray::mark`], and the loader puts the
//! address in its place ([`marked`], [`put_address`]).
//!
//! The flow tables are not among these: with the most flows they may have, their size is
//! past what the verifier takes for an offset (2²⁹ bytes).

use crate::{
    advert::{AdvertGuard, AdvertLine},
    config::Config,
    dnat::DnatLine,
    fragment::Fragment,
    instance::Instance,
    limits, listener,
    load::{self, SourceCell},
    member::Member,
    names,
    placement::PlacementLine,
    pool::{Pool, SlotLine},
    port::Port,
    trace::TraceFilter,
    vip::{Vip4Line, Vip6Line, VipFilter},
};

macro_rules! arrays {
    ($($variant:ident = $name:ident: $type:ty, $entries:expr;)+) => {
        /// An array of the data path. Its number is its place in [`FixedArray::ALL`].
        #[repr(u32)]
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
        pub enum FixedArray {
            $(
                #[doc = concat!("`", stringify!($name), "`.")]
                $variant,
            )+
        }

        impl FixedArray {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The name of its map and pin.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => names::$name,)+ }
            }

            /// Bytes of an entry.
            #[must_use]
            pub const fn entry_bytes(self) -> usize {
                match self { $(Self::$variant => size_of::<$type>(),)+ }
            }

            /// How many entries it has, a power of two.
            #[must_use]
            pub const fn entries(self) -> u32 {
                match self { $(Self::$variant => $entries,)+ }
            }
        }
    };
}

arrays! {
    Config = CONFIG: Config, 1;
    Vips4 = VIPS4: Vip4Line, limits::VIP4_LINES;
    Vips6 = VIPS6: Vip6Line, limits::VIP6_LINES;
    VipFilter = VIP_FILTER: VipFilter, 1;
    Instances = INSTANCES: Instance, limits::MAX_INSTANCES;
    AdvertGuard = ADVERT_GUARD: AdvertGuard, 1;
    AdvertSources = ADVERT_SOURCES: AdvertLine, limits::ADVERT_LINES;
    Listeners = LISTENERS: listener::ListenerLine, limits::LISTENER_LINES;
    ListenerKeys = LISTENER_KEYS: listener::ListenerOf, limits::MAX_LISTENERS;
    Pools = POOLS: Pool, limits::MAX_POOLS;
    Slots = SLOTS: SlotLine, limits::MAX_SLOTS / limits::SLOTS_PER_LINE;
    Members = MEMBERS: Member, limits::MAX_MEMBERS;
    Ports = PORTS: Port, limits::MAX_PORTS;
    Placements = PLACEMENTS: PlacementLine, limits::PLACEMENT_LINES;
    ListenerLoads = LISTENER_LOADS: load::Load, limits::MAX_LISTENERS;
    MemberLoads = MEMBER_LOADS: load::Load, limits::MAX_MEMBERS;
    Sources = SOURCES: SourceCell, limits::SOURCE_CELLS;
    Fragments = FRAGMENTS: Fragment, limits::FRAGMENT_ENTRIES;
    DnatMembers = DNAT_MEMBERS: DnatLine, limits::DNAT_LINES;
    TraceFilter = TRACE_FILTER: TraceFilter, 1;
}

/// The upper half of the constants that stand for addresses.
const MARK: u64 = 0x4b72_6144;

impl FixedArray {
    /// The constant that stands for its address.
    #[must_use]
    pub const fn mark(self) -> u64 {
        MARK << 32 | self as u64
    }
}

/// The bytes of the instruction that loads a 64-bit constant: two slots.
pub const LOAD_BYTES: usize = 16;
/// Its operation code: `BPF_LD | BPF_IMM | BPF_DW`.
const LOAD_WIDE: u8 = 0x18;
/// `BPF_PSEUDO_MAP_VALUE`, as the source register (upper four bits of the second byte).
const OF_MAP_VALUE: u8 = 2 << 4;

/// The array whose address the instruction at the start of some bytes stands for, if it
/// is the load of a mark.
#[must_use]
pub fn marked(bytes: &[u8]) -> Option<FixedArray> {
    let (load, _) = bytes.split_first_chunk::<LOAD_BYTES>()?;
    let [LOAD_WIDE, registers, 0, 0, n0, n1, n2, n3, 0, 0, 0, 0, m0, m1, m2, m3] = *load else { return None };
    let is_mark = registers & 0xf0 == 0 && u64::from(u32::from_le_bytes([m0, m1, m2, m3])) == MARK;
    if is_mark { FixedArray::ALL.get(u32::from_le_bytes([n0, n1, n2, n3]) as usize).copied() } else { None }
}

/// Makes the instruction at the start of some bytes, which is the load of a mark, load the
/// address of the one entry of a map, which is open as this file descriptor.
pub fn put_address(bytes: &mut [u8], map: i32) {
    if let Some((load, _)) = bytes.split_first_chunk_mut::<LOAD_BYTES>() {
        load[1] |= OF_MAP_VALUE;
        load[4..8].copy_from_slice(&map.to_le_bytes());
        load[12..16].fill(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(register: u8, constant: u64) -> [u8; LOAD_BYTES] {
        let mut bytes = [0; LOAD_BYTES];
        bytes[0] = LOAD_WIDE;
        bytes[1] = register;
        bytes[4..8].copy_from_slice(&(constant as u32).to_le_bytes());
        bytes[12..16].copy_from_slice(&((constant >> 32) as u32).to_le_bytes());
        bytes
    }

    #[test]
    fn every_array_is_known_by_its_mark_and_no_other_constant_is() {
        for (number, &array) in FixedArray::ALL.iter().enumerate() {
            assert_eq!(array as usize, number);
            assert!(array.entries().is_power_of_two(), "{array:?}");
            assert!(array.entry_bytes().is_multiple_of(8), "{array:?}");
            // The verifier's limit of an offset.
            assert!(array.entries() as usize * array.entry_bytes() < 1 << 29, "{array:?}");
            assert_eq!(marked(&load(7, array.mark())), Some(array));
            // Of a map already, or cut off.
            assert_eq!(marked(&load(0x17, array.mark())), None);
            assert_eq!(marked(&load(7, array.mark())[..15]), None);
        }
        let past = FixedArray::ALL.len() as u64;
        for constant in [0, past, MARK << 32 | past, u64::MAX, MARK << 33] {
            assert_eq!(marked(&load(1, constant)), None, "{constant:x}");
        }
    }

    #[test]
    fn what_is_put_in_place_is_what_the_kernel_reads() {
        let mut bytes = load(3, FixedArray::Pools.mark());
        put_address(&mut bytes, 0x1234);
        assert_eq!(bytes, [LOAD_WIDE, 0x23, 0, 0, 0x34, 0x12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    }
}
