//! The command line of `lbd`. What is done for it is the daemon's business.

use std::{
    env::{self, VarError},
    path::{Path, PathBuf},
};

use clap::{Parser, Subcommand};
use tracing_subscriber::{EnvFilter, filter::ParseError};

/// Names the log filter when `--log` does not.
const LOG_VARIABLE: &str = "KRATER_LOG";

/// What is logged unless someone asks for more or less.
const DEFAULT_LOG: &str = "info";

const EXAMPLES: &str = "\
Examples:
  lbd check --config /etc/krater/krater.toml     is the pool file in order?
  lbd --config /etc/krater/krater.toml           serve it
  kill -HUP $(pidof lbd)                         read it again
  lbd --config krater.toml --log info,lb_user=debug

Traffic does not depend on lbd: when it ends, the data path in the kernel goes
on as it is, and the next lbd takes it over. `lbctl dataplane detach` removes it.";

/// Krater's daemon: keeps the load balancer in the kernel as the pool file says
#[derive(Clone, PartialEq, Eq, Debug, Parser)]
#[command(
    name = "lbd",
    version,
    after_help = EXAMPLES,
    arg_required_else_help = true,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    max_term_width = 100
)]
pub struct LbdArguments {
    /// The pool file to serve
    #[arg(long, value_name = "FILE", required = true)]
    config: Option<PathBuf>,

    /// What to log: a level, or levels by module, such as info,lb_user::health=debug
    /// [env: KRATER_LOG] [default: info]
    #[arg(long, global = true, value_name = "FILTER", value_parser = log_filter)]
    log: Option<String>,

    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Clone, PartialEq, Eq, Debug, Subcommand)]
enum Command {
    /// Read a pool file, say everything that is wrong with it, and touch nothing
    #[command(after_help = "\
Examples:
  lbd check --config /etc/krater/krater.toml && systemctl reload lbd

Exit codes:
  0 in order   1 not in order   2 wrong usage")]
    Check {
        /// The pool file to check
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
}

/// What lbd is to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LbdAction<'a> {
    /// Serve this pool file until it is told to end.
    Run {
        /// The pool file.
        config: &'a Path,
    },
    /// Say what is wrong with this pool file.
    Check {
        /// The pool file.
        config: &'a Path,
    },
}

/// Why what `KRATER_LOG` says is no log filter.
#[derive(Debug, thiserror::Error)]
pub enum LogFilterError {
    /// It is not one.
    #[error(
        "{LOG_VARIABLE}: {0}; a level such as `info` or levels by module such as `info,lb_user=debug` are expected"
    )]
    Variable(#[from] ParseError),
    /// It is no text.
    #[error("{LOG_VARIABLE} is no text; set it to a level such as `info`")]
    NoText,
}

impl LbdArguments {
    /// What lbd is to do.
    #[must_use]
    pub fn action(&self) -> LbdAction<'_> {
        match &self.command {
            Some(Command::Check { config }) => LbdAction::Check { config },
            // The parser lets no line pass that names neither.
            None => LbdAction::Run { config: self.config.as_deref().unwrap_or_else(|| Path::new("")) },
        }
    }

    /// What is logged: `--log`, else `KRATER_LOG`, else `info`.
    ///
    /// # Errors
    /// When the variable is set to no filter; the option has been checked.
    pub fn log_filter(&self) -> Result<EnvFilter, LogFilterError> {
        let variable = match env::var(LOG_VARIABLE) {
            Ok(text) => Some(text),
            Err(VarError::NotPresent) => None,
            Err(VarError::NotUnicode(_)) => return Err(LogFilterError::NoText),
        };
        Ok(EnvFilter::try_new(self.filter_text(variable.as_deref()))?)
    }

    fn filter_text<'a>(&'a self, variable: Option<&'a str>) -> &'a str {
        let variable = variable.filter(|text| !text.is_empty());
        self.log.as_deref().or(variable).unwrap_or(DEFAULT_LOG)
    }
}

fn log_filter(text: &str) -> Result<String, ParseError> {
    EnvFilter::try_new(text).map(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

    use clap::{CommandFactory as _, error::ErrorKind};

    use super::*;

    fn parse(line: &str) -> Result<LbdArguments, clap::Error> {
        LbdArguments::try_parse_from(line.split_whitespace())
    }

    #[test]
    fn the_definitions_contradict_nowhere() {
        LbdArguments::command().debug_assert();
    }

    #[test]
    fn a_pool_file_is_served_or_checked() {
        let run = parse("lbd --config a.toml --log debug").unwrap();
        assert_eq!(run.action(), LbdAction::Run { config: Path::new("a.toml") });
        let check = parse("lbd check --config b.toml").unwrap();
        assert_eq!(check.action(), LbdAction::Check { config: Path::new("b.toml") });
        let check = parse("lbd check --log warn --config b.toml").unwrap();
        assert_eq!(
            (check.action(), check.filter_text(None)),
            (LbdAction::Check { config: Path::new("b.toml") }, "warn")
        );
    }

    #[test]
    fn what_means_nothing_is_a_usage_error() {
        for line in [
            "lbd",
            "lbd check",
            "lbd dance",
            "lbd --log info",
            "lbd a.toml",
            "lbd --config a.toml --log lb_user=loud",
            "lbd --config a.toml check --config b.toml",
            "lbd --config a.toml check",
        ] {
            let error = parse(line).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{line}: {error}");
        }
        for (line, kind) in [("lbd --help", ErrorKind::DisplayHelp), ("lbd --version", ErrorKind::DisplayVersion)] {
            let error = parse(line).unwrap_err();
            assert_eq!((error.kind(), error.exit_code()), (kind, 0));
        }
    }

    #[test]
    fn the_option_goes_before_the_variable_and_that_before_the_default() {
        let with = parse("lbd --config a.toml --log debug").unwrap();
        let without = parse("lbd --config a.toml").unwrap();
        assert_eq!(with.filter_text(Some("trace")), "debug");
        assert_eq!(without.filter_text(Some("trace")), "trace");
        assert_eq!(without.filter_text(Some("")), "info");
        assert_eq!(without.filter_text(None), "info");
    }
}
