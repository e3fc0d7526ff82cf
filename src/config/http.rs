//! `http`: the HTTP listener.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use bcrypt::HashParts;
use url::Url;

use super::profile::profile;
use super::section::Section;
use super::shown::Shown;
use crate::profile::ProfileName;
use crate::secret::Secret;

/// Maximum length of the path in front of the status page.
const PREFIX_BYTES_MAX: usize = 200;

/// The listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpConfig {
    pub listen: SocketAddr,
    /// `None` means plain HTTP.
    pub tls: Option<ServerTlsConfig>,
    pub login: LoginConfig,
    /// Whether `POST /-/reload` reloads the configuration.
    pub reload: bool,
    /// Further paths that answer like `/-/healthy`.
    pub healthy_paths: Vec<String>,
    /// Further paths that answer like `/-/ready`.
    pub ready_paths: Vec<String>,
    /// The pages to scrape.
    pub scrape: Vec<ScrapeConfig>,
    /// `None`: there is no status page.
    pub status: Option<StatusConfig>,
}

/// The status page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StatusConfig {
    /// The path in front of the page's own that clients use, without a slash at its end. `None`:
    /// `X-Forwarded-Prefix`.
    pub external_prefix: Option<String>,
    /// Address of the folder with the runbooks, without a slash at its end.
    pub runbook_url: Option<String>,
}

/// A page to scrape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScrapeConfig {
    pub path: String,
    pub profile: ProfileName,
    /// Whether protobuf pages contain native histograms alongside classic ones, which requires the
    /// table to keep them.
    pub native_histograms: bool,
    /// Whether OpenMetrics pages contain `_created` series.
    pub created_series: bool,
}

/// TLS settings of the server. The files are reloaded when they change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerTlsConfig {
    pub cert_file: PathBuf,
    pub key_file: PathBuf,
    /// Authority that must have signed the client's certificate.
    pub client_ca_file: Option<PathBuf>,
}

/// Accepted logins. If both are set, either one is sufficient; if neither is, no login is required.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoginConfig {
    pub users: Vec<(String, PasswordHash)>,
    /// File with the accepted token.
    pub bearer_token: Option<Secret>,
}

/// A bcrypt password hash. It is not printed, because a weak password can be found by brute force.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(String);

/// Why a text is not a usable password hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    #[error("expected a bcrypt password hash, as printed by `htpasswd -nBC 10 NAME`")]
    NoHash,
    #[error(
        "the bcrypt cost {0} is too high, because each login would take seconds; use at most \
         {max}, as in `htpasswd -nBC 10 NAME`",
        max = PasswordHash::COST_MAX
    )]
    Cost(u32),
}

impl PasswordHash {
    /// About one second per login. The next higher cost takes two; bcrypt's maximum of 31 takes a
    /// day and a half.
    const COST_MAX: u32 = 14;

    /// Parses a hash as in `htpasswd -B` and Prometheus' web configuration.
    pub fn parse(text: &str) -> Result<Self, PasswordError> {
        let parts: HashParts = text.parse().map_err(|_| PasswordError::NoHash)?;
        match parts.get_cost() {
            0..4 => Err(PasswordError::NoHash),
            4..=Self::COST_MAX => Ok(Self(text.to_owned())),
            cost => Err(PasswordError::Cost(cost)),
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

impl HttpConfig {
    pub(super) fn read(section: &mut Section<'_>) -> Option<Self> {
        let such_as = "127.0.0.1:9808, or :9808 for all addresses";
        let address = section.needed_text("listen", such_as).and_then(|text| {
            let address = parse_listen(&text);
            if address.is_none() {
                section.problem(
                    "listen",
                    format!("expected an address and a port such as {such_as}, found `{text}`"),
                );
            }
            address
        });
        let tls = section.optional_section("tls", ServerTlsConfig::read);
        let login = LoginConfig::read(section);
        let reload = section.bool("reload", false);
        let status = StatusConfig::read(section);
        let scrape = scrape(section);
        let mut used: Vec<&str> = scrape.iter().map(|page| page.path.as_str()).collect();
        let [healthy_paths, ready_paths] =
            ["healthy_paths", "ready_paths"].map(|key| section.texts(key, &[]));
        for (key, paths) in [
            ("healthy_paths", &healthy_paths),
            ("ready_paths", &ready_paths),
        ] {
            for path in paths {
                check_path(section, key, path);
                if used.contains(&path.as_str()) {
                    section.problem(key, format!("the path `{path}` is already in use"));
                }
                used.push(path);
            }
        }
        address.map(|listen| Self {
            listen,
            tls: tls.flatten(),
            login,
            reload,
            healthy_paths,
            ready_paths,
            scrape,
            status,
        })
    }
}

impl StatusConfig {
    fn read(section: &mut Section<'_>) -> Option<Self> {
        let is_on = section.bool("status", true);
        let external_prefix = section.optional_text("external_prefix").and_then(|text| {
            let prefix = path_prefix(&text);
            if prefix.is_none() {
                let problem = format!("expected a path such as /celeriac, found `{text}`");
                section.problem("external_prefix", problem);
            }
            prefix.filter(|prefix| !prefix.is_empty())
        });
        let runbook_url = section.optional_text("runbook_url").and_then(|text| {
            let url = Url::parse(&text).ok();
            let url = url.filter(|url| matches!(url.scheme(), "http" | "https"));
            if url.is_none() {
                let example = "https://example.org/celeriac/docs/runbooks";
                let problem = format!("expected a URL such as {example}, found `{text}`");
                section.problem("runbook_url", problem);
            }
            url.map(|_| text.trim_end_matches('/').to_owned())
        });
        is_on.then_some(Self {
            external_prefix,
            runbook_url,
        })
    }
}

/// Returns a path to put in front of another one, without a slash at its end. `None` if it is not
/// valid: links that begin with it must lead to the same host.
pub fn path_prefix(text: &str) -> Option<String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/_.~-".contains(c);
    let valid = text.starts_with('/')
        && text.len() <= PREFIX_BYTES_MAX
        && text.chars().all(plain)
        && !text.contains("//")
        && !text.split('/').any(|part| part == "." || part == "..");
    valid.then(|| text.trim_end_matches('/').to_owned())
}

impl ServerTlsConfig {
    fn read(section: &mut Section<'_>) -> Option<Self> {
        let cert_file = section.needed_text("cert_file", "/etc/ssl/celeriac.pem");
        let key_file = section.needed_text("key_file", "/etc/ssl/celeriac.key");
        let client_ca_file = section.optional_text("client_ca_file").map(PathBuf::from);
        Some(Self {
            cert_file: cert_file?.into(),
            key_file: key_file?.into(),
            client_ca_file,
        })
    }
}

impl LoginConfig {
    fn read(section: &mut Section<'_>) -> Self {
        let mut users = Vec::new();
        let mut shown = Vec::new();
        for (name, hash) in section.text_map("basic_auth_users") {
            let key = format!("basic_auth_users.{name}");
            match PasswordHash::parse(&hash) {
                Ok(_) if name.contains(':') => {
                    section.problem(&key, "a user name cannot contain a colon");
                }
                Ok(hash) => users.push((name.clone(), hash)),
                Err(error) => section.problem(&key, error.to_string()),
            }
            shown.push((name, Shown::Secret));
        }
        section.show("basic_auth_users", Shown::Map(shown));
        let bearer_token = section.optional_text("bearer_token_file");
        Self {
            users,
            bearer_token: bearer_token.map(|path| Secret::File(path.into())),
        }
    }
}

/// Reads the pages; without the key, there is one at `/metrics`.
fn scrape(section: &mut Section<'_>) -> Vec<ScrapeConfig> {
    if !section.has("scrape") && !section.is_reference() {
        let default = ScrapeConfig {
            path: "/metrics".to_owned(),
            profile: ProfileName::Native,
            native_histograms: false,
            created_series: false,
        };
        let shown = [
            ("path".to_owned(), Shown::Text(default.path.clone())),
            (
                "profile".to_owned(),
                Shown::Text(default.profile.name().to_owned()),
            ),
            (
                "native_histograms".to_owned(),
                Shown::Plain(false.to_string()),
            ),
            ("created_series".to_owned(), Shown::Plain(false.to_string())),
        ];
        // Registers the key and shows the default.
        section.sections("scrape", |_| ());
        section.show("scrape", Shown::List(vec![Shown::Map(shown.into())]));
        return vec![default];
    }
    let pages: Vec<Option<ScrapeConfig>> = section.sections("scrape", |page| {
        let path = page.needed_text("path", "/metrics");
        let profile = profile(page);
        let native_histograms = page.bool("native_histograms", false);
        let created_series = page.bool("created_series", false);
        let path = path.filter(|path| check_path(page, "path", path))?;
        Some(ScrapeConfig {
            path,
            profile,
            native_histograms,
            created_series,
        })
    });
    let mut kept: Vec<ScrapeConfig> = Vec::new();
    for page in pages.into_iter().flatten() {
        if kept.iter().any(|other| other.path == page.path) {
            section.problem(
                "scrape",
                format!(
                    "two pages have the path `{}`; give each its own `path`",
                    page.path
                ),
            );
        } else {
            kept.push(page);
        }
    }
    kept
}

/// Whether a path can be served; reports a problem if not.
fn check_path(section: &mut Section<'_>, key: &str, path: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/-_.".contains(c);
    let valid = path.starts_with('/') && path.chars().all(plain) && !path.starts_with("/-/");
    if !valid {
        let example = "expected a path such as /metrics/flower and not below /-/";
        section.problem(key, format!("{example}, found `{path}`"));
    }
    valid
}

/// `:9808` means every address of the machine, as in Prometheus.
fn parse_listen(text: &str) -> Option<SocketAddr> {
    match text.strip_prefix(':') {
        Some(port) => Some(SocketAddr::from(([0; 16], port.parse().ok()?))),
        None => text.replace("localhost", "127.0.0.1").parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::Config;

    /// Returns the problems of an `http` section.
    fn problems(keys: &str) -> String {
        let text = format!("brokers: [{{url: 'redis://h'}}]\nhttp: {{listen: ':0', {keys}}}");
        let parsed = Config::parse(&text, Path::new("x.yaml"), []);
        parsed.map_or_else(|error| error.to_string(), |_| String::new())
    }

    #[test]
    fn a_prefix_is_a_plain_path_and_a_runbook_url_a_url() {
        for good in [
            "external_prefix: /a/b.c~d_e-f",
            "external_prefix: /a/",
            "external_prefix: /",
            "runbook_url: 'http://h/x'",
        ] {
            assert_eq!(problems(good), "", "{good}");
        }
        for bad in [
            "a",
            "//evil.example",
            "/a//b",
            "/a/../b",
            "/a?b",
            "/a b",
            "/ä",
            "https://h",
        ] {
            let found = problems(&format!("external_prefix: '{bad}'"));
            assert!(
                found.contains("http.external_prefix: expected a path"),
                "{bad}: {found}"
            );
        }
        for bad in ["runbooks", "ftp://h", "javascript:alert(1)"] {
            let found = problems(&format!("runbook_url: '{bad}'"));
            assert!(
                found.contains("http.runbook_url: expected a URL"),
                "{bad}: {found}"
            );
        }
        assert_eq!(super::path_prefix("/a/").as_deref(), Some("/a"));
    }

    #[test]
    fn every_path_is_used_once() {
        let good = "healthy_paths: [/], ready_paths: [/health], scrape: [{path: /m}]";
        assert_eq!(problems(good), "");
        for (keys, expected) in [
            (
                "ready_paths: [/metrics]",
                "http.ready_paths: the path `/metrics` is already in use",
            ),
            (
                "healthy_paths: [/h], ready_paths: [/h]",
                "http.ready_paths: the path `/h` is already in use",
            ),
            (
                "healthy_paths: [/-/live]",
                "http.healthy_paths: expected a path such as ",
            ),
        ] {
            let found = problems(keys);
            assert!(found.contains(expected), "{found}");
        }
    }
}
