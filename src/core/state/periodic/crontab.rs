//! When a crontab schedule is due, as Celery's beat computes it.
//!
//! Unlike in cron, a day must match the day of the month *and* the day of the week. Source:
//! `celery.schedules.crontab` and its `from_string`, Celery 5.6.

use std::collections::BTreeSet;
use std::fmt;

use jiff::Timestamp as Instant;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use thiserror::Error;

/// Days to search for the next one: 29 February on a given day of the week is up to 40 years away.
const DAYS_MAX: usize = 41 * 366;

const MONTHS: [&str; 12] = [
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// Why an expression is not a schedule.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum CrontabError {
    #[error("expected five fields (minute, hour, day of month, month, day of week), found {0}")]
    Fields(usize),
    #[error("`{text}` is not {field}; expected {expected}")]
    Field {
        text: String,
        field: &'static str,
        expected: String,
    },
    #[error("is never due")]
    Never,
    #[error("`{0}` is not a time zone; expected a name such as Europe/Berlin")]
    TimeZone(String),
}

/// A schedule in some time zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crontab {
    minutes: BTreeSet<i8>,
    hours: BTreeSet<i8>,
    days: BTreeSet<i8>,
    months: BTreeSet<i8>,
    /// Sunday is 0.
    weekdays: BTreeSet<i8>,
    zone: TimeZone,
    /// The expression and the name of the time zone.
    text: String,
}

impl Crontab {
    /// Parses five fields, such as `*/15 9-17 * * mon-fri`, and the name of a time zone.
    pub fn new(expression: &str, zone: &str) -> Result<Self, CrontabError> {
        let fields: Vec<_> = expression.split_whitespace().collect();
        let [minute, hour, day, month, weekday] = fields[..] else {
            return Err(CrontabError::Fields(fields.len()));
        };
        let text = format!("{} {zone}", fields.join(" "));
        let zone = TimeZone::get(zone).map_err(|_| CrontabError::TimeZone(zone.to_owned()))?;
        let crontab = Self {
            minutes: values(minute, &MINUTE)?,
            hours: values(hour, &HOUR)?,
            days: values(day, &DAY_OF_MONTH)?,
            months: values(month, &MONTH)?,
            weekdays: values(weekday, &WEEKDAY)?,
            zone,
            text,
        };
        match crontab.next(0) {
            Some(_) => Ok(crontab),
            None => Err(CrontabError::Never),
        }
    }

    /// Returns when it is due next after a time; both in seconds since the epoch. Local times that
    /// are skipped when clocks are set forward are due an hour later, and those that happen twice
    /// the first time.
    pub(super) fn next(&self, after: i64) -> Option<i64> {
        let local = self.local(after)?;
        let dates = std::iter::successors(Some(local.date()), |date| date.tomorrow().ok());
        let dates = dates.take(DAYS_MAX).filter(|date| self.is_on(*date));
        let mut times = dates.flat_map(|date| self.times(date));
        times.find_map(|time| {
            // Computing the time zone's offset is the slow part.
            let is_later = time > local;
            let at = is_later.then(|| self.zone.to_timestamp(time).ok())??;
            Some(at.as_second()).filter(|at| *at > after)
        })
    }

    fn local(&self, at: i64) -> Option<DateTime> {
        let at = Instant::from_second(at).ok()?;
        Some(self.zone.to_datetime(at))
    }

    fn is_on(&self, date: Date) -> bool {
        self.months.contains(&date.month())
            && self.days.contains(&date.day())
            && self
                .weekdays
                .contains(&date.weekday().to_sunday_zero_offset())
    }

    fn times(&self, date: Date) -> impl Iterator<Item = DateTime> {
        let hours = self.hours.iter();
        hours.flat_map(move |hour| {
            let minutes = self.minutes.iter();
            minutes.map(move |minute| date.at(*hour, *minute, 0, 0))
        })
    }
}

impl fmt::Display for Crontab {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The values that a field can have.
struct Field {
    name: &'static str,
    first: i8,
    last: i8,
    /// The names of the values from the first on.
    names: &'static [&'static str],
}

const MINUTE: Field = Field {
    name: "a minute",
    first: 0,
    last: 59,
    names: &[],
};

const HOUR: Field = Field {
    name: "an hour",
    first: 0,
    last: 23,
    names: &[],
};

const DAY_OF_MONTH: Field = Field {
    name: "a day of the month",
    first: 1,
    last: 31,
    names: &[],
};

const MONTH: Field = Field {
    name: "a month",
    first: 1,
    last: 12,
    names: &MONTHS,
};

const WEEKDAY: Field = Field {
    name: "a day of the week",
    first: 0,
    last: 6,
    names: &WEEKDAYS,
};

impl Field {
    /// Parses a number or a name, of which Celery reads the first three letters.
    fn value(&self, text: &str) -> Option<i8> {
        let named = |name: &&str| {
            let start = text.get(..name.len());
            start.is_some_and(|start| start.eq_ignore_ascii_case(name))
        };
        if let Some(at) = self.names.iter().position(named) {
            return i8::try_from(at).ok().map(|at| self.first + at);
        }
        let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text.parse().ok().filter(|_| is_number)?;
        (self.first..=self.last).contains(&number).then_some(number)
    }

    /// Parses `*`, a value or a range, each with an optional step. A range may wrap around.
    fn part(&self, text: &str) -> Option<Vec<i8>> {
        let (range, step) = match text.split_once('/') {
            Some((range, step)) => (range, Some(step.parse().ok().filter(|step| *step > 0)?)),
            None => (text, None),
        };
        let all = self.first..=self.last;
        let values: Vec<_> = if range == "*" {
            all.collect()
        } else if let Some((from, to)) = range.split_once('-') {
            let (from, to) = (self.value(from)?, self.value(to)?);
            if from <= to {
                (from..=to).collect()
            } else {
                (from..=self.last).chain(self.first..=to).collect()
            }
        } else {
            // A value has no step.
            let value = self.value(range).filter(|_| step.is_none())?;
            vec![value]
        };
        Some(values.into_iter().step_by(step.unwrap_or(1)).collect())
    }
}

fn values(text: &str, field: &Field) -> Result<BTreeSet<i8>, CrontabError> {
    let mut values = BTreeSet::new();
    for part in text.split(',') {
        let part = field.part(part).ok_or_else(|| CrontabError::Field {
            text: text.to_owned(),
            field: field.name,
            expected: expected(field),
        })?;
        values.extend(part);
    }
    Ok(values)
}

fn expected(field: &Field) -> String {
    let (first, last) = (field.first, field.last);
    let names = match field.names {
        [first, .., last] => format!(" or {first} to {last}"),
        _ => String::new(),
    };
    format!(
        "{first} to {last}{names}, `*`, ranges such as 1-5, steps such as */2, or a list of these"
    )
}

#[cfg(test)]
mod tests {
    use super::super::tests::year::year;
    use super::*;

    const BERLIN: &str = "Europe/Berlin";
    const NEW_YORK: &str = "America/New_York";

    #[test]
    fn it_is_due_when_celery_sends() {
        for (name, expression, zone) in [
            ("every_minute", "* * * * *", BERLIN),
            ("every_5_minutes", "*/5 * * * *", NEW_YORK),
            ("hourly", "7 * * * *", BERLIN),
            ("office_hours", "*/15 9-17 * * mon-fri", BERLIN),
            ("nightly", "30 2 * * *", BERLIN),
            ("nightly_new_york", "0 3 * * *", NEW_YORK),
            ("weekly", "0 6 * * mon", BERLIN),
            ("monthly", "0 4 1 * *", BERLIN),
            ("twice_a_month", "0 0 1,15 * *", "UTC"),
            ("end_of_month", "0 23 28-31 * *", BERLIN),
            ("every_7th_hour", "0 */7 * * *", BERLIN),
            ("every_4th_hour", "0 */4 * * *", NEW_YORK),
            ("every_6th_hour", "0 */6 * * *", BERLIN),
            ("weekdays", "0 8,12,18 * * mon-fri", BERLIN),
            ("quarterly", "0 5 1 */3 *", BERLIN),
            ("first_week", "*/10 * 1-7 * *", BERLIN),
            (
                "office_hours_sydney",
                "*/30 9-17 * * 1-5",
                "Australia/Sydney",
            ),
        ] {
            let crontab = Crontab::new(expression, zone).expect("a schedule");
            let sends: Vec<_> = year(name).iter().map(|at| at / 1_000_000).collect();
            for pair in sends.windows(2) {
                let next = crontab.next(pair[0]);
                assert_eq!(next, Some(pair[1]), "{name} {}", pair[0]);
            }
        }
    }

    #[test]
    fn mistakes_are_explained() {
        for (expression, zone, error) in [
            (
                "0 3 * *",
                "UTC",
                "expected five fields (minute, hour, day of month, month, day of week), found 4",
            ),
            (
                "60 * * * *",
                "UTC",
                "`60` is not a minute; expected 0 to 59, `*`, ranges such as 1-5, steps such as */2, or a list of these",
            ),
            (
                "0 3 0 * *",
                "UTC",
                "`0` is not a day of the month; expected 1 to 31, `*`, ranges such as 1-5, steps such as */2, or a list of these",
            ),
            (
                "0 3 * * 7",
                "UTC",
                "`7` is not a day of the week; expected 0 to 6 or sun to sat, `*`, ranges such as 1-5, steps such as */2, or a list of these",
            ),
            ("0 0 30 2 *", "UTC", "is never due"),
            (
                "0 3 * * *",
                "Berlin",
                "`Berlin` is not a time zone; expected a name such as Europe/Berlin",
            ),
        ] {
            let found = Crontab::new(expression, zone).expect_err(expression);
            assert_eq!(found.to_string(), error);
        }
        for field in [
            "", ",", "1,", "1-", "-1", "+1", "*/", "*/0", "*/x", "5/10", "1-5/", "a", "**",
            "1-5-7", "mon",
        ] {
            let found = Crontab::new(&format!("{field} * * * *"), "UTC");
            assert!(found.is_err(), "{field}");
        }
    }

    #[test]
    fn fields_are_read_as_celery_reads_them() {
        let read = |text, field: &Field| {
            let values = values(text, field).expect(text);
            values.into_iter().collect::<Vec<_>>()
        };
        assert_eq!(read("*/20", &MINUTE), [0, 20, 40]);
        assert_eq!(read("50-5/5", &MINUTE), [0, 5, 50, 55]);
        assert_eq!(read("08,1-3", &HOUR), [1, 2, 3, 8]);
        assert_eq!(read("*/10", &DAY_OF_MONTH), [1, 11, 21, 31]);
        assert_eq!(read("2-12/2", &MONTH), [2, 4, 6, 8, 10, 12]);
        assert_eq!(read("January,Dec", &MONTH), [1, 12]);
        assert_eq!(read("FRI-monday", &WEEKDAY), [0, 1, 5, 6]);
    }

    #[test]
    fn a_rare_day_is_found() {
        let crontab = Crontab::new("0 0 29 2 mon", "UTC").expect("a schedule");
        let at = |text| crate::timestamp::Timestamp::from_iso8601(text).expect("a time");
        let seconds = |text| at(text).micros() / 1_000_000;
        assert_eq!(
            crontab.next(seconds("2026-01-01T00:00:00")),
            Some(seconds("2044-02-29T00:00:00"))
        );
        assert_eq!(
            crontab.next(seconds("2072-03-01T00:00:00")),
            Some(seconds("2112-02-29T00:00:00"))
        );
    }
}
