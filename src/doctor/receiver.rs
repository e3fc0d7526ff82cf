//! A receiver of remote write, or a Pushgateway: whether it takes what is sent.

use http::StatusCode;

use super::finding::Finding;
use crate::sink::advice;
use crate::sink::client::SendError;
use crate::sink::probe::{ProbeError, Probed};
use crate::sink::verdict::Verdict;

const CHECK: &str = "answer";

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
    if let Some(advice) = advice::rejected(status, text) {
        return Finding::wrong(CHECK, found, advice);
    }
    let advice = match status.as_u16() {
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
        _ => format!("look at the path of `url`, mostly {}", advice::PATHS),
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
        401 | 403 => advice::login(),
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

fn told(status: StatusCode, text: &str) -> String {
    match text.trim() {
        "" => status.to_string(),
        text => format!("{status}: {text}"),
    }
}
