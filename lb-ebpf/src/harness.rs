//! Programs for measuring: see `docs/performance.md`.
//!
//! `BPF_PROG_TEST_RUN` hands each repetition the frame that the last one left
//! behind. So what is repeated is [`harness`]: it writes the headers anew from
//! a template, with the next flow's address and port, and jumps to the program
//! under test. The same with [`harness_transmit`] in that program's place is
//! what has to be subtracted. A frame that the program under test made longer is
//! cut to its old length first; what that costs is half of what
//! [`harness_grow`] takes more than [`harness_transmit`].
//!
//! Layouts are shared with `tests/src/bench/harness.rs`, as words.
#![no_std]
#![no_main]
#![allow(unsafe_code, reason = "the entry points of a BPF object, their raw context and their maps")]

use aya_ebpf::{
    bindings::xdp_action,
    helpers::generated::bpf_xdp_adjust_head,
    macros::{map, xdp},
    maps::{Array, ProgramArray},
    programs::XdpContext,
};
use lb_common::{atomic::opaque, checksum::Sum, hash};

/// Words of a template: the first holds six bytes, each other one eight, so
/// that no field of any header straddles two words. The program under test
/// would wait for two stores where on a real frame it waits for none.
const WORDS: usize = 10;
/// Bytes that are written anew: the headers of IPv6 and TCP, and some.
const BYTES: usize = 6 + (WORDS - 1) * 8;

/// What a run does, and how far it is.
#[repr(C)]
struct Run {
    /// Bit 0: IPv6. Bit 1: UDP. Bit 2: the port that changes is the
    /// destination's, and not the source's.
    kind: u64,
    /// [`RANDOM`], [`LISTED`], or else in the order of their numbers, and again.
    order: u64,
    /// How many flows there are, below 2³².
    flows: u64,
    /// The next flow of a sequence or a list.
    next: u64,
    /// State of the random number generator, never zero.
    random: u64,
    /// Upper bits of the last 32 bits of a client's address, host order.
    clients: u64,
    /// Packets so far.
    packets: u64,
    /// The headers. Where the flow's address, its port and the checksums over
    /// them belong, they are zero.
    template: [u64; WORDS],
    /// The IPv4 header's checksum without the flow's address.
    network_checksum: u64,
    /// The transport checksum without the flow's address and port.
    transport_checksum: u64,
    /// The frame's length.
    length: u64,
}

const KIND_IPV6: u64 = 1;
const KIND_UDP: u64 = 2;
const KIND_TO_PORT: u64 = 4;

/// Any flow at any time.
const RANDOM: u64 = 1;
/// Flows as `LIST` has them, and again.
const LISTED: u64 = 2;

/// The lowest port of a client; the 24 lower bits of a flow's number are the
/// lower bits of the client's address, the others are added to this.
const CLIENT_PORT: u16 = 1024;

/// The last 32 bits of an address as they lie in the frame, and a port in host
/// order.
#[derive(Clone, Copy)]
struct Varying {
    address: u32,
    port: u16,
}

#[map]
static RUN: Array<Run> = Array::with_max_entries(1, 0);
/// What varies from flow to flow: the address in the lower half of the word,
/// the port above. It is read from front to back, so that it is the flow that
/// is cold and not the list.
#[map]
static LIST: Array<u64> = Array::with_max_entries(1 << 20, 0);
/// The program under test.
#[map]
static TARGET: ProgramArray = ProgramArray::with_max_entries(1, 0);

/// Makes the next packet and hands it to the program under test.
#[xdp]
fn harness(ctx: XdpContext) -> u32 {
    if restore(&ctx).is_some() {
        // SAFETY: nothing here needs dropping; the call returns only where
        // there is no program.
        unsafe { TARGET.tail_call(&ctx, 0) };
    }
    xdp_action::XDP_ABORTED
}

/// The program under test that does nothing.
#[xdp]
fn harness_transmit(_ctx: XdpContext) -> u32 {
    xdp_action::XDP_TX
}

/// The program under test that does nothing but to make the frame longer.
#[xdp]
fn harness_grow(ctx: XdpContext) -> u32 {
    // SAFETY: the context is the program's own.
    if unsafe { bpf_xdp_adjust_head(ctx.ctx, -20) } == 0 { xdp_action::XDP_TX } else { xdp_action::XDP_ABORTED }
}

/// Writes the headers of the next packet.
#[inline(always)]
fn restore(ctx: &XdpContext) -> Option<()> {
    let run = RUN.get_ptr_mut(0)?;
    // SAFETY: the value lives as long as the map; runs are pinned to one CPU
    // and userspace writes between them only.
    let run = unsafe { &mut *run };
    let varying = next(run)?;
    run.packets += 1;
    let words = match run.kind & (KIND_IPV6 | KIND_UDP) {
        0 => headers::<false, false>(run, varying),
        KIND_IPV6 => headers::<true, false>(run, varying),
        KIND_UDP => headers::<false, true>(run, varying),
        _ => headers::<true, true>(run, varying),
    };
    let excess = opaque((ctx.data_end() - ctx.data()) as u64) - run.length & 0xff;
    // SAFETY: the context is the program's own.
    if excess != 0 && unsafe { bpf_xdp_adjust_head(ctx.ctx, excess as i32) } != 0 {
        return None;
    }
    let start = ctx.data();
    if start + BYTES > ctx.data_end() {
        return None;
    }
    let frame = start as *mut u8;
    // SAFETY: the frame has `BYTES` bytes, as was just checked, and nobody else
    // has it.
    unsafe {
        frame.cast::<u32>().write_unaligned(words[0] as u32);
        frame.add(4).cast::<u16>().write_unaligned((words[0] >> 32) as u16);
        let mut at = frame.add(6).cast::<u64>();
        for word in &words[1..] {
            at.write_unaligned(*word);
            at = at.add(1);
        }
    }
    Some(())
}

/// The flow the next packet is of.
#[inline(always)]
fn next(run: &mut Run) -> Option<Varying> {
    if run.order == RANDOM {
        // Marsaglia, "Xorshift RNGs" (2003), with its first triple for 64 bits.
        let mut x = run.random;
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        run.random = x;
        return Some(client(run, u64::from(hash::scale(x, run.flows as u32))));
    }
    let number = run.next;
    run.next = if number + 1 < run.flows { number + 1 } else { 0 };
    if run.order == LISTED {
        let word = *LIST.get(number as u32)?;
        return Some(Varying { address: word as u32, port: (word >> 32) as u16 });
    }
    Some(client(run, number))
}

/// The client with a number.
#[inline(always)]
fn client(run: &Run, number: u64) -> Varying {
    let address = run.clients as u32 | (number as u32 & 0xff_ffff);
    Varying { address: address.to_be(), port: CLIENT_PORT + (number >> 24) as u16 }
}

/// The template with what varies, and checksums that are right for it.
#[inline(always)]
fn headers<const IPV6: bool, const UDP: bool>(run: &Run, varying: Varying) -> [u64; WORDS] {
    let mut words = run.template;
    let port = varying.port.to_be();
    let address = u64::from(varying.address) << 32;
    let transport = Sum::default().add32(varying.address).add16(port).update(run.transport_checksum as u16);
    // Zero would say that a UDP datagram has none; both are zero to a receiver.
    let transport = u64::from(if transport == 0 { 0xffff } else { transport });
    let port = u64::from(port) << if run.kind & KIND_TO_PORT == 0 { 0 } else { 16 };
    if IPV6 {
        words[4] |= address;
        words[7] |= port;
        if UDP {
            words[7] |= transport << 48;
        } else {
            words[9] |= transport;
        }
    } else {
        let network = Sum::default().add32(varying.address).update(run.network_checksum as u16);
        words[3] |= address | u64::from(network) << 16;
        words[4] |= port << 32;
        if UDP {
            words[5] |= transport << 16;
        } else {
            words[6] |= transport << 32;
        }
    }
    words
}

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
