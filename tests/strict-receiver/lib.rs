//! A strict receiver of remote write 1.0 and 2.0: it fails on every MUST that a sender breaks, notes every SHOULD,
//! and responds as configured.
//!
//! `rules.rs` has the rules, `tests/senders.md` their sources, and `tests/it/strictness.rs` tests that each broken
//! rule is detected. Requests are parsed by `wire`, which shares no code with the sender. It is a crate of its own because
//! it is optimized, so that it keeps up with the daemon; the other tests are not, so that they build fast.

#![expect(
    clippy::disallowed_methods,
    reason = "tests read clocks, wait, and spawn what they need"
)]
#![expect(
    missing_debug_implementations,
    reason = "closures that select series have none, and no test prints a receiver"
)]

pub mod answer;
pub mod checks;
pub mod histograms;
pub mod received;
pub mod rules;
pub mod wire;

use std::net::SocketAddr;
use std::panic::resume_unwind;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use axum::routing::post;
use futures_util::StreamExt;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub use answer::{Answer, Behaviour};
pub use histograms::Native;
pub use received::Received;
pub use rules::Level;

use answer::Reply;
use wire::Exemplar;

/// The NaN of a stale marker.
pub const STALE: u64 = 0x7ff0_0000_0000_0002;

/// The version of the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    V1,
    V2,
}

/// How the message is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    Snappy,
    Zstd,
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
        let state = Arc::new(Mutex::new(Received::default()));
        let router = Router::new()
            .route("/api/v1/write", post(take))
            .with_state(Arc::clone(&state));
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

    pub fn url(&self) -> String {
        format!("http://{}/api/v1/write", self.address)
    }

    /// Sets the responses to the next requests with series; after these, its behaviour applies.
    pub fn answer(&self, answers: &[Answer]) {
        self.with(|received| received.script.extend(answers.iter().cloned()));
    }

    /// Sets the response to all unscripted requests.
    pub fn answer_always(&self, answer: Option<Answer>) {
        self.with(|received| received.always = answer);
    }

    /// Changes how it treats unscripted requests.
    pub fn behave(&self, change: impl FnOnce(&mut Behaviour)) {
        self.with(|received| change(&mut received.behaviour));
    }

    pub fn samples_max(&self, samples_max: usize) {
        self.with(|received| received.samples_max = Some(samples_max));
    }

    /// Stores a sample as if from another sender. It is exempt from the rules, but not from strict order.
    pub fn plant(&self, series: &str, timestamp: i64, value: f64) {
        self.with(|received| {
            let planted = received.planted.entry(series.to_owned()).or_default();
            planted.push((timestamp, value));
        });
    }

    /// Forgets the sender, because another one, or one without stored data, continues from here.
    pub fn forget(&self) {
        self.with(Received::forget);
    }

    pub fn with<T>(&self, look: impl FnOnce(&mut Received) -> T) -> T {
        look(&mut self.state.lock().expect("no test panics while it looks"))
    }

    /// Returns the number of stored samples.
    pub fn samples(&self) -> usize {
        self.with(|received| received.series.values().map(Vec::len).sum())
    }

    /// Returns the samples of one series, by its name and some of its labels.
    pub fn series(&self, name: &str, labels: &[&str]) -> Vec<(i64, f64)> {
        self.with(|received| received::find(&received.series, name, labels))
    }

    /// The native histograms of one series.
    pub fn histograms(&self, name: &str, labels: &[&str]) -> Vec<(i64, Native)> {
        self.with(|received| received::find(&received.histograms, name, labels))
    }

    /// The exemplars of one series.
    pub fn exemplars(&self, name: &str, labels: &[&str]) -> Vec<Exemplar> {
        self.with(|received| received::find(&received.exemplars, name, labels))
    }

    /// Panics with every MUST that was broken.
    pub fn assert_no_violation(&self) {
        assert_eq!(self.broken(Level::Must), Vec::<String>::new());
    }

    /// Panics with every SHOULD that was broken.
    pub fn assert_no_note(&self) {
        assert_eq!(self.broken(Level::Should), Vec::<String>::new());
    }

    pub fn broken(&self, level: Level) -> Vec<String> {
        self.with(|received| received.broken.texts(level))
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// A request in flight: if the sender disconnects before the response, it cannot know whether the request was stored.
struct Flight {
    state: Arc<Mutex<Received>>,
    id: u64,
}

impl Drop for Flight {
    fn drop(&mut self) {
        if let Ok(mut received) = self.state.lock() {
            received.hung_up(self.id);
        }
    }
}

async fn take(
    State(state): State<Arc<Mutex<Received>>>,
    headers: HeaderMap,
    body: Body,
) -> Response<Body> {
    let cut = state.lock().expect("no panic").cut();
    let Some(body) = read(body, cut.unwrap_or(usize::MAX)).await else {
        // The sender was cut off, so there is no complete request.
        return respond(Reply::default());
    };
    if cut.is_some() {
        state.lock().expect("no panic").cut_off(&headers, &body);
        // Ends the connection's task, and with it the connection, without a message on stderr.
        resume_unwind(Box::new("cut"));
    }
    let (reply, flight) = {
        let mut received = state.lock().expect("no panic");
        let (mut reply, id) = received.judge(&headers, &body);
        reply.headers.extend(received.behaviour.knows.header());
        let state = Arc::clone(&state);
        (reply, id.map(|id| Flight { state, id }))
    };
    if reply.delay > Duration::ZERO {
        tokio::time::sleep(reply.delay).await;
    }
    if let Some(flight) = flight {
        state.lock().expect("no panic").landed(flight.id);
    }
    respond(reply)
}

/// Reads the body, or at least its first `bytes` bytes; `None` if it ended before that.
async fn read(body: Body, bytes: usize) -> Option<Bytes> {
    let mut frames = body.into_data_stream();
    let mut read = Vec::new();
    while read.len() < bytes
        && let Some(frame) = frames.next().await
    {
        read.extend_from_slice(&frame.ok()?);
    }
    Some(read.into())
}

fn respond(reply: Reply) -> Response<Body> {
    let body = if reply.breaks_off {
        // The body ends abruptly after the response head, so the client gets no response.
        let broken = async { Err::<Bytes, _>(std::io::Error::other("cut")) };
        Body::from_stream(futures_util::stream::once(broken))
    } else {
        Body::from(reply.text)
    };
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(reply.status).expect("a status");
    for (name, value) in reply.headers {
        let name = HeaderName::from_static(name);
        let value = HeaderValue::from_str(&value).expect("a value");
        response.headers_mut().insert(name, value);
    }
    response
}
