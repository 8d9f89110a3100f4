//! `krater-rig down`: removes rigs by what they recorded.

use anyhow::{Result, bail};

use crate::rig::record::Record;

/// Removes every rig on record, those in use only with `all`.
pub(super) fn down(all: bool) -> Result<()> {
    let mut failed = 0;
    let records = Record::all()?;
    if records.is_empty() {
        println!("no rig is up");
    }
    for record in records {
        if record.is_in_use() && !all {
            println!("rig {} is in use by process {}: left alone (remove it with --all)", record.id, record.owner.pid);
            continue;
        }
        match record.remove() {
            Ok(()) => println!("rig {} removed: {}", record.id, record.namespaces.join(", ")),
            Err(error) => {
                eprintln!("rig {}: {error:#}", record.id);
                failed += 1;
            }
        }
    }
    if failed > 0 {
        bail!("{failed} of the rigs could not be removed whole");
    }
    Ok(())
}
