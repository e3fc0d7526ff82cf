//! Blocks of `remote_write` from the documentation of receivers, with promtool as the oracle.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::support::prometheus::promtool_3;

const BLOCKS: &str = include_str!("../golden/paste.txt");

struct Block {
    title: &'static str,
    /// The text with which it is refused.
    replacement: Option<&'static str>,
    is_invalid: bool,
    text: String,
}

fn blocks() -> Vec<Block> {
    let parts = BLOCKS.split("\n== ").skip(1);
    let block = |part: &'static str| {
        let (title, rest) = part.split_once('\n').expect("a title");
        let (mark, rest) = match rest.split_once('\n') {
            Some((mark, rest)) if mark.starts_with("!!") || mark.starts_with("xx") => (mark, rest),
            Some(_) | None => ("", rest),
        };
        Block {
            title,
            replacement: mark.split_once(' ').map(|(_, words)| words),
            is_invalid: mark.starts_with("xx"),
            text: format!("remote_write:\n{rest}\n"),
        }
    };
    parts.map(block).collect()
}

/// Runs a program with a file as the last argument; returns whether it accepts it, and its output.
fn accepts(mut command: Command, file: &Path) -> (bool, String) {
    let output = command.arg(file).output().expect("it starts");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    (output.status.success(), said)
}

fn oracle() -> Command {
    let mut promtool = promtool_3();
    // The files of certificates and secrets do not exist here.
    promtool.args(["check", "config", "--syntax-only"]);
    promtool
}

fn ours() -> Command {
    let mut celeriac = Command::new(env!("CARGO_BIN_EXE_celeriac"));
    celeriac.arg("check-config");
    celeriac
}

fn written(folder: &TempDir, name: &str, text: &str) -> PathBuf {
    let path = folder.path().join(name);
    std::fs::write(&path, text).expect("a writable folder");
    path
}

#[test]
fn what_prometheus_accepts_is_accepted_or_has_a_replacement() {
    let folder = TempDir::new().expect("a folder");
    let blocks = blocks();
    let mut wrong = Vec::new();
    for block in &blocks {
        let theirs = written(&folder, "prometheus.yml", &block.text);
        let text = format!("brokers: [{{url: 'redis://h'}}]\n{}", block.text);
        let own = written(&folder, "celeriac.yaml", &text);
        let (theirs, their_words) = accepts(oracle(), &theirs);
        let (own, own_words) = accepts(ours(), &own);
        let title = block.title;
        if theirs == block.is_invalid {
            wrong.push(format!("{title}: the oracle: {their_words}"));
        }
        let expected = !block.is_invalid && block.replacement.is_none();
        let has_words = block
            .replacement
            .is_none_or(|words| own_words.contains(words));
        if own != expected || !has_words {
            wrong.push(format!("{title}: {own_words}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(blocks.len() >= 60, "{}", blocks.len());
}

/// Returns the effective configuration of a file.
fn shown(text: &str) -> String {
    let folder = TempDir::new().expect("a folder");
    let file = written(&folder, "celeriac.yaml", text);
    let mut command = ours();
    command.arg("--print");
    let (accepted, text) = accepts(command, &file);
    assert!(accepted, "{text}");
    text
}

#[test]
fn receivers_at_one_host_have_names_that_secrets_do_not_change() {
    let names = |first: &str, second: &str| {
        let text = format!(
            "brokers: [{{url: 'redis://h'}}]\nremote_write:\n- {{url: 'http://m/push', {first}}}\n\
             - {{url: 'http://m/push', {second}}}\n"
        );
        let shown = shown(&text);
        let lines = shown
            .lines()
            .filter_map(|line| line.trim().strip_prefix("name: "));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let tenant = |name: &str, token: &str| {
        format!("headers: {{X-Scope-OrgID: {name}}}, bearer_token: {token}")
    };
    let before = names(&tenant("a", "old"), &tenant("b", "old"));
    assert_eq!(before.len(), 2, "{before:?}");
    assert_ne!(before[0], before[1]);
    assert!(
        before.iter().all(|name| name.starts_with("m-")),
        "{before:?}"
    );
    assert_eq!(names(&tenant("a", "new"), &tenant("b", "new")), before);
    // The order says nothing, so that no queue is sent to another tenant.
    let [a, b] = [before[0].clone(), before[1].clone()];
    assert_eq!(names(&tenant("b", "old"), &tenant("a", "old")), [b, a]);
    // With one receiver alone, the name is the host.
    let text = "brokers: [{url: 'redis://h'}]\nremote_write: [{url: 'http://m/push'}]\n";
    assert!(shown(text).contains("name: m\n"), "{}", shown(text));
}

#[test]
fn files_are_read_as_editors_save_them() {
    let text = "brokers:\n  - url: redis://h\nhttp: {listen: ':9808'}\n";
    let utf_16 = |bytes: fn(u16) -> [u8; 2]| -> Vec<u8> {
        let units = std::iter::once(0xfeff).chain(text.encode_utf16());
        units.flat_map(bytes).collect()
    };
    let cases: [Vec<u8>; 5] = [
        format!("\u{feff}{text}").into_bytes(),
        text.replace('\n', "\r\n").into_bytes(),
        format!("---\n{text}...\n").into_bytes(),
        utf_16(u16::to_le_bytes),
        utf_16(u16::to_be_bytes),
    ];
    for bytes in cases {
        let folder = TempDir::new().expect("a folder");
        let file = folder.path().join("celeriac.yaml");
        std::fs::write(&file, &bytes).expect("a writable folder");
        let (accepted, words) = accepts(ours(), &file);
        assert!(accepted, "{words}: {bytes:?}");
    }
}

#[test]
fn overrides_take_every_form_of_the_file() {
    let cases = [
        ("METRICS__WORKER_TIMEOUT", "5", "worker_timeout: 5\n"),
        ("METRICS__MAX_SERIES", "20_000", "max_series: 20000\n"),
        ("METRICS__EXEMPLARS", "no", "exemplars: false\n"),
        ("METRICS__TASK_LABELS", "[name]", "task_labels: [name]\n"),
        ("GLOBAL__EXTERNAL_LABELS", "{team: 7}", "team: \"7\"\n"),
        ("BROKERS", "[{url: 'redis://other'}]", "redis://other"),
        // A text stays as it is, even if it looks like YAML.
        (
            "METRICS__DEFAULT_QUEUE",
            "a: b",
            "default_queue: \"a: b\"\n",
        ),
    ];
    let folder = TempDir::new().expect("a folder");
    let text = "brokers: [{url: 'redis://h'}]\nhttp: {listen: ':9808'}\n";
    let file = written(&folder, "celeriac.yaml", text);
    for (key, value, expected) in cases {
        let mut command = ours();
        command
            .arg("--print")
            .env(format!("CELERIAC__{key}"), value);
        let (accepted, shown) = accepts(command, &file);
        assert!(
            accepted && shown.contains(expected),
            "{key}={value}: {shown}"
        );
    }
}
