//! `krater-rig drive`: requests from wherever it is started.

use std::{net::SocketAddr, sync::atomic::AtomicBool};

use anyhow::{Context as _, Result};

use crate::rig::load::{Kind, Load, Report, run};

/// Sends requests and prints the report as JSON; errors are in the report.
pub(super) fn drive(kind: Kind, target: SocketAddr, requests: u64, concurrency: usize) -> Result<()> {
    let load = Load { concurrency, ..Load::new(kind, target, requests) };
    let report = Report::of(&run(&load, &AtomicBool::new(false)));
    println!("{}", serde_json::to_string_pretty(&report).context("write the report")?);
    Ok(())
}
