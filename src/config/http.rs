//! `http`: the listener for people and for Prometheus.

use std::net::SocketAddr;

use super::section::Section;

/// The listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpConfig {
    pub listen: SocketAddr,
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
        address.map(|listen| Self { listen })
    }
}

/// `:9808` is every address of the machine, as in Prometheus.
fn parse_listen(text: &str) -> Option<SocketAddr> {
    match text.strip_prefix(':') {
        Some(port) => Some(SocketAddr::from(([0; 16], port.parse().ok()?))),
        None => text.replace("localhost", "127.0.0.1").parse().ok(),
    }
}
