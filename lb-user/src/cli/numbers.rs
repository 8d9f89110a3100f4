//! Numbers as people read them. What programs read is exact, in JSON.

const DECIMAL: (f64, &[&str]) = (1000.0, &["", " k", " M", " G", " T", " P", " E"]);
const BINARY: (f64, &[&str]) = (1024.0, &[" B", " KiB", " MiB", " GiB", " TiB", " PiB", " EiB"]);

/// How many, such as `12.3 k`; exact below a thousand.
pub(super) fn count(number: u64) -> String {
    if number < 1000 { number.to_string() } else { scaled(number as f64, DECIMAL) }
}

/// How many bytes, such as `4.5 MiB`.
pub(super) fn bytes(number: u64) -> String {
    if number < 1000 { format!("{number} B") } else { scaled(number as f64, BINARY) }
}

/// How many a second, such as `1.5 k`.
pub(super) fn per_second(rate: f64) -> String {
    scaled(rate, DECIMAL)
}

/// How many bytes a second, such as `4.5 MiB`.
pub(super) fn bytes_per_second(rate: f64) -> String {
    scaled(rate, BINARY)
}

/// How long, in the two largest units, such as `3d 4h`.
pub(super) fn duration(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m {}s", seconds % 60),
        (0, ..) => format!("{hours}h {}m", minutes % 60),
        _ => format!("{days}d {}h", hours % 24),
    }
}

/// How long, in milliseconds while that is short, such as `870 ms`.
pub(super) fn millis(milliseconds: u64) -> String {
    if milliseconds < 10_000 { format!("{milliseconds} ms") } else { duration(milliseconds / 1000) }
}

/// How long, exactly, in milliseconds, such as `368.75 ms`.
pub(super) fn micros(microseconds: u64) -> String {
    let (whole, thousandths) = (microseconds / 1000, microseconds % 1000);
    let text = format!("{whole}.{thousandths:03}");
    format!("{} ms", text.trim_end_matches('0').trim_end_matches('.'))
}

/// How long before `now` something was, both in seconds since 1970.
pub(super) fn ago(then: u64, now: u64) -> String {
    format!("{} ago", duration(now.saturating_sub(then)))
}

/// Three digits and a unit; the digits never read as a whole larger unit.
fn scaled(number: f64, (base, units): (f64, &[&str])) -> String {
    let mut number = number.max(0.0);
    let mut units = units.iter();
    let mut unit = units.next();
    while number >= base - 0.5 {
        let Some(larger) = units.next() else { break };
        number /= base;
        unit = Some(larger);
    }
    let unit = unit.copied().unwrap_or_default();
    let whole = number.fract() == 0.0 && (unit.is_empty() || unit == " B");
    if whole || number >= 99.95 { format!("{number:.0}{unit}") } else { format!("{number:.1}{unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_exact_while_small_and_three_digits_after() {
        let read = [0, 7, 999, 1000, 12_345, 99_949, 99_960, 123_456, 999_499, 999_500, 4_560_000, u64::MAX].map(count);
        assert_eq!(
            read,
            ["0", "7", "999", "1.0 k", "12.3 k", "99.9 k", "100 k", "123 k", "999 k", "1.0 M", "4.6 M", "18.4 E"]
        );
    }

    #[test]
    fn bytes_are_in_powers_of_two() {
        let read = [0, 999, 1000, 1024, 1536, 4_718_592, 1_073_741_824, u64::MAX].map(bytes);
        assert_eq!(read, ["0 B", "999 B", "1000 B", "1.0 KiB", "1.5 KiB", "4.5 MiB", "1.0 GiB", "16.0 EiB"]);
    }

    #[test]
    fn rates_show_a_tenth_while_small() {
        assert_eq!([0.0, 0.5, 12.0, 12.34, 1500.0].map(per_second), ["0", "0.5", "12", "12.3", "1.5 k"]);
        assert_eq!([0.0, 100.5, 2_097_152.0].map(bytes_per_second), ["0 B", "100 B", "2.0 MiB"]);
    }

    #[test]
    fn short_times_are_in_milliseconds() {
        assert_eq!([0, 9999, 10_000, 65_400].map(millis), ["0 ms", "9999 ms", "10s", "1m 5s"]);
        let read = [0, 42, 870, 1000, 41_250, 368_750, 3_600_000, 3_609_375].map(micros);
        assert_eq!(read, ["0 ms", "0.042 ms", "0.87 ms", "1 ms", "41.25 ms", "368.75 ms", "3600 ms", "3609.375 ms"]);
    }

    #[test]
    fn durations_have_two_units_at_most() {
        let read = [0, 59, 60, 312, 3600, 11_045, 86_400, 273_600].map(duration);
        assert_eq!(read, ["0s", "59s", "1m 0s", "5m 12s", "1h 0m", "3h 4m", "1d 0h", "3d 4h"]);
        // A clock that was set back is no reason for a wrong number.
        assert_eq!(ago(100, 40), "0s ago");
        assert_eq!(ago(40, 100), "1m 0s ago");
    }
}
