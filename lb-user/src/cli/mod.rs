//! What an operator types, and what is shown for it: `lbctl`, and the
//! arguments of `lbd`.
//!
//! A file for each noun holds its verbs, its question to lbd and its tables.
//! Everything else is beside them: `reach` decides who is asked, `output`
//! how an answer is written, `failure` how it is said that there is none.
//!
//! What must not be here: knowledge of the data path. An answer arrives as the
//! records of [`crate::control::view`], and JSON is those records unchanged.

use std::{ffi::OsString, process::ExitCode};

use clap::Parser as _;
use serde::Serialize;

mod arguments;
mod capture;
mod dataplane;
mod drops;
mod events;
mod explain;
mod failure;
mod flow;
mod generate;
mod handover;
mod health;
mod lbd;
mod listener;
mod loadbalancer;
mod member;
mod numbers;
mod offline;
mod output;
mod pool;
mod reach;
mod stats;
mod status;
mod sync;
mod table;
mod trace;
mod vrrp;

pub use lbd::{LbdAction, LbdArguments, LogFilterError};
pub use reach::DEFAULT_SOCKET;

use arguments::{Arguments, Command};
use failure::{Failure, USAGE, tell};
use output::Output;
use reach::{SOCKET_VARIABLE, Source};
use table::Screen;

use crate::control::protocol::{Request, Response};

/// Carries out one command line of `lbctl`, its own name first, and returns
/// the exit code: 0 done, 1 refused, 2 usage, 3 lbd cannot be reached.
#[must_use]
pub fn lbctl(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            let text = error.to_string();
            match text.strip_prefix("error: ") {
                Some(mistake) => tell(mistake),
                // Help, asked for or not. A reader who leaves early has seen
                // what they wanted.
                None => drop(error.print()),
            }
            return if error.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS };
        }
    };
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.tell();
            failure.code()
        }
    }
}

/// Someone to ask and a place for the answer.
#[derive(Debug)]
struct Session {
    source: Source,
    output: Output,
}

fn run(arguments: Arguments) -> Result<(), Failure> {
    let Arguments { reach, output, command } = arguments;
    let session =
        || Session { source: Source::new(&reach, std::env::var_os(SOCKET_VARIABLE)), output: Output::new(output) };
    match command {
        Command::Completions { shell } => generate::completions(shell),
        Command::Man { out } => generate::man(out.as_deref()),
        command => answer(command, &session()),
    }
}

fn answer(command: Command, session: &Session) -> Result<(), Failure> {
    session.source.announce();
    match command {
        Command::Status => status::run(session),
        Command::Loadbalancer(verb) => loadbalancer::run(verb, session),
        Command::Listener(verb) => listener::run(verb, session),
        Command::Pool(verb) => pool::run(verb, session),
        Command::Member(verb) => member::run(verb, session),
        Command::Health(verb) => health::run(verb, session),
        Command::Stats(options) => stats::run(&options, session),
        Command::Flow(verb) => flow::run(verb, session),
        Command::Dataplane(verb) => dataplane::run(verb, session),
        Command::Drops(options) => drops::run(&options, session),
        Command::Explain(options) => explain::run(&options, session),
        Command::Trace(options) => trace::run(&options, session),
        Command::Vrrp(verb) => vrrp::run(verb, session),
        Command::Sync(verb) => sync::run(&verb, session),
        Command::Events(options) => events::run(&options, session),
        Command::Completions { .. } | Command::Man { .. } => Ok(()),
    }
}

impl Session {
    /// Asks for things of one kind and writes all of them.
    fn list<T: Serialize>(
        &self,
        request: &Request,
        read: fn(Response) -> Option<Vec<T>>,
        table: fn(&[T], Screen) -> String,
    ) -> Result<(), Failure> {
        let found = self.ask(request, read)?;
        self.output.write(&found, |screen| table(&found, screen))
    }

    /// Asks for the one thing that a name selects and writes it.
    fn show<T: Serialize>(
        &self,
        request: &Request,
        read: fn(Response) -> Option<Vec<T>>,
        page: fn(&T, Screen) -> String,
    ) -> Result<(), Failure> {
        let found = the_one(self.ask(request, read)?)?;
        self.output.write(&found, |screen| page(&found, screen))
    }

    fn ask<T>(&self, request: &Request, read: fn(Response) -> Option<Vec<T>>) -> Result<Vec<T>, Failure> {
        read(self.source.ask(request)?).ok_or(Failure::OffTopic)
    }
}

/// The one record that a name selects.
fn the_one<T>(records: Vec<T>) -> Result<T, Failure> {
    let [record] = <[T; 1]>::try_from(records).map_err(|_| Failure::OffTopic)?;
    Ok(record)
}

#[cfg(test)]
#[path = "sample.rs"]
pub(crate) mod sample;

#[cfg(test)]
#[path = "arguments_tests.rs"]
mod arguments_tests;

#[cfg(test)]
#[path = "page_tests.rs"]
mod page_tests;
