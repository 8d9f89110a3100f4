//! `krater-rig shell`: a shell inside a node of a rig.

use std::{env, os::unix::process::CommandExt as _, process::Command};

use anyhow::{Context as _, Result, bail};

use crate::rig::{netns, record::Record};

/// Becomes a shell (or `command`) in a node; returns only when that fails.
pub(super) fn shell(node: &str, rig: Option<&str>, command: &[String]) -> Result<()> {
    let records: Vec<Record> =
        Record::all()?.into_iter().filter(|record| rig.is_none_or(|id| record.id == id)).collect();
    let record = match records.as_slice() {
        [] => bail!("no such rig is up: raise one with `cargo xtask rig up`"),
        [record] => record,
        several => {
            let ids: Vec<&str> = several.iter().map(|record| record.id.as_str()).collect();
            bail!("several rigs are up ({}): name one with --rig", ids.join(", "));
        }
    };
    let name = format!("kr-{}-{node}", record.id);
    if !record.namespaces.contains(&name) {
        let prefix = format!("kr-{}-", record.id);
        let nodes: Vec<&str> = record.namespaces.iter().filter_map(|n| n.strip_prefix(&prefix)).collect();
        bail!("rig {} has no node {node}; it has {}", record.id, nodes.join(", "));
    }
    let mut become_it = Command::new("nsenter");
    become_it.arg(format!("--net={}", netns::path_of(&name).display())).arg("--");
    if command.is_empty() {
        become_it.arg(env::var_os("SHELL").unwrap_or_else(|| "/bin/bash".into()));
        // Bash shows it unless a start-up file says otherwise.
        become_it.env("PS1", format!("[{node} of {}] \\w # ", record.id));
        eprintln!("in {name}; leave with exit");
    } else {
        become_it.args(command);
    }
    Err(become_it.exec()).with_context(|| format!("run a shell in {name}"))
}
