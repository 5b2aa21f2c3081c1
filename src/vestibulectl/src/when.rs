//! Points in time, as an administrator writes and reads them. All in UTC.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::bail;

const DAY: i64 = 86_400;

/// Seconds since 1970.
pub(crate) fn now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_secs()).unwrap_or(i64::MAX)
}

/// Reads the end of a key or a grant: `2027-01-31`, `2027-01-31T12:00[:00]Z`, `+30d` (`s`, `m`, `h`, `d`, `w`). It must
/// lie in the future.
pub(crate) fn parse_end(text: &str, now: i64) -> anyhow::Result<i64> {
    let end = match text.strip_prefix('+') {
        Some(span) => parse_span(span).and_then(|seconds| now.checked_add(seconds)),
        None => parse_date(text),
    };
    match end {
        None => bail!("time '{text}': want 2027-01-31, 2027-01-31T12:00:00Z (UTC), +30d or +12h"),
        Some(end) if end <= now => bail!("time '{text}': it is over already"),
        Some(end) => Ok(end),
    }
}

fn parse_span(text: &str) -> Option<i64> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let unit = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => DAY,
        "w" => 7 * DAY,
        _ => return None,
    };
    digits(number)?.checked_mul(unit)
}

fn parse_date(text: &str) -> Option<i64> {
    let (date, time) = match text.split_once('T') {
        Some((date, time)) => (date, time.strip_suffix('Z')?),
        None => (text, "00:00:00"),
    };
    let [year, month, day] = fields(date, '-')?;
    let [hour, minute, second] = fields(time, ':').or_else(|| fields(&format!("{time}:00"), ':'))?;
    let in_range = (1970..=9999).contains(&year)
        && (1..=12).contains(&month)
        && (1..=days_in_month(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    in_range.then(|| days_from_civil(year, month, day) * DAY + hour * 3_600 + minute * 60 + second)
}

fn fields(text: &str, separator: char) -> Option<[i64; 3]> {
    let mut parts = text.split(separator).map(digits);
    let fields = [parts.next()??, parts.next()??, parts.next()??];
    parts.next().is_none().then_some(fields)
}

fn digits(text: &str) -> Option<i64> {
    let plain = !text.is_empty() && text.len() <= 10 && text.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten()
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01, with years that begin in March so that the leap day is the last.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    365 * year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + of_year - 719_468
}

/// `2027-01-31T12:00:00Z`.
pub(crate) fn show(seconds: i64) -> String {
    let (days, of_day) = (seconds.div_euclid(DAY), seconds.rem_euclid(DAY));
    // The inverse of `days_from_civil`, by 400-year cycles of 146097 days.
    let shifted = days + 719_468;
    let (cycle, of_cycle) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_cycle = (of_cycle - of_cycle / 1_460 + of_cycle / 36_524 - of_cycle / 146_096) / 365;
    let of_year = of_cycle - (365 * year_of_cycle + year_of_cycle / 4 - year_of_cycle / 100);
    let march_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = cycle * 400 + year_of_cycle + i64::from(month <= 2);
    let (hour, minute, second) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// The end of something in a list: a date, `never`, or the date with the word `ended`.
pub(crate) fn show_end(end: Option<i64>, now: i64) -> String {
    match end {
        None => "never".to_owned(),
        Some(end) if end <= now => format!("{} (ended)", show(end)),
        Some(end) => show(end),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_utc_and_come_back_as_they_were() {
        for (text, seconds) in [
            ("1970-01-02", 86_400),
            ("2000-02-29T23:59:59Z", 951_868_799),
            ("2027-01-01", 1_798_761_600),
            ("2027-01-01T12:30Z", 1_798_806_600),
            ("2100-03-01", 4_107_542_400),
            ("9999-12-31", 253_402_214_400),
        ] {
            assert_eq!(parse_end(text, 0).unwrap(), seconds, "{text}");
            let full = match text.len() {
                10 => format!("{text}T00:00:00Z"),
                17 => text.replace('Z', ":00Z"),
                _ => text.to_owned(),
            };
            assert_eq!(show(seconds), full);
        }
    }

    #[test]
    fn spans_count_from_now() {
        assert_eq!(parse_end("+30d", 1_000).unwrap(), 1_000 + 30 * 86_400);
        assert_eq!(parse_end("+12h", 0).unwrap(), 43_200);
        assert_eq!(parse_end("+2w", 0).unwrap(), 1_209_600);
    }

    #[test]
    fn what_is_no_time_or_over_is_refused() {
        for text in [
            "",
            "+",
            "+d",
            "+1",
            "+1y",
            "+-1d",
            "+99999999999d",
            "tomorrow",
            "2027",
            "2027-13-01",
            "2027-02-29",
            "2027-1-1-1",
            "2027-01-01T12:00",
            "2027-01-01T24:00Z",
            "2027-01-01 12:00Z",
            "1969-12-31",
            "20270101",
        ] {
            assert!(parse_end(text, 0).is_err(), "{text}");
        }
        assert!(parse_end("2026-12-31", 1_798_761_600).unwrap_err().to_string().contains("over already"));
        assert!(parse_end("+0d", 5).is_err());
    }
}
