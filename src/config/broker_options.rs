//! The options in the query of a broker's URL: those that Kombu honors have the same effect, and any
//! other is a problem that names it.

use super::broker_url::{BrokerUrl, is_tls};
use super::section::Section;
use super::tls::TlsConfig;
use crate::secret::Secret;

impl BrokerUrl {
    pub(super) fn is_amqp(&self) -> bool {
        matches!(
            self.scheme.as_str(),
            "amqp" | "pyamqp" | "librabbitmq" | "amqps"
        )
    }

    fn is_socket(&self) -> bool {
        self.scheme == "redis+socket"
    }

    /// Returns whether the connection uses TLS. As in Kombu, `redis://` does with any `ssl_*` option.
    pub(super) fn secure(&self) -> bool {
        matches!(self.scheme.as_str(), "amqps" | "rediss" | "sentinel+tls")
            || self.query.iter().any(|(name, _)| is_tls(name))
    }

    /// Returns the `tls` keys and the `ssl_*` options, if the connection uses TLS.
    pub(super) fn tls(&self, tls: Option<&TlsConfig>) -> Option<TlsConfig> {
        let mut tls = self.secure().then(|| tls.cloned().unwrap_or_default())?;
        let file = |key: &str| self.query(key).map(|path| Secret::File(path.into()));
        tls.insecure_skip_verify |= self.skips_verification();
        tls.ca = tls.ca.or_else(|| file("ssl_ca_certs"));
        // As in Python, the file of a certificate can also contain its key.
        let key = file("ssl_keyfile").or_else(|| file("ssl_certfile"));
        tls.identity = tls.identity.or_else(|| file("ssl_certfile").zip(key));
        Some(tls)
    }

    fn skips_verification(&self) -> bool {
        matches!(self.query("ssl_cert_reqs"), Some("none" | "CERT_NONE"))
    }

    /// Returns the heartbeat interval in whole seconds, if it is set and valid.
    pub(super) fn heartbeat(&self) -> Option<u16> {
        self.query("heartbeat")?.parse().ok()
    }
}

/// Reports the options that a URL must not have.
pub(super) fn check_options(
    section: &mut Section<'_>,
    urls: &[BrokerUrl],
    tls: Option<&TlsConfig>,
) {
    // Only the first one's apply, to all sentinels and the master.
    let differs = |url: &BrokerUrl| urls.first().is_some_and(|first| url.query != first.query);
    if urls
        .iter()
        .any(|url| url.scheme == "sentinel+tls" && differs(url))
    {
        section.problem("url", "set options only in the URL of the first sentinel");
    }
    let mut reported: Vec<&str> = Vec::new();
    for url in urls {
        for (name, _) in &url.query {
            if reported.contains(&name.as_str()) {
                continue;
            }
            if let Some(what) = problem(url, name, tls) {
                section.problem("url", format!("the option `{name}` {what}"));
                reported.push(name);
            }
        }
    }
}

/// Explains why a URL must not have an option, and what to write instead.
fn problem(url: &BrokerUrl, name: &str, tls: Option<&TlsConfig>) -> Option<&'static str> {
    let value = url.query(name).unwrap_or_default();
    let what = match name {
        name if is_tls(name) => return tls_problem(url, name, value, tls),
        "ssl" if url.is_amqp() => "is not supported; use amqps://",
        "ssl" => "is not supported; use rediss://",
        "heartbeat" if !url.is_amqp() => "has no effect on Redis; remove it",
        "heartbeat" if url.heartbeat().is_some() => return None,
        "heartbeat" => "must be a whole number of seconds up to 65535",
        "login_method" if url.is_amqp() && value == "PLAIN" => return None,
        "login_method" if url.is_amqp() => "must be PLAIN, the only method supported",
        "login_method" => "has no effect on Redis; remove it",
        "connect_timeout" | "insist" => "is not supported; remove it",
        "credential_provider" => "is not supported; use `password_file`",
        "virtual_host" if url.is_socket() => return None,
        "virtual_host" if url.is_amqp() => "is not supported; use amqp://host/vhost",
        "virtual_host" | "db" if !url.is_socket() => "is not supported; use redis://host/0",
        "db" => "is not supported; use `virtual_host`",
        "userid" | "username" | "user" | "password" => {
            "is not supported; write user:password@ before the host, or use `password_file`"
        }
        "hostname" | "host" | "port" => "is not supported; write host:port before the path",
        "global_keyprefix" | "fanout_prefix" | "fanout_patterns" | "priority_steps" | "sep"
        | "unacked_key" => "is not supported in a URL; set the broker's key of that name",
        "master_name" | "service_name" => "is not supported; set `sentinel.master_name`",
        _ => "is not supported; remove it",
    };
    Some(what)
}

fn tls_problem(
    url: &BrokerUrl,
    name: &str,
    value: &str,
    tls: Option<&TlsConfig>,
) -> Option<&'static str> {
    const TWICE: &str = "is also set under `tls`; remove one of them";
    if url.is_amqp() {
        return Some("is not supported with RabbitMQ; use amqps:// and the keys under `tls`");
    }
    if url.is_socket() {
        return Some("has no effect on a socket; remove it");
    }
    if url.scheme == "sentinel" {
        return Some("does not apply to the sentinels; use sentinel+tls://");
    }
    match name {
        "ssl_ca_certs" => tls.is_some_and(|tls| tls.ca.is_some()).then_some(TWICE),
        "ssl_certfile" | "ssl_keyfile" if tls.is_some_and(|tls| tls.identity.is_some()) => {
            Some(TWICE)
        }
        "ssl_certfile" => None,
        "ssl_keyfile" => url
            .query("ssl_certfile")
            .is_none()
            .then_some("requires the option `ssl_certfile`"),
        "ssl_cert_reqs" => {
            let known = [
                "none",
                "optional",
                "required",
                "CERT_NONE",
                "CERT_OPTIONAL",
                "CERT_REQUIRED",
            ];
            (!known.contains(&value)).then_some("must be none, optional or required")
        }
        "ssl_check_hostname" => {
            let off = value.eq_ignore_ascii_case("false") && !url.skips_verification();
            off.then_some("must be true; set `tls.server_name` to a name in the certificate")
        }
        _ => Some("is not supported; use the keys under `tls`"),
    }
}
