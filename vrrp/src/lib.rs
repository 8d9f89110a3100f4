//! VRRPv3 (RFC 9568) as a pure state machine.
//!
//! [`packet`] turns bytes into adverts and back, [`router`] is one virtual
//! router on one node: it takes the time and an input, and hands out actions.
//! [`announce`] makes the frames by which a new Active tells the network where
//! the addresses are now. None of them has a clock, a socket or a thread; those
//! are the runner's.
//!
//! The crate knows no `lb-*` crate: what moves a VIP between two balancers must
//! not depend on what forwards its packets. Which rule of the RFC is kept where
//! is in `docs/vrrp.md`.
#![deny(unsafe_code)]

pub mod announce;
pub mod config;
#[doc(hidden)]
pub mod fuzz;
pub mod packet;
pub mod router;
#[cfg(feature = "runner")]
pub mod runner;
pub mod time;
pub mod types;

pub use config::{Authentication, ChecksumForm, ConfigFlaw, Exchange, HmacKeys, HmacMode, RouterConfig};
pub use packet::hmac::{HmacStamp, ReplayMarks};
pub use packet::refusal::Refusal;
pub use packet::{Advert, AdvertNotes, Received, Sending};
pub use router::{Action, Anomaly, Input, Reason, Router, RouterFacts};
pub use time::Instant;
pub use types::{Family, Priority, Secret, State, Version, Vrid};
