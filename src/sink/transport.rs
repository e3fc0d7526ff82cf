//! The connections of an HTTP client: TLS, proxy and pool, replaced when a certificate changes on
//! disk.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio::sync::Mutex;
use tracing::{info, warn};

use crate::clock;
use crate::config::{ProxyConfig, ProxyServer, TlsConfig};
use crate::secret::SecretError;
use crate::tls;

/// Minimum time between two checks of the files. After a rotation, the old certificates stay valid
/// for longer than this.
const LOOK_EVERY: Duration = Duration::from_secs(3);

/// Maximum time to wait for a connection.
const CONNECT_TIMEOUT_MAX: Duration = Duration::from_secs(10);

/// How long an HTTP/2 connection may be silent before it is pinged. Prometheus waits twice as long.
const PING_EVERY: Duration = Duration::from_secs(30);

/// Settings of the connections.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) tls: TlsConfig,
    pub(super) proxy: ProxyConfig,
    pub(super) timeout: Duration,
    pub(super) http2: bool,
}

/// The connections to one server.
pub(super) struct Transport {
    settings: Arc<Settings>,
    files: Arc<[PathBuf]>,
    /// Held while new certificates are read, so that concurrent senders get them too.
    current: Mutex<Current>,
}

struct Current {
    http: reqwest::Client,
    made_of: Vec<Stamp>,
    looked: Instant,
    /// The last logged reason why the newest files cannot be used.
    complaint: Option<String>,
}

/// Modification time and size of a file; `None` if it cannot be read.
type Stamp = Option<(SystemTime, u64)>;

/// Why a client cannot be created.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    #[error(transparent)]
    Tls(#[from] tls::TlsError),
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error("cannot create an HTTP client")]
    Http(#[source] reqwest::Error),
    #[error("this celeriac was built without the feature sigv4")]
    NoSigV4,
}

impl Transport {
    /// Creates the connections. Reads the trust store and certificates.
    pub(super) fn new(settings: Settings) -> Result<Self, BuildError> {
        let files: Arc<[PathBuf]> = settings.tls.files().into();
        // Taken before the files are read, so that the next check detects a change in between.
        let made_of = stamps(&files);
        let current = Current {
            http: build(&settings)?,
            made_of,
            looked: clock::monotonic(),
            complaint: None,
        };
        Ok(Self {
            settings: Arc::new(settings),
            files,
            current: Mutex::new(current),
        })
    }

    /// Returns the current client.
    pub(super) async fn client(&self) -> reqwest::Client {
        self.client_at(clock::monotonic()).await
    }

    /// Returns the proxy credentials, which the proxy may repeat in an error.
    pub(super) fn proxy_secrets(&self) -> Vec<String> {
        let ProxyConfig::Server(server) = &self.settings.proxy else {
            return Vec::new();
        };
        let headers = server.connect_headers.values();
        let headers = headers.filter_map(|value| value.to_str().ok().map(str::to_owned));
        let mut secrets: Vec<String> = headers.collect();
        let Some(login) = &server.login else {
            return secrets;
        };
        let password = login.password.as_ref();
        let password = password.and_then(|password| password.read().ok());
        let password = password.unwrap_or_default();
        let username = login.username.read().unwrap_or_default();
        secrets.extend([STANDARD.encode(format!("{username}:{password}")), password]);
        secrets
    }

    async fn client_at(&self, now: Instant) -> reqwest::Client {
        let mut current = self.current.lock().await;
        if !self.files.is_empty() && now.duration_since(current.looked) >= LOOK_EVERY {
            current.looked = now;
            self.look(&mut current).await;
        }
        current.http.clone()
    }

    async fn look(&self, current: &mut Current) {
        let (settings, files) = (Arc::clone(&self.settings), Arc::clone(&self.files));
        let made_of = current.made_of.clone();
        // The files may be on a slow volume.
        let looking = tokio::task::spawn_blocking(move || {
            let found = stamps(&files);
            (found != made_of).then(|| (build(&settings), found))
        });
        match looking.await {
            Ok(Some((Ok(http), found))) => {
                info!("reloaded certificates; new connections use them");
                current.http = http;
                current.made_of = found;
                current.complaint = None;
            }
            Ok(Some((Err(error), _))) => {
                // A certificate and its key are rarely replaced at the same instant. Keep the old
                // ones and try again at the next check.
                let complaint = error.to_string();
                if current.complaint.as_ref() != Some(&complaint) {
                    warn!(error = %complaint, "reloading certificates failed; keeping the old ones");
                    current.complaint = Some(complaint);
                }
            }
            Ok(None) | Err(_) => {}
        }
    }
}

fn stamps(files: &[PathBuf]) -> Vec<Stamp> {
    let stamp = |path: &PathBuf| {
        let metadata = std::fs::metadata(path).ok()?;
        Some((metadata.modified().ok()?, metadata.len()))
    };
    files.iter().map(stamp).collect()
}

fn build(settings: &Settings) -> Result<reqwest::Client, BuildError> {
    let mut tls = tls::client_config(&settings.tls)?;
    // The client does not change a custom TLS configuration, so the protocols are set here.
    if settings.http2 {
        tls.alpn_protocols.push(b"h2".to_vec());
    }
    tls.alpn_protocols.push(b"http/1.1".to_vec());
    let builder = reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .timeout(settings.timeout)
        .connect_timeout(settings.timeout.min(CONNECT_TIMEOUT_MAX))
        .http2_keep_alive_interval(PING_EVERY)
        // Redirects are followed by our own code, which decides what another host may receive.
        .redirect(reqwest::redirect::Policy::none())
        // Retries are our own, so that each attempt is judged and counted.
        .retry(reqwest::retry::never());
    let builder = match &settings.proxy {
        // By default, the library reads the environment.
        ProxyConfig::Direct => builder.no_proxy(),
        ProxyConfig::Environment => builder,
        ProxyConfig::Server(server) => builder.proxy(proxy(server)?),
    };
    let builder = if settings.http2 {
        builder
    } else {
        builder.http1_only()
    };
    builder.build().map_err(BuildError::Http)
}

fn proxy(server: &ProxyServer) -> Result<reqwest::Proxy, BuildError> {
    let mut proxy = reqwest::Proxy::all(server.url.clone()).map_err(BuildError::Http)?;
    if let Some(login) = &server.login {
        let password = login.password.as_ref().map(|password| password.read());
        let password = password.transpose()?.unwrap_or_default();
        proxy = proxy.basic_auth(&login.username.read()?, &password);
    }
    if !server.connect_headers.is_empty() {
        proxy = proxy.headers(server.connect_headers.clone());
    }
    Ok(proxy.no_proxy(reqwest::NoProxy::from_string(&server.no_proxy)))
}

#[cfg(test)]
mod tests;
