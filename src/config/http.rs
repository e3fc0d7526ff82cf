//! `http`: the listener for people and for Prometheus.

use std::net::SocketAddr;

use super::profile::profile;
use super::section::Section;
use super::shown::Shown;
use crate::profile::ProfileName;

/// The listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpConfig {
    pub listen: SocketAddr,
    /// The pages to pull.
    pub scrape: Vec<ScrapeConfig>,
}

/// A page to pull.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScrapeConfig {
    pub path: String,
    pub profile: ProfileName,
}

impl HttpConfig {
    pub(super) fn read(section: &mut Section<'_>) -> Option<Self> {
        let such_as = "127.0.0.1:9808, or :9808 for all addresses";
        let text = section.needed_text("listen", such_as)?;
        let address = parse_listen(&text);
        if address.is_none() {
            section.problem(
                "listen",
                format!("expected an address and a port such as {such_as}, found `{text}`"),
            );
        }
        let scrape = scrape(section);
        address.map(|listen| Self { listen, scrape })
    }
}

/// The pages; without the key, one at `/metrics`.
fn scrape(section: &mut Section<'_>) -> Vec<ScrapeConfig> {
    if !section.has("scrape") {
        let default = ScrapeConfig {
            path: "/metrics".to_owned(),
            profile: ProfileName::Native,
        };
        let shown = [
            ("path".to_owned(), Shown::Text(default.path.clone())),
            (
                "profile".to_owned(),
                Shown::Text(default.profile.name().to_owned()),
            ),
        ];
        // Known, and shown as what holds.
        section.sections("scrape", |_| ());
        section.show("scrape", Shown::List(vec![Shown::Map(shown.into())]));
        return vec![default];
    }
    let pages: Vec<Option<ScrapeConfig>> = section.sections("scrape", |page| {
        let path = page.needed_text("path", "/metrics");
        let profile = profile(page);
        let path = path?;
        let plain = |c: char| c.is_ascii_alphanumeric() || "/-_.".contains(c);
        if !path.starts_with('/') || !path.chars().all(plain) || path.starts_with("/-/") {
            page.problem(
                "path",
                format!("expected a path such as /metrics/flower, not below /-/, found `{path}`"),
            );
            return None;
        }
        Some(ScrapeConfig { path, profile })
    });
    let mut kept: Vec<ScrapeConfig> = Vec::new();
    for page in pages.into_iter().flatten() {
        if kept.iter().any(|other| other.path == page.path) {
            section.problem("scrape", format!("two have the path `{}`", page.path));
        } else {
            kept.push(page);
        }
    }
    kept
}

/// `:9808` is every address of the machine, as in Prometheus.
fn parse_listen(text: &str) -> Option<SocketAddr> {
    match text.strip_prefix(':') {
        Some(port) => Some(SocketAddr::from(([0; 16], port.parse().ok()?))),
        None => text.replace("localhost", "127.0.0.1").parse().ok(),
    }
}
