//! Embeds the BPF object that `cargo xtask build-ebpf` made.
//!
//! Where it has not been made yet (a first `cargo check`, an editor) an empty
//! one is embedded and `lbd` says at start what to run.

use std::{env, fs, io, path::PathBuf};

fn main() -> io::Result<()> {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default()).join("..");
    let object = root.join("target/bpf/bpfel-unknown-none/bpf/krater");
    let embedded = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default()).join("krater.bpf.o");
    println!("cargo::rerun-if-changed={}", object.display());
    match fs::read(&object) {
        Ok(bytes) => fs::write(embedded, bytes),
        Err(e) if e.kind() == io::ErrorKind::NotFound => fs::write(embedded, []),
        Err(e) => Err(e),
    }
}
