//! How the listener asks for the document.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::document::Status;
use super::query::Window;

/// Number of requests that may wait.
const WAITING: usize = 256;

/// After this long without an answer, the daemon is too busy to show itself.
const PATIENCE: Duration = Duration::from_secs(5);

/// A request for the document.
#[derive(Debug)]
pub struct Request {
    pub window: Window,
    pub answer: oneshot::Sender<Arc<Status>>,
}

/// A handle to the stage that makes the document.
#[derive(Clone, Debug)]
pub struct Board(mpsc::Sender<Request>);

impl Board {
    /// Creates a handle, and the end that answers.
    pub fn new() -> (Self, mpsc::Receiver<Request>) {
        let (requests, waiting) = mpsc::channel(WAITING);
        (Self(requests), waiting)
    }

    /// Returns the document, which is at most a second old. `None` if the daemon is stopping, or too busy to answer.
    pub async fn status(&self, window: Window) -> Option<Arc<Status>> {
        let (answer, answered) = oneshot::channel();
        let asked = async {
            self.0.send(Request { window, answer }).await.ok()?;
            answered.await.ok()
        };
        tokio::time::timeout(PATIENCE, asked).await.ok()?
    }
}
