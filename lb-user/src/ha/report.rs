//! What the runner reports, as events and as runs of the operator's programs.

use std::{path::PathBuf, sync::atomic::Ordering::Relaxed};

use vrrp::runner::{Report, RouterKey};

use super::{
    Pair,
    hook::Transition,
    view::{micros, state_of},
};
use crate::{
    causes::chain,
    config::{Config, VrrpConfig},
    control::events::{Event, Kind},
};

/// What became of a report.
#[derive(Debug, Default)]
pub struct Told {
    /// To be told.
    pub event: Option<Event>,
    /// The program to be run, and what it is told.
    pub notify: Option<(PathBuf, Transition)>,
}

impl From<Event> for Told {
    fn from(event: Event) -> Self {
        Self { event: Some(event), notify: None }
    }
}

impl Pair {
    /// What follows from a report.
    #[must_use]
    pub fn told(&mut self, config: &Config, report: Report) -> Told {
        let lost = self.reports_lost.swap(0, Relaxed);
        if lost > 0 {
            tracing::warn!(
                lost,
                "virtual routers reported more than could be kept; `lbctl vrrp show` has their states"
            );
        }
        match report {
            Report::Moved { key, from, to, reason, .. } => {
                let name = self.name(key);
                let text = format!("{} → {}: {reason}", state_of(from).word(), state_of(to).word());
                let event = Event::new(Kind::VrrpTransition, &name, text)
                    .with("from", state_of(from).word())
                    .with("to", state_of(to).word())
                    .with("reason", reason.label());
                let event = self.described(event, config, key);
                let notify = self.config_of(config, key).and_then(|vrrp| {
                    let program = vrrp.notify.clone()?;
                    let transition = Transition {
                        name,
                        state: state_of(to),
                        previous: state_of(from),
                        reason: reason.label().to_owned(),
                        vrid: vrrp.virtual_router_id.get(),
                        interface: vrrp.interface.clone(),
                        priority: self.priority(key).unwrap_or(vrrp.priority.get()),
                    };
                    Some((program, transition))
                });
                Told { event: Some(event), notify }
            }
            Report::Noticed { key, anomaly } => {
                let event = Event::new(Kind::VrrpAnomaly, self.name(key), anomaly.to_string());
                event.with("anomaly", anomaly.label()).into()
            }
            Report::Refused { key, source, refusal, suppressed } => {
                let subject = key.map_or_else(String::new, |key| self.name(key));
                let more = if suppressed > 0 { format!(" ({suppressed} more like it)") } else { String::new() };
                let text = format!("an advert of {source} was refused{more}: {}", refusal.meaning());
                let event = Event::new(Kind::VrrpRefusal, subject, text);
                let event = event.with("source", source.to_string()).with("refusal", refusal.label());
                event.with("suppressed", suppressed).into()
            }
            Report::Realtime(outcome) => {
                if let Err(reason) = &outcome {
                    tracing::warn!(
                        "virtual routers run without real-time priority ({reason}): a busy host can delay their \
                         adverts; give lbd CAP_SYS_NICE and CAP_IPC_LOCK, or set `realtime = false`"
                    );
                }
                self.realtime = Some(outcome);
                Told::default()
            }
            Report::Late { by } => {
                let text =
                    format!("adverts were {} ms late: look for a host that is overloaded or paused", by.as_millis());
                Event::new(Kind::VrrpAnomaly, "", text).with("late_us", micros(by)).into()
            }
            Report::SendFailed { key, error } => {
                let text = format!("an advert could not be sent: {}", chain(&error));
                Event::new(Kind::VrrpAnomaly, self.name(key), text).with("anomaly", "send_failed").into()
            }
            Report::Deaf { key, error } => {
                let text = format!("adverts cannot be heard, so it takes no part: {}", chain(&error));
                Event::new(Kind::VrrpAnomaly, self.name(key), text).with("anomaly", "deaf").into()
            }
            Report::Announced { key, frames } => {
                tracing::debug!(instance = self.name(key), frames, "addresses announced");
                Told::default()
            }
        }
    }

    /// The event with what a reader wants to know of the instance.
    fn described(&self, event: Event, config: &Config, key: RouterKey) -> Event {
        let Some(vrrp) = self.config_of(config, key) else { return event };
        event
            .with("virtual_router_id", vrrp.virtual_router_id.get())
            .with("interface", vrrp.interface.clone())
            .with("priority", self.priority(key).unwrap_or(vrrp.priority.get()))
    }

    fn config_of<'c>(&self, config: &'c Config, key: RouterKey) -> Option<&'c VrrpConfig> {
        let name = self.name(key);
        config.vrrp.iter().find(|vrrp| vrrp.name.as_str() == name)
    }

    fn priority(&self, key: RouterKey) -> Option<u8> {
        let wish = self.wishes.iter().find(|wish| wish.instance.key == key)?;
        Some(wish.instance.priority.get())
    }
}
