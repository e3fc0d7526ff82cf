//! The user interface: the command line, the configuration, the pages, the demo.

use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

use super::support::celeriac::Celeriac;
use super::support::free_port;
use super::support::promtool::lint;
use super::support::redis::Redis;
use strict_receiver::Receiver;

fn celeriac(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_celeriac"))
        .args(arguments)
        .output()
        .expect("it starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_file_with_five_mistakes_prints_five_lines_and_exits_with_78() {
    let folder = TempDir::new().expect("a temporary folder");
    let file = folder.path().join("celeriac.yaml");
    let config = "
global: {intervall: 15s}
brokers:
  - url: redis://h
    prefetch: 1.7
    queue_max_bytes: lots
remote_write:
  - url: prometheus:9090/api/v1/write
    basic_auth: {username: u, password: '${CELERIAC_TEST_UNSET}'}
";
    std::fs::write(&file, config).expect("a writable folder");
    let path = file.display().to_string();
    for arguments in [vec!["check-config", &path], vec!["run", "--config", &path]] {
        let output = celeriac(&arguments);
        assert_eq!(output.status.code(), Some(78), "{arguments:?}");
        let errors = text(&output.stderr);
        let expected = [
            "global.intervall: unknown key; did you mean `interval`?",
            "brokers[0].queue_max_bytes: expected a size such as 64MiB, at least 1MiB, found `lots`",
            "brokers[0].prefetch: expected a whole number from 1 to 65535, found `1.7`",
            "remote_write[0].url: expected an http or https URL such as http://prometheus:9090/api/v1/write, found the scheme `prometheus`",
            "remote_write[0].basic_auth.password: the environment variable CELERIAC_TEST_UNSET is not set; set it, or write ${CELERIAC_TEST_UNSET:-default}",
        ];
        let lines: Vec<_> = errors.lines().collect();
        assert_eq!(
            lines,
            expected.map(|line| format!("{path}: {line}")),
            "{arguments:?}"
        );
    }
}

#[test]
fn exit_statuses_tell_usage_from_configuration() {
    let cases: [(&[&str], i32, &str); 12] = [
        (&["version"], 0, "celeriac 0."),
        (&["--version"], 0, "celeriac 0."),
        (&["run"], 2, "--config <FILE>|--broker <URL>"),
        (&["run", "--nonsense"], 2, "--nonsense"),
        (
            &["run", "--config", "x.yaml", "--broker", "redis://h"],
            2,
            "cannot be used with",
        ),
        (
            &["run", "--broker", "kafka://h"],
            78,
            "--broker: Celery sends no events over Kafka",
        ),
        (
            &[
                "run",
                "--broker",
                "redis://h",
                "--remote-write",
                "prometheus:9090",
            ],
            78,
            "--remote-write: expected",
        ),
        (
            &["doctor", "--broker", "redis://h", "--listen", "9808"],
            78,
            "--listen: expected",
        ),
        (
            &["check-config", "--broker", "redis://h"],
            0,
            "listening on 127.0.0.1:9808",
        ),
        (
            &[
                "check-config",
                "--broker",
                "redis://h",
                "--pushgateway",
                "http://g:9091",
            ],
            0,
            "command line: valid. brokers: 1, remote_write: 0, pushgateway: 1\n",
        ),
        (
            &["run", "--broker", "redis://h", "--log-level", "loud"],
            2,
            "possible values: off",
        ),
        (
            &["check-config", "/nowhere.yaml"],
            78,
            "cannot read /nowhere.yaml",
        ),
    ];
    for (arguments, status, words) in cases {
        let output = celeriac(arguments);
        let all = text(&output.stdout) + &text(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "{arguments:?}: {all}");
        assert!(all.contains(words), "{arguments:?}: {all}");
    }
}

#[test]
fn help_fits_a_screen() {
    for arguments in [
        vec!["--help"],
        vec!["run", "--help"],
        vec!["check-config", "--help"],
        vec!["demo", "--help"],
    ] {
        let help = text(&celeriac(&arguments).stdout);
        assert!(
            (5..30).contains(&help.lines().count()),
            "{arguments:?}: {help}"
        );
    }
}

#[test]
fn the_effective_configuration_is_printed_without_secrets_and_reads_back() {
    let folder = TempDir::new().expect("a temporary folder");
    let file = folder.path().join("celeriac.toml");
    let config = "
[[brokers]]
url = \"amqp://u:hunter2@h/v\"
[[remote_write]]
url = \"http://h/\"
basic_auth = { username = \"u\", password = \"hunter2\" }
headers = { X-Key = \"hunter2\" }
";
    std::fs::write(&file, config).expect("a writable folder");
    let output = Command::new(env!("CARGO_BIN_EXE_celeriac"))
        .args(["check-config", "--print", &file.display().to_string()])
        .env("CELERIAC__GLOBAL__INTERVAL", "7s")
        .output()
        .expect("it starts");
    let printed = text(&output.stdout);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(!printed.contains("hunter2"), "{printed}");
    for line in [
        "  interval: 7s",
        "  - name: null",
        "    url: \"amqp://u:<secret>@h/v\"",
        "      password: <secret>",
    ] {
        assert!(
            printed.lines().any(|printed| printed == line),
            "{line}\n{printed}"
        );
    }
    let again = folder.path().join("again.yaml");
    std::fs::write(&again, printed.replace("<secret>", "x")).expect("a writable folder");
    let output = celeriac(&["check-config", &again.display().to_string()]);
    assert!(output.status.success(), "{}", text(&output.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_ends_the_start_and_says_so() {
    let redis = Redis::start().await;
    let listen = format!("127.0.0.1:{}", redis.port);
    let output = celeriac(&["run", "--broker", &redis.url(0), "--listen", &listen]);
    assert_eq!(output.status.code(), Some(1));
    let log = text(&output.stderr);
    assert!(log.contains(&format!("cannot listen on {listen}")), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pages_say_what_they_are() {
    let redis = Redis::start().await;
    let daemon = Celeriac::start(&format!("brokers: [{{url: {:?}}}]\n", redis.url(0))).await;
    daemon.ready().await;
    let url = format!("http://127.0.0.1:{}/metrics", daemon.port);
    let answer = reqwest::get(url).await.expect("an answer");
    assert_eq!(
        answer.headers()["content-type"],
        "text/plain; version=0.0.4; charset=utf-8"
    );
    let page = answer.text().await.expect("a body");
    let lint = lint(&page);
    assert_eq!(lint, "", "promtool finds something");
    assert_eq!(
        daemon.get("/-/healthy").await,
        (200, "celeriac is healthy\n".to_owned())
    );
    assert_eq!(
        daemon.get("/-/ready").await,
        (200, "celeriac is ready\n".to_owned())
    );
    assert_eq!(daemon.get("/nothing").await.0, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_runs_without_a_file() {
    let (redis, receiver) = (Redis::start().await, Receiver::start().await);
    let listen = format!("127.0.0.1:{}", free_port());
    let folder = TempDir::new().expect("a temporary folder");
    let mut command = Command::new(env!("CARGO_BIN_EXE_celeriac"));
    let (broker, write) = (redis.url(0), receiver.url());
    command.args([
        "run",
        "--broker",
        &broker,
        "--remote-write",
        &write,
        "--listen",
        &listen,
    ]);
    let mut process = super::support::process::Process::start("run", &mut command, folder.path());
    // The first push is immediate, not after an interval of 15 s.
    super::support::wait_within(5, "the first push", async || {
        if receiver.samples() > 0 {
            Ok(())
        } else {
            Err("nothing".to_owned())
        }
    })
    .await;
    receiver.assert_no_violation();
    assert!(process.terminate(10).success());
}

#[test]
fn the_demo_needs_nothing_and_shows_the_main_job() {
    let listen = format!("127.0.0.1:{}", free_port());
    let output = celeriac(&["demo", "--listen", &listen, "--for", "7s"]);
    let (shown, log) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{log}");
    assert!(
        shown.contains(&format!("http://{listen}/metrics")),
        "{shown}"
    );
    let last = shown.lines().last().unwrap_or_default();
    let number = |word: &str| -> u64 {
        let (_, rest) = last
            .split_once(word)
            .unwrap_or_else(|| panic!("no {word:?} in {last}"));
        rest.split(|c: char| !c.is_ascii_digit())
            .next()
            .and_then(|n| n.parse().ok())
            .expect("a number")
    };
    assert!(number("pushed samples ") > 500, "{shown}");
    assert_eq!(number("refused "), 0, "{shown}");
    assert!(shown.contains("workers 4 online"), "{shown}");
}

/// Runs a command with this standard output. Returns its exit status and its standard error.
fn with_output(arguments: &[&str], output: Stdio) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_celeriac"));
    let command = command
        .args(arguments)
        .stdout(output)
        .stderr(Stdio::piped());
    let ended = command.output().expect("it starts");
    let errors = String::from_utf8_lossy(&ended.stderr).into_owned();
    (ended.status.code(), errors)
}

#[test]
fn output_that_cannot_be_written_is_an_error_and_a_reader_may_go_away() {
    let folder = TempDir::new().expect("a temporary folder");
    let recording = folder.path().join("recording.jsonl");
    let header = r#"{"celeriac_recording":1,"version":"x","started":1795344000.0,"brokers":[{"drops_expired":false,"accept":["json"]}]}"#;
    std::fs::write(&recording, header).expect("a writable folder");
    let recording = recording.to_str().expect("UTF-8");
    let commands: [&[&str]; 5] = [
        &["version"],
        &["check-config", "--broker", "redis://h"],
        &["check-config", "--broker", "redis://h", "--print"],
        &["migrate", "celery-exporter", "--", "--broker-url=redis://h"],
        &["replay", recording],
    ];
    for arguments in commands {
        let full = std::fs::File::options().write(true).open("/dev/full");
        let (code, errors) = with_output(arguments, full.expect("a device").into());
        assert_eq!(code, Some(1), "{arguments:?}: {errors}");
        assert!(
            errors.contains("cannot write to standard output: No space left"),
            "{errors}"
        );

        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let (code, errors) = with_output(arguments, writer.into());
        assert_eq!(code, Some(0), "{arguments:?}: {errors}");
        assert!(!errors.contains("panicked"), "{errors}");
    }
}
