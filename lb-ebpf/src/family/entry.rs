//! The entries of the flow tables, as each family has them.

use lb_common::{
    atomic::{AtomicU64, Ordering::Relaxed},
    flow::{Ctl, Flow4, Flow6, Return4, Return6},
};

/// A forward entry in its family's form.
pub trait ForwardEntry {
    /// What it is found by.
    type Key: Copy;
    /// The control word.
    fn ctl(&self) -> &AtomicU64;
    /// Whether the entry's key is this one.
    fn holds(&self, key: Self::Key) -> bool;
    /// The key.
    fn key(&self) -> Self::Key;
    /// Stores the key, in an entry that was claimed.
    fn set_key(&self, key: Self::Key);
}

/// A return entry in its family's form.
pub trait ReturnEntry {
    /// An address.
    type Address: Copy;
    /// The forward key.
    type Key: Copy;
    /// The control word.
    fn ctl(&self) -> &AtomicU64;
    /// Whether the flow's member and VIP are these.
    fn is_from(&self, member: Self::Address, member_port: u16, vip_and_transport: u16) -> bool;
    /// The forward key of the flow.
    fn key(&self) -> Self::Key;
    /// Zero if that key is this one; found without a branch.
    fn key_differs(&self, key: Self::Key) -> u64;
    /// Stores everything but the control word, in an entry that was claimed.
    fn fill(&self, key: Self::Key, member: Self::Address, member_port: u16, vip_and_transport: u16);
    /// The client's last hop and our port number.
    fn last_hop(&self) -> &AtomicU64;
    /// Our address there and the listener's port.
    fn own(&self) -> &AtomicU64;
    /// VIP and transport.
    fn vip_and_transport(&self) -> u16;
}

impl ForwardEntry for Flow4 {
    type Key = u64;

    #[inline(always)]
    fn ctl(&self) -> &AtomicU64 {
        &self.ctl
    }

    #[inline(always)]
    fn holds(&self, key: u64) -> bool {
        self.client.load(Relaxed) == key
    }

    #[inline(always)]
    fn key(&self) -> u64 {
        self.client.load(Relaxed)
    }

    #[inline(always)]
    fn set_key(&self, key: u64) {
        self.client.store(key, Relaxed);
    }
}

impl ForwardEntry for Flow6 {
    type Key = [u64; 3];

    #[inline(always)]
    fn ctl(&self) -> &AtomicU64 {
        &self.ctl
    }

    #[inline(always)]
    fn holds(&self, key: [u64; 3]) -> bool {
        self.client.load(Relaxed) == key[2]
            && self.address[0].load(Relaxed) == key[0]
            && self.address[1].load(Relaxed) == key[1]
    }

    #[inline(always)]
    fn key(&self) -> [u64; 3] {
        [self.address[0].load(Relaxed), self.address[1].load(Relaxed), self.client.load(Relaxed)]
    }

    #[inline(always)]
    fn set_key(&self, key: [u64; 3]) {
        self.address[0].store(key[0], Relaxed);
        self.address[1].store(key[1], Relaxed);
        self.client.store(key[2], Relaxed);
    }
}

/// [`Return4::member`] of a member and a VIP.
#[inline(always)]
const fn member4(address: u32, port: u16, vip_and_transport: u16) -> u64 {
    (address as u64) << 32 | (port as u64) << 16 | vip_and_transport as u64
}

impl ReturnEntry for Return4 {
    type Address = u32;
    type Key = u64;

    #[inline(always)]
    fn ctl(&self) -> &AtomicU64 {
        &self.ctl
    }

    #[inline(always)]
    fn is_from(&self, member: u32, member_port: u16, vip_and_transport: u16) -> bool {
        self.member.load(Relaxed) == member4(member, member_port, vip_and_transport)
    }

    #[inline(always)]
    fn key(&self) -> u64 {
        self.client.load(Relaxed)
    }

    #[inline(always)]
    fn key_differs(&self, key: u64) -> u64 {
        self.client.load(Relaxed) ^ key
    }

    #[inline(always)]
    fn fill(&self, key: u64, member: u32, member_port: u16, vip_and_transport: u16) {
        self.client.store(key, Relaxed);
        self.member.store(member4(member, member_port, vip_and_transport), Relaxed);
    }

    #[inline(always)]
    fn last_hop(&self) -> &AtomicU64 {
        &self.last_hop
    }

    #[inline(always)]
    fn own(&self) -> &AtomicU64 {
        &self.own
    }

    #[inline(always)]
    fn vip_and_transport(&self) -> u16 {
        self.member.load(Relaxed) as u16
    }
}

/// Bits of [`Return6::ports`] above the client word.
#[inline(always)]
const fn member6(port: u16, vip_and_transport: u16) -> u64 {
    (port as u64) << 48 | (vip_and_transport as u64) << 32
}

impl ReturnEntry for Return6 {
    type Address = [u64; 2];
    type Key = [u64; 3];

    #[inline(always)]
    fn ctl(&self) -> &AtomicU64 {
        &self.ctl
    }

    #[inline(always)]
    fn is_from(&self, member: [u64; 2], member_port: u16, vip_and_transport: u16) -> bool {
        self.ports.load(Relaxed) >> 32 == member6(member_port, vip_and_transport) >> 32
            && self.member_address[0].load(Relaxed) == member[0]
            && self.member_address[1].load(Relaxed) == member[1]
    }

    #[inline(always)]
    fn key(&self) -> [u64; 3] {
        [
            self.client_address[0].load(Relaxed),
            self.client_address[1].load(Relaxed),
            self.ports.load(Relaxed) & 0xffff_ffff,
        ]
    }

    #[inline(always)]
    fn key_differs(&self, key: [u64; 3]) -> u64 {
        let own = self.key();
        (own[0] ^ key[0]) | (own[1] ^ key[1]) | (own[2] ^ key[2])
    }

    #[inline(always)]
    fn fill(&self, key: [u64; 3], member: [u64; 2], member_port: u16, vip_and_transport: u16) {
        self.client_address[0].store(key[0], Relaxed);
        self.client_address[1].store(key[1], Relaxed);
        self.ports.store(key[2] | member6(member_port, vip_and_transport), Relaxed);
        self.member_address[0].store(member[0], Relaxed);
        self.member_address[1].store(member[1], Relaxed);
    }

    #[inline(always)]
    fn last_hop(&self) -> &AtomicU64 {
        &self.last_hop
    }

    #[inline(always)]
    fn own(&self) -> &AtomicU64 {
        &self.own
    }

    #[inline(always)]
    fn vip_and_transport(&self) -> u16 {
        (self.ports.load(Relaxed) >> 32) as u16
    }
}

/// Changes a control word if nobody else has: losing the race means that
/// somebody wrote news at least as fresh.
#[inline(always)]
pub fn replace(word: &AtomicU64, before: Ctl, after: Ctl) -> bool {
    lb_common::atomic::compare_and_swap(word, before.0, after.0)
}
