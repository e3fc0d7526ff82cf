//! The file with the histories: JSON in `data_dir`, next to the checkpoint.
//!
//! It is not precious. If it is missing or damaged, histories start over.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tracing::warn;

use super::facts::TaskId;
use super::history::{HISTORIES_MAX, Ring, Rings};
use crate::regular_file;

const NAME: &str = "history";
const NEXT: &str = "history.new";

/// Larger files are not ours: 400 histories take about 200 kB.
const BYTES_MAX: usize = 4 << 20;

const VERSION: u32 = 1;

/// The file in one directory.
#[derive(Clone, Debug)]
pub struct HistoryFile(PathBuf);

#[derive(Serialize, Deserialize)]
struct Saved {
    version: u32,
    completed: Ring,
    waiting: Ring,
    tasks: Vec<SavedTask>,
    queues: Vec<SavedQueue>,
}

#[derive(Serialize, Deserialize)]
struct SavedTask {
    broker: Option<Arc<str>>,
    name: Arc<str>,
    queue: Option<Arc<str>>,
    seconds: Ring,
    minutes: Ring,
}

#[derive(Serialize, Deserialize)]
struct SavedQueue {
    broker: Option<Arc<str>>,
    name: Arc<str>,
    waiting: Ring,
}

impl HistoryFile {
    pub fn new(data_dir: &Path) -> Self {
        Self(data_dir.to_owned())
    }

    /// Returns the histories in the file; empty ones if there are none.
    pub fn read(&self) -> Rings {
        let path = self.0.join(NAME);
        match read(&path) {
            Ok(rings) => rings,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Rings::default(),
            Err(error) => {
                let file = path.display();
                warn!(%file, %error, "cannot read the histories of the status page; they start over");
                Rings::default()
            }
        }
    }

    /// Replaces the file.
    pub fn write(&self, rings: &Rings) -> io::Result<()> {
        let next = self.0.join(NEXT);
        let file = regular_file::create_own(&next)?;
        let written = serde_json::to_writer(io::BufWriter::new(file), &Saved::from(rings));
        written.map_err(io::Error::other)?;
        fs::rename(next, self.0.join(NAME))
    }
}

fn read(path: &Path) -> io::Result<Rings> {
    let bytes = regular_file::read(path, BYTES_MAX)?;
    let saved: Saved = serde_json::from_slice(&bytes).map_err(io::Error::other)?;
    if saved.version != VERSION {
        return Err(io::Error::other(format!(
            "unknown version {}",
            saved.version
        )));
    }
    Ok(saved.into())
}

impl From<&Rings> for Saved {
    fn from(rings: &Rings) -> Self {
        let tasks = rings
            .tasks
            .iter()
            .map(|(id, (seconds, minutes))| SavedTask {
                broker: id.broker.clone(),
                name: Arc::clone(&id.name),
                queue: id.queue.clone(),
                seconds: seconds.clone(),
                minutes: minutes.clone(),
            });
        let queues = rings.queues.iter();
        let queues = queues.map(|((broker, name), waiting)| SavedQueue {
            broker: broker.clone(),
            name: Arc::clone(name),
            waiting: waiting.clone(),
        });
        Self {
            version: VERSION,
            completed: rings.completed.clone(),
            waiting: rings.waiting.clone(),
            tasks: tasks.collect(),
            queues: queues.collect(),
        }
    }
}

impl From<Saved> for Rings {
    fn from(saved: Saved) -> Self {
        let tasks = saved.tasks.into_iter().take(HISTORIES_MAX).map(|task| {
            let id = TaskId {
                broker: task.broker,
                name: task.name,
                queue: task.queue,
            };
            (id, (task.seconds, task.minutes))
        });
        let queues = saved.queues.into_iter().take(HISTORIES_MAX);
        let queues = queues.map(|queue| ((queue.broker, queue.name), queue.waiting));
        Self {
            completed: saved.completed,
            waiting: saved.waiting,
            tasks: tasks.collect(),
            queues: queues.collect(),
        }
    }
}
