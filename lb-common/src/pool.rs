//! `POOLS` and `SLOTS`: a pool's table.
//!
//! All tables lie in one array of slots. A pool is one word that says where its
//! table begins, how long it is and what is hashed to index it; storing that
//! word switches the pool from one whole table to another.

use crate::atomic::{AtomicU64, Ordering::Relaxed};

/// The pool id of a listener without pool. Userspace never gives it away.
pub const NO_POOL: u16 = 0;

/// What of a flow chooses the slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum SlotHash {
    /// SOURCE_IP_PORT: addresses and ports.
    SourceIpPort = 0,
    /// SOURCE_IP: the client's address and the VIP.
    SourceIp = 1,
}

/// The word of a pool. Zero is a pool with an empty table.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(transparent)]
pub struct PoolEntry(pub u64);

impl PoolEntry {
    const VALID: u64 = 1 << 63;

    /// A pool whose table is `length` slots long (24 bits) from `first`.
    #[must_use]
    pub const fn new(first: u32, length: u32, hash: SlotHash) -> Self {
        Self(Self::VALID | ((hash as u64) << 56) | ((length as u64 & 0xff_ffff) << 32) | first as u64)
    }

    /// Whether the pool exists.
    #[must_use]
    pub const fn is_valid(self) -> bool {
        self.0 & Self::VALID != 0
    }

    /// Index of the table's first slot.
    #[inline(always)]
    #[must_use]
    pub const fn first(self) -> u32 {
        self.0 as u32
    }

    /// Slots in the table; none means that the pool has no member to offer.
    #[inline(always)]
    #[must_use]
    pub const fn length(self) -> u32 {
        (self.0 >> 32) as u32 & 0xff_ffff
    }

    /// Whether only the client's address is hashed.
    #[inline(always)]
    #[must_use]
    pub const fn hashes_source_only(self) -> bool {
        (self.0 >> 56) & 0x7f == SlotHash::SourceIp as u64
    }
}

/// A pool: one [`PoolEntry`].
#[repr(C)]
#[derive(Debug, Default)]
pub struct Pool {
    /// A [`PoolEntry`].
    pub entry: AtomicU64,
}

/// What a slot holds: the member new flows go to, and in the upper half the one
/// they went to before while a change is under way (zero: the slot is steady).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(transparent)]
pub struct Slot(pub u32);

impl Slot {
    /// A slot in steady state.
    #[must_use]
    pub const fn steady(member: u16) -> Self {
        Self(member as u32)
    }

    /// The member that new flows go to.
    #[inline(always)]
    #[must_use]
    pub const fn current(self) -> u16 {
        self.0 as u16
    }
}

/// A cache line of slots. An array map rounds its values up to eight bytes, so
/// slots of four are kept sixteen to a value.
#[repr(C)]
#[derive(Debug, Default)]
pub struct SlotLine {
    /// Two [`Slot`]s a word, the even one in the lower half.
    pub pairs: [AtomicU64; 8],
}

impl SlotLine {
    /// The slot at `index` (taken modulo 16) of the line.
    #[inline(always)]
    #[must_use]
    pub fn get(&self, index: u32) -> Slot {
        let pair = self.pairs[(index as usize / 2) % 8].load(Relaxed);
        Slot((pair >> (32 * (index % 2))) as u32)
    }

    /// Stores two neighbouring slots; `pair` is taken modulo 8.
    pub fn set_pair(&self, pair: u32, even: Slot, odd: Slot) {
        self.pairs[pair as usize % 8].store(u64::from(even.0) | u64::from(odd.0) << 32, Relaxed);
    }
}

const _: () = assert!(size_of::<SlotLine>() == 64 && size_of::<Pool>() == 8);
