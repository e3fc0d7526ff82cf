//! Serves pages to scrapers: the newest snapshot of a profile, in the requested format.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, VARY};
use http::{HeaderMap, HeaderValue, StatusCode};

use super::Page;
use super::negotiate::{Coding, Format};
use super::renderings::Renderings;

pub(super) async fn metrics(
    State((page, renderings)): State<(Arc<Page>, Arc<Renderings>)>,
    headers: HeaderMap,
) -> Response {
    let (format, coding) = (Format::of(&headers), Coding::of(&headers));
    let Some(body) = renderings.newest(&page, format.syntax, coding).await else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let mut answer = Body::new(body).into_response();
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
