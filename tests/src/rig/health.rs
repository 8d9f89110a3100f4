//! What `lbctl health` shows of members, as far as tests look.

use anyhow::{Context as _, Result};
use serde::Deserialize;

use super::lbd::Ctl;

/// A member as `lbctl health list -o json` has it.
#[derive(Clone, PartialEq, Debug, Deserialize)]
pub struct Health {
    /// `load_balancer/pool/member`.
    pub name: String,
    /// `UP`, `DOWN`; `null` before the first verdict.
    pub verdict: Option<String>,
    /// Since when.
    pub since: Option<String>,
    /// Octavia's word.
    pub operating_status: String,
    /// Why it is not `ONLINE`.
    pub status_reason: Option<String>,
    /// What came of the last probe.
    pub last: Option<ProbeResult>,
    /// Answers in a row that another verdict takes.
    pub needed: u64,
    /// How often the successes that a member needs are doubled.
    pub damping: u64,
}

/// A member as `lbctl health show -o json` has it.
#[derive(Clone, PartialEq, Debug, Deserialize)]
pub struct Details {
    /// On one line.
    #[serde(flatten)]
    pub member: Health,
    /// Probes that have ended.
    pub probes: u64,
    /// Of those, the ones that failed.
    pub failures: u64,
    /// The last results, newest first.
    pub results: Vec<ProbeResult>,
    /// The last changes of the verdict, newest first.
    pub transitions: Vec<Transition>,
}

/// What came of a probe.
#[derive(Clone, PartialEq, Debug, Deserialize)]
pub struct ProbeResult {
    /// `SUCCESS`, `FAILURE` or `NOT_ASKED`.
    pub result: String,
    /// How long it took.
    pub took_micros: u64,
    /// What it met, in words.
    pub text: String,
}

/// A change of the verdict.
#[derive(Clone, PartialEq, Debug, Deserialize)]
pub struct Transition {
    /// `UP` or `DOWN`.
    pub verdict: String,
    /// What the probe met that decided it.
    pub text: String,
}

#[derive(Deserialize)]
struct List {
    members: Vec<Health>,
}

impl Health {
    /// Every member that is watched.
    ///
    /// # Errors
    /// When lbctl fails or says something else.
    pub fn all(ctl: &Ctl) -> Result<Vec<Self>> {
        let json = ctl.json(&["health", "list"])?;
        let list: List = serde_json::from_value(json).context("read `lbctl health list -o json`")?;
        Ok(list.members)
    }

    /// Whether it was found up.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.verdict.as_deref() == Some("UP")
    }

    /// Whether it was found down.
    #[must_use]
    pub fn is_down(&self) -> bool {
        self.verdict.as_deref() == Some("DOWN")
    }

    /// What the last probe met.
    #[must_use]
    pub fn last_text(&self) -> &str {
        self.last.as_ref().map_or("", |result| &result.text)
    }
}

impl Details {
    /// Everything about a member.
    ///
    /// # Errors
    /// When nobody watches it, or lbctl says something else.
    pub fn of(ctl: &Ctl, member: &str) -> Result<Self> {
        let json = ctl.json(&["health", "show", member])?;
        serde_json::from_value(json).context("read `lbctl health show -o json`")
    }

    /// The verdicts it has had, oldest first, as `UP DOWN UP`.
    #[must_use]
    pub fn story(&self) -> String {
        self.transitions.iter().rev().map(|t| t.verdict.as_str()).collect::<Vec<_>>().join(" ")
    }
}
