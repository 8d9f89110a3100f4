//! Programs for the other ends of veths: one passes everything, one unwraps what
//! was encapsulated first, as the tunnel devices of a member do (`ipip`, `ip6tnl`,
//! `fou`), which not every kernel has.
//!
//! What XDP transmits into a veth lies in a ring of the peer, and the kernel
//! wakes the peer for it only where the peer has a program too
//! (`veth_xdp_flush`, seen with Linux 6.18; GRO is enough for frames that were
//! redirected).
#![no_std]
#![no_main]
#![allow(unsafe_code, reason = "the entry point of a BPF object")]

use aya_ebpf::{bindings::xdp_action, helpers::generated::bpf_xdp_adjust_head, macros::xdp, programs::XdpContext};

/// Passes everything.
#[xdp]
fn krater_pass(_ctx: XdpContext) -> u32 {
    xdp_action::XDP_PASS
}

/// Takes outer headers off (IP in IP of all four kinds, UDP to port 6080 over
/// either family) and passes everything.
#[xdp]
fn krater_unwrap(ctx: XdpContext) -> u32 {
    // Nothing is wrong with a frame that is not wrapped.
    let _ = unwrap(&ctx);
    xdp_action::XDP_PASS
}

const ETHERNET: usize = 14;
const GUE_PORT: u16 = 6080;

/// The bytes at an offset.
#[inline(always)]
fn read<const N: usize>(ctx: &XdpContext, offset: usize) -> Option<[u8; N]> {
    let start = ctx.data() + offset;
    if start + N > ctx.data_end() {
        return None;
    }
    // SAFETY: the bytes lie in the frame, as was just checked.
    Some(unsafe { (start as *const [u8; N]).read_unaligned() })
}

#[inline(always)]
fn unwrap(ctx: &XdpContext) -> Option<()> {
    let (header, protocol) = match read::<2>(ctx, 12)? {
        [0x08, 0x00] => (20, read::<1>(ctx, ETHERNET + 9)?[0]),
        [0x86, 0xdd] => (40, read::<1>(ctx, ETHERNET + 6)?[0]),
        _ => return None,
    };
    let outer = match protocol {
        4 | 41 => header,
        17 if u16::from_be_bytes(read::<2>(ctx, ETHERNET + header + 2)?) == GUE_PORT => header + 8,
        _ => return None,
    };
    let [first] = read::<1>(ctx, ETHERNET + outer)?;
    let ethertype: [u8; 2] = match first >> 4 {
        4 => [0x08, 0x00],
        6 => [0x86, 0xdd],
        _ => return None,
    };
    let stations = read::<12>(ctx, 0)?;
    // SAFETY: the context is the program's own.
    if unsafe { bpf_xdp_adjust_head(ctx.ctx, outer as i32) } != 0 {
        return None;
    }
    let start = ctx.data();
    if start + ETHERNET > ctx.data_end() {
        return None;
    }
    // SAFETY: the bytes lie in the frame, as was just checked.
    unsafe {
        (start as *mut [u8; 12]).write_unaligned(stations);
        ((start + 12) as *mut [u8; 2]).write_unaligned(ethertype);
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
