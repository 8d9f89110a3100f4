//! Embeds the BPF object that `cargo xtask build-ebpf` made, without what only debuggers
//! read: BTF has been made from that, and the kernel takes BTF. It is four fifths of the
//! object, which would be part of the daemon's memory, and twice so while it is loaded.
//!
//! Where it has not been made yet (a first `cargo check`, an editor) an empty
//! one is embedded and `lbd` says at start what to run.

use std::{env, fs, io, path::PathBuf};

use object::{
    build::elf::{Builder, SectionData},
    elf::SHT_STRTAB,
};

fn main() -> io::Result<()> {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default()).join("..");
    let object = root.join("target/bpf/bpfel-unknown-none/bpf/krater");
    let embedded = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default()).join("krater.bpf.o");
    println!("cargo::rerun-if-changed={}", object.display());
    match fs::read(&object) {
        Ok(bytes) => fs::write(embedded, without_debug(&bytes).map_err(io::Error::other)?),
        Err(e) if e.kind() == io::ErrorKind::NotFound => fs::write(embedded, []),
        Err(e) => Err(e),
    }
}

fn without_debug(object: &[u8]) -> object::build::Result<Vec<u8>> {
    let mut builder = Builder::read(object)?;
    for section in &mut builder.sections {
        let name = section.name.as_slice();
        section.delete = name.starts_with(b".debug_") || name.starts_with(b".rel.debug_");
    }
    builder.delete_orphans();
    // The compiler has one table of strings for the names of symbols and of sections.
    if !builder.sections.iter().any(|section| matches!(section.data, SectionData::SectionString)) {
        let names = builder.sections.add();
        names.name = b".shstrtab"[..].into();
        names.sh_type = SHT_STRTAB;
        names.sh_addralign = 1;
        names.data = SectionData::SectionString;
    }
    let mut stripped = Vec::new();
    builder.write(&mut stripped)?;
    Ok(stripped)
}
