//! What of a response or an error is told: a little of it, and no secret.

use http::HeaderMap;
use http::header::AUTHORIZATION;

/// Values of a user's headers from this length on may be keys; shorter ones, such as tenants, help to understand a message.
pub(super) const KEY_BYTES_MIN: usize = 16;

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
    let sensitive = headers.iter().filter(|(_, value)| value.is_sensitive());
    let texts = sensitive.filter_map(|(name, value)| Some((name, value.to_str().ok()?)));
    texts.flat_map(|(name, text)| {
        let is_login = *name == AUTHORIZATION;
        // `Bearer token`, and the token alone.
        let token = text.split_once(' ').map(|(_, token)| token);
        let both = [Some(text), token.filter(|_| is_login)];
        let is_secret = move |text: &&str| is_login || text.len() >= KEY_BYTES_MIN;
        both.into_iter().flatten().filter(is_secret)
    })
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

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn an_answer_that_repeats_secrets_is_told_without_them() {
        let mut headers = HeaderMap::new();
        for (name, text) in [
            ("authorization", "Basic YTpi"),
            ("x-api-key", "hunter2-hunter2-hunter2"),
            ("x-scope-orgid", "team-a"),
        ] {
            let mut value = HeaderValue::from_static(text);
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        let body = b"\xffteam-a sent Basic YTpi, YTpi, pw and hunter2-hunter2-hunter2 ";
        let text = told(body, secrets(&headers).chain(["pw", ""]));
        assert_eq!(
            text,
            "\u{fffd}team-a sent <secret>, <secret>, <secret> and <secret>"
        );
    }
}
