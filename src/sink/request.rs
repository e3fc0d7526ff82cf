//! Builds a remote-write request around a body.

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use url::Url;

use super::client::Request;
use crate::wire::Protocol;

/// Returns the request; `attempt` counts from 0.
pub(super) fn request(url: &Url, protocol: Protocol, body: Bytes, attempt: u32) -> Request {
    // PRW 1.0 and 2.0, "Protocol": these and the user agent override user-defined headers.
    let mut headers = HeaderMap::new();
    let encoding = HeaderValue::from_static(protocol.content_encoding());
    headers.insert(CONTENT_ENCODING, encoding);
    let content_type = HeaderValue::from_static(protocol.content_type());
    headers.insert(CONTENT_TYPE, content_type);
    let version = HeaderValue::from_static(protocol.version());
    headers.insert(REMOTE_WRITE_VERSION, version);
    if protocol == Protocol::V1Zstd {
        headers.insert(VICTORIA_VERSION, HeaderValue::from_static("1"));
    }
    if attempt > 0 {
        headers.insert(RETRY_ATTEMPT, HeaderValue::from(attempt));
    }
    Request {
        method: Method::POST,
        url: url.clone(),
        headers,
        body,
    }
}

const REMOTE_WRITE_VERSION: HeaderName =
    HeaderName::from_static("x-prometheus-remote-write-version");
/// Sent by vmagent with zstd.
const VICTORIA_VERSION: HeaderName =
    HeaderName::from_static("x-victoriametrics-remote-write-version");
/// Sent by Prometheus, and used by Mimir to compute its `Retry-After`.
const RETRY_ATTEMPT: HeaderName = HeaderName::from_static("retry-attempt");
