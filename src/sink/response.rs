//! Shortens response bodies and errors for messages, and masks secrets in them.

use http::HeaderMap;
use http::header::AUTHORIZATION;
use url::Url;

use crate::secret::masked;
use crate::tls;

/// Minimum length of a user-defined header value that may be a key. Shorter ones, such as tenants,
/// help to understand a message.
pub(super) const KEY_BYTES_MIN: usize = 16;

/// Number of bytes read beyond the displayed length, so that a secret that crosses the cut is still
/// recognized.
const BEYOND_BYTES: usize = 256;

/// Reads the beginning of a body.
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

/// Reads the beginning of a body as text. Secrets, which some endpoints repeat in their errors, are
/// masked before the text is cut.
pub(super) async fn read_masked<'s>(
    answer: reqwest::Response,
    bytes_max: usize,
    secrets: impl IntoIterator<Item = &'s str>,
) -> String {
    let body = beginning(answer, bytes_max + BEYOND_BYTES).await;
    masked(String::from_utf8_lossy(&body).trim(), bytes_max, secrets)
}

/// Returns possible secrets in the headers of a request.
pub(super) fn secrets(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let sensitive = headers.iter().filter(|(_, value)| value.is_sensitive());
    let texts = sensitive.filter_map(|(name, value)| Some((name, value.to_str().ok()?)));
    texts.filter_map(|(name, text)| {
        let is_login = *name == AUTHORIZATION;
        // For `Bearer token`, only the token: the word "Bearer" is common in errors.
        let token = text.split_once(' ').map_or(text, |(_, token)| token);
        let secret = if is_login { token } else { text };
        (is_login || text.len() >= KEY_BYTES_MIN).then_some(secret)
    })
}

/// Returns possible secrets in the query of a URL, both decoded and as they appear in the URL.
pub(super) fn secrets_in_query(url: &Url) -> Vec<String> {
    let values = url.query_pairs().map(|(_, value)| value.into_owned());
    let keys = values.filter(|value| value.len() >= KEY_BYTES_MIN);
    keys.chain(url.query().map(str::to_owned)).collect()
}

/// Formats an error and its causes without the URL, whose query may contain a key.
pub(super) fn chain(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        if tls::is_plain(cause) {
            return tls::PLAIN.to_owned();
        }
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    /// Returns a response with this body, as if received from a server.
    fn answer(body: impl Into<reqwest::Body>) -> reqwest::Response {
        http::Response::new(body.into()).into()
    }

    #[tokio::test]
    async fn an_answer_that_repeats_secrets_is_told_without_them() {
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
        let body = &b"\xffteam-a sent Basic YTpi, YTpi, pw and hunter2-hunter2-hunter2 "[..];
        let text = read_masked(answer(body), 1_024, secrets(&headers).chain(["pw", ""])).await;
        assert_eq!(
            text,
            "\u{fffd}team-a sent Basic <secret>, <secret>, <secret> and <secret>"
        );
    }

    #[tokio::test]
    async fn a_secret_is_masked_wherever_the_answer_is_cut() {
        const SECRET: &str = "hunter2-hunter2-hunter2";
        for before in 490..530 {
            let body = format!("{}{SECRET}{}", "_".repeat(before), "x".repeat(1_000));
            let text = read_masked(answer(body), 512, [SECRET]).await;
            let expected = if before < 512 {
                let cut = 512_usize.saturating_sub(before + SECRET.len());
                format!("{}<secret>{}", "_".repeat(before), "x".repeat(cut))
            } else {
                "_".repeat(512)
            };
            assert_eq!(text, expected, "{before}");
        }
    }

    #[test]
    fn a_key_in_a_query_is_a_secret_and_so_is_the_query() {
        let url = Url::parse("https://h/w?tenant=a&key=abcdef%2Fabcdef+abcd").expect("a URL");
        let secrets = secrets_in_query(&url);
        assert_eq!(
            secrets,
            ["abcdef/abcdef abcd", "tenant=a&key=abcdef%2Fabcdef+abcd"]
        );
        assert_eq!(
            secrets_in_query(&Url::parse("https://h/w").expect("a URL")),
            Vec::<String>::new()
        );
    }
}
