//! Interprets a receiver's response to a request.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, StatusCode, header::RETRY_AFTER};

use crate::counts::Counts;
use crate::timestamp::Timestamp;
use crate::wire::Protocol;

/// The meaning of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Stored; the request leaves the queue.
    Delivered,
    /// Not stored; a retry may help, no sooner than `after`.
    Retry { after: Option<Duration> },
    /// Something in the request is at fault; the receiver may accept one of its halves.
    Refused,
    /// The request is too large; its halves may be small enough.
    TooLarge,
    /// Nothing in the request is at fault, but none of it will ever be stored: wrong address or
    /// credentials.
    Rejected,
    /// The receiver does not support this protocol; encode again in a simpler one.
    Downgrade,
}

/// The properties of a request that the meaning of its response depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    pub protocol: Protocol,
    /// Whether falling back from 2.0 to 1.0 is allowed.
    pub may_downgrade: bool,
    /// Whether the receiver is known to speak 2.0.
    pub is_proven: bool,
    pub retry_on_429: bool,
}

/// Returns the verdict for a response.
///
/// PRW 1.0 and 2.0, "Retries & Backoff": 5xx must be retried; 4xx must not, except for 429, which
/// is up to the sender. 408 and 425 by definition ask for a retry. A redirect that was not followed
/// (only 307 and 308 are) means a wrong address, and a retry does not help.
///
/// PRW 2.0, "Required Written Response Headers": a 2xx to a 2.0 request without any of these
/// headers comes from a 1.0 receiver that did not understand the request. "Unsupported Request
/// Content": a receiver that knows the rule answers 415; a 400 may come from one that does not,
/// unless it has accepted 2.0 before.
pub fn verdict(status: StatusCode, headers: &HeaderMap, asked: Asked, now: Timestamp) -> Verdict {
    if asked.protocol == Protocol::V1Zstd && matches!(status.as_u16(), 400 | 415) {
        // Either it cannot decompress the request, or the same request with snappy shows what is wrong.
        return Verdict::Downgrade;
    }
    let is_2 = asked.protocol == Protocol::V2;
    let is_blind = is_2 && Written::read(headers) == Written::default();
    let unspoken = if asked.may_downgrade {
        Verdict::Downgrade
    } else {
        Verdict::Rejected
    };
    match status.as_u16() {
        200..=299 if is_blind => unspoken,
        415 if is_2 => unspoken,
        400 if is_blind && asked.may_downgrade && !asked.is_proven => Verdict::Downgrade,
        400 | 409 | 422 => Verdict::Refused,
        413 => Verdict::TooLarge,
        429 if !asked.retry_on_429 => Verdict::Rejected,
        _ => match fate(status, headers, now) {
            Fate::Delivered => Verdict::Delivered,
            Fate::Retry { after } => Verdict::Retry { after },
            Fate::Rejected => Verdict::Rejected,
        },
    }
}

/// The meaning of a response to a request that has only one format and cannot be divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Delivered,
    /// Not delivered; a retry may help, no sooner than `after`.
    Retry {
        after: Option<Duration>,
    },
    Rejected,
}

/// Returns what to do after the response to such a request.
pub fn fate(status: StatusCode, headers: &HeaderMap, now: Timestamp) -> Fate {
    match status.as_u16() {
        200..=299 => Fate::Delivered,
        408 | 425 | 429 | 500..=599 => Fate::Retry {
            after: retry_after(headers, now),
        },
        _ => Fate::Rejected,
    }
}

/// How much a 2.0 receiver says it stored; `None` without a readable value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    pub samples: Option<u64>,
    pub histograms: Option<u64>,
    pub exemplars: Option<u64>,
}

impl Written {
    pub fn read(headers: &HeaderMap) -> Self {
        let count = |of: &str| {
            let name = format!("x-prometheus-remote-write-{of}-written");
            headers.get(name)?.to_str().ok()?.trim().parse().ok()
        };
        Self {
            samples: count("samples"),
            histograms: count("histograms"),
            exemplars: count("exemplars"),
        }
    }

    /// Returns how much of a refused request was stored, if that is some but not all of it.
    ///
    /// PRW 2.0, "Required Written Response Headers": the sender may rely on them even in a refusal.
    pub fn part_of(self, sent: Counts) -> Option<Counts> {
        let part = Counts {
            samples: self.samples.unwrap_or_default(),
            histograms: self.histograms.unwrap_or_default(),
            exemplars: self.exemplars.unwrap_or_default().min(sent.exemplars),
        };
        let fits = part.samples <= sent.samples && part.histograms <= sent.histograms;
        let is_less = part.points() < sent.points() || part.exemplars < sent.exemplars;
        (fits && part.points() > 0 && is_less).then_some(part)
    }
}

/// Why a receiver refuses a series.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cause {
    /// The series violates a limit or rule.
    #[default]
    Series,
    /// The receiver has later values, or a different value for the same time.
    AlreadyThere,
    /// The values are too old or too far in the future.
    OutOfBounds,
    /// Requests with the series are answered with 5xx, while others are accepted.
    Errors,
}

impl Cause {
    /// Derives the cause of a refusal from its text, the only indication there is.
    ///
    /// Recognizes the error texts of Prometheus and Thanos ("out of order sample", "duplicate
    /// sample for timestamp", "out of bounds", "too old sample") and the identifiers in Mimir's
    /// messages.
    pub fn of(text: &str) -> Self {
        const THERE: [&str; 5] = [
            "out of order",
            "duplicate sample",
            "duplicate exemplar",
            "sample-out-of-order",
            "sample-duplicate-timestamp",
        ];
        const BOUNDS: [&str; 6] = [
            "out of bounds",
            "too old",
            "too far in",
            "timestamp-too-old",
            "too-far-in-future",
            "too-far-in-past",
        ];
        let says = |words: &[&str]| words.iter().any(|words| text.contains(words));
        if says(&THERE) {
            Self::AlreadyThere
        } else if says(&BOUNDS) {
            Self::OutOfBounds
        } else {
            Self::Series
        }
    }

    /// Combines the causes of several refusals: a cause related to time wins, because it does not
    /// lead to quarantine.
    pub const fn or_time(self, other: Self) -> Self {
        if self.is_of_time() { self } else { other }
    }

    /// Returns whether other values of the same series may be accepted.
    pub const fn is_of_time(self) -> bool {
        matches!(self, Self::AlreadyThere | Self::OutOfBounds)
    }
}

/// Returns the delay in `Retry-After`: seconds or a date.
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
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

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.insert(*name, value.parse().expect("a header"));
        }
        headers
    }

    const ONE: Asked = Asked {
        protocol: Protocol::V1,
        may_downgrade: true,
        is_proven: false,
        retry_on_429: true,
    };

    const TWO: Asked = Asked {
        protocol: Protocol::V2,
        ..ONE
    };

    fn check(status: u16, headers: &HeaderMap, asked: Asked, expected: Verdict) {
        let status = StatusCode::from_u16(status).expect("a status");
        let now = Timestamp::default();
        let verdict = verdict(status, headers, asked, now);
        assert_eq!(verdict, expected, "{status} {headers:?} {asked:?}");
    }

    #[test]
    fn each_status_has_its_verdict() {
        let after = Some(Duration::from_secs(7));
        let asked = headers(&[("retry-after", "7")]);
        let retry = Verdict::Retry { after };
        let cases = [
            (Verdict::Delivered, &[200, 202, 204][..]),
            (
                Verdict::Rejected,
                &[301, 302, 303, 307, 401, 403, 404, 405, 415],
            ),
            (Verdict::Refused, &[400, 409, 422]),
            (Verdict::TooLarge, &[413]),
            (retry, &[408, 425, 429, 500, 503, 529]),
        ];
        for (expected, statuses) in cases {
            for &status in statuses {
                check(status, &asked, ONE, expected);
            }
        }
        let stern = Asked {
            retry_on_429: false,
            ..ONE
        };
        check(429, &asked, stern, Verdict::Rejected);
    }

    #[test]
    fn a_receiver_that_does_not_speak_2_is_found_out() {
        let (none, zero) = (
            headers(&[]),
            headers(&[("x-prometheus-remote-write-samples-written", "0")]),
        );
        let rubbish = headers(&[("x-prometheus-remote-write-samples-written", "many")]);
        let firm = Asked {
            may_downgrade: false,
            ..TWO
        };
        let proven = Asked {
            is_proven: true,
            ..TWO
        };
        let cases = [
            (204, &none, TWO, Verdict::Downgrade),
            (204, &rubbish, TWO, Verdict::Downgrade),
            // With deduplication, a sender that is not the elected replica gets zeros.
            (202, &zero, TWO, Verdict::Delivered),
            (204, &none, firm, Verdict::Rejected),
            (204, &none, ONE, Verdict::Delivered),
            (415, &none, TWO, Verdict::Downgrade),
            (415, &none, proven, Verdict::Downgrade),
            (415, &none, firm, Verdict::Rejected),
            (400, &none, TWO, Verdict::Downgrade),
            (400, &zero, TWO, Verdict::Refused),
            (400, &none, proven, Verdict::Refused),
            (400, &none, firm, Verdict::Refused),
            (500, &none, TWO, Verdict::Retry { after: None }),
        ];
        for (status, headers, asked, expected) in cases {
            check(status, headers, asked, expected);
        }
    }

    #[test]
    fn what_is_wrong_with_a_request_in_zstd_is_asked_again_with_snappy() {
        let none = HeaderMap::new();
        let zstd = Asked {
            protocol: Protocol::V1Zstd,
            ..ONE
        };
        for (status, expected) in [
            (204, Verdict::Delivered),
            (400, Verdict::Downgrade),
            (415, Verdict::Downgrade),
            (409, Verdict::Refused),
            (413, Verdict::TooLarge),
            (503, Verdict::Retry { after: None }),
        ] {
            check(status, &none, zstd, expected);
        }
    }

    #[test]
    fn what_was_stored_of_a_refused_request_is_what_the_receiver_says_if_that_can_be() {
        let sent = Counts {
            samples: 10,
            histograms: 2,
            exemplars: 1,
        };
        let cases = [
            ((Some(8), Some(2), Some(1)), Some((8, 2, 1))),
            ((Some(8), None, Some(7)), Some((8, 0, 1))),
            // Everything but an exemplar was stored.
            ((Some(10), Some(2), Some(0)), Some((10, 2, 0))),
            // Nothing, everything, too much, and no header.
            ((Some(0), Some(0), Some(0)), None),
            ((Some(10), Some(2), Some(1)), None),
            ((Some(11), Some(0), Some(0)), None),
            ((None, None, None), None),
        ];
        for ((samples, histograms, exemplars), expected) in cases {
            let written = Written {
                samples,
                histograms,
                exemplars,
            };
            let part = written.part_of(sent);
            let part = part.map(|part| (part.samples, part.histograms, part.exemplars));
            assert_eq!(part, expected, "{written:?}");
        }
    }

    #[test]
    fn the_cause_of_a_refusal_is_known_by_what_receivers_say() {
        let cases = [
            ("out of order sample", Cause::AlreadyThere),
            (
                "maxTimestamp: duplicate sample for timestamp 1; overrides not allowed",
                Cause::AlreadyThere,
            ),
            (
                "the sample has been rejected (err-mimir-sample-out-of-order)",
                Cause::AlreadyThere,
            ),
            ("out of bounds", Cause::OutOfBounds),
            ("too old sample", Cause::OutOfBounds),
            (
                "received a sample whose timestamp is too far in the future (err-mimir-too-far-in-future)",
                Cause::OutOfBounds,
            ),
            ("label name \"a b\" is invalid", Cause::Series),
            ("label value too long", Cause::Series),
            ("", Cause::Series),
        ];
        for (text, expected) in cases {
            assert_eq!(Cause::of(text), expected, "{text}");
        }
    }

    #[test]
    fn of_several_causes_one_related_to_time_wins() {
        use Cause::{AlreadyThere, Errors, OutOfBounds, Series};
        for (first, second, expected) in [
            (Series, AlreadyThere, AlreadyThere),
            (AlreadyThere, Series, AlreadyThere),
            (OutOfBounds, Errors, OutOfBounds),
            (Errors, OutOfBounds, OutOfBounds),
            (OutOfBounds, AlreadyThere, OutOfBounds),
            (Series, Errors, Errors),
        ] {
            assert_eq!(first.or_time(second), expected, "{first:?}, {second:?}");
            let is_of_time = ![Series, Errors].contains(&first);
            assert_eq!(first.is_of_time(), is_of_time, "{first:?}");
        }
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
