//! Which tiers there are, in which order, and what each needs.

use anyhow::{Result, bail};

use crate::workspace::{TESTS, Workspace};

/// Everything that runs without the kernel's help: unit and property tests of
/// all crates.
pub(super) const HOST: &str = "host";

/// Cheapest first. A test program of the tests crate that is not in this list
/// is a tier too and runs last.
const ORDER: &[&str] = &[HOST, "prog", "netns", "vrrp", "ha", "health", "api", "cli"];

/// The tiers that load BPF programs or make namespaces.
const KERNEL: &[&str] = &["prog", "netns", "vrrp", "ha", "health"];

/// The tiers whose tests mostly wait, so that some of them can run at a time.
const WAITING: &[&str] = &["health"];

/// How many of those.
const AT_A_TIME: usize = 4;

/// A set of tests that run together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tier {
    /// What it is called on the command line.
    pub name: String,
}

impl Tier {
    /// Whether it takes root, and a kernel that lets us.
    pub(super) fn needs_kernel(&self) -> bool {
        KERNEL.contains(&self.name.as_str())
    }

    /// How many of its tests run at a time; as many as there are cores if `None`.
    /// Tests that share something outside of their process (the two cores, when
    /// they measure time) run one by one.
    pub(super) fn at_a_time(&self) -> Option<usize> {
        match self.name.as_str() {
            HOST => None,
            name if WAITING.contains(&name) => Some(AT_A_TIME),
            _ => Some(1),
        }
    }
}

/// What was asked for: some tiers, and perhaps a part of a test's name.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Selection {
    /// The tiers to run, in order.
    pub tiers: Vec<Tier>,
    /// Run only tests whose path contains this.
    pub name: Option<String>,
}

/// The tiers that exist.
pub(super) fn existing(workspace: &Workspace) -> Vec<Tier> {
    let programs = workspace.package(TESTS).map(|p| p.targets.as_slice()).unwrap_or_default();
    let programs = programs.iter().filter(|t| t.kind == "test").map(|t| t.name.clone());
    let mut names: Vec<String> = std::iter::once(HOST.to_owned()).chain(programs).collect();
    names.sort_by_key(|name| ORDER.iter().position(|o| o == name).unwrap_or(ORDER.len()));
    names.into_iter().map(|name| Tier { name }).collect()
}

/// What `test [TIER] [NAME]` means.
pub(super) fn select(existing: Vec<Tier>, tier: Option<String>, name: Option<String>) -> Result<Selection> {
    let Some(word) = tier else { return Ok(Selection { tiers: existing, name }) };
    if let Some(tier) = existing.iter().find(|t| t.name == word) {
        return Ok(Selection { tiers: vec![tier.clone()], name });
    }
    if ORDER.contains(&word.as_str()) {
        bail!("the tier {word} has no tests yet: there is no tests/tests/{word}.rs");
    }
    if name.is_some() {
        let names: Vec<_> = existing.iter().map(|t| t.name.as_str()).collect();
        bail!("there is no tier {word}; the tiers are: {}", names.join(" "));
    }
    Ok(Selection { tiers: existing, name: Some(word) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::{Package, Target};

    fn tiers(names: &[&str]) -> Vec<Tier> {
        names.iter().map(|n| Tier { name: (*n).to_owned() }).collect()
    }

    fn some(word: &str) -> Option<String> {
        Some(word.to_owned())
    }

    #[test]
    fn each_test_program_is_a_tier_and_the_cheapest_comes_first() {
        let target = |name: &str, kind: &str| Target { name: name.into(), kind: kind.into(), source: String::new() };
        let targets = ["zebra", "netns", "prog"].map(|n| target(n, "test")).into_iter();
        let package = Package {
            name: TESTS.into(),
            dir: "tests".into(),
            dependencies: Vec::new(),
            targets: targets.chain([target("krater-rig", "bin")]).collect(),
        };
        let workspace = Workspace { root: "/".into(), host_target: "/".into(), packages: vec![package] };
        assert_eq!(existing(&workspace), tiers(&["host", "prog", "netns", "zebra"]));
    }

    #[test]
    fn tests_that_measure_time_run_one_by_one_and_those_that_wait_do_not() {
        let at_a_time: Vec<_> = tiers(&["host", "netns", "health"]).iter().map(Tier::at_a_time).collect();
        assert_eq!(at_a_time, [None, Some(1), Some(AT_A_TIME)]);
    }

    #[test]
    fn without_words_everything_runs() -> Result<()> {
        let all = tiers(&["host", "prog"]);
        assert_eq!(select(all.clone(), None, None)?, Selection { tiers: all, name: None });
        Ok(())
    }

    #[test]
    fn a_word_is_a_tier_first_and_a_name_otherwise() -> Result<()> {
        let all = tiers(&["host", "prog"]);
        let one = select(all.clone(), some("prog"), some("nat"))?;
        assert_eq!(one, Selection { tiers: tiers(&["prog"]), name: some("nat") });
        assert_eq!(select(all.clone(), some("maglev"), None)?, Selection { tiers: all, name: some("maglev") });
        Ok(())
    }

    #[test]
    fn a_tier_that_is_not_there_is_refused() {
        let message = |word, name| select(tiers(&["host"]), some(word), name).err().map(|e| e.to_string());
        assert_eq!(message("ha", None).as_deref(), Some("the tier ha has no tests yet: there is no tests/tests/ha.rs"));
        assert_eq!(message("hots", some("x")).as_deref(), Some("there is no tier hots; the tiers are: host"));
    }
}
