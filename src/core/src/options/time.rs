//! `expiry-time=`: a time of the calendar.

use std::fmt;

/// A time as `expiry-time=` has it: `YYYYMMDD[HHMM[SS]]`, with `Z` or `UTC` behind it in universal time, without in the
/// bastion's local time (`parse_absolute_time` in misc.c). Kept as it was written: sshd reads it again.
#[derive(Clone, PartialEq, Eq)]
pub struct AbsoluteTime {
    text: String,
    /// Seconds since 1970 if the time is taken as universal time.
    as_utc: i64,
    utc: bool,
}

/// What time it is, and where.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    /// Seconds since 1970.
    pub now: i64,
    /// Seconds since 1970 at which a local clock shows what a universal clock shows at the given second: mktime(3).
    /// `None` when that can't be said.
    pub from_local: fn(i64) -> Option<i64>,
}

impl AbsoluteTime {
    /// Reads a time. Days that their month lacks run into the next month, as mktime(3) has it; nothing before 1970 is
    /// a time.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        let cut = |suffix: &str| {
            let (head, tail) = text.split_at_checked(text.len().checked_sub(suffix.len())?)?;
            (tail.eq_ignore_ascii_case(suffix) && !head.is_empty()).then_some(head)
        };
        let zone = cut("Z").or_else(|| cut("UTC"));
        let digits = zone.unwrap_or(text);
        if !digits.bytes().all(|b| b.is_ascii_digit()) || !matches!(digits.len(), 8 | 12 | 14) {
            return None;
        }
        let field = |from: usize, to: usize, low: i64, high: i64| -> Option<i64> {
            let value = digits.get(from..to).map_or(Some(0), |d| d.parse().ok())?;
            (low..=high).contains(&value).then_some(value)
        };
        let (year, month, day) = (field(0, 4, 0, 9999)?, field(4, 6, 1, 12)?, field(6, 8, 1, 31)?);
        let (hour, minute, second) = (field(8, 10, 0, 23)?, field(10, 12, 0, 59)?, field(12, 14, 0, 61)?);
        let as_utc = ((days(year, month, day) * 24 + hour) * 60 + minute) * 60 + second;
        // Whether a local time of the first day of 1970 is before 1970 is for sshd to say.
        let earliest = if zone.is_some() { 1 } else { -14 * 3600 };
        (as_utc >= earliest).then(|| AbsoluteTime { text: text.to_owned(), as_utc, utc: zone.is_some() })
    }

    /// Whether the time has passed, as `auth_authorise_keyopts` compares it. A local time that can't be converted
    /// counts as universal time.
    #[must_use]
    pub fn is_past(&self, clock: &Clock) -> bool {
        self.second(clock) < clock.now
    }

    /// The last second (since 1970) that is not past it.
    #[must_use]
    pub fn second(&self, clock: &Clock) -> i64 {
        let time = if self.utc { None } else { (clock.from_local)(self.as_utc) };
        time.unwrap_or(self.as_utc)
    }
}

impl fmt::Display for AbsoluteTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for AbsoluteTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AbsoluteTime({})", self.text)
    }
}

/// Days from 1 January 1970 to a day of the Gregorian calendar. Years are counted from March, so that the day that
/// some of them lack is their last.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    365 * year + leap_days + (153 * month + 2) / 5 + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Option<i64> {
        AbsoluteTime::parse(text.as_bytes()).map(|t| t.as_utc)
    }

    #[test]
    fn times_are_what_date_says() {
        // date -u -d '2030-01-01' +%s and so on.
        let table = [
            ("20300101", Some(1_893_456_000)),
            ("20300101Z", Some(1_893_456_000)),
            ("20300101z", Some(1_893_456_000)),
            ("20300101UTC", Some(1_893_456_000)),
            ("20300101utc", Some(1_893_456_000)),
            ("203001011234", Some(1_893_501_240)),
            ("20300101123456", Some(1_893_501_296)),
            ("20300101123456Z", Some(1_893_501_296)),
            ("20240229Z", Some(1_709_164_800)),
            ("20230229Z", Some(1_677_628_800)), // 1 March
            ("20300101235961Z", Some(1_893_542_401)),
            ("99991231235959Z", Some(253_402_300_799)),
            ("19700101Z", None),
            ("19700101000001Z", Some(1)),
            ("19691231Z", None),
            ("20301301", None),
            ("20300001", None),
            ("20300100", None),
            ("20300132", None),
            ("203001012400", None),
            ("203001010060", None),
            ("20300101000062", None),
            ("2030010", None),
            ("203001011", None),
            ("2030-01-01", None),
            ("2030 101", None),
            ("+2030101", None),
            ("20300101ZZ", None),
            ("20300101 Z", None),
            ("Z", None),
            ("UTC", None),
            ("", None),
            ("always", None),
            ("2030010\u{661}", None),
        ];
        for (text, want) in table {
            assert_eq!(parsed(text), want, "{text}");
        }
        assert_eq!(AbsoluteTime::parse(b"2030\xff101"), None);
    }

    #[test]
    fn a_time_has_passed_one_second_after_it() {
        let time = AbsoluteTime::parse(b"20300101Z").unwrap();
        let at = |now| Clock { now, from_local: |_| None };
        assert!(!time.is_past(&at(1_893_456_000)));
        assert!(time.is_past(&at(1_893_456_001)));
    }

    #[test]
    fn a_local_time_is_the_bastions() {
        let east = Clock { now: 1_893_450_000, from_local: |t| Some(t - 7200) };
        assert!(AbsoluteTime::parse(b"20300101").unwrap().is_past(&east));
        assert!(!AbsoluteTime::parse(b"20300101Z").unwrap().is_past(&east));
    }
}
