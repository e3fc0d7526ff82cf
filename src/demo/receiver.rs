//! A receiver of remote write in the process: takes the pushes, and counts what is in them.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::routing::post;
use http::StatusCode;
use prost::Message;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::telemetry::metrics::Counter;
use crate::wire::proto::v1::WriteRequest;

/// What the receiver got.
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
            .route("/api/v1/write", post(take))
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

async fn take(State(received): State<Arc<Received>>, body: Bytes) -> StatusCode {
    let raw = snap::raw::Decoder::new().decompress_vec(&body).ok();
    let request = raw.and_then(|raw| WriteRequest::decode(raw.as_slice()).ok());
    let Some(request) = request else {
        received.refused.add(1);
        return StatusCode::BAD_REQUEST;
    };
    let samples: usize = request
        .timeseries
        .iter()
        .map(|series| series.samples.len())
        .sum();
    received.requests.add(1);
    received.samples.add(samples as u64);
    received.bytes.add(body.len() as u64);
    StatusCode::NO_CONTENT
}
