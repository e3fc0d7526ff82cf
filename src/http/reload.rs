//! `POST /-/reload`: reloads the configuration.

use axum::extract::State;
use axum::http::StatusCode;
use tokio::sync::{mpsc, oneshot};

/// A request to reload the configuration, with a channel for the result.
pub type ReloadRequest = oneshot::Sender<Result<(), String>>;

/// Responds when the reload has finished, with the reason if it failed.
pub(super) async fn reload(
    State(reloads): State<Option<mpsc::Sender<ReloadRequest>>>,
) -> (StatusCode, String) {
    let Some(reloads) = reloads else {
        let why = "reloading over HTTP is disabled; set http.reload to true to enable it\n";
        return (StatusCode::FORBIDDEN, why.to_owned());
    };
    let (result, done) = oneshot::channel();
    // The receiving end exists until the daemon stops.
    let stopping = || (StatusCode::SERVICE_UNAVAILABLE, "stopping\n".to_owned());
    if reloads.send(result).await.is_err() {
        return stopping();
    }
    match done.await {
        Ok(Ok(())) => (StatusCode::OK, String::new()),
        Ok(Err(reason)) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{reason}\n")),
        Err(_) => stopping(),
    }
}
