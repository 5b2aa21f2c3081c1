//! When a question is asked again: soon, then later and later, never all bastions at once, and not before the hub wants.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::{Duration, SystemTime};

use super::HttpFault;

/// The first pause; each further one is twice as long.
const FIRST: Duration = Duration::from_millis(400);
/// The longest pause of our own choice.
const LONGEST: Duration = Duration::from_secs(10);
/// A hub that asks for more than this is left alone until the next run.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long to wait before the try after `tried` others; nothing when there is to be none. `chance` is 0 to 1.
pub(super) fn pause(fault: &HttpFault, tried: u32, retries: u32, chance: f64) -> Option<Duration> {
    if tried >= retries || !fault.may_pass() {
        return None;
    }
    let own = FIRST.saturating_mul(2_u32.saturating_pow(tried)).min(LONGEST);
    // Half of it is fixed, half of it by chance.
    let own = own.mul_f64(0.5 + chance.clamp(0.0, 1.0) / 2.0);
    match fault.after() {
        Some(after) if after > PATIENCE => None,
        Some(after) => Some(after.max(own)),
        None => Some(own),
    }
}

/// What a `Retry-After` header means: seconds, or a date (RFC 9110, section 10.2.3).
pub(super) fn after(value: &str) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse::<u32>() {
        return Some(Duration::from_secs(seconds.into()));
    }
    let at = httpdate::parse_http_date(value).ok()?;
    Some(at.duration_since(SystemTime::now()).unwrap_or_default())
}

/// A number from 0 to 1 that is another one each time.
pub fn chance() -> f64 {
    let seed = RandomState::new().build_hasher().finish();
    f64::from(u32::try_from(seed >> 32).unwrap_or_default()) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(status: u16, after: Option<u64>) -> HttpFault {
        HttpFault::Status { status, after: after.map(Duration::from_secs) }
    }

    #[test]
    fn what_may_pass_is_tried_again_later_and_later() {
        let fault = status(503, None);
        let pauses: Vec<_> = (0..4).map(|tried| pause(&fault, tried, 3, 1.0)).collect();
        assert_eq!(
            pauses,
            [Some(400), Some(800), Some(1600), None].map(|millis| millis.map(Duration::from_millis))
        );
        assert_eq!(pause(&fault, 0, 3, 0.0), Some(Duration::from_millis(200)));
        assert_eq!(pause(&fault, 60, 100, 1.0), Some(LONGEST));
        for lasting in
            [status(401, None), status(404, None), HttpFault::Redirect, HttpFault::TooBig { max: 1 }]
        {
            assert_eq!(pause(&lasting, 0, 3, 0.5), None, "{lasting}");
        }
    }

    #[test]
    fn the_hub_says_when() {
        assert_eq!(pause(&status(429, Some(7)), 0, 3, 0.5), Some(Duration::from_secs(7)));
        assert_eq!(pause(&status(429, Some(3600)), 0, 3, 0.5), None);
        assert_eq!(after(" 120 "), Some(Duration::from_secs(120)));
        assert_eq!(after("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::ZERO));
        assert_eq!(after("soon"), None);
        assert_eq!(after("-1"), None);
    }

    #[test]
    fn chance_is_another_each_time() {
        let seen: Vec<f64> = (0..8).map(|_| chance()).collect();
        assert!(seen.iter().all(|c| (0.0..=1.0).contains(c)));
        assert!(seen.windows(2).any(|two| two[0] != two[1]));
    }
}
