//! The operator's command line; everything is in [`lb_user::cli`].
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    lb_user::cli::lbctl(std::env::args_os())
}
