//! What has happened, as records: `lbctl events`.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Something that has happened.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct EventView {
    /// Its number: one more than that of the event before it, from 1 on since
    /// lbd started.
    pub seq: u64,
    /// When, in RFC 3339 with milliseconds, UTC.
    pub time: String,
    /// What kind of event it is, such as `vrrp_transition`; later versions know
    /// more kinds.
    pub kind: String,
    /// What it happened to: a label, the name of an interface, or empty.
    pub subject: String,
    /// What happened, in words.
    pub text: String,
    /// What programs want to know of it; which fields depends on the kind.
    pub detail: Map<String, Value>,
}

/// Events from a number on.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct EventsView {
    /// Which life of lbd the numbers belong to: microseconds since 1970 when it
    /// began to count. With another life, numbers have begun anew.
    pub epoch: u64,
    /// The events, the oldest first.
    pub events: Vec<EventView>,
    /// The number to ask after next time: that of the last event there is.
    pub next: u64,
    /// How many of the events that were asked for are no longer kept.
    pub lost: u64,
}
