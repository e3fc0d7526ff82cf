//! The documentation: code blocks can be used as they are, and links lead somewhere.

use std::path::{Path, PathBuf};
use std::process::Command;

use celeriac::cli::Cli;
use celeriac::config::Config;
use clap::Parser;
use tempfile::TempDir;

/// A page of the documentation.
struct Page {
    file: PathBuf,
    text: String,
}

/// Commands that this test does not check, and the tests that run them.
const ELSEWHERE: [(&str, &str); 22] = [
    (
        "rabbitmqctl",
        "delivery::permissions and delivery::declared",
    ),
    ("allow", "delivery::permissions"),
    ("rabbitmq-plugins", "delivery::shards"),
    ("cargo", "it builds what is tested here"),
    ("make", "it runs this"),
    ("curl", "listener"),
    ("kubectl", "deploy"),
    ("helm", "deploy"),
    ("oc", "deploy"),
    ("sudo", "packaging: what is installed on a machine"),
    ("podman", "packaging: the steps of the container file"),
    ("docker", "packaging: the steps of the container file"),
    ("bash", "packaging"),
    ("promtool", "rules"),
    ("python3", "dashboards"),
    ("build.sh", "packaging"),
    ("systemctl", "packaging: the unit under systemd itself"),
    ("sudoedit", "it needs somebody who writes"),
    ("git", "it needs the address of a repository"),
    ("sha256sum", "packaging::dist"),
    ("tar", "packaging::dist"),
    ("pip", "packaging::dist"),
];

const TOP: [&str; 7] = [
    "data_dir",
    "global",
    "brokers",
    "metrics",
    "remote_write",
    "pushgateway",
    "http",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn pages() -> Vec<Page> {
    let mut files = vec![root().join("README.md")];
    let mut folders = vec![root().join("docs")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "md") {
                files.push(path);
            }
        }
    }
    files.sort();
    let read = |file: PathBuf| Page {
        text: std::fs::read_to_string(&file).expect("UTF-8"),
        file,
    };
    files.into_iter().map(read).collect()
}

impl Page {
    /// Returns the code blocks in a language.
    fn blocks(&self, language: &str) -> Vec<String> {
        let fence = format!("```{language}");
        let mut blocks = Vec::new();
        let mut lines = self.text.lines();
        while lines.by_ref().any(|line| line.trim() == fence) {
            let block = lines.by_ref().take_while(|line| line.trim() != "```");
            blocks.push(block.collect::<Vec<_>>().join("\n"));
        }
        blocks
    }

    /// Returns the anchors of all headings.
    fn anchors(&self) -> Vec<String> {
        let headings = self.text.lines().filter(|line| line.starts_with('#'));
        let anchor = |line: &str| {
            let words = line.trim_start_matches('#').trim().to_lowercase();
            let kept = words
                .chars()
                .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
            kept.map(|c| if c == ' ' { '-' } else { c }).collect()
        };
        headings.map(anchor).collect()
    }

    /// Returns the targets of links within the repository.
    fn links(&self) -> Vec<&str> {
        let targets = self.text.split("](").skip(1);
        let targets = targets.filter_map(|rest| rest.split_once(')').map(|(target, _)| target));
        targets.filter(|target| !target.contains("://")).collect()
    }
}

#[test]
fn every_block_of_configuration_can_be_used() {
    let mut used = 0;
    for page in pages() {
        for block in page.blocks("yaml") {
            let keys = block.lines().filter_map(|line| line.split_once(':'));
            let keys = keys.map(|(key, _)| key);
            let top: Vec<_> = keys
                .filter(|key| key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'))
                .collect();
            if !top.iter().any(|key| TOP.contains(key)) || top.contains(&"scrape_configs") {
                continue;
            }
            let mut text = block.clone();
            for (key, otherwise) in [
                ("brokers", "brokers: [{url: 'redis://h'}]"),
                ("http", "http: {listen: ':9808'}"),
            ] {
                if !top.contains(&key) {
                    text = format!("{text}\n{otherwise}");
                }
            }
            let hostname = [("HOSTNAME".into(), "h".into())];
            let parsed = Config::parse(&text, &page.file.with_extension("yaml"), hostname);
            if let Err(error) = parsed {
                // The only error allowed in a build without the feature.
                let is_build = block.contains("sigv4") && error.to_string().contains("feature");
                assert!(is_build && !cfg!(feature = "sigv4"), "{error}\n{block}");
            }
            used += 1;
        }
    }
    assert!(used > 10, "{used}");
}

/// Returns the commands in a block, joining lines that end in a backslash.
fn commands(block: &str) -> Vec<Vec<String>> {
    let joined = block.replace("\\\n", " ");
    let lines = joined.lines().map(|line| match line.split_once(" #") {
        Some((command, _)) => command.trim(),
        None => line.trim(),
    });
    // Ignore redirections of the output.
    let lines = lines.map(|line| line.split(" > ").next().unwrap_or(line));
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| line.split_whitespace().map(str::to_owned).collect())
        .collect()
}

#[test]
fn every_command_runs_or_is_run_elsewhere() {
    let folder = TempDir::new().expect("a temporary folder");
    std::fs::create_dir(folder.path().join("config")).expect("a writable folder");
    for (from, to) in [
        ("config/minimal.yaml", "config/minimal.yaml"),
        ("config/minimal.yaml", "celeriac.yaml"),
        ("config/minimal.yaml", "FILE"),
    ] {
        std::fs::copy(root().join(from), folder.path().join(to)).expect("a writable folder");
    }
    let mut ran = 0;
    for page in pages() {
        for command in page.blocks("sh").iter().flat_map(|block| commands(block)) {
            let line = format!("{}: {}", page.file.display(), command.join(" "));
            let program = command[0].rsplit('/').next().expect("a word");
            let program = program.trim_end_matches("()");
            match program {
                "celeriac" => {
                    ran += 1;
                    let words = command.iter().map(|word| word.trim_matches('\''));
                    // As the package installs it.
                    let words = words.map(|word| word.trim_start_matches("/etc/celeriac/"));
                    let parsed = Cli::try_parse_from(words.clone());
                    assert!(parsed.is_ok(), "{line}: {}", parsed.expect_err("checked"));
                    if ["migrate", "check-config", "version"].contains(&command[1].as_str()) {
                        let mut celeriac = Command::new(env!("CARGO_BIN_EXE_celeriac"));
                        celeriac.args(words.skip(1)).current_dir(folder.path());
                        let output = celeriac.output().expect("it starts");
                        assert!(output.status.success(), "{line}: {output:?}");
                    }
                }
                // It parses all options before it prints its version.
                "prometheus" => {
                    ran += 1;
                    let mut prometheus = Command::new("prometheus");
                    prometheus.args(&command[1..]).arg("--version");
                    let output = prometheus.output().expect("tests/setup.sh installs it");
                    assert!(output.status.success(), "{line}: {output:?}");
                }
                other => {
                    let known = ELSEWHERE.iter().any(|(program, _)| *program == other);
                    assert!(known, "nobody runs this: {line}");
                }
            }
        }
    }
    assert!(ran > 8, "{ran}");
}

#[test]
fn every_link_leads_somewhere() {
    let pages = pages();
    for page in &pages {
        for link in page.links() {
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = match path {
                "" => page.file.clone(),
                path => page.file.with_file_name(path),
            };
            let from = page.file.display();
            let target = target.canonicalize();
            assert!(target.is_ok(), "{from}: {link}");
            let other = pages
                .iter()
                .find(|page| page.file.canonicalize().ok() == target.as_ref().ok().cloned());
            if let (Some(other), false) = (other, anchor.is_empty()) {
                assert!(
                    other.anchors().contains(&anchor.to_owned()),
                    "{from}: {link}: {:?}",
                    other.anchors()
                );
            }
        }
    }
}
