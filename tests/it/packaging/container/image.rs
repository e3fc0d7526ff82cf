//! A builder that supports just the instructions in our container file; any other is an error.
//!
//! Stages are folders, and files from the root of the first stage come from this machine, so commands write to
//! relative paths. The folders are kept between builds, like a builder's cache.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::super::{file, read, run};
use crate::support::target;

/// The result, in the folder of the last stage.
#[derive(Debug, Default)]
pub(super) struct Image {
    pub(super) root: PathBuf,
    pub(super) user: String,
    pub(super) environment: BTreeMap<String, String>,
    entrypoint: Vec<String>,
    command: Vec<String>,
    workdir: PathBuf,
    arguments: BTreeMap<String, String>,
}

impl Image {
    /// Builds it with the given build arguments.
    pub(super) fn build(path: &str, arguments: &[(&str, &str)]) -> Self {
        let cache = target().join("container");
        let mut stages: BTreeMap<String, PathBuf> = BTreeMap::new();
        let mut image = Self::default();
        for (instruction, rest) in instructions(&read(path)) {
            match instruction.as_str() {
                "FROM" => {
                    let words: Vec<_> = rest.split_whitespace().collect();
                    let is_last = words == ["scratch"];
                    assert!(is_last || words[1..] == ["AS", "build"], "FROM {rest}");
                    let name = if is_last { "image" } else { "build" };
                    let root = cache.join("stages").join(name);
                    let _ = fs::remove_dir_all(&root);
                    fs::create_dir_all(&root).expect("a writable folder");
                    stages.insert(name.to_owned(), root.clone());
                    image = Self {
                        root,
                        workdir: "/".into(),
                        ..Self::default()
                    };
                }
                "ARG" => {
                    let (name, default) = rest.split_once('=').unwrap_or((&rest, ""));
                    let given = arguments.iter().find(|(given, _)| *given == name);
                    let value = given.map_or(default.trim_matches('"'), |(_, value)| value);
                    image.arguments.insert(name.to_owned(), value.to_owned());
                }
                "ENV" => {
                    let (name, value) = rest.split_once('=').expect("NAME=value");
                    let value = value.trim_matches('"').to_owned();
                    image.environment.insert(name.to_owned(), value);
                }
                "WORKDIR" => {
                    image.workdir = PathBuf::from(rest);
                    let folder = image.inside(".");
                    fs::create_dir_all(folder).expect("a writable folder");
                }
                "COPY" => image.copy(&rest, &stages),
                "RUN" => image.run(&rest, &cache),
                "USER" => image.user = rest,
                "ENTRYPOINT" => image.entrypoint = list(&rest),
                "CMD" => image.command = list(&rest),
                "VOLUME" => assert!(image.inside(&rest).is_dir(), "VOLUME {rest}"),
                "EXPOSE" => assert_eq!(rest, "9808"),
                other => panic!("{path}: {other} is not known to this builder"),
            }
        }
        image
    }

    /// Returns the default command of a container.
    pub(super) fn start(&self) -> Vec<&str> {
        let words = self.entrypoint.iter().chain(&self.command);
        words.map(String::as_str).collect()
    }

    /// Returns all files, relative to the root.
    pub(super) fn files(&self) -> Vec<String> {
        let mut find = Command::new("find");
        find.arg(&self.root)
            .args(["!", "-type", "d", "-printf", "%P\n"]);
        run(&mut find).lines().map(str::to_owned).collect()
    }

    /// Returns the path on this machine of a path in the stage.
    fn inside(&self, path: &str) -> PathBuf {
        let path = self.workdir.join(path);
        self.root
            .join(path.strip_prefix("/").expect("from the root"))
    }

    fn copy(&self, rest: &str, stages: &BTreeMap<String, PathBuf>) {
        let (flags, paths): (Vec<_>, Vec<_>) = rest
            .split_whitespace()
            .partition(|word| word.starts_with("--"));
        let flag = |name: &str| flags.iter().find_map(|flag| flag.strip_prefix(name));
        let from = flag("--from=").map(|stage| &stages[stage]);
        let (to, sources) = paths.split_last().expect("sources and a place");
        let to_folder = self.inside(to);
        for source in sources {
            let source = match from {
                Some(stage) => stage.join(source.trim_start_matches('/')),
                None => file(source),
            };
            // For a folder, its contents are copied. Modification times are kept, so that cargo knows what it has
            // built.
            let (source, to) = if source.is_dir() {
                fs::create_dir_all(&to_folder).expect("a writable folder");
                (source.join("."), to_folder.clone())
            } else if *to == "./" {
                (source, to_folder.clone())
            } else {
                let parent = to_folder.parent().expect("it has one");
                fs::create_dir_all(parent).expect("a writable folder");
                (source, to_folder.clone())
            };
            run(Command::new("cp").arg("-a").arg(&source).arg(&to));
            if let Some(owner) = flag("--chown=") {
                self.own(owner, &source, &to);
            }
        }
        let known = |flag: &str| flag.starts_with("--from=") || flag.starts_with("--chown=");
        assert!(flags.iter().all(|flag| known(flag)), "COPY {rest}");
    }

    /// Changes the owner of copied files, if this process may.
    fn own(&self, owner: &str, source: &Path, to: &Path) {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        for entry in fs::read_dir(source).expect("a folder") {
            let copied = to.join(entry.expect("an entry").file_name());
            run(Command::new("chown").args(["-R", owner]).arg(copied));
        }
    }

    fn run(&self, rest: &str, cache: &Path) {
        let mut script = rest.trim_start();
        while let Some(mount) = script.strip_prefix("--mount=type=cache,target=") {
            let (target, rest) = mount.split_once(' ').expect("a command behind it");
            script = rest.trim_start();
            // The cache mount for crates is replaced by this machine's own.
            if let Ok(inside) = Path::new(target).strip_prefix(&self.workdir) {
                let kept = cache.join("cache").join(inside);
                fs::create_dir_all(&kept).expect("a writable folder");
                if inside == Path::new("target") {
                    fill(&kept);
                }
                let link = self.inside(target);
                let _ = fs::remove_file(&link);
                std::os::unix::fs::symlink(kept, link).expect("a link");
            }
        }
        let mut shell = Command::new("sh");
        shell.args(["-c", script]).current_dir(self.inside("."));
        // All dependencies are already on this machine, because this test was built here.
        shell
            .env("CARGO_NET_OFFLINE", "true")
            .env_remove("CARGO_TARGET_DIR");
        let cargo = std::env::vars_os().map(|(name, _)| name);
        for name in cargo.filter(|name| name.to_string_lossy().starts_with("CARGO_PKG")) {
            shell.env_remove(name);
        }
        run(shell.envs(&self.arguments).envs(&self.environment));
    }
}

/// Fills an empty folder of cargo with the dependencies that were compiled for this test. The project's own crates are left
/// out: their path differs, so cargo would not use them.
fn fill(folder: &Path) {
    let (from, to) = (target().join("debug"), folder.join("debug"));
    if to.exists() || !from.exists() {
        return;
    }
    // In one step, so that it is never there in part.
    let script = "rm -rf \"$1.new\"; mkdir \"$1.new\"; cd \"$0\"
        find .fingerprint build deps ! -type d ! -path '*celeriac*' ! -path '*strict?receiver*' ! -name 'it-*' \
            -exec cp --archive --parents --target-directory=\"$1.new\" {} +
        mv \"$1.new\" \"$1\"";
    run(Command::new("sh").args(["-ec", script]).arg(from).arg(to));
}

/// Parses the instructions, each with its arguments, including continuation lines.
fn instructions(text: &str) -> Vec<(String, String)> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let joined = lines.collect::<Vec<_>>().join("\n").replace("\\\n", " ");
    let lines = joined.lines().filter(|line| !line.trim().is_empty());
    lines
        .map(|line| {
            let (instruction, rest) = line.split_once(' ').expect("an instruction");
            (instruction.to_owned(), rest.trim().to_owned())
        })
        .collect()
}

/// Parses a list of the form `["a", "b"]`.
fn list(text: &str) -> Vec<String> {
    serde_json::from_str(text).expect("a list of texts")
}
