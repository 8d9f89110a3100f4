//! A program that passes everything, for the other ends of veths.
//!
//! What XDP transmits into a veth lies in a ring of the peer, and the kernel
//! wakes the peer for it only where the peer has a program too
//! (`veth_xdp_flush`, seen with Linux 6.18; GRO is enough for frames that were
//! redirected).
#![no_std]
#![no_main]
#![allow(unsafe_code, reason = "the entry point of a BPF object")]

use aya_ebpf::{bindings::xdp_action, macros::xdp, programs::XdpContext};

/// Passes everything.
#[xdp]
fn krater_pass(_ctx: XdpContext) -> u32 {
    xdp_action::XDP_PASS
}

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
