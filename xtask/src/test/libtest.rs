//! Reading what Rust's test harness prints.

/// The mark that ends a list of names of failed tests.
const RESULT: &str = "test result: ";

/// What happened in one or more runs of the harness.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Tests that passed.
    pub passed: u32,
    /// Tests that failed, and runs that ended without a result.
    pub failed: u32,
    /// Tests that were not run because they are marked so.
    pub ignored: u32,
    /// Tiers that could not be run here.
    pub skipped: u32,
    /// The names of what failed.
    pub failures: Vec<String>,
}

impl Counts {
    /// One failure outside of any test.
    pub(crate) fn failure(what: impl Into<String>) -> Self {
        Self { failed: 1, failures: vec![what.into()], ..Self::default() }
    }

    /// Adds another run's counts.
    pub(crate) fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.ignored += other.ignored;
        self.skipped += other.skipped;
        self.failures.extend(other.failures);
    }
}

/// Follows the harness's output line by line.
#[derive(Debug, Default)]
pub(super) struct Reader {
    /// What the results so far add up to.
    pub counts: Counts,
    /// How many results were seen.
    pub results: u32,
    /// The names in the list being read, if one is.
    listing: Option<Vec<String>>,
}

impl Reader {
    /// Takes the next line.
    pub(super) fn line(&mut self, line: &str) {
        if line == "failures:" {
            // Printed twice: before the output of the failed tests, and before
            // their names. The second starts the list anew.
            self.listing = Some(Vec::new());
        } else if let Some(result) = line.strip_prefix(RESULT) {
            self.result(result);
        } else if let (Some(names), Some(name)) = (&mut self.listing, line.strip_prefix("    ")) {
            names.push(name.trim().to_owned());
        }
    }

    fn result(&mut self, result: &str) {
        let count = |what: &str| {
            let part = result.split(['.', ';']).map(str::trim).find_map(|part| part.strip_suffix(what));
            part.and_then(|n| n.trim().parse().ok()).unwrap_or(0)
        };
        let failed = count(" failed");
        let names = self.listing.take().unwrap_or_default();
        let failures = if failed > 0 { names } else { Vec::new() };
        self.counts.add(Counts { passed: count(" passed"), failed, ignored: count(" ignored"), skipped: 0, failures });
        self.results += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(output: &str) -> Reader {
        let mut reader = Reader::default();
        output.lines().for_each(|line| reader.line(line));
        reader
    }

    #[test]
    fn results_of_several_runs_add_up() {
        let reader = read(
            "running 2 tests\ntest a ... ok\n\n\
             test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 3 filtered out; finished in 0.01s\n\
             test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.00s\n",
        );
        assert_eq!(reader.counts, Counts { passed: 15, ignored: 1, ..Counts::default() });
        assert_eq!(reader.results, 2);
    }

    #[test]
    fn failed_tests_are_known_by_name() {
        let reader = read(
            "test a::b ... FAILED\n\nfailures:\n\n---- a::b stdout ----\n    not a name\n\nfailures:\n    a::b\n    c\n\n\
             test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s\n",
        );
        assert_eq!(reader.counts.failures, ["a::b", "c"]);
        assert_eq!((reader.counts.passed, reader.counts.failed), (1, 2));
    }

    #[test]
    fn a_run_that_breaks_off_has_no_result() {
        assert_eq!(read("running 2 tests\ntest a ... ok\n").results, 0);
    }
}
