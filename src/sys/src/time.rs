//! Clocks.

use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds since 1970. A clock that is set before then says 0.
#[must_use]
pub fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |t| i64::try_from(t.as_secs()).unwrap_or(i64::MAX))
}

/// From now on, local time is the host's (`/etc/localtime`), not that of the caller's `TZ`.
pub fn forget_callers_zone() {
    // SAFETY: the name is NUL-terminated; by contract no other thread reads the environment.
    unsafe { libc::unsetenv(c"TZ".as_ptr()) };
}

/// The second (since 1970) at which local clocks show what clocks of universal time show at `second`: mktime(3) of the
/// calendar fields of `second`. `None` when the C library can't say.
#[must_use]
pub fn from_local(second: i64) -> Option<i64> {
    // SAFETY: tm is plain data that gmtime_r fills in and mktime reads; with a single thread nothing changes the time
    // zone meanwhile.
    unsafe {
        let mut fields: libc::tm = std::mem::zeroed();
        if libc::gmtime_r(&raw const second, &raw mut fields).is_null() {
            return None;
        }
        // Whether summer time holds then is for the time zone's rules to say. parse_absolute_time of OpenSSH leaves
        // this 0: a time of summer is one hour later for it, and whoever is to agree with it must do as it does.
        fields.tm_isdst = 0;
        let local = libc::mktime(&raw mut fields);
        (local >= 0).then_some(local)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_time_is_at_most_fifteen_hours_away() {
        let second = 1_893_456_000;
        let local = from_local(second).unwrap();
        assert!((local - second).abs() <= 15 * 3600);
    }

    #[test]
    fn now_is_after_this_was_written() {
        assert!(now() > 1_700_000_000);
    }
}
