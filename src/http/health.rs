//! `GET /-/healthy` and `GET /-/ready`.

use axum::extract::State;
use axum::response::IntoResponse;
use http::StatusCode;

use super::View;

/// That this is answered at all is what it says. It never depends on a broker or a receiver, so that nobody
/// restarts the daemon because something else is down.
pub(super) async fn healthy() -> &'static str {
    "celeriac is healthy\n"
}

/// Whether every broker is subscribed and every receiver takes samples; if not, which is not and why.
pub(super) async fn ready(State(view): State<View>) -> impl IntoResponse {
    let reasons = view.readiness.reasons();
    if reasons.is_empty() {
        (StatusCode::OK, "celeriac is ready\n".to_owned())
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, reasons.join("\n") + "\n")
    }
}
