//! Standby: of two daemons with the same `data_dir`, the second waits until the first is gone, and
//! resumes from its checkpoint.

use std::path::Path;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::StartError;
use crate::checkpoint::CheckpointFolder;
use crate::config::HttpConfig;
use crate::http::Server;
use crate::status::{Board, stand_by};
use crate::supervisor::Supervisor;
use crate::telemetry::readiness::Readiness;

/// How often to check whether the directory is free. There is no notification when a file lock is
/// released.
const LOOK: Duration = Duration::from_millis(250);

/// Locks the directory as soon as it is free; `None` if stopped before. Meanwhile, the listener
/// answers probes as healthy but not ready.
pub(super) async fn lock_when_free(
    path: &Path,
    http: Option<&HttpConfig>,
    stop: &CancellationToken,
    supervisor: Supervisor,
) -> Result<Option<CheckpointFolder>, StartError> {
    let open = || {
        CheckpointFolder::open(path).map_err(|source| StartError::DataDir {
            folder: path.to_owned(),
            source,
        })
    };
    if let Some(folder) = open()? {
        return Ok(Some(folder));
    }
    let data_dir = path.display();
    warn!(%data_dir, "data_dir is in use by another daemon; standing by");
    supervisor.standing_by();
    let free = async {
        loop {
            tokio::time::sleep(LOOK).await;
            match open() {
                Ok(Some(folder)) => return folder,
                Ok(None) => {}
                // Shared disks can fail briefly, especially when the other daemon's machine goes
                // down.
                Err(error) => debug!(%error, "checking for the other daemon failed"),
            }
        }
    };
    tokio::select! {
        folder = free => {
            info!(%data_dir, "the other daemon stopped; taking over");
            Ok(Some(folder))
        }
        () = stop.cancelled() => Ok(None),
        () = probes(http, path) => Ok(None),
        never = supervisor.keep_notified(None, None) => match never {},
    }
}

/// Answers health probes, and shows which instance is active, for as long as this future is polled.
async fn probes(http: Option<&HttpConfig>, data_dir: &Path) {
    let mut readiness = Readiness::default();
    let _standing_by = readiness.stage(
        "data_dir",
        "in use by another daemon; standing by until it stops",
    );
    if let Some(http) = http {
        match Server::bind(http.listen, Vec::new(), readiness) {
            Ok(server) => match server.guarded(http.tls.as_ref(), http.login.clone()) {
                Ok(server) => {
                    // Connections are kept alive and must not outlive the wait.
                    let stop = CancellationToken::new();
                    let _stop = stop.clone().drop_guard();
                    match http.status.clone() {
                        Some(status) => {
                            let (board, asked) = Board::new();
                            let server = server.with_status(board, status);
                            tokio::join!(server.run(stop), stand_by(data_dir, asked));
                        }
                        None => server.run(stop).await,
                    }
                }
                Err(error) => warn!(%error, "cannot serve pages while standing by"),
            },
            // The other daemon may run on this machine and hold the port.
            Err(error) => {
                warn!(address = %http.listen, %error, "cannot serve pages while standing by")
            }
        }
    }
    std::future::pending().await
}
