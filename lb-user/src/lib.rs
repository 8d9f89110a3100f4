//! Userspace of Krater: from a pool file to BPF maps.
//!
//! ```text
//! config ─► model ─► compile(model, overrides, health, next hops) ─► Desired
//!                        plan(Desired, Observed) ─► Vec<Op> ─► dataplane
//! ```
//!
//! `compile` and `plan` are pure. Only [`dataplane`] says aya, only [`net`]
//! says netlink; the [`controller`] is the single owner of both.
#![deny(unsafe_code)]

mod causes;
pub mod cli;
pub mod compile;
pub mod config;
pub mod control;
pub mod controller;
pub mod dataplane;
pub mod ha;
pub mod health;
mod heap;
pub mod model;
pub mod net;
pub mod spread;
pub mod store;
