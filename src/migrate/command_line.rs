//! Finds the options in a command line: splits it as a shell does, and skips what starts the
//! exporter, from `docker run` to `python -m`.

use super::exporter::Exporter;
use super::variables::{ENV_FILE, Variables, is_name};
use super::words::{base_name, split};

/// Flags of `docker run` without a value. All others have one.
const DOCKER_FLAGS: &[&str] = &[
    "--detach",
    "--interactive",
    "--tty",
    "--rm",
    "--init",
    "--privileged",
    "--read-only",
    "--publish-all",
    "--no-healthcheck",
    "--quiet",
    "--oom-kill-disable",
    "--disable-content-trust",
];

/// A command line: the exporter's options and the variables that are set on it.
#[derive(Debug, Default)]
pub(super) struct CommandLine {
    pub(super) options: Vec<String>,
    pub(super) variables: Variables,
}

impl CommandLine {
    pub(super) fn read(exporter: Exporter, words: &[String]) -> Self {
        let mut line = Self::default();
        let mut words = words.to_vec();
        if let [only] = &*words
            && only.contains(char::is_whitespace)
        {
            words = split(only);
        }
        words.reverse();
        line.skip_program(exporter, &mut words);
        words.reverse();
        line.options = words;
        line
    }

    /// Removes everything up to the first option. `rest` is in reverse order.
    fn skip_program(&mut self, exporter: Exporter, rest: &mut Vec<String>) {
        while let Some(word) = rest.pop_if(|word| !word.starts_with('-')) {
            let word = word.strip_prefix("ExecStart=").unwrap_or(&word);
            match (word.split_once('='), base_name(word)) {
                (Some((name, value)), _) if is_name(name) => self.variables.set(name, value),
                (_, "docker" | "podman" | "nerdctl") => self.skip_docker(rest),
                (_, "sh" | "bash" | "ash" | "dash") => {
                    let mut is_script = false;
                    while let Some(option) = rest.pop_if(|word| word.starts_with('-')) {
                        is_script |= option.ends_with('c');
                    }
                    if let Some(script) = rest.pop_if(|_| is_script) {
                        *rest = command_in(exporter, &script);
                        rest.reverse();
                    }
                }
                (_, "tini" | "dumb-init" | "catatonit" | "env" | "exec" | "nohup") => {
                    while rest.pop_if(|word| word.starts_with('-')).is_some() {}
                }
                (_, "sudo" | "nice" | "chpst") => {
                    while let Some(option) = rest.pop_if(|word| word.starts_with('-')) {
                        if ["-u", "-g", "-n"].contains(&&*option) {
                            rest.pop();
                        }
                    }
                }
                (_, program) if program.starts_with("python") => {
                    while let Some(option) = rest.pop_if(|word| word.starts_with('-')) {
                        if option == "-m" {
                            break;
                        }
                    }
                }
                _ => {}
            }
        }
    }

    /// Removes the options of `docker run`. The image is the next word.
    fn skip_docker(&mut self, rest: &mut Vec<String>) {
        while rest
            .pop_if(|word| ["container", "run"].contains(&&**word))
            .is_some()
        {}
        while let Some(option) = rest.pop_if(|word| word.starts_with('-')) {
            let (name, value) = match option.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (&*option, None),
            };
            let short = name.strip_prefix('-').filter(|name| !name.starts_with('-'));
            let are_flags = short.is_some_and(|flags| flags.chars().all(|c| "ditPq".contains(c)));
            if are_flags || DOCKER_FLAGS.contains(&name) {
                continue;
            }
            let value = value.or_else(|| rest.pop()).unwrap_or_default();
            match name {
                "-e" | "--env" => match value.split_once('=') {
                    Some((name, value)) => self.variables.set(name, value),
                    None => self.variables.set_elsewhere(value, "environment of docker"),
                },
                "--env-file" => {
                    let source = format!("{ENV_FILE}{value}");
                    self.variables.opaque.push(source);
                }
                _ => {}
            }
        }
    }
}

/// The command of a script that runs the exporter, otherwise the last one.
fn command_in(exporter: Exporter, script: &str) -> Vec<String> {
    let words = split(script);
    let commands = words.split(|word| ["&&", "||", ";", "|"].contains(&&**word));
    let commands: Vec<_> = commands.filter(|command| !command.is_empty()).collect();
    let runs = commands.iter().find(|command| exporter.is_run_by(command));
    runs.or(commands.last())
        .map_or_else(Vec::new, |command| command.to_vec())
}
