//! Timestamps out of order, wrong retries, and start times that change.

use std::time::Duration;

use super::requests::*;
use strict_receiver::Version;
use strict_receiver::answer::Answer;
use strict_receiver::rules::Rule;

pub(super) fn of_the_order() -> Vec<Case> {
    use Rule::*;
    let at = |all: &[(f64, i64)]| send(Version::V1, &samples(all));
    let ok = Sent::new(Version::V1, &samples(&[(1.0, 0)]));
    let next = Sent::new(Version::V1, &samples(&[(1.0, 1)]));
    vec![
        (
            "back within a request",
            vec![SamplesAscending],
            vec![at(&[(1.0, 1), (1.0, 0)])],
        ),
        (
            "back in the next",
            vec![SamplesAscending],
            vec![at(&[(1.0, 1)]), at(&[(1.0, 0)])],
        ),
        (
            "another value",
            vec![TimestampOnce],
            vec![at(&[(1.0, 0)]), at(&[(2.0, 0)])],
        ),
        (
            "a marker that went through arithmetic",
            vec![NanBits],
            vec![at(&[(f64::from_bits(0x7ff8_0000_0000_0002), 0)])],
        ),
        (
            "a series in two requests at once",
            vec![SeriesNotConcurrent],
            vec![Step::Together(ok, next)],
        ),
    ]
}

pub(super) fn of_retries() -> Vec<Case> {
    use Rule::*;
    let at = |all: &[(f64, i64)]| send(Version::V1, &samples(all));
    let ok = Sent::new(Version::V1, &samples(&[(1.0, 0)]));
    let again = |attempt: &str| Step::Send(ok.clone().with("retry-attempt", attempt));
    let tell = |answer: Answer| Step::Tell(answer);
    let silence = Answer::Silence(Duration::from_millis(300));
    vec![
        (
            "a newer one first",
            vec![RetriedUnchanged],
            vec![tell(Answer::Status(503)), at(&[(1.0, 0)]), at(&[(1.0, 1)])],
        ),
        (
            "a newer one first after silence",
            vec![RetriedUnchanged],
            vec![tell(silence), at(&[(1.0, 0)]), at(&[(1.0, 1)])],
        ),
        (
            "a newer one first after a lost answer",
            vec![RetriedUnchanged],
            vec![tell(Answer::StoreAndCut), at(&[(1.0, 0)]), at(&[(1.0, 1)])],
        ),
        (
            "a newer one first after a cut",
            vec![RetriedUnchanged],
            vec![tell(Answer::CutAfter(10)), at(&[(1.0, 0)]), at(&[(1.0, 1)])],
        ),
        (
            "a newer one first after hanging up",
            vec![RetriedUnchanged],
            vec![
                Step::HangUp(ok.clone()),
                tell(Answer::Status(204)),
                labelled(&[("__name__", "another")]),
                at(&[(1.0, 1)]),
            ],
        ),
        (
            "refused and sent again",
            vec![RefusedNotResent],
            vec![tell(Answer::Status(400)), at(&[(1.0, 0)]), at(&[(1.0, 0)])],
        ),
        (
            "seconds not waited for",
            vec![RetryAfterHonoured],
            vec![
                tell(Answer::RetryAfter(429, 5)),
                at(&[(1.0, 0)]),
                again("1"),
            ],
        ),
        (
            "a date not waited for",
            vec![RetryAfterHonoured],
            vec![
                tell(Answer::RetryAfterDate(503, 5)),
                at(&[(1.0, 0)]),
                again("1"),
            ],
        ),
        (
            "a try that does not count",
            vec![RetryAttempt],
            vec![tell(Answer::Status(500)), at(&[(1.0, 0)]), at(&[(1.0, 0)])],
        ),
        (
            "two tries with one number",
            vec![RetryAttempt],
            vec![
                tell(Answer::Status(500)),
                tell(Answer::Status(500)),
                at(&[(1.0, 0)]),
                again("1"),
                again("1"),
            ],
        ),
    ]
}

pub(super) fn of_starts() -> Vec<Case> {
    use Rule::*;
    let counts = |value, at, start| send(Version::V2, &counter(value, at, start));
    let created = entry(&REFS, &[(2, sample(1.0, T)), (5, metadata(GAUGE))]).signed(6, T - 1);
    vec![
        ("no start", vec![StartGiven], vec![counts(1.0, 0, -T)]),
        (
            "a start to come",
            vec![StartNotLater],
            vec![counts(1.0, 0, 1)],
        ),
        (
            "a start that moves a little",
            vec![StartConstant],
            vec![counts(1.0, 0, -9), counts(2.0, 5, -8)],
        ),
        (
            "a start that moves back",
            vec![StartConstant],
            vec![counts(1.0, 0, -9), counts(2.0, 5, -10)],
        ),
        (
            "a fall without a new start",
            vec![StartMovesAtReset],
            vec![counts(2.0, 0, -9), counts(1.0, 5, -9)],
        ),
        (
            "a field of the drafts",
            vec![DraftCreated],
            vec![send(Version::V2, &second(&SYMBOLS, &[created]))],
        ),
    ]
}
