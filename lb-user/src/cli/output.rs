//! How an answer is written: as tables for people or as JSON for programs.
//!
//! An answer is laid out whole before its first byte is written, so that a
//! command that fails has written nothing.

use std::{
    io::{self, Write as _},
    os::fd::AsFd as _,
};

use clap::ValueEnum;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::Serialize;

use super::{failure::Failure, table::Screen};

/// The form of an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub(super) enum Format {
    // Aligned columns, numbers rounded.
    #[default]
    Table,
    // The records as lbd sends them, numbers exact.
    Json,
}

/// Standard output, in the form asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Output {
    /// The form.
    pub(super) format: Format,
    /// What tables are laid out for.
    pub(super) screen: Screen,
}

impl Output {
    /// Standard output as it is now.
    pub(super) fn new(format: Format) -> Self {
        Self { format, screen: Screen::of_stdout() }
    }

    /// Writes an answer: itself as JSON, or what `text` makes of it.
    pub(super) fn write(&self, content: &impl Serialize, text: impl FnOnce(Screen) -> String) -> Result<(), Failure> {
        let text = match self.format {
            Format::Table => text(self.screen),
            Format::Json => json(content)?,
        };
        write(text.as_bytes())
    }
}

/// Writes to standard output and sees it off.
pub(super) fn write(bytes: &[u8]) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes)?;
    stdout.flush()?;
    Ok(())
}

/// Whether whoever read standard output has left. Whoever waits long before
/// writing asks, and does not wait for nobody.
pub(super) fn reader_is_gone() -> bool {
    let stdout = io::stdout();
    let mut look = [PollFd::new(stdout.as_fd(), PollFlags::empty())];
    let gone = PollFlags::POLLERR | PollFlags::POLLHUP;
    poll(&mut look, PollTimeout::ZERO).is_ok() && look[0].revents().is_some_and(|seen| seen.intersects(gone))
}

/// A record as JSON over several lines.
pub(super) fn json(content: &impl Serialize) -> Result<String, Failure> {
    let mut text = serde_json::to_string_pretty(content).map_err(io::Error::from)?;
    text.push('\n');
    Ok(text)
}

/// A record as JSON on one line, for streams of them.
pub(super) fn json_line(content: &impl Serialize) -> Result<String, Failure> {
    let mut text = serde_json::to_string(content).map_err(io::Error::from)?;
    text.push('\n');
    Ok(text)
}
