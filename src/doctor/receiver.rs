//! Checks a remote-write receiver or a Pushgateway: whether it accepts requests.

use http::StatusCode;

use super::finding::Finding;
use crate::sink::advice;
use crate::sink::client::SendError;
use crate::sink::probe::{ProbeError, Probed};
use crate::sink::verdict::Verdict;

const CHECK: &str = "response";

/// Interprets the response to a request without series.
pub(super) fn remote_write(probed: &Result<Probed, ProbeError>) -> Finding {
    let probed = match probed {
        Ok(probed) => probed,
        Err(error) => return unanswered(error),
    };
    let status = probed.answer.status;
    let message = probed.protocol.message();
    if probed.verdict == Verdict::Delivered {
        return Finding::fine(CHECK, format!("{status}, accepts {message}"));
    }
    let text = &probed.answer.text;
    let found = described(status, text);
    if let Some(advice) = advice::rejected(status, text) {
        return Finding::wrong(CHECK, found, advice);
    }
    let advice = match status.as_u16() {
        413 => "a proxy rejects even an empty request as too large: raise its body size limit"
            .to_owned(),
        429 | 500..=599 => {
            "the receiver is overloaded or failing: check its log; samples stay pending until it \
             recovers"
                .to_owned()
        }
        200..=299 => "the receiver accepts requests that it does not understand: it does not \
                      support the version in `protobuf_message`; remove that key"
            .to_owned(),
        // Typical response of a TLS web server to plain HTTP.
        400 if text.contains("HTTPS") => "the port requires TLS: use https:// in `url`".to_owned(),
        // The receiver may reject this only because the request contains no series.
        400 | 422 => {
            let advice = "the receiver rejects a request without series, but may accept others: \
                          run the daemon and watch celeriac_remote_storage_samples_failed_total";
            return Finding::open(CHECK, found, advice);
        }
        _ => format!("check the path in `url`, usually {}", advice::PATHS),
    };
    Finding::wrong(CHECK, found, advice)
}

/// Interprets the status of a Pushgateway's response.
pub(super) fn pushgateway(answer: &Result<crate::sink::client::Answer, ProbeError>) -> Finding {
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => return unanswered(error),
    };
    if answer.status.is_success() {
        return Finding::fine(CHECK, format!("{}, a Pushgateway", answer.status));
    }
    let advice = match answer.status.as_u16() {
        401 | 403 => advice::login(),
        404 | 405 => {
            "this is not a Pushgateway: set `url` to its base URL, including its path prefix if any"
                .to_owned()
        }
        _ => "check the log of the gateway or of the proxy in front of it".to_owned(),
    };
    Finding::wrong(CHECK, described(answer.status, &answer.text), advice)
}

fn unanswered(error: &ProbeError) -> Finding {
    let advice = match error {
        ProbeError::Client(_) | ProbeError::Send(SendError::Auth(_)) => {
            "check that the files it names exist and are readable by the user that celeriac runs \
             as, and that credentials can be obtained"
        }
        ProbeError::Send(SendError::Http(text) | SendError::Unreachable(text))
            if text.contains("certificate") =>
        {
            "set `tls_config.ca_file` to the authority that signed the receiver's certificate, or \
             `tls_config.server_name` to the name in the certificate"
        }
        ProbeError::Send(SendError::Http(_) | SendError::Unreachable(_)) => {
            "check host and port in `url`, that the receiver is running, and that nothing in \
             between (a firewall, a NetworkPolicy, a proxy, TLS on one side only) blocks the \
             connection"
        }
    };
    Finding::wrong(CHECK, error.to_string(), advice)
}

fn described(status: StatusCode, text: &str) -> String {
    match text.trim() {
        "" => status.to_string(),
        text => format!("{status}: {text}"),
    }
}
