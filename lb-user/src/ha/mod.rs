//! Two balancers as one: which of them carries the VIPs, and that the other
//! knows the flows.

pub mod hook;
pub mod sync;
