//! The BPF programs: thin shells around the pipeline.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]
#![allow(unsafe_code, reason = "the entry points of a BPF object and their raw context")]

use aya_ebpf::{bindings::xdp_action, helpers::generated::bpf_jiffies64, macros::xdp, programs::XdpContext};
use lb_ebpf::{packet::Packet, pipeline, tables::Verdict};

#[path = "kernel_far.rs"]
mod far;
mod maps;
mod once;
mod route;

/// Forwards what is for a VIP and passes everything else.
#[xdp]
#[inline(always)]
fn krater(ctx: XdpContext) -> u32 {
    // SAFETY: the context is the kernel's, and nobody else has the frame.
    let mut packet = unsafe { Packet::of(ctx.ctx) };
    match pipeline::run(&mut packet, ctx.ingress_ifindex() as u32, &maps::Maps { context: ctx.ctx, is_near: true }) {
        Verdict::Pass => xdp_action::XDP_PASS,
        Verdict::Drop(_) => xdp_action::XDP_DROP,
        Verdict::Transmit | Verdict::Answer => xdp_action::XDP_TX,
        Verdict::Redirect(port) => maps::redirect(port),
    }
}

/// Returns the low 32 bits of the jiffies: how userspace learns the clock that
/// flows are stamped with, through `BPF_PROG_TEST_RUN`.
#[xdp]
#[inline(always)]
fn krater_clock(_ctx: XdpContext) -> u32 {
    // SAFETY: the helper has no precondition.
    unsafe { bpf_jiffies64() as u32 }
}

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
