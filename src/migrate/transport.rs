//! Converts the broker: its URL, and Kombu's transport and TLS options.

use serde_json::{Map, Value};

use super::draft::{Draft, plain, text};

/// Copies the URL; with TLS options its scheme becomes the TLS one.
pub(super) fn url(draft: &mut Draft, url: &str, tls: &[String]) {
    let mut url = url.to_owned();
    for option in tls {
        let (key, value) = option.split_once('=').unwrap_or((option, ""));
        match key.trim_start_matches("ssl_") {
            "ca_certs" => draft.tls("ca_file", text(value)),
            "certfile" => draft.tls("cert_file", text(value)),
            "keyfile" => draft.tls("key_file", text(value)),
            "server_hostname" => draft.tls("server_name", text(value)),
            "cert_reqs" if is_none(value) => draft.tls("insecure_skip_verify", plain(true)),
            "cert_reqs" => {}
            _ => draft.note("--broker-ssl-option", format!("`{key}` has no counterpart")),
        }
    }
    if !tls.is_empty() {
        let parts = url.split(';').map(|part| match part.split_once("://") {
            Some(("amqp" | "pyamqp", rest)) => format!("amqps://{rest}"),
            Some(("redis", rest)) => format!("rediss://{rest}"),
            Some(("sentinel", rest)) => format!("sentinel+tls://{rest}"),
            _ => part.to_owned(),
        });
        url = parts.collect::<Vec<_>>().join(";");
        if url.starts_with("${") {
            draft.note(
                "TLS",
                "the broker's URL must begin with amqps:// or rediss://",
            );
        }
    }
    draft.broker("url", text(&url));
}

/// Whether a value is `ssl.CERT_NONE`, by name or number.
fn is_none(value: &str) -> bool {
    value == "0" || value.to_ascii_lowercase().ends_with("none")
}

/// Converts options given as `key=value`.
pub(super) fn pairs(draft: &mut Draft, option: &str, given: &[String]) {
    let pairs = given.iter().map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let read = serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_owned()));
        (key.to_owned(), read)
    });
    let options = pairs.collect();
    convert_options(draft, option, &options);
}

/// Converts options given as a JSON object.
pub(super) fn json(draft: &mut Draft, option: &str, given: &str) {
    match serde_json::from_str(given) {
        Ok(options) => convert_options(draft, option, &options),
        Err(error) => draft.problem(format!("{option}: expected a JSON object: {error}")),
    }
}

fn convert_options(draft: &mut Draft, option: &str, options: &Map<String, Value>) {
    for (key, value) in options {
        match (key.as_str(), value) {
            ("global_keyprefix" | "sep" | "unacked_key", Value::String(value)) => {
                draft.broker(key, text(value));
            }
            ("fanout_prefix", Value::String(value)) if !is_bool(value) => {
                draft.broker(key, text(value));
            }
            ("fanout_prefix" | "fanout_patterns", Value::Bool(_)) => {
                draft.broker(key, plain(value))
            }
            // The form that `key=value` produces.
            ("fanout_prefix" | "fanout_patterns", Value::String(value)) => {
                draft.broker(key, plain(value.to_lowercase()));
            }
            ("priority_steps", Value::Array(_)) => draft.broker(key, plain(value)),
            ("master_name", Value::String(value)) => draft.sentinel(key, value),
            ("sentinel_kwargs", Value::Object(login)) => {
                for key in ["username", "password"] {
                    if let Some(Value::String(value)) = login.get(key) {
                        draft.sentinel(key, value);
                    }
                }
            }
            ("visibility_timeout", _) => {
                draft.note(option, "`visibility_timeout` applies only to workers");
            }
            ("ack_emulation", Value::Bool(false)) => {
                draft.note(
                    option,
                    "`ack_emulation: false` is not supported: there are no \
                                    unacknowledged messages to count",
                );
            }
            ("sentinel_fanout_compat", Value::Bool(true)) => {
                draft.note(
                    option,
                    "`sentinel_fanout_compat` is not supported: every event arrives twice",
                );
            }
            _ => draft.note(option, format!("`{key}` has no counterpart")),
        }
    }
}

fn is_bool(value: &str) -> bool {
    value.eq_ignore_ascii_case("true") || value.eq_ignore_ascii_case("false")
}
