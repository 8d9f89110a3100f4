//! The ABI between the data path and userspace: what every map holds, bit by
//! bit, and the small pure functions both sides must agree on.
//!
//! What must not be here: anything that knows how a map is reached (BPF
//! helpers, aya, mmap) and anything that decides what to put into one.
//!
//! All shared memory is made of `AtomicU64` words. Both sides read and write it
//! at the same time, so an atomic is the type that says what is true; relaxed
//! loads and stores compile to the plain instructions. A record that must be
//! seen whole is published by its last word, and that word alone says whether
//! the record is valid.
//!
//! Invariant others rely on: each map value is a multiple of eight bytes, has
//! no padding, and its size and field offsets are proven at compile time in
//! the module that defines it. Changing any of them means raising
//! [`config::ABI_VERSION`].
#![cfg_attr(not(test), no_std)]
#![cfg_attr(target_arch = "bpf", feature(core_intrinsics, asm_experimental_arch), allow(internal_features))]
#![deny(unsafe_code)]

pub mod advert;
pub mod array;
pub mod atomic;
pub mod checksum;
pub mod cidr;
pub mod config;
pub mod counters;
pub mod dnat;
pub mod drop_reason;
pub mod flow;
pub mod flow_note;
pub mod fragment;
pub mod hash;
pub mod instance;
pub mod label;
pub mod limits;
pub mod listener;
pub mod load;
pub mod mac;
pub mod member;
pub mod names;
pub mod placement;
pub mod pool;
pub mod port;
pub mod protocol;
pub mod time;
pub mod trace;
pub mod vip;
