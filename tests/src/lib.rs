//! What the tests above the unit stand on.
//!
//! `rig` raises network namespaces, servers and daemons and takes them away
//! again; `rig_cli` is the same for a person at a terminal. `packets` says what
//! becomes of packets, for the pipeline on the host and in the kernel. `bench`
//! measures the data path. `drops_page` writes `docs/drops.md` from the drop
//! reasons and holds the file to it.
#![forbid(unsafe_code)]

pub mod bench;
pub mod drops_page;
pub mod fuzz;
pub mod packets;
pub mod rig;
pub mod rig_cli;
