//! What the tests above the unit stand on.
//!
//! `rig` raises network namespaces, servers and daemons and takes them away
//! again; `rig_cli` is the same for a person at a terminal.
#![forbid(unsafe_code)]

pub mod bench;
pub mod rig;
pub mod rig_cli;
