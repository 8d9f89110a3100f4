//! VRRPv3 (RFC 9568) as a pure state machine.
//!
//! The crate is the home of the packet formats, the router state machine, its
//! timers and the gratuitous announcements; none of them is written yet. It
//! knows no `lb-*` crate: what moves a VIP between two balancers must not
//! depend on what forwards its packets.
#![forbid(unsafe_code)]
