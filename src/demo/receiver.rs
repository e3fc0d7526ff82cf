//! An in-process remote-write receiver: accepts pushes and counts their contents.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::routing::post;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use prost::Message;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::telemetry::metrics::Counter;
use crate::wire::Protocol;
use crate::wire::proto::{v1, v2};

/// Counts of what the receiver accepted.
#[derive(Clone, Debug, Default)]
pub(super) struct Received {
    pub(super) requests: Counter,
    pub(super) samples: Counter,
    pub(super) bytes: Counter,
    pub(super) refused: Counter,
}

/// The receiver.
#[derive(Debug)]
pub(super) struct Receiver {
    address: SocketAddr,
    received: Arc<Received>,
}

impl Receiver {
    #[expect(clippy::disallowed_methods, reason = "the demo spawns its own tasks")]
    pub(super) async fn start(tasks: &mut JoinSet<()>) -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let received = Arc::new(Received::default());
        let router = Router::new()
            .route("/api/v1/write", post(accept))
            .with_state(Arc::clone(&received));
        tasks.spawn(async move {
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self { address, received })
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/api/v1/write", self.address)
    }

    pub(super) fn received(&self) -> Arc<Received> {
        Arc::clone(&self.received)
    }
}

async fn accept(
    State(received): State<Arc<Received>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<[(HeaderName, HeaderValue); 1], StatusCode> {
    let raw = snap::raw::Decoder::new().decompress_vec(&body).ok();
    let is_2 = headers
        .get(CONTENT_TYPE)
        .is_some_and(|value| value == Protocol::V2.content_type());
    let samples = raw.and_then(|raw| {
        if is_2 {
            let request = v2::Request::decode(raw.as_slice()).ok()?;
            let series = request.timeseries.iter();
            Some(series.map(|series| series.samples.len()).sum::<usize>())
        } else {
            let request = v1::WriteRequest::decode(raw.as_slice()).ok()?;
            let series = request.timeseries.iter();
            Some(series.map(|series| series.samples.len()).sum())
        }
    });
    let Some(samples) = samples else {
        received.refused.add(1);
        return Err(StatusCode::BAD_REQUEST);
    };
    received.requests.add(1);
    received.samples.add(samples as u64);
    received.bytes.add(body.len() as u64);
    // PRW 2.0, "Required Written Response Headers".
    Ok([(SAMPLES_WRITTEN, HeaderValue::from(samples))])
}

const SAMPLES_WRITTEN: HeaderName =
    HeaderName::from_static("x-prometheus-remote-write-samples-written");
