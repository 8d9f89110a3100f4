//! Brings the data plane to what is desired.

pub mod plan;
pub mod reconcile;
