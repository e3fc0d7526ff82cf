//! Checks the HTTP listener: whether its address is free, and its certificate usable.

use std::io::{self, ErrorKind};
use std::net::TcpListener;

use super::finding::Finding;
use crate::config::HttpConfig;
use crate::tls::server::ServerTls;

pub(super) fn check(http: &HttpConfig) -> Vec<Finding> {
    let bound = TcpListener::bind(http.listen);
    let mut findings = vec![address(bound.map(drop))];
    if let Some(tls) = &http.tls {
        findings.push(match ServerTls::load(tls) {
            Ok(_) => Finding::fine("certificate", "readable, and matches the key"),
            Err(error) => Finding::wrong(
                "certificate",
                error.to_string(),
                "check `http.tls.cert_file` and `key_file`, as the user that celeriac runs as",
            ),
        });
    }
    findings
}

fn address(bound: io::Result<()>) -> Finding {
    const CHECK: &str = "address";
    let error = match bound {
        Ok(()) => return Finding::fine(CHECK, "free"),
        Err(error) => error,
    };
    if error.kind() == ErrorKind::AddrInUse {
        let advice = "fine if the daemon is running; otherwise stop the other program (`ss -ltnp` \
                      shows it) or choose another port";
        return Finding::open(CHECK, "in use", advice);
    }
    let advice = if error.kind() == ErrorKind::PermissionDenied {
        "choose a port from 1024 up, or grant CAP_NET_BIND_SERVICE"
    } else {
        "listen on an address of this host, or on 0.0.0.0 for all of them"
    };
    Finding::wrong(CHECK, error.to_string(), advice)
}

#[cfg(test)]
mod tests {
    use super::super::finding::Verdict;
    use super::*;

    #[test]
    fn an_address_is_free_in_use_or_of_another_host() {
        let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = taken.local_addr().expect("an address").port();
        let verdict = |host: &str| address(TcpListener::bind((host, port)).map(drop)).verdict;
        assert_eq!(verdict("127.0.0.1"), Verdict::Open);
        assert_eq!(verdict("192.0.2.1"), Verdict::Wrong);
        drop(taken);
        assert_eq!(verdict("127.0.0.1"), Verdict::Fine);
    }
}
