//! Which daemon `status` and `top` show, and how to log in to it.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use super::{EX_CONFIG, EX_USAGE, complain};
use crate::config::{Config, HttpConfig, TlsConfig};
use crate::secret::Secret;
use crate::status::query::{Query, QueryError, Window};
use crate::terminal::{Client, Credentials, Target, TargetError};

/// The address without `--url`, `--config` and `CELERIAC_URL`.
const URL: &str = "http://127.0.0.1:9808";

/// Environment variable with the URL of the daemon.
const URL_VARIABLE: &str = "CELERIAC_URL";

/// The arguments that commands which show a daemon share.
#[derive(Debug, Args)]
pub(super) struct Connection {
    /// URL of the daemon, with a path if it is served below one [default: CELERIAC_URL, or http://127.0.0.1:9808].
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// Use the address of the listener in this configuration file.
    #[arg(short, long, value_name = "FILE", conflicts_with = "url")]
    config: Option<PathBuf>,
    /// User of the listener; a login can also be part of the URL.
    #[arg(long, value_name = "NAME", requires = "password_file")]
    user: Option<String>,
    /// File with the password of the user.
    #[arg(long, value_name = "FILE", requires = "user")]
    password_file: Option<PathBuf>,
    /// File with a bearer token of the listener.
    #[arg(long, value_name = "FILE", conflicts_with = "user")]
    bearer_token_file: Option<PathBuf>,
    /// File with certificate authorities to trust instead of the system's.
    #[arg(long, value_name = "FILE", conflicts_with = "insecure_skip_verify")]
    ca_file: Option<PathBuf>,
    /// Accept any certificate of the daemon.
    #[arg(long)]
    insecure_skip_verify: bool,
    /// File with a client certificate, if the listener requires one.
    #[arg(long, value_name = "FILE", requires = "key_file")]
    cert_file: Option<PathBuf>,
    /// File with the key of the client certificate.
    #[arg(long, value_name = "FILE", requires = "cert_file")]
    key_file: Option<PathBuf>,
    /// Window that rates, ratios and percentiles are computed over.
    #[arg(long, value_name = "WINDOW", default_value = "5m", value_parser = parse_window)]
    pub(super) window: Window,
    /// Show only rows whose name contains this text; with re: before it, matches this regular expression.
    #[arg(short = 'q', long, value_name = "FILTER", value_parser = parse_filter)]
    pub(super) filter: Option<Query>,
}

impl Connection {
    /// Creates a client, or complains and returns the exit status.
    pub(super) fn client(&self) -> Result<Client, ExitCode> {
        let url = self.url()?;
        let secret = |path: &PathBuf| Secret::File(path.clone());
        let credentials = match (&self.user, &self.password_file, &self.bearer_token_file) {
            (Some(user), Some(password), _) => Credentials::Basic {
                user: user.clone(),
                password: secret(password),
            },
            (_, _, Some(token)) => Credentials::Bearer(secret(token)),
            _ => Credentials::None,
        };
        let identity = self.cert_file.as_ref().zip(self.key_file.as_ref());
        let tls = TlsConfig {
            ca: self.ca_file.as_ref().map(secret),
            identity: identity.map(|(cert, key)| (secret(cert), secret(key))),
            insecure_skip_verify: self.insecure_skip_verify,
            ..TlsConfig::default()
        };
        let client = Target::new(&url, credentials, tls).and_then(Client::new);
        client.map_err(|error| {
            let key = match error {
                TargetError::Url(_) | TargetError::Scheme(_) => "URL of the daemon: ",
                TargetError::Tls(_) | TargetError::Http(_) => "",
            };
            complain(&format!("{key}{error}"));
            ExitCode::from(EX_USAGE)
        })
    }

    fn url(&self) -> Result<String, ExitCode> {
        if let Some(url) = &self.url {
            return Ok(url.clone());
        }
        if let Some(file) = &self.config {
            return configured(file);
        }
        let variable = std::env::var(URL_VARIABLE).ok();
        Ok(variable
            .filter(|url| !url.is_empty())
            .unwrap_or_else(|| URL.to_owned()))
    }
}

/// The URL of the listener in a configuration file.
fn configured(file: &Path) -> Result<String, ExitCode> {
    let config = Config::load(file).map_err(|error| {
        complain(&error.to_string());
        ExitCode::from(EX_CONFIG)
    })?;
    config.http.as_ref().map(url_of).ok_or_else(|| {
        complain(&format!(
            "{}: no `http` section, so the daemon has no listener; add http.listen",
            file.display()
        ));
        ExitCode::from(EX_CONFIG)
    })
}

/// The URL of a listener as seen from its own machine.
fn url_of(http: &HttpConfig) -> String {
    let (ip, port) = (http.listen.ip(), http.listen.port());
    match &http.tls {
        // A certificate names a host.
        Some(_) if ip.is_unspecified() || ip.is_loopback() => format!("https://localhost:{port}"),
        Some(_) => format!("https://{}", http.listen),
        None if ip.is_unspecified() => format!("http://127.0.0.1:{port}"),
        None => format!("http://{}", http.listen),
    }
}

fn parse_window(text: &str) -> Result<Window, String> {
    let mut windows = Window::ALL.into_iter();
    let window = windows.find(|window| window.name() == text);
    window.ok_or_else(|| "expected 1m, 5m or 1h".to_owned())
}

fn parse_filter(text: &str) -> Result<Query, String> {
    query("q", text).map_err(|error| error.to_string())
}

/// A query with one parameter.
pub(super) fn query(key: &str, value: &str) -> Result<Query, QueryError> {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    Query::parse(&query.append_pair(key, value).finish())
}

/// Whether the environment asks for no colours (no-color.org).
pub(super) fn no_color() -> bool {
    std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_url_of_a_listener_is_one_that_this_machine_can_use() {
        for (keys, expected) in [
            ("listen: '127.0.0.1:9808'", "http://127.0.0.1:9808"),
            ("listen: ':9808'", "http://127.0.0.1:9808"),
            ("listen: '0.0.0.0:80'", "http://127.0.0.1:80"),
            ("listen: '[::1]:9808'", "http://[::1]:9808"),
            ("listen: '10.0.0.7:9808'", "http://10.0.0.7:9808"),
            (
                "listen: ':9808', tls: {cert_file: c, key_file: k}",
                "https://localhost:9808",
            ),
            (
                "listen: '10.0.0.7:9808', tls: {cert_file: c, key_file: k}",
                "https://10.0.0.7:9808",
            ),
        ] {
            let text = format!("brokers: [{{url: 'redis://h'}}]\nhttp: {{{keys}}}");
            let config = Config::parse(&text, Path::new("x.yaml"), []).expect("valid");
            assert_eq!(url_of(&config.http.expect("a listener")), expected);
        }
    }
}
