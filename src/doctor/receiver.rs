//! A receiver of remote write, or a Pushgateway: whether it takes what is sent.

use http::StatusCode;

use super::finding::Finding;
use crate::sink::client::SendError;
use crate::sink::probe::{ProbeError, Probed};
use crate::sink::verdict::Verdict;

const CHECK: &str = "answer";

/// What Prometheus says when it is not started as a receiver. The option behind it is another in each version, and in
/// 2.42 one that is gone.
const NOT_ENABLED: &str = "remote write receiver needs to be enabled";

const PATHS: &str = "/api/v1/write (Prometheus, VictoriaMetrics), /api/v1/push (Mimir, Cortex), /api/v1/receive (Thanos)";

/// What the answer to a request without series means.
pub(super) fn remote_write(probed: &Result<Probed, ProbeError>) -> Finding {
    let probed = match probed {
        Ok(probed) => probed,
        Err(error) => return unanswered(error),
    };
    let status = probed.answer.status;
    let message = probed.protocol.message();
    if probed.verdict == Verdict::Delivered {
        return Finding::fine(CHECK, format!("{status}, takes {message}"));
    }
    let text = &probed.answer.text;
    let found = told(status, text);
    let advice = match status.as_u16() {
        404 if text.contains(NOT_ENABLED) => {
            "this Prometheus is no receiver yet: start it with --web.enable-remote-write-receiver".to_owned()
        }
        401 => login(),
        403 => "the login is known and not allowed to write, or the tenant in the header X-Scope-OrgID is missing".to_owned(),
        404 | 405 => format!("nothing takes remote write there: look at the path of `url`, mostly {PATHS}"),
        300..=399 => "`url` leads elsewhere: set it to where it leads".to_owned(),
        415 => "it does not speak the version that `protobuf_message` names: leave that out".to_owned(),
        413 => "a proxy limits the size of a body to less than nothing: raise it".to_owned(),
        429 | 500..=599 => {
            "it is overloaded or broken, now: look into its log; what is sent meanwhile waits".to_owned()
        }
        200..=299 => "it takes what it does not understand: it does not speak the version that `protobuf_message` names, \
                      so leave that out"
            .to_owned(),
        // What web servers say who speak TLS there.
        400 if text.contains("HTTPS") => "it speaks TLS there: write https:// in `url`".to_owned(),
        // An answer to a request without series, by who has seen none: with series it may be another.
        400 | 422 => {
            let advice = "it refuses a request without series, and may take others: run the daemon, and look at \
                          celeriac_remote_storage_samples_failed_total";
            return Finding::open(CHECK, found, advice);
        }
        _ => format!("look at the path of `url`, mostly {PATHS}"),
    };
    Finding::wrong(CHECK, found, advice)
}

/// What a Pushgateway's status means.
pub(super) fn pushgateway(answer: &Result<crate::sink::client::Answer, ProbeError>) -> Finding {
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => return unanswered(error),
    };
    if answer.status.is_success() {
        return Finding::fine(CHECK, format!("{}, a Pushgateway", answer.status));
    }
    let advice = match answer.status.as_u16() {
        401 | 403 => login(),
        404 | 405 => {
            "this is no Pushgateway: `url` is its base, with the prefix that it is served under"
                .to_owned()
        }
        _ => "look into the log of the gateway, or of the proxy before it".to_owned(),
    };
    Finding::wrong(CHECK, told(answer.status, &answer.text), advice)
}

fn unanswered(error: &ProbeError) -> Finding {
    let advice = match error {
        ProbeError::Client(_) | ProbeError::Send(SendError::Auth(_)) => {
            "see that the files that it names are there and readable for the user that celeriac runs as, and that the \
             login can be had"
        }
        ProbeError::Send(SendError::Http(text) | SendError::Unreachable(text))
            if text.contains("certificate") =>
        {
            "give `tls_config.ca_file` the authority that signed the receiver's certificate, or `tls_config.server_name` \
             the name that stands in it"
        }
        ProbeError::Send(SendError::Http(_) | SendError::Unreachable(_)) => {
            "check host and port in `url`, that the receiver runs, and that nothing between here and there (a firewall, \
             a NetworkPolicy, a proxy, TLS on one side only) forbids it"
        }
    };
    Finding::wrong(CHECK, error.to_string(), advice)
}

fn login() -> String {
    "it wants a login, or another: `basic_auth`, `authorization`, `oauth2` or `sigv4`, as the same block in \
     prometheus.yml has it; files with secrets are read anew at each request"
        .to_owned()
}

fn told(status: StatusCode, text: &str) -> String {
    match text.trim() {
        "" => status.to_string(),
        text => format!("{status}: {text}"),
    }
}
