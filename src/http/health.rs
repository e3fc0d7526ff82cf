//! `GET /-/healthy` and `GET /-/ready`.

use axum::extract::State;
use axum::response::IntoResponse;
use http::StatusCode;

use crate::telemetry::readiness::Readiness;

/// That this is answered at all is what it says. It never depends on a broker or a receiver, so that nobody
/// restarts the daemon because something else is down.
pub(super) async fn healthy() -> &'static str {
    "celeriac is healthy\n"
}

/// Whether every broker is subscribed and every receiver takes samples; if not, which is not and why. Hints about
/// events that do not come follow, and change nothing about that.
pub(super) async fn ready(State(readiness): State<Readiness>) -> impl IntoResponse {
    let mut lines = readiness.reasons();
    let status = if lines.is_empty() {
        lines.push("celeriac is ready".to_owned());
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let hints = readiness.newest_hints().into_iter();
    lines.extend(hints.map(|hint| format!("hint: {hint}")));
    (status, lines.join("\n") + "\n")
}
