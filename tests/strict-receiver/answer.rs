//! The receiver's responses: scripted ones first, then those of its configured behaviour.

use std::time::{Duration, Instant, SystemTime};

use super::Version;
use super::received::Parsed;

/// A scripted response to one request.
#[derive(Clone, Debug)]
pub enum Answer {
    /// 2xx stores the contents of the request, any other status nothing.
    Status(u16),
    /// With `Retry-After` in seconds.
    RetryAfter(u16, u64),
    /// With `Retry-After` as a date this many seconds ahead.
    RetryAfterDate(u16, u64),
    /// With an invalid `Retry-After`.
    RetryAfterText(u16, &'static str),
    /// Stores the request, and cuts the connection instead of responding.
    StoreAndCut,
    /// Cuts the connection after this many bytes of the body.
    CutAfter(usize),
    /// Does not respond for this long, then sends 503.
    Silence(Duration),
    /// A redirect to another address.
    Redirect(u16, String),
}

/// The protocol versions that a receiver knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Knows {
    #[default]
    Both,
    /// Only 1.0; responds to 2.0 with this status: 415, or 400 in older receivers.
    OnlyFirst(u16),
    /// Only 1.0, and reads 2.0 as an empty request: 204, nothing stored, and none of the headers.
    OnlyFirstUnawares,
    /// The same, with the header of VictoriaMetrics in each response; 1.0 may be compressed with zstd. The old one
    /// responds to that with 400.
    VictoriaMetrics { old: bool },
}

impl Knows {
    /// Returns whether the sender may try zstd.
    pub fn may_be_zstd(self) -> bool {
        matches!(self, Self::VictoriaMetrics { .. })
    }

    /// The header of each response.
    pub fn header(self) -> Option<(&'static str, String)> {
        let header = ("x-server-hostname", "victoria".to_owned());
        self.may_be_zstd().then_some(header)
    }
}

/// The contents of the written-count headers; 2.0 only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Written {
    #[default]
    Right,
    Absent,
    Zero,
    Rubbish,
    TooMany,
}

/// Selects series by their text form.
pub type Series = Box<dyn Fn(&str) -> bool + Send>;

/// How unscripted requests are treated.
#[derive(Default)]
pub struct Behaviour {
    pub knows: Knows,
    pub written: Written,
    /// Requests with these get 400. As in Prometheus, with 1.0 everything is lost, and with 2.0 the rest is stored.
    pub refuses: Option<Series>,
    /// Whether a response to 1.0 names the first refused series.
    pub names: bool,
    /// Whether the rest of a refused 1.0 request is stored too, as in Mimir.
    pub stores_in_part: bool,
    /// Requests with these get 500, again and again.
    pub breaks_on: Option<Series>,
    /// Requests with more samples get this status.
    pub samples_taken: Option<(usize, u16)>,
    /// Out of order and duplicate samples get 400, as in Prometheus.
    pub strict_order: bool,
    /// Delay before each response.
    pub delay: Duration,
    /// Whether the sender may give up requests that got 5xx or no response.
    pub may_give_up: bool,
    /// Whether field 6 of the drafts is expected.
    pub draft_created: bool,
}

/// A response.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub text: String,
    pub headers: Vec<(&'static str, String)>,
    pub delay: Duration,
    pub breaks_off: bool,
}

impl Default for Reply {
    fn default() -> Self {
        Self {
            status: 400,
            text: String::new(),
            headers: Vec::new(),
            delay: Duration::ZERO,
            breaks_off: false,
        }
    }
}

/// What happens to a request.
#[derive(Debug, Default)]
pub struct Outcome {
    pub reply: Reply,
    /// Whether each of its series is stored, by index.
    pub stored: Vec<bool>,
    /// Whether a 2.0 response reports written counts although nothing was written.
    pub counted: bool,
    /// What the sender must do next.
    pub then: Then,
}

/// What a sender must do after a response.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Then {
    /// Nothing.
    #[default]
    Done,
    /// Send it again, no sooner than this time, before anything newer of its series.
    Again(Option<Instant>),
    /// The same, but optional.
    MayAgain(Option<Instant>),
    /// Never send it again.
    Never,
}

impl Answer {
    /// Returns what happens to a request with `series` series.
    pub fn outcome(&self, series: usize) -> Outcome {
        let told = |status: u16| {
            let mut outcome = Outcome {
                stored: vec![(200..300).contains(&status); series],
                then: then(status, None),
                ..Outcome::default()
            };
            outcome.reply.status = status;
            if status != 204 {
                outcome.reply.text = "as told by the test".to_owned();
            }
            outcome
        };
        let with = |status, name, value: String| {
            let mut outcome = told(status);
            outcome.reply.headers.push((name, value));
            outcome
        };
        let retry_after = |status, value, wait| {
            let mut outcome = with(status, "retry-after", value);
            outcome.then = then(status, Some(Instant::now() + wait));
            outcome
        };
        match self {
            Self::Status(status) => told(*status),
            Self::RetryAfter(status, seconds) => {
                let wait = Duration::from_secs(*seconds);
                retry_after(*status, seconds.to_string(), wait)
            }
            Self::RetryAfterDate(status, seconds) => {
                let wait = Duration::from_secs(*seconds);
                let date = httpdate::fmt_http_date(SystemTime::now() + wait);
                // A date has no fractions.
                retry_after(*status, date, wait.saturating_sub(Duration::from_secs(1)))
            }
            Self::RetryAfterText(status, text) => with(*status, "retry-after", (*text).to_owned()),
            Self::StoreAndCut => {
                let mut outcome = told(500);
                outcome.stored = vec![true; series];
                outcome.reply.breaks_off = true;
                outcome
            }
            // The connection is cut before the request is checked.
            Self::CutAfter(_) => told(500),
            Self::Silence(duration) => {
                let mut outcome = told(503);
                outcome.reply.delay = *duration;
                outcome
            }
            Self::Redirect(status, to) => with(*status, "location", to.clone()),
        }
    }
}

fn then(status: u16, after: Option<Instant>) -> Then {
    match status {
        // A redirect to another address.
        200..=299 | 307 | 308 => Then::Done,
        // By definition, a retry may help with these, but it is up to the sender.
        408 | 425 | 429 => Then::MayAgain(after),
        300..=499 => Then::Never,
        _ => Then::Again(after),
    }
}

impl Behaviour {
    /// Returns what happens to a request; `conflict` returns why a series cannot be stored.
    pub fn outcome(&self, parsed: &Parsed, conflict: impl Fn(usize) -> Option<String>) -> Outcome {
        let all = parsed.series.len();
        let refuse = |status: u16, text: String| {
            let mut outcome = Answer::Status(status).outcome(all);
            outcome.reply.text = text;
            outcome
        };
        let keys = || parsed.series.iter().map(|(key, _)| key.as_str());
        if parsed.version == Version::V2 {
            match self.knows {
                Knows::Both => {}
                Knows::OnlyFirst(status) => return refuse(status, "cannot read this".to_owned()),
                Knows::OnlyFirstUnawares | Knows::VictoriaMetrics { .. } => {
                    let mut outcome = refuse(204, String::new());
                    outcome.stored = vec![false; all];
                    return outcome;
                }
            }
        }
        if let Some((taken, status)) = self.samples_taken
            && parsed.samples() > taken
        {
            return refuse(status, "the request is too large".to_owned());
        }
        if let Some(breaks_on) = &self.breaks_on
            && keys().any(breaks_on)
        {
            return refuse(500, "something broke".to_owned());
        }
        let problem = |index: usize, key: &str| {
            let refused = self.refuses.as_ref().is_some_and(|refuses| refuses(key));
            let refused = refused.then(|| "label value too long".to_owned());
            refused.or_else(|| self.strict_order.then(|| conflict(index)).flatten())
        };
        let problems: Vec<_> = keys()
            .enumerate()
            .map(|(index, key)| problem(index, key))
            .collect();
        let problem = problems.iter().zip(keys());
        let mut problem = problem.filter_map(|(problem, key)| Some((problem.as_ref()?, key)));
        let Some((first, key)) = problem.next() else {
            return refuse(204, String::new());
        };
        if parsed.version == Version::V1 {
            // The wording of Prometheus, which rolls back a whole 1.0 request.
            let mut outcome = if self.names {
                refuse(400, format!("{first} for series {key}\n"))
            } else {
                refuse(400, format!("{first}\n"))
            };
            if self.stores_in_part {
                outcome.stored = problems.iter().map(Option::is_none).collect();
            }
            return outcome;
        }
        let texts = problems.iter().zip(keys());
        let texts = texts.filter_map(|(problem, key)| {
            let problem = problem.as_ref()?;
            Some(format!("{problem} for series {key}"))
        });
        let mut outcome = refuse(400, texts.collect::<Vec<_>>().join("\n"));
        outcome.stored = problems.iter().map(Option::is_none).collect();
        outcome.counted = true;
        outcome
    }

    /// Returns the headers with the written counts.
    pub fn written(
        &self,
        samples: usize,
        histograms: usize,
        exemplars: usize,
    ) -> Vec<(&'static str, String)> {
        let names = [
            "x-prometheus-remote-write-samples-written",
            "x-prometheus-remote-write-histograms-written",
            "x-prometheus-remote-write-exemplars-written",
        ];
        let value = |count: usize| match self.written {
            Written::Right => Some(count.to_string()),
            Written::Absent => None,
            Written::Zero => Some("0".to_owned()),
            Written::Rubbish => Some("many".to_owned()),
            Written::TooMany => Some((count + 1_000_000).to_string()),
        };
        let counts = [samples, histograms, exemplars];
        let pairs = names.into_iter().zip(counts);
        pairs
            .filter_map(|(name, count)| Some((name, value(count)?)))
            .collect()
    }
}
