//! An authority of the test's own, a server's certificate and a client's.

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
        // Not the name of the authority, or it would look like one that signed itself.
        params.distinguished_name.push(DnType::CommonName, file);
        let certificate = params.signed_by(&key, &issuer).expect("a certificate");
        fs::write(folder.join(format!("{file}.pem")), certificate.pem())
            .expect("a writable folder");
        fs::write(folder.join(format!("{file}.key")), key.serialize_pem())
            .expect("a writable folder");
    }
}
