//! A test CA with a server certificate and a client certificate.

use std::fs;
use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

/// Writes `ca.pem`, `server.pem`, `server.key`, `client.pem` and `client.key`; the server is `localhost` and
/// `broker.test`.
pub fn write(folder: &Path) {
    let mut authority = CertificateParams::new(Vec::new()).expect("no names");
    authority
        .distinguished_name
        .push(DnType::CommonName, "an authority");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key");
    let issuer = CertifiedIssuer::self_signed(authority, key).expect("an authority");
    fs::write(folder.join("ca.pem"), issuer.pem()).expect("a writable folder");
    let names = [
        (
            "server",
            vec!["localhost".to_owned(), "broker.test".to_owned()],
        ),
        ("client", vec!["client".to_owned()]),
    ];
    for (file, names) in names {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(names).expect("valid names");
        // Different from the CA's name, or it would look self-signed.
        params.distinguished_name.push(DnType::CommonName, file);
        let certificate = params.signed_by(&key, &issuer).expect("a certificate");
        fs::write(folder.join(format!("{file}.pem")), certificate.pem())
            .expect("a writable folder");
        fs::write(folder.join(format!("{file}.key")), key.serialize_pem())
            .expect("a writable folder");
    }
}
