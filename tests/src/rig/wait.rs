//! Waits for a condition, but never for ever, and says what it waited for.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

const PAUSE: Duration = Duration::from_millis(15);

/// Asks `look` again and again until it finds something; returns that and how
/// long it took.
///
/// # Errors
/// When `limit` is over: the message names `what`, the limit and the last
/// thing `look` complained about. An error of `look` is such a complaint, not
/// an end.
pub fn until<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Result<Option<T>>) -> Result<(T, Duration)> {
    let start = Instant::now();
    loop {
        let complaint = match look() {
            Ok(Some(found)) => return Ok((found, start.elapsed())),
            Ok(None) => None,
            Err(error) => Some(error),
        };
        if start.elapsed() >= limit {
            match complaint {
                Some(error) => bail!("waited {limit:?} for {what}: {error:#}"),
                None => bail!("waited {limit:?} for {what} in vain"),
            }
        }
        thread::sleep(PAUSE);
    }
}

/// Like [`until`], for a condition that yields nothing.
///
/// # Errors
/// As [`until`].
pub fn until_true(what: &str, limit: Duration, mut look: impl FnMut() -> Result<bool>) -> Result<Duration> {
    until(what, limit, || Ok(look()?.then_some(()))).map(|((), took)| took)
}
