//! `krater-rig run` and `krater-rig up`.

use std::{fs, path::Path, time::Instant};

use anyhow::{Context as _, Result};

use super::{Shape, demonstration::Demonstration, hints};
use crate::rig::{Rig, lbd::Lbd, pool_file};

/// Raises a rig with a balancer, demonstrates it and, unless `keep`, removes it.
pub(super) fn run(shape: &Shape, requests: u64, keep: bool) -> Result<()> {
    let start = Instant::now();
    let (mut rig, lbd) = raise(shape)?;
    let demonstrated = Demonstration { rig: &mut rig, lbd: &lbd, requests }.run();
    if let Err(error) = &demonstrated {
        eprintln!("\nkrater-rig: {error:#}\n{}", lbd.log_tail());
    }
    if keep {
        hints::print(&rig)?;
        lbd.keep();
        rig.keep()?;
    } else {
        drop(lbd);
        drop(rig);
    }
    demonstrated.context("the demonstration failed")?;
    println!("\nAll of it worked, in {:.1} s.", start.elapsed().as_secs_f64());
    Ok(())
}

/// Raises a rig with a balancer and leaves it up.
pub(super) fn up(shape: &Shape) -> Result<()> {
    let (rig, lbd) = raise(shape)?;
    hints::print(&rig)?;
    lbd.keep();
    rig.keep()
}

fn raise(shape: &Shape) -> Result<(Rig, Lbd)> {
    let (text, source) = match shape.config.as_deref() {
        Some(file) => (fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?, file),
        None => (pool_file::example(shape.options().topology)?, Path::new(pool_file::EXAMPLE)),
    };
    println!("raising client – balancer – three members, each with nginx and a UDP server");
    let rig = Rig::up(shape.options()).context("raise the rig")?;
    println!("  rig {} is up in {:.2} s: {}", rig.id(), rig.raised_in().as_secs_f64(), nodes(&rig));
    let pool_file = pool_file::relocated(&text, rig.paths())?;
    println!("starting lbd --config {} (from {})", rig.paths().config.display(), shown(source));
    let lbd = Lbd::start(&rig, &pool_file).context("start lbd")?;
    println!("  lbd is process {} and answers after {:.2} s", lbd.pid(), lbd.ready_in().as_secs_f64());
    println!("  {}", attached(&lbd)?);
    let took = lbd.wait_all_usable()?;
    println!("  every member is up and reachable after another {:.2} s", took.as_secs_f64());
    Ok((rig, lbd))
}

fn nodes(rig: &Rig) -> String {
    rig.recorder().snapshot().namespaces.join(", ")
}

fn shown(path: &Path) -> String {
    path.canonicalize().unwrap_or_else(|_| path.to_owned()).display().to_string()
}

fn attached(lbd: &Lbd) -> Result<String> {
    let status = lbd.ctl().json(&["status"])?;
    let interfaces: Vec<String> = status["interfaces"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|i| format!("{} ({} XDP)", i["name"].as_str().unwrap_or("?"), i["xdp_mode"].as_str().unwrap_or("?")))
        .collect();
    Ok(format!("attached to {}", interfaces.join(", ")))
}
