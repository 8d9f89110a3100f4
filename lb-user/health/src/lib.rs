//! Krater's health monitors: probes members, and says when one comes up or goes down.
//!
//! ```text
//! Target = who, question, pace ─► engine (one thread) ─► raw     packets of our own making
//!                                   │    ▲                stream  connections of the kernel's
//!                                   │    └─ Outcome of each probe
//!                                   ▼
//!                     roster ─┬─ schedule (when)
//!                             ├─ machine (rise, fall, damping) ─► Finding: came up, went down
//!                             └─ record (last result, history) ─► whoever looks
//! ```
//!
//! Whom to probe when, and what a row of answers means (`roster`), is pure and takes the
//! time as an argument. `raw` and `stream` meet the network. The engine joins
//! them, on a thread with nothing else on it: neither a busy daemon nor a slow member
//! makes a probe late.
//!
//! What must not be here: pools, weights, tables, or what follows from a finding.
#![deny(unsafe_code)]

mod engine;
mod machine;
mod outcome;
mod plan;
mod question;
mod raw;
mod record;
mod roster;
mod schedule;
mod stream;

pub use engine::{Finding, MAX_IN_FLIGHT, Monitors, Target, TargetId};
pub use machine::{MAX_DAMPING, Pace, Verdict};
pub use outcome::{Answer, Failure, Outcome};
pub use question::{
    Delivery, DomainName, ExpectedCodes, GrpcQuestion, Handshake, HttpMethod, HttpQuestion, HttpVersion, Kind,
    Question, QuestionError, UrlPath,
};
pub use record::{Lateness, Record, Result, Transition, Workload};
