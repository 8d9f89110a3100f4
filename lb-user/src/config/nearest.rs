//! What somebody probably meant to write.

/// Longer words than this are not compared: nothing that can be meant is.
const MAX_LENGTH: usize = 32;

/// The one of some words that a misspelt one is nearest to, if it is near
/// enough to be worth a guess: a third of its letters may be wrong.
pub(super) fn nearest<'w>(written: &str, words: impl IntoIterator<Item = &'w str>) -> Option<&'w str> {
    let written: Vec<char> = written.chars().take(MAX_LENGTH + 1).map(|c| c.to_ascii_lowercase()).collect();
    if written.len() > MAX_LENGTH {
        return None;
    }
    let distances = words.into_iter().map(|word| {
        let letters: Vec<char> = word.chars().map(|c| c.to_ascii_lowercase()).collect();
        (distance(&written, &letters), letters.len(), word)
    });
    distances.filter(|(distance, length, _)| *distance <= (length / 3).max(1)).min_by_key(|(d, _, _)| *d).map(|n| n.2)
}

/// How many letters must be added, removed, exchanged or swapped with their
/// neighbour to make one word the other.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before_last = vec![0; b.len() + 1];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, letter) in a.iter().enumerate() {
        let mut this = vec![i + 1];
        for (j, other) in b.iter().enumerate() {
            let exchanged = last[j] + usize::from(letter != other);
            let mut least = exchanged.min(last[j + 1] + 1).min(this[j] + 1);
            if i > 0 && j > 0 && *letter == b[j - 1] && a[i - 1] == *other {
                least = least.min(before_last[j - 1] + 1);
            }
            this.push(least);
        }
        before_last = std::mem::replace(&mut last, this);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: [&str; 4] = ["weight", "backup", "address", "protocol_port"];

    #[test]
    fn a_slip_is_recognised() {
        for (written, meant) in
            [("wieght", "weight"), ("weigth", "weight"), ("Address", "address"), ("protocol-port", "protocol_port")]
        {
            assert_eq!(nearest(written, KEYS), Some(meant));
        }
        assert_eq!(nearest("max_flow", ["max_flows", "pin_path"]), Some("max_flows"));
    }

    #[test]
    fn what_is_like_nothing_suggests_nothing() {
        assert_eq!(nearest("colour", KEYS), None);
        assert_eq!(nearest("", KEYS), None);
        assert_eq!(nearest(&"weight".repeat(100_000), KEYS), None);
    }

    #[test]
    fn the_distance_counts_each_slip_once() {
        let letters = |word: &str| word.chars().collect::<Vec<_>>();
        for (a, b, expected) in [("", "", 0), ("", "ab", 2), ("ab", "ba", 1), ("kitten", "sitting", 3), ("x", "x", 0)] {
            assert_eq!(distance(&letters(a), &letters(b)), expected, "{a} {b}");
        }
    }
}
