//! `GET /metrics`: the newest snapshot, for Prometheus to pull.

use std::sync::Arc;

use axum::extract::State;
use axum::response::IntoResponse;
use http::header::CONTENT_TYPE;

use super::View;
use crate::wire::text;

pub(super) async fn metrics(State(view): State<View>) -> impl IntoResponse {
    let snapshot = Arc::clone(&view.snapshots.borrow());
    (
        [(CONTENT_TYPE, text::CONTENT_TYPE)],
        text::render(&snapshot),
    )
}
