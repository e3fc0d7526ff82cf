use std::path::Path;

use rcgen::{CertificateParams, KeyPair};
use tempfile::TempDir;

use super::*;
use crate::secret::Secret;

/// Writes a self-signed certificate and its key.
fn write(folder: &Path) -> (String, String) {
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec!["celeriac".to_owned()]).expect("a name");
    let certificate = params.self_signed(&key).expect("a certificate");
    let (certificate, key) = (certificate.pem(), key.serialize_pem());
    std::fs::write(folder.join("cert.pem"), &certificate).expect("writable");
    std::fs::write(folder.join("key.pem"), &key).expect("writable");
    (certificate, key)
}

fn settings(folder: &Path) -> Settings {
    let file = |name: &str| Secret::File(folder.join(name));
    Settings {
        tls: TlsConfig {
            ca: Some(file("cert.pem")),
            identity: Some((file("cert.pem"), file("key.pem"))),
            ..TlsConfig::default()
        },
        proxy: ProxyConfig::Direct,
        timeout: Duration::from_secs(1),
        http2: true,
    }
}

/// Returns the transport's state after a check: the files it was built from, and its last
/// complaint.
async fn known(transport: &Transport) -> (Vec<Stamp>, Option<String>) {
    let current = transport.current.lock().await;
    (current.made_of.clone(), current.complaint.clone())
}

#[tokio::test]
async fn a_half_rotated_pair_keeps_the_old_one_and_the_other_half_completes_it() {
    let folder = TempDir::new().expect("a temporary folder");
    write(folder.path());
    let transport = Transport::new(settings(folder.path())).expect("good files");
    let (first, _) = known(&transport).await;
    let start = clock::monotonic();

    let other = TempDir::new().expect("a temporary folder");
    let (certificate, key) = write(other.path());
    std::fs::write(folder.path().join("cert.pem"), format!("{certificate}\n")).expect("writable");
    transport.client_at(start + LOOK_EVERY / 2).await;
    assert_eq!(known(&transport).await, (first.clone(), None), "too early");
    for looks in 1..3 {
        transport.client_at(start + LOOK_EVERY * 2 * looks).await;
        let (made_of, complaint) = known(&transport).await;
        assert_eq!(made_of, first, "a certificate without its key is not used");
        assert!(complaint.is_some());
    }

    std::fs::write(folder.path().join("key.pem"), format!("{key}\n")).expect("writable");
    transport.client_at(start + LOOK_EVERY * 8).await;
    let (made_of, complaint) = known(&transport).await;
    assert_ne!(made_of, first);
    assert_eq!(complaint, None);
}

#[test]
fn files_that_cannot_be_used_end_the_start_and_are_named() {
    let folder = TempDir::new().expect("a temporary folder");
    write(folder.path());
    for (file, text) in [
        ("key.pem", Some("hunter2")),
        ("cert.pem", Some("hunter2")),
        ("cert.pem", None),
    ] {
        write(folder.path());
        let path = folder.path().join(file);
        match text {
            Some(text) => std::fs::write(&path, text).expect("writable"),
            None => std::fs::remove_file(&path).expect("there"),
        }
        let error = Transport::new(settings(folder.path())).map(drop);
        let error = error.expect_err("a bad file").to_string();
        assert!(error.contains(file), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
}
