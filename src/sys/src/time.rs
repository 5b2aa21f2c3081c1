//! Clocks.

use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds since 1970. A clock that is set before then says 0.
#[must_use]
pub fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |t| i64::try_from(t.as_secs()).unwrap_or(i64::MAX))
}

/// Whether something keeps the kernel's clock right (NTP, PTP), as it told the kernel: adjtimex(2). A kernel that can't be
/// asked says yes.
#[must_use]
pub fn clock_is_kept() -> bool {
    // SAFETY: timex is plain data; modes 0 asks for nothing to be changed.
    let state = unsafe {
        let mut clock: libc::timex = std::mem::zeroed();
        libc::adjtimex(&raw mut clock)
    };
    state != libc::TIME_ERROR
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

/// What calendar and clock show: local time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Local {
    /// The year, such as 2026.
    pub year: i64,
    /// 0 (January) to 11.
    pub month: usize,
    /// Of the month, 1 to 31.
    pub day: i32,
    /// 0 to 23.
    pub hour: i32,
    /// 0 to 59.
    pub minute: i32,
}

/// What local clocks show at `second` (since 1970): localtime_r(3). The time zone is read once, from `TZ` or
/// `/etc/localtime`. `None` for a year that the C library has no number for.
#[must_use]
pub fn to_local(second: i64) -> Option<Local> {
    // SAFETY: tm is plain data that localtime_r fills in; with a single thread nothing changes the time zone meanwhile.
    let fields = unsafe {
        let mut fields: libc::tm = std::mem::zeroed();
        if libc::localtime_r(&raw const second, &raw mut fields).is_null() {
            return None;
        }
        fields
    };
    Some(Local {
        year: 1900 + i64::from(fields.tm_year),
        month: usize::try_from(fields.tm_mon).ok()?,
        day: fields.tm_mday,
        hour: fields.tm_hour,
        minute: fields.tm_min,
    })
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
    fn to_local_and_from_local_are_inverse_in_winter() {
        // 2030-01-01 00:00 by local clocks, wherever this runs.
        let local = to_local(from_local(1_893_456_000).unwrap());
        assert_eq!(local, Some(Local { year: 2030, month: 0, day: 1, hour: 0, minute: 0 }));
        assert_eq!(to_local(i64::MAX), None);
    }

    #[test]
    fn now_is_after_this_was_written() {
        assert!(now() > 1_700_000_000);
    }
}
