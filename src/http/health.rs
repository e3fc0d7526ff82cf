//! The probe endpoints: liveness (`GET /-/healthy`) and readiness (`GET /-/ready`).

use axum::extract::State;
use axum::response::IntoResponse;
use http::StatusCode;

use crate::telemetry::readiness::Readiness;

/// Liveness: any response means that the daemon is alive. Never depends on a broker or receiver, so
/// that the daemon is not restarted because something else is down.
pub(super) async fn healthy() -> &'static str {
    "celeriac is healthy\n"
}

/// Readiness: 200 if every broker is subscribed and every receiver accepts samples; otherwise 503,
/// listing those that are not and why. Hints about missing events are appended and do not affect
/// the status.
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
