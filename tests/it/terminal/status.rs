//! `celeriac status`: its output, its logins and its exit status.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::{Command, Output};

use tempfile::TempDir;
use tokio::task::spawn_blocking;

use super::super::support::certificates;
use super::super::support::endpoint::{Endpoint, Reply};
use super::super::support::tls;
use super::{DOCUMENT, daemon};

/// What it printed, and its exit status.
struct Said {
    out: String,
    problems: String,
    status: Option<i32>,
}

async fn status(arguments: &[&str]) -> Said {
    run(arguments, &[]).await
}

async fn run(arguments: &[&str], environment: &[(&str, &str)]) -> Said {
    let mut command = Command::new(env!("CARGO_BIN_EXE_celeriac"));
    command
        .args(arguments)
        .env_remove("COLUMNS")
        .env_remove("CELERIAC_URL");
    command.envs(environment.iter().copied());
    let output = spawn_blocking(move || command.output())
        .await
        .expect("no panic");
    let Output {
        status,
        stdout,
        stderr,
    } = output.expect("it starts");
    Said {
        out: String::from_utf8(stdout).expect("UTF-8"),
        problems: String::from_utf8(stderr).expect("UTF-8"),
        status: status.code(),
    }
}

impl Said {
    /// Asserts that the daemon could not be read, for a reason with all these words.
    fn unreachable(&self, words: &[&str]) {
        assert_eq!(
            (self.status, self.out.as_str()),
            (Some(3), ""),
            "{}",
            self.problems
        );
        for word in words {
            assert!(self.problems.contains(word), "{word}: {}", self.problems);
        }
    }
}

/// The document without its problems, except for those of a severity.
fn calm(severity: &str) -> String {
    let mut document: serde_json::Value = serde_json::from_str(DOCUMENT).expect("JSON");
    let problems = document["attention"].as_array_mut().expect("a list");
    problems.retain(|problem| problem["severity"] == severity);
    document.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_exit_status_is_that_of_the_worst_problem() {
    for (severity, expected) in [("critical", 1), ("warning", 1), ("info", 0), ("none", 0)] {
        let daemon = daemon(calm(severity)).await;
        let said = status(&["status", "--url", &daemon.url("")]).await;
        assert_eq!(
            (said.status, said.problems.as_str()),
            (Some(expected), ""),
            "{severity}"
        );
        assert_eq!(
            said.out.contains("Nothing needs attention."),
            severity == "none"
        );
        assert!(said.out.contains("QUEUES 5"), "{}", said.out);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_prints_what_it_is_asked_for() {
    let daemon = daemon(DOCUMENT.to_owned()).await;
    let url = daemon.url("");
    let said = status(&["status", "--json", "--url", &url]).await;
    assert_eq!((said.out.as_str(), said.status), (DOCUMENT, Some(1)));

    let said = status(&[
        "status", "queues", "-q", "re:^m", "--sort", "-queue", "--url", &url,
    ])
    .await;
    let first: Vec<_> = said
        .out
        .lines()
        .map(|line| line.split(' ').next().unwrap_or(""))
        .collect();
    assert_eq!(first, ["QUEUES", "Queue▼", "media", "mail"]);
    assert!(
        said.problems.starts_with("ATTENTION\n!! The receiver"),
        "{}",
        said.problems
    );
    assert_eq!(said.status, Some(1));

    // The environment, and another window.
    let environment = [("CELERIAC_URL", url.as_str()), ("COLUMNS", "300")];
    let workers = run(&["status", "workers", "--window", "1h"], &environment).await;
    assert!(workers.out.contains("default, mail"), "{}", workers.out);
    assert_eq!(daemon.last().uri.to_string(), "/api/v1/status?window=1h");
    assert!(!workers.out.contains('\x1b'), "{}", workers.out);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_explains_why_there_is_no_document() {
    let cut = DOCUMENT[..DOCUMENT.len() / 2].to_owned();
    let newer = DOCUMENT.replacen("\"version\": 1", "\"version\": 2", 1);
    let huge = DOCUMENT.replacen("\"window_seconds\": 300", "\"window_seconds\": 1e400", 1);
    for (code, body, words) in [
        (200, cut, &["not a status document", "EOF"][..]),
        (200, newer, &["version 2", "reads version 1"]),
        (200, huge, &["not a status document", "number out of range"]),
        (200, "<html>".to_owned(), &["not a status document"]),
        (
            404,
            String::new(),
            &["HTTP 404", "older", "http.status: false"],
        ),
        (401, String::new(), &["HTTP 401", "--password-file"]),
        (403, String::new(), &["HTTP 403", "--bearer-token-file"]),
        (503, "\x1b[2J".to_owned(), &["HTTP 503"]),
    ] {
        let daemon = Endpoint::start(move |_| Reply(code, None, body.clone())).await;
        let said = status(&["status", "--url", &daemon.url("")]).await;
        said.unreachable(words);
        said.unreachable(&[&daemon.url("")]);
        assert_eq!(said.problems.lines().count(), 1, "{}", said.problems);
    }
    let moved = "https://elsewhere/ui/api/v1/status?window=5m";
    let daemon = Endpoint::start(move |_| Reply(302, Some(moved.to_owned()), String::new())).await;
    let said = status(&["status", "--url", &daemon.url("")]).await;
    said.unreachable(&["redirects to https://elsewhere/ui;"]);

    let closed = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = closed.local_addr().expect("bound");
    drop(closed);
    let said = status(&["status", "--url", &format!("http://u:hunter2@{address}")]).await;
    said.unreachable(&[
        &format!("http://{address}: "),
        "Connection refused",
        "http.listen",
    ]);
    assert!(!said.problems.contains("hunter2"), "{}", said.problems);

    // It ends in the middle of the response.
    let half = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = half.local_addr().expect("bound");
    let answering = std::thread::spawn(move || {
        let (mut stream, _) = half.accept().expect("a connection");
        let mut request = [0; 1024];
        let _ = stream.read(&mut request);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{\"version\": 1");
    });
    let said = status(&["status", "--url", &format!("http://{address}")]).await;
    said.unreachable(&["check that it is celeriac's port"]);
    answering.join().expect("no panic");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_logs_in() {
    let daemon = daemon(DOCUMENT.to_owned()).await;
    let folder = TempDir::new().expect("a temporary folder");
    let file = folder.path().join("secret");
    std::fs::write(&file, "s3:cret\n").expect("a writable folder");
    let file = file.to_str().expect("UTF-8");
    let in_url = daemon.url("").replace("//", "//ann:s3%3Acret@");
    for (arguments, expected) in [
        (&["--url", &in_url][..], "Basic YW5uOnMzOmNyZXQ="),
        (
            &[
                "--url",
                &daemon.url(""),
                "--user",
                "ann",
                "--password-file",
                file,
            ],
            "Basic YW5uOnMzOmNyZXQ=",
        ),
        (
            &["--url", &in_url, "--bearer-token-file", file],
            "Bearer s3:cret",
        ),
        (&["--url", &daemon.url("/prefix/..")], ""),
    ] {
        let said = status(&[&["status"], arguments].concat()).await;
        assert_eq!(said.status, Some(1), "{}", said.problems);
        assert_eq!(daemon.last().header("authorization"), expected);
    }
    let missing = [
        "status",
        "--url",
        &in_url,
        "--bearer-token-file",
        "/nowhere",
    ];
    status(&missing).await.unreachable(&["/nowhere"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_speaks_tls() {
    let daemon = daemon(DOCUMENT.to_owned()).await;
    let folder = TempDir::new().expect("a temporary folder");
    certificates::write(folder.path());
    let port = tls::front(folder.path(), daemon.address).await;
    let url = format!("https://localhost:{port}");
    let file = |name: &str| folder.path().join(name).display().to_string();
    let (ca, cert, key) = (file("ca.pem"), file("client.pem"), file("client.key"));
    let identity = [
        "status",
        "--url",
        &url,
        "--cert-file",
        &cert,
        "--key-file",
        &key,
    ];
    for (more, reached) in [
        (&["--ca-file", &ca][..], true),
        (&["--insecure-skip-verify"], true),
        (&[], false),
    ] {
        let said = status(&[&identity[..], more].concat()).await;
        if reached {
            assert_eq!(said.status, Some(1), "{}", said.problems);
        } else {
            said.unreachable(&[&url, "invalid peer certificate", "--ca-file"]);
        }
    }
    let plain = daemon.url("").replace("http:", "https:");
    status(&["status", "--url", &plain])
        .await
        .unreachable(&["does not serve TLS"]);
    let absent = status(&["status", "--url", &url, "--ca-file", "/nowhere"]).await;
    assert_eq!(absent.status, Some(2));
    assert!(absent.problems.contains("/nowhere"), "{}", absent.problems);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_meant_is_a_usage_error() {
    for (arguments, words) in [
        (
            &["status", "--sort", "nothing"][..],
            "no table has the column `nothing`; use one of",
        ),
        (
            &["status", "queues", "--sort", "load"],
            "no table has the column `load`",
        ),
        (&["status", "-q", "re:["], "unclosed character class"),
        (&["status", "--window", "2m"], "expected 1m, 5m or 1h"),
        (&["status", "--json", "queues"], "cannot be used with"),
        (&["status", "nothing"], "invalid value 'nothing'"),
        (
            &["status", "--url", "ftp://h"],
            "expected an http or https URL",
        ),
        (&["status", "--url", "http://h:port"], "not a URL"),
        (&["status", "--user", "ann"], "--password-file"),
        (&["top"], "celeriac top: not a terminal"),
    ] {
        let said = status(arguments).await;
        assert_eq!(
            (said.status, said.out.as_str()),
            (Some(2), ""),
            "{arguments:?}"
        );
        assert!(said.problems.contains(words), "{words}: {}", said.problems);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_url_comes_from_the_configuration() {
    let daemon = daemon(DOCUMENT.to_owned()).await;
    let folder = TempDir::new().expect("a temporary folder");
    let file = folder.path().join("celeriac.yaml");
    let write = |http: &str| {
        let text = format!("brokers: [{{url: 'redis://h'}}]\n{http}");
        std::fs::write(&file, text).expect("a writable folder");
    };
    let path = file.to_str().expect("UTF-8");
    write(&format!(
        "http: {{listen: '0.0.0.0:{}'}}",
        daemon.address.port()
    ));
    let said = status(&["status", "-c", path]).await;
    assert_eq!(said.status, Some(1), "{}", said.problems);
    for (http, words) in [
        ("remote_write: [{url: 'http://h'}]", "no `http` section"),
        ("http: {listen: nowhere}", "http.listen"),
    ] {
        write(http);
        let said = status(&["status", "-c", path]).await;
        assert_eq!(said.status, Some(78), "{}", said.problems);
        assert!(said.problems.contains(words), "{}", said.problems);
    }
}
