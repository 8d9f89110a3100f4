//! Bare balancers to measure beside the data path: see `docs/performance.md`.
//!
//! Each does what no balancer can do without, the way a program does it that has
//! its tables in the kernel's maps, and nothing else: no guards, no options, no
//! transitions, no errors. What must not be here: anything of the pipeline, for
//! that would move with what it is compared with.
//!
//! Layouts are shared with `tests/src/bench/floor.rs`, as words.
#![no_std]
#![no_main]
#![allow(unsafe_code, reason = "the entry points of a BPF object, their raw context and their maps")]

use aya_ebpf::{
    bindings::xdp_action,
    helpers::generated::bpf_xdp_adjust_head,
    macros::{map, xdp},
    maps::{Array, HashMap, LruHashMap, PerCpuArray},
    programs::XdpContext,
};
use lb_common::{checksum::Sum, hash};

/// VIPs there may be.
const VIPS: u32 = 512;
/// Slots of a VIP's table: as many as the pool has that is measured.
const SLOTS: u32 = 10_007;
/// Tables there are room for.
const TABLES: u32 = 2;
/// Members there may be.
const MEMBERS: u32 = 4096;
/// Flows that are remembered.
const FLOWS: u32 = 1 << 21;

/// Where a member is. For [`floor_constant`] it is the first of either family.
#[derive(Clone, Copy)]
#[repr(C)]
struct Member {
    /// Its address, in the order of the frame; of IPv4 in the first four bytes.
    address: [u64; 2],
    /// The next hop's Ethernet address, in the lower 48 bits.
    station: u64,
}

const CONSTANT4: Member =
    Member { address: [u32::from_ne_bytes([198, 18, 0, 1]) as u64, 0], station: CONSTANT_STATION };
const CONSTANT6: Member = Member {
    address: [u64::from_ne_bytes([0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0]), u64::from_ne_bytes([0, 0, 0, 0, 198, 18, 0, 1])],
    station: CONSTANT_STATION,
};
const CONSTANT_STATION: u64 = u64::from_ne_bytes([2, 0, 0, 0, 0, 3, 0, 0]);

/// Where wrapped packets come from.
const SOURCE4: u32 = u32::from_ne_bytes([192, 0, 2, 1]);
const SOURCE6: [u64; 2] =
    [u64::from_ne_bytes([0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0]), u64::from_ne_bytes([0, 0, 0, 0, 0, 0, 0, 1])];

/// Address, port, protocol: twenty bytes.
type VipKey = [u32; 5];
/// Client, VIP, ports, protocol.
type FlowKey = [u64; 2];
/// Packets and bytes.
type Counts = [u64; 2];

/// The number of a VIP, which is that of its table.
#[map]
static VIP: HashMap<VipKey, u32> = HashMap::with_max_entries(VIPS, 0);
#[map]
static SLOT: Array<u32> = Array::with_max_entries(SLOTS * TABLES, 0);
#[map]
static MEMBER: Array<Member> = Array::with_max_entries(MEMBERS, 0);
#[map]
static VIP_COUNTS: PerCpuArray<Counts> = PerCpuArray::with_max_entries(VIPS, 0);
#[map]
static MEMBER_COUNTS: PerCpuArray<Counts> = PerCpuArray::with_max_entries(MEMBERS, 0);
#[map]
static FLOW: LruHashMap<FlowKey, u32> = LruHashMap::with_max_entries(FLOWS, 0);

/// Wraps everything for one member that is known beforehand.
#[xdp]
fn floor_constant(ctx: XdpContext) -> u32 {
    balance::<{ Way::CONSTANT }>(&ctx)
}

/// A VIP from a kernel hash, a slot, a member; counts both; wraps.
#[xdp]
fn floor_ipip(ctx: XdpContext) -> u32 {
    balance::<{ Way::IPIP }>(&ctx)
}

/// The same with the frame addressed to the member and not wrapped.
#[xdp]
fn floor_dsr(ctx: XdpContext) -> u32 {
    balance::<{ Way::DSR }>(&ctx)
}

/// [`floor_ipip`] that asks a kernel LRU map first who has the flow, as Katran
/// does. Of IPv4 only.
#[xdp]
fn floor_lru(ctx: XdpContext) -> u32 {
    balance::<{ Way::LRU }>(&ctx)
}

/// Which of the programs it is.
struct Way;

impl Way {
    const CONSTANT: u8 = 0;
    const IPIP: u8 = 1;
    const DSR: u8 = 2;
    const LRU: u8 = 3;
}

/// What is read of a packet.
struct Packet {
    /// A [`VipKey`], and what fills its last word.
    vip: [u64; 3],
    client: [u64; 2],
    /// Of the client in the lower half, as they lie in the frame.
    ports: u32,
    /// The IP packet, in bytes.
    bytes: u16,
    ipv6: bool,
}

const ETHERNET: usize = 14;
const ETHERTYPE_IPV4: u16 = 0x0800u16.to_be();
const ETHERTYPE_IPV6: u16 = 0x86ddu16.to_be();
const IPV4_BYTES: usize = 20;
const IPV6_BYTES: usize = 40;
const TCP: u8 = 6;
const UDP: u8 = 17;
const HOPS: u8 = 64;

#[inline(always)]
fn balance<const WAY: u8>(ctx: &XdpContext) -> u32 {
    let Some(start) = frame::<ETHERNET>(ctx) else { return xdp_action::XDP_PASS };
    // SAFETY: an Ethernet header is there.
    match unsafe { read::<u16>(start, 12) } {
        ETHERTYPE_IPV4 => parse4(ctx).map_or(xdp_action::XDP_PASS, |packet| forward::<WAY>(ctx, &packet)),
        ETHERTYPE_IPV6 => parse6(ctx).map_or(xdp_action::XDP_PASS, |packet| forward::<WAY>(ctx, &packet)),
        _ => xdp_action::XDP_PASS,
    }
}

#[inline(always)]
fn forward<const WAY: u8>(ctx: &XdpContext, packet: &Packet) -> u32 {
    if WAY == Way::CONSTANT {
        return sent::<WAY>(ctx, packet, if packet.ipv6 { &CONSTANT6 } else { &CONSTANT4 });
    }
    // SAFETY: a key is shorter than its words, and needs no more of an alignment.
    let key = unsafe { &*packet.vip.as_ptr().cast::<VipKey>() };
    let Some(vip) = VIP.get_ptr(key) else { return xdp_action::XDP_PASS };
    // SAFETY: entries are written before measuring and never removed.
    let vip = unsafe { *vip };
    let number = if WAY == Way::LRU { remembered(vip, packet) } else { placed(vip, packet) };
    let Some(number) = number else { return xdp_action::XDP_DROP };
    let Some(member) = MEMBER.get(number) else { return xdp_action::XDP_DROP };
    count(&VIP_COUNTS, vip, packet.bytes);
    count(&MEMBER_COUNTS, number, packet.bytes);
    sent::<WAY>(ctx, packet, member)
}

/// The member that the table says.
#[inline(always)]
fn placed(vip: u32, packet: &Packet) -> Option<u32> {
    let [client, rest] = packet.client;
    let hash = if packet.ipv6 {
        hash::three(0, client, rest, u64::from(packet.ports))
    } else {
        hash::one(0, client << 32 | u64::from(packet.ports))
    };
    SLOT.get(vip * SLOTS + hash::scale(hash, SLOTS)).copied()
}

/// The member that the flow had, or else the one that the table says.
#[inline(always)]
fn remembered(vip: u32, packet: &Packet) -> Option<u32> {
    let [address, _, end] = packet.vip;
    let key: FlowKey = [packet.client[0] << 32 | address, u64::from(packet.ports) << 32 | end >> 16];
    if let Some(number) = FLOW.get_ptr(key) {
        // SAFETY: an entry that another flow takes meanwhile still holds a number.
        return Some(unsafe { *number });
    }
    let number = placed(vip, packet)?;
    // A full map makes room by itself.
    let _ = FLOW.insert(key, number, 0);
    Some(number)
}

#[inline(always)]
fn count(map: &PerCpuArray<Counts>, number: u32, bytes: u16) {
    if let Some(counts) = map.get_ptr_mut(number) {
        // SAFETY: this CPU's value, which nobody else writes while the program runs.
        let counts = unsafe { &mut *counts };
        counts[0] += 1;
        counts[1] += u64::from(bytes);
    }
}

/// The frame, if it has so many bytes.
#[inline(always)]
fn frame<const BYTES: usize>(ctx: &XdpContext) -> Option<*mut u8> {
    let start = ctx.data();
    if start + BYTES > ctx.data_end() { None } else { Some(start as *mut u8) }
}

/// # Safety
/// The frame has the bytes.
#[inline(always)]
unsafe fn read<T: Copy>(frame: *mut u8, at: usize) -> T {
    // SAFETY: the caller's.
    unsafe { frame.add(at).cast::<T>().read_unaligned() }
}

/// # Safety
/// The frame has the bytes.
#[inline(always)]
unsafe fn write<T: Copy>(frame: *mut u8, at: usize, value: T) {
    // SAFETY: the caller's.
    unsafe { frame.add(at).cast::<T>().write_unaligned(value) }
}

/// TCP or UDP over IPv4 without options, whole.
#[inline(always)]
fn parse4(ctx: &XdpContext) -> Option<Packet> {
    const PORTS: usize = ETHERNET + IPV4_BYTES;
    let frame = frame::<{ PORTS + 4 }>(ctx)?;
    // SAFETY: all of it is within what was checked.
    unsafe {
        let protocol: u8 = read(frame, 23);
        let is_part = read::<u16>(frame, 20) & 0x3fffu16.to_be() != 0;
        if read::<u8>(frame, 14) != 0x45 || is_part || !matches!(protocol, TCP | UDP) {
            return None;
        }
        let ports: u32 = read(frame, PORTS);
        Some(Packet {
            vip: [u64::from(read::<u32>(frame, 30)), 0, u64::from(ports >> 16 | u32::from(protocol) << 16)],
            client: [u64::from(read::<u32>(frame, 26)), 0],
            ports,
            bytes: u16::from_be(read(frame, 16)),
            ipv6: false,
        })
    }
}

/// TCP or UDP over IPv6 without extension headers.
#[inline(always)]
fn parse6(ctx: &XdpContext) -> Option<Packet> {
    const PORTS: usize = ETHERNET + IPV6_BYTES;
    let frame = frame::<{ PORTS + 4 }>(ctx)?;
    // SAFETY: all of it is within what was checked.
    unsafe {
        let protocol: u8 = read(frame, 20);
        if !matches!(protocol, TCP | UDP) {
            return None;
        }
        let ports: u32 = read(frame, PORTS);
        Some(Packet {
            vip: [read(frame, 38), read(frame, 46), u64::from(ports >> 16 | u32::from(protocol) << 16)],
            client: [read(frame, 22), read(frame, 30)],
            ports,
            bytes: u16::from_be(read::<u16>(frame, 18)) + IPV6_BYTES as u16,
            ipv6: true,
        })
    }
}

#[inline(always)]
fn sent<const WAY: u8>(ctx: &XdpContext, packet: &Packet, member: &Member) -> u32 {
    let sent = if WAY == Way::DSR {
        address(ctx, member)
    } else if packet.ipv6 {
        wrap6(ctx, packet, member)
    } else {
        wrap4(ctx, packet, member)
    };
    if sent.is_some() { xdp_action::XDP_TX } else { xdp_action::XDP_DROP }
}

/// From the station that the frame was for, to the member's.
#[inline(always)]
fn address(ctx: &XdpContext, member: &Member) -> Option<()> {
    let frame = frame::<ETHERNET>(ctx)?;
    // SAFETY: an Ethernet header is there.
    unsafe {
        let own = station(frame);
        put_stations(frame, own, member);
    }
    Some(())
}

/// # Safety
/// The frame has an Ethernet header.
#[inline(always)]
unsafe fn station(frame: *mut u8) -> (u32, u16) {
    // SAFETY: the caller's.
    unsafe { (read(frame, 0), read(frame, 4)) }
}

/// # Safety
/// The frame has an Ethernet header.
#[inline(always)]
unsafe fn put_stations(frame: *mut u8, own: (u32, u16), member: &Member) {
    // SAFETY: the caller's.
    unsafe {
        write(frame, 0, member.station as u32);
        write(frame, 4, (member.station >> 32) as u16);
        write(frame, 6, own.0);
        write(frame, 10, own.1);
    }
}

/// Makes room for another IP header, and writes the Ethernet header before it.
#[inline(always)]
fn grow<const BYTES: usize, const FRAME: usize>(ctx: &XdpContext, member: &Member, ethertype: u16) -> Option<*mut u8> {
    // SAFETY: the header was read before.
    let own = unsafe { station(frame::<ETHERNET>(ctx)?) };
    // SAFETY: the context is the program's own.
    if unsafe { bpf_xdp_adjust_head(ctx.ctx, -(BYTES as i32)) } != 0 {
        return None;
    }
    let frame = frame::<FRAME>(ctx)?;
    // SAFETY: an Ethernet header is there.
    unsafe {
        put_stations(frame, own, member);
        write(frame, 12, ethertype);
    }
    Some(frame)
}

#[inline(always)]
fn wrap4(ctx: &XdpContext, packet: &Packet, member: &Member) -> Option<()> {
    let frame = grow::<IPV4_BYTES, { ETHERNET + IPV4_BYTES }>(ctx, member, ETHERTYPE_IPV4)?;
    let to = member.address[0] as u32;
    let length = (packet.bytes + IPV4_BYTES as u16).to_be();
    let (head, hops) = (u16::from_ne_bytes([0x45, 0]), u16::from_ne_bytes([HOPS, 4]));
    let sum = Sum::default().add16(head).add16(hops).add32(SOURCE4).add16(length).add32(to);
    // SAFETY: an IP header is there.
    unsafe {
        write(frame, 14, u32::from(head) | u32::from(length) << 16);
        write(frame, 18, 0u32);
        write(frame, 22, u32::from(hops) | u32::from(sum.finish()) << 16);
        write(frame, 26, SOURCE4);
        write(frame, 30, to);
    }
    Some(())
}

#[inline(always)]
fn wrap6(ctx: &XdpContext, packet: &Packet, member: &Member) -> Option<()> {
    let frame = grow::<IPV6_BYTES, { ETHERNET + IPV6_BYTES }>(ctx, member, ETHERTYPE_IPV6)?;
    // SAFETY: an IP header is there.
    unsafe {
        write(frame, 14, 0x6000_0000u32.to_be());
        write(frame, 18, packet.bytes.to_be());
        write(frame, 20, [41u8, HOPS]);
        write(frame, 22, SOURCE6);
        write(frame, 38, member.address);
    }
    Some(())
}

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
