//! Words that tie the repository to one machine or one workplace.

use super::tree::{Finding, Tree};

/// Written in two halves, so that this file passes its own rule.
const PLACES: &[&str] = &[concat!("/wo", "rk/"), concat!("/tm", "p/kr")];

/// Where packages come from is the business of the machine's configuration.
const REGISTRY_HOSTS: &[&str] = &[
    concat!("index.crates", ".io"),
    concat!("static.crates", ".io"),
    concat!("deb.debian", ".org"),
    concat!("security.debian", ".org"),
    concat!("registry.npmjs", ".org"),
    concat!("pypi", ".org"),
    concat!("pythonhosted", ".org"),
];

/// Every such word in any file.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in &tree.files {
        for (number, line) in file.text.lines().enumerate() {
            let mut find = |words: &[&str], message: &str| {
                let found = words.iter().filter(|word| line.contains(**word));
                findings.extend(found.map(|word| Finding::new(&file.path, number + 1, format!("`{word}` {message}"))));
            };
            find(PLACES, "is a path of one machine: use a relative or a temporary one");
            find(REGISTRY_HOSTS, "is a registry host, which the machine's configuration names");
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_of_one_machine_is_found_in_any_file() {
        let text = format!("fine\ncd {}main\n", PLACES[0]);
        let found: Vec<_> = check(&Tree::of(&[("a.md", &text)])).iter().map(ToString::to_string).collect();
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("a.md:2: "), "{found:?}");
    }

    #[test]
    fn a_registry_host_is_found_and_ordinary_words_are_not() {
        assert_eq!(check(&Tree::of(&[("a.toml", &format!("url = \"https://{}/\"", REGISTRY_HOSTS[0]))])).len(), 1);
        assert_eq!(check(&Tree::of(&[("a.md", "work/ at crates, a framework/ in /tmp/x")])).len(), 0);
    }
}
