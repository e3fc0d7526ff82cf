//! What an answer of a receiver means for the request that it answers.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, StatusCode, header::RETRY_AFTER};

use crate::timestamp::Timestamp;

/// What one answer means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Stored; the request leaves the queue.
    Delivered,
    /// Not stored, and asking again can help, no sooner than `after`.
    Retry { after: Option<Duration> },
    /// Will never be stored; the request leaves the queue and its samples count as failed.
    Rejected,
}

/// Reads a verdict off an answer.
///
/// PRW 1.0, "Retries & Backoff": 5xx must be tried again; 4xx must not, except 429, where the choice is the
/// sender's. 408 and 425 say themselves that asking again helps. A redirect that was not followed (only 307 and
/// 308 are) is a wrong address, and stays one.
pub fn verdict(status: StatusCode, after: Option<Duration>, retry_on_429: bool) -> Verdict {
    match status.as_u16() {
        200..=299 => Verdict::Delivered,
        429 if !retry_on_429 => Verdict::Rejected,
        408 | 425 | 429 | 500..=599 => Verdict::Retry { after },
        _ => Verdict::Rejected,
    }
}

/// The time that `Retry-After` asks for: seconds, or a date.
pub fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(value)
        .ok()?
        .duration_since(SystemTime::UNIX_EPOCH)
        .ok()?;
    let date = Timestamp::from_seconds(date.as_secs_f64())?;
    Some(date.since(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_status_has_its_verdict() {
        let after = Some(Duration::from_secs(7));
        let cases = [
            (200, Verdict::Delivered),
            (202, Verdict::Delivered),
            (204, Verdict::Delivered),
            (301, Verdict::Rejected),
            (302, Verdict::Rejected),
            (400, Verdict::Rejected),
            (401, Verdict::Rejected),
            (404, Verdict::Rejected),
            (408, Verdict::Retry { after }),
            (409, Verdict::Rejected),
            (413, Verdict::Rejected),
            (415, Verdict::Rejected),
            (425, Verdict::Retry { after }),
            (429, Verdict::Retry { after }),
            (500, Verdict::Retry { after }),
            (503, Verdict::Retry { after }),
            (529, Verdict::Retry { after }),
        ];
        for (status, expected) in cases {
            let status = StatusCode::from_u16(status).expect("a status");
            assert_eq!(verdict(status, after, true), expected, "{status}");
        }
        assert_eq!(
            verdict(StatusCode::TOO_MANY_REQUESTS, after, false),
            Verdict::Rejected
        );
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = Timestamp::from_seconds(784_111_777.0).expect("a time");
        let cases = [
            ("120", Some(120)),
            (" 3 ", Some(3)),
            ("Sun, 06 Nov 1994 08:49:47 GMT", Some(10)),
            ("Sun, 06 Nov 1994 08:49:27 GMT", Some(0)),
            ("soon", None),
            ("-1", None),
            ("", None),
        ];
        for (value, seconds) in cases {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, value.parse().expect("a header"));
            let expected = seconds.map(Duration::from_secs);
            assert_eq!(retry_after(&headers, now), expected, "{value}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }
}
