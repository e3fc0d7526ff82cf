//! What to do about an answer that no retry mends: the same words in the log and from `celeriac doctor`.

use http::StatusCode;

/// What Prometheus says when it is not started as a receiver. The option behind it is another in each version, and in
/// 2.42 one that is gone.
const NOT_ENABLED: &str = "remote write receiver needs to be enabled";

/// Where receivers accept remote write.
pub const PATHS: &str = "/api/v1/write (Prometheus, VictoriaMetrics), /api/v1/push (Mimir, Cortex), /api/v1/receive (Thanos)";

/// What to do about a status that speaks against the whole request, from whatever series it is made; `None` for any other.
pub fn rejected(status: StatusCode, text: &str) -> Option<String> {
    Some(match status.as_u16() {
        404 if text.contains(NOT_ENABLED) => {
            "this Prometheus does not accept remote write yet: start it with \
             --web.enable-remote-write-receiver"
                .to_owned()
        }
        401 => login(),
        403 => "the user is not allowed to write, or the header X-Scope-OrgID with the tenant is \
                missing"
            .to_owned(),
        404 | 405 => format!(
            "remote write is not served at this path: check the path in `url`, usually {PATHS}"
        ),
        300..=399 => "`url` redirects elsewhere: set it to the target of the redirect".to_owned(),
        415 => "the receiver does not support the version in `protobuf_message`: remove that key"
            .to_owned(),
        _ => return None,
    })
}

/// What to do about a login that is missing or wrong.
pub fn login() -> String {
    "credentials are missing or wrong: set `basic_auth`, `authorization`, `oauth2` or `sigv4`, as \
     in the same block of prometheus.yml; secret files are read again at each request"
        .to_owned()
}
