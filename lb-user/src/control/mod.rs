//! How an operator reaches what runs: the words spoken over lbd's socket, both
//! ends of it, and the answers to them.
//!
//! What must not be here: decisions about the data path. [`answer`] only reads;
//! a request that changes something reaches the controller through
//! [`server::Command`] and is carried out there. `lbctl --offline` asks the
//! same [`answer`] over the pinned maps, so both ways show the same.

pub mod answer;
pub mod client;
pub mod events;
pub mod moment;
pub mod protocol;
pub mod server;
pub mod status;
pub mod survey;
pub mod view;
