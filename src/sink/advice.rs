//! Advice for failures that a retry cannot fix, shared by the log and `celeriac doctor`.

use http::StatusCode;

/// Start of the error text from a Prometheus whose remote-write receiver is disabled. The rest
/// names an option, which differs between versions and no longer exists in 2.42.
const NOT_ENABLED: &str = "remote write receiver needs to be enabled";

/// Paths at which receivers accept remote write.
pub const PATHS: &str = "/api/v1/write (Prometheus, VictoriaMetrics), /api/v1/push (Mimir, Cortex), /api/v1/receive (Thanos)";

/// Returns advice for a status that rejects the whole request regardless of its series; `None` for
/// any other status.
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

/// Returns advice for missing or wrong credentials.
pub fn login() -> String {
    "credentials are missing or wrong: set `basic_auth`, `authorization`, `oauth2` or `sigv4`, as \
     in the same block of prometheus.yml; secret files are read again at each request"
        .to_owned()
}
