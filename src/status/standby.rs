//! The document of an instance that waits for another one to stop.

use std::path::Path;
use std::sync::Arc;

use tokio::sync::mpsc;

use super::board::Request;
use super::document::{Instance, Mode, Status, VERSION};
use crate::clock;
use crate::folder::{holder, host_name};
use crate::version;

/// Answers requests for as long as there can be any.
pub async fn stand_by(data_dir: &Path, mut requests: mpsc::Receiver<Request>) {
    let started = clock::now();
    while let Some(request) = requests.recv().await {
        let status = Status {
            version: VERSION,
            instance: Instance {
                name: host_name(),
                version: version::VERSION.to_owned(),
                started_timestamp_seconds: started.seconds(),
                mode: Mode::Standby,
                active_instance: holder(data_dir),
            },
            at_timestamp_seconds: clock::now().seconds(),
            window_seconds: request.window.duration().as_secs(),
            rated_seconds: 0.0,
            ..Status::default()
        };
        // The client may have gone.
        let _ = request.answer.send(Arc::new(status));
    }
}
