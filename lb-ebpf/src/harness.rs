//! Programs for measuring: see `docs/performance.md`.
#![no_std]
#![no_main]
#![allow(unsafe_code, reason = "the entry points of a BPF object and their raw context")]

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
