//! The parts of `docs/performance.md` that are written by measuring. Each lies
//! between markers of its own and is replaced alone.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

/// Replaces one part; returns where.
pub(super) fn write(part: &str, between: &str) -> Result<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/performance.md");
    let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let [begin, end] = markers(part);
    let text = replaced(&text, [&begin, &end], between)
        .with_context(|| format!("{} has no lines {begin} and {end}", path.display()))?;
    fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
    Ok(path.canonicalize().unwrap_or(path))
}

fn markers(part: &str) -> [String; 2] {
    ["begin", "end"].map(|which| format!("<!-- {part}: {which} -->"))
}

/// The text with other lines between the markers.
fn replaced(text: &str, [begin, end]: [&str; 2], between: &str) -> Option<String> {
    let (before, rest) = text.split_once(begin)?;
    let (_, after) = rest.split_once(end)?;
    Some(format!("{before}{begin}\n{between}{end}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_markers_of_a_part_is_replaced() {
        let [begin, end] = markers("one");
        let [other_begin, other_end] = markers("another one");
        let text = |one: &str| format!("a\n{begin}\n{one}\n{end}\nb\n{other_begin}\nkept\n{other_end}\nc\n");
        assert_eq!(replaced(&text("old"), [&begin, &end], "new\n"), Some(text("new")));
        assert_eq!(replaced("no markers", [&begin, &end], "new\n"), None);
    }
}
