//! What of a response or an error is told: a little of it, and no secret.

use http::HeaderMap;

/// Values of headers from this length on may be keys; shorter ones, such as tenants, help to understand a message.
const KEY_BYTES_MIN: usize = 16;

/// The beginning of a body.
pub(super) async fn beginning(mut answer: reqwest::Response, bytes_max: usize) -> Vec<u8> {
    let mut body = Vec::new();
    while body.len() < bytes_max
        && let Ok(Some(chunk)) = answer.chunk().await
    {
        body.extend_from_slice(&chunk);
    }
    body.truncate(bytes_max);
    body
}

/// A body as text, without the secrets that some endpoints repeat in their errors.
pub(super) fn told<'s>(body: &[u8], secrets: impl IntoIterator<Item = &'s str>) -> String {
    let mut text = String::from_utf8_lossy(body).trim().to_owned();
    for secret in secrets.into_iter().filter(|secret| !secret.is_empty()) {
        text = text.replace(secret, "<secret>");
    }
    text
}

/// What in the headers of a request may be a secret.
pub(super) fn secrets(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let sensitive = headers.values().filter(|value| value.is_sensitive());
    let texts = sensitive.filter_map(|value| value.to_str().ok());
    // `Bearer token`, and the token alone.
    let texts = texts.flat_map(|text| [Some(text), text.split_once(' ').map(|(_, token)| token)]);
    texts.flatten().filter(|text| text.len() >= KEY_BYTES_MIN)
}

/// An error and its causes, without the URL, whose query may hold a key.
pub(super) fn chain(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
