//! `lbctl events`.

use std::{thread, time::Duration};

use clap::Args;

use super::{
    Session,
    failure::{Failure, tell},
    output::{self, Format},
    reach::Source,
    table::{Screen, line},
};
use crate::control::{
    protocol::{Request, Response},
    view::events::{EventView, EventsView},
};

/// How long one question waits for an event. After each it is looked whether
/// anybody still reads what is written.
const WAIT: Duration = Duration::from_secs(5);

/// How long after a failure lbd is asked again.
const RETRY: Duration = Duration::from_millis(200);

/// Events shown before those to come, unless something else is asked for.
const BEFORE: usize = 10;

/// Which events are shown.
#[derive(Clone, PartialEq, Eq, Debug, Args)]
#[command(after_help = "\
Lbd keeps the last 1024 events; their numbers begin at 1 when it starts. As JSON
each event is an object on a line of its own: seq, time, kind, subject, text and
detail, whose fields depend on the kind. --follow goes on when lbd is restarted.

Kinds:
  vrrp_transition vrrp_anomaly vrrp_refusal vrrp_command notify_failed
  member_up member_down member_set status_changed pool_panic pool_panic_over
  pool_file_reloaded pool_file_refused interface_attached interface_lost
  sync_peer_appeared sync_peer_lost data_path_error data_path_mended lbd_ready
  lbd_stopping

Examples:
  lbctl events                              all that are kept
  lbctl events -n 20                        the last twenty
  lbctl events --follow                     the last ten, and whatever happens
  lbctl events --since 117                  what came after number 117
  lbctl -o json events -f | jq 'select(.kind == \"vrrp_transition\")'")]
pub(super) struct Options {
    /// Go on with what happens, until Ctrl-C
    #[arg(short, long)]
    follow: bool,

    /// Only those after the event of this number
    #[arg(long, value_name = "SEQ")]
    since: Option<u64>,

    /// Only the last so many [default: all, or 10 with --follow]
    #[arg(short = 'n', long, value_name = "N")]
    lines: Option<usize>,
}

impl Options {
    /// How many of the events that there are already are shown.
    const fn limit(&self) -> usize {
        match (self.lines, self.since) {
            (Some(lines), _) => lines,
            (None, None) if self.follow => BEFORE,
            (None, _) => usize::MAX,
        }
    }
}

pub(super) fn run(options: &Options, session: &Session) -> Result<(), Failure> {
    let output = session.output;
    let show = |event: &EventView| {
        let text = match output.format {
            Format::Table => in_words(event, output.screen),
            Format::Json => output::json_line(event)?,
        };
        output::write(text.as_bytes())
    };
    let mut reader = Reader { source: &session.source, after: options.since, epoch: None };
    let there = reader.read(Duration::ZERO)?;
    note_lost(&there, tell);
    let skipped = there.events.len().saturating_sub(options.limit());
    there.events[skipped..].iter().try_for_each(&show)?;
    if options.follow { reader.follow(show, output::reader_is_gone, tell) } else { Ok(()) }
}

fn note_lost(told: &EventsView, tell: impl Fn(&str)) {
    if told.lost > 0 {
        tell(&format!("note: {} events are missing here: lbd no longer keeps them", told.lost));
    }
}

/// An event on a line.
fn in_words(event: &EventView, screen: Screen) -> String {
    let EventView { seq, time, kind, subject, text, .. } = event;
    let subject = if subject.is_empty() { String::new() } else { format!("{subject}: ") };
    line(screen, &format!("{time}  {seq:>4}  {kind:<18}  {subject}{text}"))
}

/// Somebody who reads events, and how far they have come.
struct Reader<'s> {
    source: &'s Source,
    after: Option<u64>,
    epoch: Option<u64>,
}

impl Reader<'_> {
    /// The events that follow, waited for if there are none.
    fn read(&mut self, wait: Duration) -> Result<EventsView, Failure> {
        let wait_ms = u32::try_from(wait.as_millis()).unwrap_or(u32::MAX);
        let request = Request::Events { after: self.after, epoch: self.epoch, wait_ms };
        let Response::Events(told) = self.source.ask_and_wait(&request, wait)? else { return Err(Failure::OffTopic) };
        (self.after, self.epoch) = (Some(told.next), Some(told.epoch));
        Ok(told)
    }

    /// Shows what happens until nobody wants to see it any more. Lbd may go and
    /// come back meanwhile; `tell` says so.
    fn follow(
        mut self,
        show: impl Fn(&EventView) -> Result<(), Failure>,
        is_nobody_there: impl Fn() -> bool,
        tell: impl Fn(&str),
    ) -> Result<(), Failure> {
        let mut in_touch = true;
        loop {
            if is_nobody_there() {
                return Err(Failure::ReaderGone);
            }
            let epoch = self.epoch;
            match self.read(WAIT) {
                Ok(told) => {
                    if !in_touch {
                        tell("lbd answers again");
                        in_touch = true;
                    }
                    if epoch.is_some() && self.epoch != epoch {
                        tell("note: lbd has started anew: its events are counted from 1 again");
                    }
                    note_lost(&told, &tell);
                    told.events.iter().try_for_each(&show)?;
                }
                Err(failure) if failure.may_pass() => {
                    if in_touch {
                        tell(&format!("{failure}; waiting for it"));
                        in_touch = false;
                    }
                    thread::sleep(RETRY);
                }
                Err(failure) => return Err(failure),
            }
        }
    }
}

#[cfg(test)]
#[path = "events_tests.rs"]
mod tests;
