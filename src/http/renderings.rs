//! A cache of rendered pages: one rendering per snapshot, format and coding, shared by all
//! requests.
//!
//! Renderings are owned by this cache. Responses hold only weak references and copy one chunk at a
//! time, so memory is freed as soon as the cache drops a rendering, however slowly clients read;
//! their responses end early. A rendering is dropped when no response is reading it and a newer
//! snapshot exists, or when all of them together use too much memory.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Bytes;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use hyper::body::{Body, Frame, SizeHint};

use super::Page;
use super::compress::compress;
use super::limits::Limits;
use super::negotiate::{Coding, Syntax};
use crate::series::Snapshot;
use crate::telemetry::http::HttpLimit;
use crate::wire::{openmetrics, protobuf, text};

/// Memory limit for all renderings, unless a few large ones need more.
const BYTES_MAX: usize = 64 << 20;

/// Number of renderings of the largest size that are always allowed: two formats of two snapshots.
const LARGEST_MIN: usize = 4;

/// Size of a response chunk, which each slow client holds in addition to the rendering.
const CHUNK_BYTES: usize = 64 << 10;

/// Interval for dropping renderings of older snapshots.
const TIDY_INTERVAL: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Renderings {
    /// Oldest first.
    held: Mutex<Vec<Arc<Rendering>>>,
    /// Held while rendering. Each rendering needs a CPU and the memory of a page, so only one runs
    /// at a time.
    turn: Arc<Mutex<()>>,
    limits: Arc<Limits>,
}

#[derive(Debug)]
struct Rendering {
    page: Arc<Page>,
    snapshot: u64,
    syntax: Syntax,
    coding: Coding,
    /// Completes even if the client that requested it first has disconnected.
    made: Shared<BoxFuture<'static, Option<Bytes>>>,
}

/// A response body that reads a rendering chunk by chunk.
#[derive(Debug)]
pub(super) struct RenderingBody {
    rendering: Weak<Rendering>,
    at: usize,
    end: usize,
}

/// Error: the rendering that a response was reading has been dropped.
#[derive(Debug, thiserror::Error)]
#[error("too many snapshots are being read; this one was dropped")]
pub(super) struct Dropped;

impl Renderings {
    pub(super) fn new(limits: Arc<Limits>) -> Self {
        Self {
            held: Mutex::default(),
            turn: Arc::default(),
            limits,
        }
    }

    /// Returns the newest snapshot of a page; `None` if it cannot be rendered.
    pub(super) async fn newest(
        &self,
        page: &Arc<Page>,
        syntax: Syntax,
        coding: Coding,
    ) -> Option<RenderingBody> {
        let rendering = self.find_or_start(page, syntax.alike(), coding);
        let made = rendering.made.clone().await?;
        let body = RenderingBody {
            rendering: Arc::downgrade(&rendering),
            at: 0,
            end: made.len(),
        };
        self.free_memory(&rendering);
        Some(body)
    }

    /// Periodically drops outdated renderings that no response is reading.
    pub(super) async fn keep_tidy(&self) -> Infallible {
        let mut ticks = tokio::time::interval(TIDY_INTERVAL);
        loop {
            ticks.tick().await;
            let mut held = self.held();
            held.retain(|rendering| rendering.is_newest() || rendering.is_read());
        }
    }

    fn find_or_start(&self, page: &Arc<Page>, syntax: Syntax, coding: Coding) -> Arc<Rendering> {
        let snapshot = Arc::clone(&page.snapshots.borrow());
        let mut held = self.held();
        let found = held.iter().find(|held| {
            Arc::ptr_eq(&held.page, page)
                && (held.snapshot, held.syntax, held.coding) == (snapshot.number, syntax, coding)
        });
        if let Some(found) = found {
            return Arc::clone(found);
        }
        let number = snapshot.number;
        let (turn, rendered) = (Arc::clone(&self.turn), Arc::clone(page));
        // Rendering a hundred thousand series on a worker thread would delay events.
        let making = tokio::task::spawn_blocking(move || {
            let _turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
            let mut bytes = compress(render(&rendered, &snapshot, syntax), coding);
            bytes.shrink_to_fit();
            Bytes::from(bytes)
        });
        let rendering = Arc::new(Rendering {
            page: Arc::clone(page),
            snapshot: number,
            syntax,
            coding,
            made: making.map(Result::ok).boxed().shared(),
        });
        held.push(Arc::clone(&rendering));
        rendering
    }

    /// Drops the oldest renderings if all of them use too much memory, but never `newest`.
    fn free_memory(&self, newest: &Arc<Rendering>) {
        let mut held = self.held();
        loop {
            let sizes = held.iter().map(|rendering| rendering.bytes());
            let total: usize = sizes.clone().sum();
            let largest = sizes.max().unwrap_or_default();
            if total <= BYTES_MAX.max(largest * LARGEST_MIN) {
                return;
            }
            let old = |rendering: &Arc<Rendering>| {
                rendering.bytes() > 0 && !Arc::ptr_eq(rendering, newest)
            };
            let unread = held.iter().position(|held| old(held) && !held.is_read());
            let Some(oldest) = unread.or_else(|| held.iter().position(old)) else {
                return;
            };
            if held.remove(oldest).is_read() {
                self.limits.reached(HttpLimit::Renderings);
            }
        }
    }

    fn held(&self) -> MutexGuard<'_, Vec<Arc<Rendering>>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Rendering {
    /// Returns its size in bytes; 0 until it is rendered.
    fn bytes(&self) -> usize {
        self.made
            .peek()
            .map_or(0, |made| made.as_ref().map_or(0, Bytes::len))
    }

    fn is_newest(&self) -> bool {
        self.page.snapshots.borrow().number == self.snapshot
    }

    fn is_read(self: &Arc<Self>) -> bool {
        Arc::strong_count(self) > 1 || Arc::weak_count(self) > 0
    }
}

impl RenderingBody {
    fn chunk(&self) -> Option<Bytes> {
        let rendering = self.rendering.upgrade()?;
        let made = rendering.made.peek()?.as_ref()?;
        let end = self.end.min(self.at + CHUNK_BYTES);
        // A slice would keep the whole page in memory.
        Some(Bytes::copy_from_slice(&made[self.at..end]))
    }
}

impl Body for RenderingBody {
    type Data = Bytes;
    type Error = Dropped;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Dropped>>> {
        if self.is_end_stream() {
            return Poll::Ready(None);
        }
        let Some(chunk) = self.chunk() else {
            return Poll::Ready(Some(Err(Dropped)));
        };
        self.at += chunk.len();
        Poll::Ready(Some(Ok(Frame::data(chunk))))
    }

    fn is_end_stream(&self) -> bool {
        self.at == self.end
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact((self.end - self.at) as u64)
    }
}

fn render(page: &Page, snapshot: &Snapshot, syntax: Syntax) -> Vec<u8> {
    match syntax {
        Syntax::Text004 | Syntax::Text100 => text::render(snapshot).into_bytes(),
        Syntax::OpenMetrics001 | Syntax::OpenMetrics100 => {
            openmetrics::render(snapshot, page.created_series).into_bytes()
        }
        Syntax::Protobuf => protobuf::render(snapshot, page.native_histograms),
    }
}

#[cfg(test)]
mod tests;
