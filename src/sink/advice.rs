//! Advice for answers that no retry can fix, shared by the log and `celeriac doctor`.

use http::StatusCode;

/// Text of a Prometheus that does not run as a receiver. The text goes on to name an option, which
/// differs between versions and no longer exists in 2.42.
const NOT_ENABLED: &str = "remote write receiver needs to be enabled";

/// Paths at which receivers accept remote write.
pub const PATHS: &str = "/api/v1/write (Prometheus, VictoriaMetrics), /api/v1/push (Mimir, Cortex), /api/v1/receive (Thanos)";

/// Returns advice for a status that rejects the whole request, whatever its series; `None` for any
/// other status.
pub fn rejected(status: StatusCode, text: &str) -> Option<String> {
    Some(match status.as_u16() {
        404 if text.contains(NOT_ENABLED) => {
            "this Prometheus is no receiver yet: start it with --web.enable-remote-write-receiver".to_owned()
        }
        401 => login(),
        403 => "the login is known and not allowed to write, or the tenant in the header X-Scope-OrgID is missing".to_owned(),
        404 | 405 => format!("nothing takes remote write there: look at the path of `url`, mostly {PATHS}"),
        300..=399 => "`url` leads elsewhere: set it to where it leads".to_owned(),
        415 => "it does not speak the version that `protobuf_message` names: leave that out".to_owned(),
        _ => return None,
    })
}

/// Returns advice for missing or wrong credentials.
pub fn login() -> String {
    "it wants a login, or another: `basic_auth`, `authorization`, `oauth2` or `sigv4`, as the same block in \
     prometheus.yml has it; files with secrets are read anew at each request"
        .to_owned()
}
