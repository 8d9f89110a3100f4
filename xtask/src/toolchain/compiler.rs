//! The Rust compiler for `bpfel-unknown-none`, by one of two routes.
//!
//! - Debian's `rustc-web` ships `core` for the target ready built.
//! - A rustup nightly with `rust-src` builds `core` along with us.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::{Result, bail};

use super::debian;
use crate::shell::Cmd;

const DEBIAN_PACKAGES: &[&str] = &["rustc-web", "cargo-web", "libstd-rust-web-dev-bpf"];

/// A compiler that can emit BPF.
pub(crate) struct BpfCompiler {
    /// The cargo that belongs to it.
    pub cargo: PathBuf,
    /// The compiler itself.
    pub rustc: PathBuf,
    /// Whether `core` must be built first.
    pub build_std: bool,
    /// Whose bitcode it emits: the linker must read the same.
    pub llvm_major: u32,
    /// Where it comes from and its version.
    pub description: String,
}

/// The compiler that is already there.
pub(super) fn find() -> Option<BpfCompiler> {
    find_debian().or_else(find_nightly)
}

/// Installs Debian's, or says what to run where that is not possible.
pub(super) fn install() -> Result<BpfCompiler> {
    let by_hand = "run `rustup toolchain install nightly --component rust-src`";
    if !debian::can_install(DEBIAN_PACKAGES) {
        bail!(
            "no Rust compiler for bpfel-unknown-none: neither Debian's {} nor a rustup nightly with rust-src is there; \
             {by_hand}, or as root `apt-get install {}`",
            DEBIAN_PACKAGES[0],
            DEBIAN_PACKAGES.join(" "),
        );
    }
    debian::install("the Rust compiler for BPF", DEBIAN_PACKAGES)?;
    match find_debian() {
        Some(compiler) => Ok(compiler),
        None => bail!("{} is installed but has no `core` for bpfel-unknown-none; {by_hand}", DEBIAN_PACKAGES[0]),
    }
}

fn find_debian() -> Option<BpfCompiler> {
    let core_is_there = entries("/usr/lib/rustlib/bpfel-unknown-none/lib".as_ref()).any(|f| is_core(&f));
    if !core_is_there {
        return None;
    }
    describe("Debian", "/usr/bin".as_ref(), false)
}

fn find_nightly() -> Option<BpfCompiler> {
    let rustup = env::var_os("RUSTUP_HOME").map(PathBuf::from);
    let rustup = rustup.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".rustup")))?;
    let mut candidates: Vec<PathBuf> = entries(&rustup.join("toolchains")).filter(|t| is_usable_nightly(t)).collect();
    // A plain `nightly-HOST` sorts after the dated ones: what `+nightly` means.
    candidates.sort();
    describe("rustup", &candidates.pop()?.join("bin"), true)
}

fn is_core(file: &Path) -> bool {
    file.file_name().is_some_and(|name| name.to_string_lossy().starts_with("libcore-"))
}

fn is_usable_nightly(toolchain: &Path) -> bool {
    let named = toolchain.file_name().is_some_and(|name| name.to_string_lossy().starts_with("nightly"));
    named && toolchain.join("lib/rustlib/src/rust/library/core/Cargo.toml").is_file()
}

fn describe(origin: &str, bin: &Path, build_std: bool) -> Option<BpfCompiler> {
    let (cargo, rustc) = (bin.join("cargo"), bin.join("rustc"));
    if !cargo.is_file() {
        return None;
    }
    let verbose = Cmd::foreign(&rustc).arg("-vV").probe()?;
    let (release, llvm_major) = versions(&verbose)?;
    let description = format!("rustc {release} from {origin}, LLVM {llvm_major}");
    Some(BpfCompiler { cargo, rustc, build_std, llvm_major, description })
}

/// The release and the LLVM major version from `rustc -vV`.
fn versions(verbose: &str) -> Option<(&str, u32)> {
    let field = |name: &str| verbose.lines().find_map(|l| l.strip_prefix(name)).map(str::trim);
    let llvm_major = field("LLVM version:")?.split('.').next()?.parse().ok()?;
    Some((field("release:")?, llvm_major))
}

fn entries(dir: &Path) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(dir).into_iter().flatten().filter_map(|e| Some(e.ok()?.path()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_llvm_version_is_read_from_rustc() {
        let verbose = "rustc 1.96.0 (x)\nbinary: rustc\nrelease: 1.96.0\nLLVM version: 22.1.8\n";
        assert_eq!(versions(verbose), Some(("1.96.0", 22)));
        assert_eq!(versions("rustc 1.0"), None);
    }

    #[test]
    fn only_a_nightly_with_the_sources_of_core_will_do() -> Result<()> {
        let toolchains = env::temp_dir().join(format!("xtask-toolchains-{}", std::process::id()));
        for name in ["nightly-host", "stable-host"] {
            let core = toolchains.join(name).join("lib/rustlib/src/rust/library/core");
            fs::create_dir_all(&core)?;
            fs::write(core.join("Cargo.toml"), "")?;
        }
        fs::create_dir_all(toolchains.join("nightly-bare"))?;
        let usable: Vec<_> = entries(&toolchains).filter(|t| is_usable_nightly(t)).collect();
        fs::remove_dir_all(&toolchains)?;
        assert_eq!(usable, [toolchains.join("nightly-host")]);
        Ok(())
    }
}
