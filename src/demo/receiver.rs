//! An in-process remote-write receiver: accepts every push that it can decode.

use axum::Router;
use axum::body::Bytes;
use axum::routing::post;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use prost::Message;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::wire::Protocol;
use crate::wire::proto::{v1, v2};

/// Starts the receiver and returns its URL.
#[expect(clippy::disallowed_methods, reason = "the demo spawns its own tasks")]
pub(super) async fn start(tasks: &mut JoinSet<()>) -> std::io::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let router = Router::new().route("/api/v1/write", post(accept));
    tasks.spawn(async move {
        let _ = axum::serve(listener, router).await;
    });
    Ok(format!("http://{address}/api/v1/write"))
}

async fn accept(
    headers: HeaderMap,
    body: Bytes,
) -> Result<[(HeaderName, HeaderValue); 1], StatusCode> {
    let is_2 = headers
        .get(CONTENT_TYPE)
        .is_some_and(|value| value == Protocol::V2.content_type());
    let samples = samples(&body, is_2).ok_or(StatusCode::BAD_REQUEST)?;
    // PRW 2.0, "Required Written Response Headers".
    Ok([(SAMPLES_WRITTEN, HeaderValue::from(samples))])
}

/// The number of samples in a request; `None` if it cannot be decoded.
fn samples(body: &[u8], is_2: bool) -> Option<usize> {
    let raw = snap::raw::Decoder::new().decompress_vec(body).ok()?;
    Some(if is_2 {
        let series = v2::Request::decode(raw.as_slice()).ok()?.timeseries;
        series.iter().map(|series| series.samples.len()).sum()
    } else {
        let series = v1::WriteRequest::decode(raw.as_slice()).ok()?.timeseries;
        series.iter().map(|series| series.samples.len()).sum()
    })
}

const SAMPLES_WRITTEN: HeaderName =
    HeaderName::from_static("x-prometheus-remote-write-samples-written");
