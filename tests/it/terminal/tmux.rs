//! A terminal: tmux with a server of its own.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::wait_for;

/// A pane that runs celeriac, prints its exit status, and then waits.
pub(super) struct Tmux {
    socket: PathBuf,
    folder: TempDir,
}

impl Tmux {
    /// Starts celeriac in a terminal of this size. The environment consists of `NAME=value`.
    pub(super) fn start(
        columns: u16,
        lines: u16,
        arguments: &[&str],
        environment: &[&str],
    ) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let socket = folder.path().join("tmux");
        let tmux = Self { socket, folder };
        let at = |file: &str| tmux.folder.path().join(file).display().to_string();
        let quoted = |words: &[&str]| {
            words
                .iter()
                .map(|word| format!("'{word}' "))
                .collect::<String>()
        };
        // celeriac starts when the output is being recorded.
        let script = format!(
            "read go; stty -g > '{before}'; env -u NO_COLOR {environment} sh -c 'echo $$ > \"$0\"; exec \"$@\"' '{pid}' \
             '{program}' {arguments}; echo exit $?; stty -g > '{after}'; exec cat",
            before = at("before"),
            after = at("after"),
            pid = at("pid"),
            environment = quoted(environment),
            program = env!("CARGO_BIN_EXE_celeriac"),
            arguments = quoted(arguments),
        );
        let (columns, lines) = (columns.to_string(), lines.to_string());
        tmux.run(&[
            "-f",
            "/dev/null",
            "new-session",
            "-d",
            "-x",
            &columns,
            "-y",
            &lines,
            "sh",
            "-c",
            &script,
        ]);
        tmux.run(&["set", "-g", "window-size", "manual"]);
        tmux.run(&["pipe-pane", "-O", &format!("cat >> '{}'", at("raw"))]);
        tmux.keys(&["Enter"]);
        tmux
    }

    fn run(&self, arguments: &[&str]) -> String {
        let mut command = Command::new("tmux");
        // Without a UTF-8 locale, tmux replaces all other characters.
        command
            .env("LC_ALL", "C.UTF-8")
            .arg("-u")
            .arg("-S")
            .arg(&self.socket);
        let output = command.args(arguments).output();
        let output = output.expect("tmux starts; if it is missing, run `make setup`");
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Sends keys by their names in tmux; other words are typed.
    pub(super) fn keys(&self, keys: &[&str]) {
        self.run(&[&["send-keys"][..], keys].concat());
    }

    pub(super) fn resize(&self, columns: u16, lines: u16) {
        let (columns, lines) = (columns.to_string(), lines.to_string());
        self.run(&["resize-window", "-x", &columns, "-y", &lines]);
    }

    /// The pid of celeriac.
    pub(super) fn pid(&self) -> i32 {
        let pid = fs::read_to_string(self.folder.path().join("pid")).expect("it started");
        pid.trim().parse().expect("a pid")
    }

    pub(super) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.pid()).expect("a pid");
        kill_process(pid, signal).expect("it runs");
    }

    pub(super) fn screen(&self) -> String {
        self.run(&["capture-pane", "-p"])
    }

    /// Everything that was written to the terminal.
    pub(super) fn raw(&self) -> String {
        let bytes = fs::read(self.folder.path().join("raw")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Waits until the screen shows a text, and returns it.
    pub(super) async fn shows(&self, text: &str, seconds: u64) -> String {
        wait_for(text, seconds, async || {
            let screen = self.screen();
            if screen.contains(text) {
                Ok(screen)
            } else {
                Err(format!("\n{screen}"))
            }
        })
        .await
    }

    /// Asserts that celeriac left the terminal as it was.
    pub(super) fn is_restored(&self) {
        let state = self.run(&["list-panes", "-F", "#{alternate_on} #{cursor_flag}"]);
        assert_eq!(state.trim(), "0 1", "the alternate screen, and the cursor");
        let settings =
            |file: &str| fs::read_to_string(self.folder.path().join(file)).expect("a file");
        assert_eq!(settings("before"), settings("after"));
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        let mut command = Command::new("tmux");
        let _ = command
            .arg("-S")
            .arg(&self.socket)
            .arg("kill-server")
            .output();
    }
}
