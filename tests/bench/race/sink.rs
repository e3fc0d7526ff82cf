//! A receiver of remote write that counts bytes and samples, and may pass requests on to another one.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, Method, Response, Uri};
use strict_receiver::wire::fields::fields;
use strict_receiver::wire::v1::WriteRequest;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::support::load::now;

/// The newest value of a counter, as it arrived.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// Unix time.
    pub arrived: f64,
    /// Unix time of the samples.
    pub timestamp: f64,
    /// Sum over all series of the name.
    pub value: f64,
}

#[derive(Clone, Debug, Default)]
pub struct Received {
    pub requests: u64,
    /// Size of all bodies, compressed.
    pub bytes: u64,
    pub samples: u64,
    /// The last content encoding.
    pub encoding: String,
    pub seen: Vec<Seen>,
}

pub struct Sink {
    pub address: SocketAddr,
    received: Arc<Mutex<Received>>,
    serving: JoinHandle<()>,
}

/// What a sink does with its requests.
#[derive(Clone)]
struct How {
    received: Arc<Mutex<Received>>,
    client: reqwest::Client,
    /// Base URL of the receiver behind it.
    behind: Option<String>,
    /// Name of the counter to follow; needs remote write 1.0.
    follows: Option<&'static str>,
}

impl Sink {
    pub async fn start() -> Self {
        Self::start_with(None, None).await
    }

    /// Starts one that records the value of a counter in each request.
    pub async fn following(name: &'static str) -> Self {
        Self::start_with(None, Some(name)).await
    }

    /// Starts one that passes everything on, and returns the responses.
    pub async fn before(behind: &str) -> Self {
        Self::start_with(Some(behind.to_owned()), None).await
    }

    async fn start_with(behind: Option<String>, follows: Option<&'static str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound listener");
        let received = Arc::default();
        let router = Router::new()
            .fallback(take)
            .layer(DefaultBodyLimit::disable())
            .with_state(How {
                received: Arc::clone(&received),
                client: reqwest::Client::new(),
                behind,
                follows,
            });
        let serving = tokio::spawn(async move {
            axum::serve(listener, router)
                .await
                .expect("serving does not end");
        });
        Self {
            address,
            received,
            serving,
        }
    }

    pub fn url(&self) -> String {
        format!("http://{}/api/v1/write", self.address)
    }

    pub fn received(&self) -> Received {
        self.received.lock().expect("no panic").clone()
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn take(
    State(how): State<How>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    let arrived = now();
    let mut written = [0; 3];
    if method == Method::POST {
        let encoding = text(&headers, "content-encoding");
        let raw = decompress(&encoding, &body);
        written = count(&raw, is_second(&headers));
        let seen = how.follows.and_then(|name| see(&raw, name, arrived));
        let mut received = how.received.lock().expect("no panic");
        received.requests += 1;
        received.bytes += body.len() as u64;
        received.samples += written[0];
        received.encoding = encoding;
        received.seen.extend(seen);
    }
    if let Some(behind) = &how.behind {
        return pass_on(&how.client, behind, method, &uri, headers, body).await;
    }
    let mut response = Response::builder().status(if method == Method::POST { 204 } else { 404 });
    if is_second(&headers) {
        for (kind, written) in ["Samples", "Histograms", "Exemplars"].iter().zip(written) {
            let name = format!("x-prometheus-remote-write-{}-written", kind.to_lowercase());
            response = response.header(name, written);
        }
    }
    response.body(Body::empty()).expect("a response")
}

async fn pass_on(
    client: &reqwest::Client,
    behind: &str,
    method: Method,
    uri: &Uri,
    mut headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    headers.remove("host");
    let url = format!("{behind}{uri}");
    let request = client.request(method, url).headers(headers).body(body);
    let answer = request.send().await.expect("the receiver behind it runs");
    let mut response = Response::builder().status(answer.status());
    // By this header celeriac knows VictoriaMetrics, and sends zstd.
    if let Some(host) = answer.headers().get("x-server-hostname") {
        response = response.header("x-server-hostname", host);
    }
    let body = answer.bytes().await.expect("a body");
    response.body(Body::from(body)).expect("a response")
}

fn text(headers: &HeaderMap, name: &str) -> String {
    let value = headers.get(name).and_then(|value| value.to_str().ok());
    value.unwrap_or_default().to_owned()
}

/// Whether a request is of remote write 2.0.
fn is_second(headers: &HeaderMap) -> bool {
    text(headers, "content-type").contains("io.prometheus.write.v2.Request")
}

fn decompress(encoding: &str, body: &[u8]) -> Vec<u8> {
    if encoding == "zstd" {
        zstd::decode_all(body).expect("zstd")
    } else {
        snap::raw::Decoder::new()
            .decompress_vec(body)
            .expect("snappy")
    }
}

/// Counts samples, native histograms and exemplars.
fn count(request: &[u8], second: bool) -> [u64; 3] {
    // Field numbers of the series in a request, and of the three in a series.
    let (series, parts) = if second {
        (5, [2, 3, 4])
    } else {
        (1, [2, 4, 3])
    };
    let mut counts = [0; 3];
    for field in fields("request", request).expect("protobuf") {
        if field.number != series {
            continue;
        }
        let bytes = field.bytes().expect("a message");
        for part in fields("series", bytes).expect("protobuf") {
            let kind = parts.iter().position(|number| part.number == *number);
            if let Some(kind) = kind {
                counts[kind] += 1;
            }
        }
    }
    counts
}

/// Sums the samples of a counter in a request of remote write 1.0.
fn see(request: &[u8], name: &str, arrived: f64) -> Option<Seen> {
    let request = WriteRequest::read(request).expect("remote write 1.0");
    let samples = request.series.iter().filter(|series| series.name() == name);
    let samples: Vec<_> = samples.flat_map(|series| &series.samples).collect();
    let newest = samples.iter().map(|sample| sample.timestamp).max()?;
    Some(Seen {
        arrived,
        timestamp: newest as f64 / 1e3,
        value: samples
            .iter()
            .filter(|sample| sample.timestamp == newest)
            .map(|sample| sample.value)
            .sum(),
    })
}
