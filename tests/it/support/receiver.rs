//! A strict receiver of remote write 1.0: it fails on every MUST that a sender breaks, and answers as it is told.
//!
//! The table of MUSTs and the tests that hold them is in `tests/it/remote_write.rs`.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Response, StatusCode};
use axum::routing::post;
use celeriac::wire::proto::v1::{TimeSeries, WriteRequest};
use prost::Message;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// The NaN that ends a series.
pub const STALE: u64 = 0x7ff0_0000_0000_0002;

/// What to answer next.
#[derive(Clone, Copy, Debug)]
pub enum Answer {
    Status(u16),
    RetryAfter(u16, u64),
    /// Stores it, and cuts the connection instead of answering.
    StoreAndCut,
    /// Says nothing for so long.
    Silence(Duration),
}

#[derive(Default)]
pub struct Received {
    /// By name and labels as text, what was stored.
    pub series: BTreeMap<String, Vec<(i64, f64)>>,
    pub metadata: BTreeMap<String, String>,
    pub requests: u64,
    /// The headers of the newest request.
    pub headers: HeaderMap,
    violations: Vec<String>,
    script: VecDeque<Answer>,
    always: Option<Answer>,
    refused: HashSet<Vec<u8>>,
    /// A request that has to come again, byte for byte, and no sooner than then.
    owed: Option<(Vec<u8>, Option<Instant>)>,
    samples_max: usize,
}

pub struct Receiver {
    pub address: SocketAddr,
    state: Arc<Mutex<Received>>,
    serving: JoinHandle<()>,
}

impl Receiver {
    pub async fn start() -> Self {
        Self::start_on("127.0.0.1:0").await
    }

    pub async fn start_on(address: &str) -> Self {
        let listener = TcpListener::bind(address).await.expect("a free port");
        let address = listener.local_addr().expect("a bound listener");
        let received = Received {
            samples_max: 2_000,
            ..Received::default()
        };
        let state = Arc::new(Mutex::new(received));
        let router = Self::router(Arc::clone(&state));
        let serving = tokio::spawn(async move {
            axum::serve(listener, router)
                .await
                .expect("serving does not end");
        });
        Self {
            address,
            state,
            serving,
        }
    }

    fn router(state: Arc<Mutex<Received>>) -> Router {
        Router::new()
            .route("/api/v1/write", post(take))
            .with_state(state)
    }

    pub fn url(&self) -> String {
        format!("http://{}/api/v1/write", self.address)
    }

    /// What to answer to the next requests; after these, 204.
    pub fn answer(&self, answers: &[Answer]) {
        self.with(|received| received.script.extend(answers));
    }

    /// What to answer to all requests that the script does not reach.
    pub fn answer_always(&self, answer: Option<Answer>) {
        self.with(|received| received.always = answer);
    }

    pub fn samples_max(&self, samples_max: usize) {
        self.with(|received| received.samples_max = samples_max);
    }

    pub fn with<T>(&self, look: impl FnOnce(&mut Received) -> T) -> T {
        look(&mut self.state.lock().expect("no test panics while it looks"))
    }

    /// Every sample that was stored.
    pub fn samples(&self) -> usize {
        self.with(|received| received.series.values().map(Vec::len).sum())
    }

    /// The samples of one series, by its name and some of its labels.
    pub fn series(&self, name: &str, labels: &[&str]) -> Vec<(i64, f64)> {
        self.with(|received| {
            let mut found = received.series.iter().filter(|(text, _)| {
                text.starts_with(&format!("{name}{{"))
                    && labels.iter().all(|label| text.contains(label))
            });
            let series = found.next().map(|(_, samples)| samples.clone());
            assert!(found.next().is_none(), "more than one {name} {labels:?}");
            series.unwrap_or_default()
        })
    }

    /// Panics with every rule that was broken.
    pub fn assert_no_violation(&self) {
        self.with(|received| assert_eq!(received.violations, Vec::<String>::new()));
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn take(
    State(state): State<Arc<Mutex<Received>>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    let answer = state.lock().expect("no panic").judge(&headers, &body);
    let status = match answer {
        Answer::Status(status) | Answer::RetryAfter(status, _) => status,
        Answer::StoreAndCut => {
            // A body that breaks off behind the head of the answer: the client sees no answer.
            let broken =
                futures_util::stream::once(async { Err::<Bytes, _>(std::io::Error::other("cut")) });
            let mut response = Response::new(Body::from_stream(broken));
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            return response;
        }
        Answer::Silence(duration) => {
            tokio::time::sleep(duration).await;
            503
        }
    };
    let mut response = Response::new(Body::from("as told by the test"));
    *response.status_mut() = StatusCode::from_u16(status).expect("a status");
    if let Answer::RetryAfter(_, seconds) = answer {
        response.headers_mut().insert("retry-after", seconds.into());
    }
    response
}

impl Received {
    fn judge(&mut self, headers: &HeaderMap, body: &Bytes) -> Answer {
        self.requests += 1;
        self.headers = headers.clone();
        self.check_headers(headers);
        let answer = self
            .script
            .pop_front()
            .or(self.always)
            .unwrap_or(Answer::Status(204));
        let Some(request) = self.decode(body) else {
            return answer;
        };
        if request.timeseries.is_empty() {
            self.rule(!request.metadata.is_empty(), "a request holds something");
            for entry in request.metadata {
                let text = format!("{:?} {} {}", entry.r#type(), entry.unit, entry.help);
                self.metadata.insert(entry.metric_family_name, text);
            }
            return Answer::Status(204);
        }
        self.check_retry(body);
        let samples: usize = request
            .timeseries
            .iter()
            .map(|series| series.samples.len())
            .sum();
        self.rule(
            samples <= self.samples_max,
            "a request has at most max_samples_per_send samples",
        );
        let stores = matches!(answer, Answer::Status(200..=299) | Answer::StoreAndCut);
        for series in &request.timeseries {
            self.check_series(series, stores);
        }
        match answer {
            Answer::Status(200..=299) => self.owed = None,
            // What these say of themselves is that asking again helps; the choice is the sender's.
            Answer::Status(408 | 425 | 429) => {}
            Answer::Status(300..=499) => {
                self.refused.insert(body.to_vec());
            }
            Answer::RetryAfter(_, seconds) => {
                let then = Instant::now() + Duration::from_secs(seconds);
                self.owed = Some((body.to_vec(), Some(then)));
            }
            Answer::Status(_) | Answer::StoreAndCut | Answer::Silence(_) => {
                self.owed = Some((body.to_vec(), None));
            }
        }
        answer
    }

    fn check_headers(&mut self, headers: &HeaderMap) {
        let is = |name: &str, value: &str| headers.get(name).is_some_and(|header| header == value);
        let rules = [
            (is("content-encoding", "snappy"), "Content-Encoding: snappy"),
            (
                is("content-type", "application/x-protobuf"),
                "Content-Type: application/x-protobuf",
            ),
            (
                is("x-prometheus-remote-write-version", "0.1.0"),
                "version 0.1.0",
            ),
            (headers.contains_key("user-agent"), "User-Agent"),
        ];
        for (holds, rule) in rules {
            self.rule(holds, rule);
        }
    }

    fn decode(&mut self, body: &[u8]) -> Option<WriteRequest> {
        let raw = snap::raw::Decoder::new().decompress_vec(body);
        self.rule(raw.is_ok(), "the body is snappy's block format");
        let request = WriteRequest::decode(raw.ok()?.as_slice());
        self.rule(request.is_ok(), "the body is a WriteRequest");
        request.ok()
    }

    fn check_retry(&mut self, body: &[u8]) {
        self.rule(
            !self.refused.contains(body),
            "what was refused with 4xx is not sent again",
        );
        if let Some((owed, then)) = self.owed.take() {
            self.rule(
                owed == body,
                "what was not stored comes again byte for byte, before anything newer",
            );
            let waited = then.is_none_or(|then| Instant::now() >= then);
            self.rule(waited, "Retry-After is honoured");
        }
    }

    fn check_series(&mut self, series: &TimeSeries, stores: bool) {
        let names: Vec<_> = series
            .labels
            .iter()
            .map(|label| label.name.as_str())
            .collect();
        let sorted = names
            .windows(2)
            .all(|pair| pair[0].as_bytes() < pair[1].as_bytes());
        self.rule(sorted, "labels are sorted by name, each once");
        self.rule(
            series.labels.iter().all(|label| !label.value.is_empty()),
            "no value is empty",
        );
        self.rule(
            names.iter().all(|name| valid(name, false)),
            "label names are valid",
        );
        let name = series.labels.iter().find(|label| label.name == "__name__");
        let name = name.map_or("", |label| label.value.as_str());
        self.rule(valid(name, true), "there is a __name__, and it is valid");
        self.rule(!series.samples.is_empty(), "a series has a sample");
        let labels = series
            .labels
            .iter()
            .filter(|label| label.name != "__name__");
        let labels: Vec<_> = labels
            .map(|label| format!("{}={:?}", label.name, label.value))
            .collect();
        let key = format!("{name}{{{}}}", labels.join(","));
        let known = self.series.get(&key).cloned().unwrap_or_default();
        let mut newest = known.last().map_or(i64::MIN, |(at, _)| *at);
        let first = (series.samples[0].timestamp, series.samples[0].value);
        // Stored although the answer was lost: the same again is no violation.
        let again = known
            .iter()
            .any(|(at, value)| *at == first.0 && value.to_bits() == first.1.to_bits());
        for sample in &series.samples {
            self.rule(
                sample.timestamp > newest || again,
                "samples of a series are in the order of time",
            );
            newest = newest.max(sample.timestamp);
        }
        if stores && !again {
            let samples = series
                .samples
                .iter()
                .map(|sample| (sample.timestamp, sample.value));
            self.series.entry(key).or_default().extend(samples);
        }
    }

    fn rule(&mut self, holds: bool, rule: &str) {
        if !holds {
            self.violations.push(rule.to_owned());
        }
    }
}

fn valid(name: &str, colons: bool) -> bool {
    let part = |c: char| c.is_ascii_alphanumeric() || c == '_' || (colons && c == ':');
    name.chars().all(part) && !name.is_empty() && !name.starts_with(|c: char| c.is_ascii_digit())
}
