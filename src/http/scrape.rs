//! The pages to pull: the newest snapshot of a profile, in the format that the scraper wants.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, VARY};
use http::{HeaderMap, HeaderValue, StatusCode};

use super::Page;
use super::compress::compress;
use super::negotiate::{Coding, Format, Syntax};
use crate::series::Snapshot;
use crate::wire::{openmetrics, protobuf, text};

pub(super) async fn metrics(State(page): State<Arc<Page>>, headers: HeaderMap) -> Response {
    let (format, coding) = (Format::of(&headers), Coding::of(&headers));
    let snapshot = Arc::clone(&page.snapshots.borrow());
    // A page of a hundred thousand series takes long enough to keep events waiting.
    let rendering = move || compress(render(&page, &snapshot, format.syntax), coding);
    let Ok(body) = tokio::task::spawn_blocking(rendering).await else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let mut answer = body.into_response();
    let headers = answer.headers_mut();
    if let Ok(content_type) = HeaderValue::try_from(format.content_type()) {
        headers.insert(CONTENT_TYPE, content_type);
    }
    if let Some(coding) = coding.name() {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static(coding));
    }
    headers.insert(VARY, HeaderValue::from_static("accept, accept-encoding"));
    answer
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
