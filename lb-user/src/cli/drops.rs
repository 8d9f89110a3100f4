//! `lbctl drops`.

use clap::Args;

use super::{
    Session,
    failure::Failure,
    numbers,
    table::{Screen, listing},
};
use crate::control::{
    protocol::{Request, Response},
    view::{DropView, EventKind},
};

/// What of the counts is shown.
#[derive(Clone, PartialEq, Eq, Debug, Args)]
#[command(after_help = "\
Every reason to drop a packet and every answer the data path gives by itself,
counted since the data path was loaded, with what it means and what to look at.

Examples:
  lbctl drops --nonzero
  lbctl -o json drops | jq '.[] | select(.label == \"pool_empty\").count'")]
pub(super) struct Options {
    /// Leave out what has not happened
    #[arg(long)]
    nonzero: bool,
}

pub(super) fn run(options: &Options, session: &Session) -> Result<(), Failure> {
    let Response::Drops(mut found) = session.source.ask(&Request::Drops)? else { return Err(Failure::OffTopic) };
    if options.nonzero {
        found.retain(|event| event.count > 0);
    }
    session.output.write(&found, |screen| list(&found, screen))
}

fn list(found: &[DropView], screen: Screen) -> String {
    if found.is_empty() {
        return "nothing was dropped or answered\n".to_owned();
    }
    let mut found: Vec<&DropView> = found.iter().collect();
    found.sort_by_key(|event| event.number);
    let rows = found.into_iter().map(|event| {
        let kind = match event.kind {
            EventKind::Drop => "drop",
            EventKind::Answer => "answer",
        };
        [event.label.clone(), kind.to_owned(), numbers::count(event.count), event.meaning.clone()]
    });
    listing(screen, ["REASON", "KIND", "COUNT", "MEANING"], &["COUNT"], rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(number: u32, label: &str, kind: EventKind, count: u64) -> DropView {
        DropView { number, label: label.to_owned(), kind, count, meaning: format!("what {label} means") }
    }

    #[test]
    fn reasons_are_listed_by_number_with_count_and_meaning() {
        let found = [event(40, "arp_answered", EventKind::Answer, 5), event(8, "pool_empty", EventKind::Drop, 12_345)];
        assert_eq!(
            list(&found, Screen::default()),
            "REASON        KIND     COUNT  MEANING\n\
             pool_empty    drop    12.3 k  what pool_empty means\n\
             arp_answered  answer       5  what arp_answered means\n"
        );
        assert_eq!(list(&[], Screen::default()), "nothing was dropped or answered\n");
    }
}
