//! Moments as text: RFC 3339 in UTC with milliseconds, such as
//! `2026-02-28T23:59:59.250Z`. Such texts sort as the moments do.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The last second that has a year of four digits, from 1970 on.
const LAST_SECOND: u64 = 253_402_300_799;

const SECONDS_A_DAY: u64 = 86_400;

/// Days of four hundred years: after so many the calendar repeats itself.
const DAYS_OF_400_YEARS: u64 = 146_097;

/// From 0000-03-01 to 1970-01-01, in days. Years are counted from March on
/// here, so that the day that some of them have more is their last.
const DAYS_BEFORE_1970: u64 = 719_468;

/// A moment as text. What is before 1970 is told as 1970, what is after 9999 as
/// the last second of it.
#[must_use]
pub fn rfc3339(moment: SystemTime) -> String {
    let since = moment.duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = since.as_secs().min(LAST_SECOND);
    let (year, month, day) = date(seconds / SECONDS_A_DAY);
    let of_day = seconds % SECONDS_A_DAY;
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", since.subsec_millis())
}

/// The moment that a text of [`rfc3339`] tells; nothing where it is no such text.
#[must_use]
pub fn read(text: &str) -> Option<SystemTime> {
    let number = |from: usize, to: usize| -> Option<u64> {
        let digits = text.get(from..to).filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()))?;
        digits.parse().ok()
    };
    let marks = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':'), (19, b'.'), (23, b'Z')];
    if text.len() != 24 || marks.iter().any(|(at, mark)| text.as_bytes()[*at] != *mark) {
        return None;
    }
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let days = days(year, month, day).filter(|days| date(*days) == (year, month, day))?;
    let (hour, minute, second, millis) = (number(11, 13)?, number(14, 16)?, number(17, 19)?, number(20, 23)?);
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let seconds = days * SECONDS_A_DAY + hour * 3600 + minute * 60 + second;
    Some(UNIX_EPOCH + Duration::from_secs(seconds) + Duration::from_millis(millis))
}

/// Days from 1970-01-01 to a day; nothing for one before.
const fn days(year: u64, month: u64, day: u64) -> Option<u64> {
    if year < 1970 || month < 1 || month > 12 {
        return None;
    }
    // Years from March on, as in `date`.
    let (year, from_march) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = year / 4 - year / 100 + year / 400;
    let in_year = (153 * from_march + 2) / 5;
    (365 * year + leap_days + in_year + day).checked_sub(1 + DAYS_BEFORE_1970)
}

/// Year, month and day of the month, so many days after 1970-01-01.
const fn date(days: u64) -> (u64, u64, u64) {
    let days = days + DAYS_BEFORE_1970;
    let (cycle, in_cycle) = (days / DAYS_OF_400_YEARS, days % DAYS_OF_400_YEARS);
    // Every 4th year is a day longer, every 100th is not, the 400th is.
    let year_of_cycle = (in_cycle - in_cycle / 1460 + in_cycle / 36_524 - in_cycle / 146_096) / 365;
    let in_year = in_cycle - (365 * year_of_cycle + year_of_cycle / 4 - year_of_cycle / 100);
    // From March on, five months have 153 days, again and again.
    let from_march = (5 * in_year + 2) / 153;
    let day = in_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = 400 * cycle + year_of_cycle + if month <= 2 { 1 } else { 0 };
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(seconds: u64, millis: u64) -> String {
        rfc3339(UNIX_EPOCH + Duration::from_secs(seconds) + Duration::from_millis(millis))
    }

    #[test]
    fn moments_are_told_as_date_tells_them() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00.007Z"),
            (951_782_399, "2000-02-28T23:59:59.007Z"),
            (951_782_400, "2000-02-29T00:00:00.007Z"),
            (951_868_800, "2000-03-01T00:00:00.007Z"),
            (1_709_164_800, "2024-02-29T00:00:00.007Z"),
            (1_735_689_599, "2024-12-31T23:59:59.007Z"),
            (1_795_542_240, "2026-11-24T17:44:00.007Z"),
            (4_107_542_400, "2100-03-01T00:00:00.007Z"),
            (LAST_SECOND, "9999-12-31T23:59:59.007Z"),
        ] {
            assert_eq!(text(seconds, 7), expected);
        }
    }

    #[test]
    fn each_day_of_four_hundred_years_follows_the_one_before() {
        let length = |year: u64, month: u64| match month {
            2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => 29,
            2 => 28,
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        };
        let mut expected = (1970, 1, 1);
        for day in 0..=DAYS_OF_400_YEARS {
            assert_eq!(date(day), expected, "day {day}");
            let (year, month, of_month) = expected;
            expected = if of_month < length(year, month) {
                (year, month, of_month + 1)
            } else if month < 12 {
                (year, month + 1, 1)
            } else {
                (year + 1, 1, 1)
            };
        }
    }

    #[test]
    fn a_moment_told_is_the_moment_read_and_what_is_none_is_refused() {
        for day in (0..LAST_SECOND / SECONDS_A_DAY).step_by(7) {
            let moment = UNIX_EPOCH + Duration::from_secs(day * SECONDS_A_DAY + 86_399) + Duration::from_millis(999);
            assert_eq!(read(&rfc3339(moment)), Some(moment), "day {day}");
        }
        for text in [
            "",
            "now",
            "2026-02-29T00:00:00.000Z",
            "2026-13-01T00:00:00.000Z",
            "2026-00-01T00:00:00.000Z",
            "2026-01-00T00:00:00.000Z",
            "2026-01-01T24:00:00.000Z",
            "2026-01-01T00:60:00.000Z",
            "2026-01-01T00:00:00.000+",
            "2026-01-01 00:00:00.000Z",
            "+026-01-01T00:00:00.000Z",
            "1969-12-31T23:59:59.000Z",
            "2026-01-01T00:00:00.0ääZ",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn what_no_calendar_has_is_told_as_its_nearest_end() {
        assert_eq!(rfc3339(UNIX_EPOCH - Duration::from_secs(5)), "1970-01-01T00:00:00.000Z");
        assert_eq!(text(LAST_SECOND + 1_000_000_000, 0), "9999-12-31T23:59:59.000Z");
    }
}
