//! Flow sync: the flows that one balancer confirmed become known to the other.
//!
//! ```text
//! data path ─► FlowExchange::drain, scan ─► session ─► wire ─► UDP
//!       UDP ─► wire ─► session ─► FlowExchange::adopt ─► data path
//! ```
//!
//! Both balancers of a pair do the same; a Backup has little to say. All of it
//! runs in a thread of its own ([`link`]) around a [`session`] without a clock,
//! so it is tested with moments and networks that are made up. What must not be
//! here: which of the two carries the VIPs.

pub mod link;
mod meter;
mod outbox;
mod passes;
mod peer;
pub mod record;
pub mod session;
pub mod view;
mod window;
pub mod wire;

#[cfg(test)]
mod rehearsal;

pub use link::{Sync, SyncSettings};
pub use passes::Reason;
pub use session::Paths;
pub use view::SyncView;
