//! The packet pipeline: what happens to a frame, from its first byte to a
//! verdict.
//!
//! The library knows neither BPF nor a kernel. It is generic over
//! [`tables::Tables`] and works on a [`packet::Packet`], so the very same code
//! runs in the kernel (`main.rs` supplies BPF maps) and on the host (tests,
//! fuzzing, and tools supply ordinary memory). Start reading at
//! [`pipeline::run`].
//!
//! Invariants others rely on: no function here panics or loops without a
//! constant bound; every byte of a frame is reached through the cursor of
//! [`packet`]; a packet that ends here ends with a
//! [`DropReason`](lb_common::drop_reason::DropReason).
#![cfg_attr(not(any(test, feature = "host")), no_std)]
#![deny(unsafe_code)]
// These pages are for those who work on the pipeline, and its story leads through
// functions that nobody else calls.
#![allow(rustdoc::private_intra_doc_links)]

mod admission;
pub mod client;
pub mod control;
mod deliver;
mod dnat;
mod encap;
pub mod family;
pub mod far;
pub mod flow;
mod fragment;
mod guard;
pub mod headers;
#[cfg(any(test, feature = "host"))]
pub mod host;
mod icmp;
mod icmp_answer;
pub mod ingress;
mod live;
pub mod lookup;
pub mod member;
mod mss;
pub mod packet;
pub mod pipeline;
pub mod placement;
pub mod refuse;
pub mod rewrite;
mod sctp;
pub mod select;
pub mod tables;
mod too_big;
mod trace;
pub mod transport;
mod vlan;
