//! The pages to pull: the newest snapshot of a profile, for Prometheus.

use std::sync::Arc;

use axum::extract::State;
use axum::response::IntoResponse;
use http::header::CONTENT_TYPE;
use tokio::sync::watch;

use crate::series::Snapshot;
use crate::wire::text;

pub(super) async fn metrics(
    State(snapshots): State<watch::Receiver<Arc<Snapshot>>>,
) -> impl IntoResponse {
    let snapshot = Arc::clone(&snapshots.borrow());
    (
        [(CONTENT_TYPE, text::CONTENT_TYPE)],
        text::render(&snapshot),
    )
}
