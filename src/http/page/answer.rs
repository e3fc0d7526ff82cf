//! Answers of the page and the API: their headers, their compression, and the memory that they may take.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::response::{IntoResponse, Response};
use http::header::{
    CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName,
    REFERRER_POLICY, RETRY_AFTER, VARY, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderValue, StatusCode};
use hyper::body::{Frame, SizeHint};
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::super::compress::compress;
use super::super::limits::Limits;
use super::super::negotiate::Coding;
use crate::telemetry::http::HttpLimit;

pub(super) const HTML: &str = "text/html; charset=utf-8";
pub(super) const JSON: &str = "application/json";

/// Nothing is loaded from elsewhere, the page contains no script or style itself, and no other page may frame it.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src data:; \
                      frame-ancestors 'none'; base-uri 'none'; form-action 'self'";

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Memory for answers that clients are still reading.
const MEMORY_KIB: usize = 32 << 10;

/// How long an answer may wait for memory.
const PATIENCE: Duration = Duration::from_secs(5);

/// Number of answers that are made at once. Each needs a CPU.
const MADE_AT_ONCE: usize = 2;

/// Makes answers, and limits what they cost.
#[derive(Debug)]
pub(super) struct Answers {
    making: Arc<Semaphore>,
    memory: Arc<Semaphore>,
    limits: Arc<Limits>,
}

/// A body that returns its share of the memory when it has been sent, or its connection is closed.
struct Held {
    body: Bytes,
    at: usize,
    _memory: OwnedSemaphorePermit,
}

/// Size of a chunk, which a slow client holds besides.
const CHUNK_BYTES: usize = 64 << 10;

impl Answers {
    pub(super) fn new(limits: Arc<Limits>) -> Self {
        Self {
            making: Arc::new(Semaphore::new(MADE_AT_ONCE)),
            memory: Arc::new(Semaphore::new(MEMORY_KIB)),
            limits,
        }
    }

    /// Makes a body on a thread that serves no events. `None` if the daemon is stopping.
    pub(super) async fn make<T: Send + 'static>(
        &self,
        make: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let turn = Arc::clone(&self.making).acquire_owned().await.ok()?;
        let made = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            make()
        });
        made.await.ok()
    }

    /// Makes an answer: `make` returns its status and its body.
    pub(super) async fn answer(
        &self,
        headers: &HeaderMap,
        content_type: &'static str,
        make: impl FnOnce() -> (StatusCode, Vec<u8>) + Send + 'static,
    ) -> Response {
        let coding = Coding::of(headers);
        let made = self
            .make(move || {
                let (status, body) = make();
                let mut body = compress(body, coding);
                body.shrink_to_fit();
                (status, Bytes::from(body))
            })
            .await;
        let Some((status, body)) = made else {
            return busy();
        };
        let kib = u32::try_from(body.len() >> 10).unwrap_or(u32::MAX);
        // An answer that is larger than all of it waits for all of it.
        let kib = kib.clamp(1, u32::try_from(MEMORY_KIB).unwrap_or(u32::MAX));
        let memory = Arc::clone(&self.memory).acquire_many_owned(kib);
        let Ok(Ok(memory)) = tokio::time::timeout(PATIENCE, memory).await else {
            self.limits.reached(HttpLimit::Renderings);
            return busy();
        };
        let held = Held {
            body,
            at: 0,
            _memory: memory,
        };
        let mut answer = (status, Body::new(held)).into_response();
        let headers = answer.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        if let Some(coding) = coding.name() {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static(coding));
        }
        secured(answer)
    }
}

/// Adds the headers that every answer has.
pub(super) fn secured(mut answer: Response) -> Response {
    let headers = answer.headers_mut();
    for (name, value) in [
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (VARY, "accept-encoding, x-forwarded-prefix"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    let store = headers.entry(CACHE_CONTROL);
    store.or_insert(HeaderValue::from_static("no-store"));
    answer
}

/// A short text as an answer of the API.
pub(super) fn problem(status: StatusCode, text: &str) -> Response {
    #[derive(Serialize)]
    struct Problem<'a> {
        error: &'a str,
    }
    // A text can always be written.
    let body = serde_json::to_string(&Problem { error: text }).unwrap_or_default();
    secured((status, [(CONTENT_TYPE, JSON)], body + "\n").into_response())
}

/// The daemon is stopping, or has too much to do.
pub(super) fn busy() -> Response {
    let text = "celeriac is stopping, or too busy to answer; try again in a few seconds";
    let mut answer = problem(StatusCode::SERVICE_UNAVAILABLE, text);
    let later = HeaderValue::from_static("5");
    answer.headers_mut().insert(RETRY_AFTER, later);
    answer
}

/// Refuses requests that a browser makes for another site. Other clients send no such header.
pub(super) fn foreign(headers: &HeaderMap) -> Option<Response> {
    let site = headers.get(SEC_FETCH_SITE)?;
    let own = ["same-origin", "none"].iter().any(|own| site == own);
    (!own).then(|| problem(StatusCode::FORBIDDEN, "requests of other sites are refused"))
}

impl hyper::body::Body for Held {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if self.is_end_stream() {
            return Poll::Ready(None);
        }
        let end = self.body.len().min(self.at + CHUNK_BYTES);
        // A slice would keep the whole body when its share of the memory is returned.
        let chunk = Bytes::copy_from_slice(&self.body[self.at..end]);
        self.at = end;
        Poll::Ready(Some(Ok(Frame::data(chunk))))
    }

    fn is_end_stream(&self) -> bool {
        self.at == self.body.len()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact((self.body.len() - self.at) as u64)
    }
}
