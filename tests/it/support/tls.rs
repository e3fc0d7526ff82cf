//! A TLS listener that requests a client certificate and forwards to a plain listener.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};

/// The parameters of a handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handshake {
    pub alpn: Option<String>,
    /// The client's certificate.
    pub certificate: Vec<u8>,
}

pub struct TlsFront {
    pub port: u16,
    handshakes: Arc<Mutex<Vec<Handshake>>>,
}

/// Starts a listener that supports all versions, and returns its port.
pub async fn front(folder: &Path, to: SocketAddr) -> u16 {
    TlsFront::start(folder, to, rustls::ALL_VERSIONS, &["http/1.1"])
        .await
        .port
}

impl TlsFront {
    /// Starts a listener that reads the certificates in the folder at each connection.
    pub async fn start(
        folder: &Path,
        to: SocketAddr,
        versions: &'static [&'static SupportedProtocolVersion],
        alpn: &'static [&'static str],
    ) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a free port");
        let port = listener.local_addr().expect("a bound listener").port();
        let handshakes = Arc::new(Mutex::new(Vec::new()));
        let (folder, seen) = (folder.to_owned(), Arc::clone(&handshakes));
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                // During a rotation, certificate and key may not match for a moment.
                let Some(config) = config(&folder, versions, alpn) else {
                    continue;
                };
                let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
                let seen = Arc::clone(&seen);
                tokio::spawn(async move {
                    let Ok(mut client) = acceptor.accept(client).await else {
                        return;
                    };
                    let session = client.get_ref().1;
                    let alpn = session.alpn_protocol();
                    let certificates = session.peer_certificates().expect("it was asked for");
                    let handshake = Handshake {
                        alpn: alpn.map(|alpn| String::from_utf8_lossy(alpn).into_owned()),
                        certificate: certificates[0].to_vec(),
                    };
                    seen.lock().expect("no panic").push(handshake);
                    let Ok(mut server) = tokio::net::TcpStream::connect(to).await else {
                        return;
                    };
                    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                });
            }
        });
        Self { port, handshakes }
    }

    pub fn handshakes(&self) -> Vec<Handshake> {
        self.handshakes.lock().expect("no panic").clone()
    }
}

/// Returns the certificate in a file.
pub fn certificate(path: &Path) -> Vec<u8> {
    let certificate = CertificateDer::from_pem_file(path).expect("a certificate");
    certificate.to_vec()
}

fn config(
    folder: &Path,
    versions: &[&'static SupportedProtocolVersion],
    alpn: &[&str],
) -> Option<ServerConfig> {
    let pem = |file: &str| folder.join(file);
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(pem("ca.pem")).ok()?)
        .ok()?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let clients =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
    let certificate = CertificateDer::from_pem_file(pem("server.pem")).ok()?;
    let key = PrivateKeyDer::from_pem_file(pem("server.key")).ok()?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .expect("versions")
        .with_client_cert_verifier(clients.build().ok()?)
        .with_single_cert(vec![certificate], key)
        .ok()?;
    config.alpn_protocols = alpn.iter().map(|alpn| alpn.as_bytes().to_vec()).collect();
    Some(config)
}
