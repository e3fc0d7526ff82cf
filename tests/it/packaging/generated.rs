//! deploy/man and deploy/completions, generated from the command line. They are checked in, so that the binary does
//! not need the code that generates them.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use celeriac::cli::Cli;
use clap::CommandFactory;
use clap_complete::Shell;
use clap_mangen::Man;

use super::{file, run};

/// Sections that cannot be derived from the command line, placed before the version.
const MORE: &str = r#".SH SIGNALS
.TP
\fBSIGTERM\fR, \fBSIGINT\fR
Stop. Pending samples are sent for up to \fIglobal.grace_period\fR. A second signal exits immediately.
.TP
\fBSIGHUP\fR
Reload the configuration. A change that requires a restart is rejected, and its key is logged.
.SH EXIT STATUS
.TP
\fB0\fR
Success, or stopped by a signal.
.TP
\fB1\fR
The daemon could not start, or a part of it failed; see the log. \fBceleriac status\fR or \fBceleriac doctor\fR found
a problem.
.TP
\fB2\fR
Invalid command line.
.TP
\fB3\fR
\fBceleriac status\fR cannot reach the daemon.
.TP
\fB78\fR
Invalid configuration. Each problem is printed on its own line with its key.
.TP
\fB130\fR
Terminated by a second signal.
.SH ENVIRONMENT
.TP
\fBCELERIAC__\fISECTION\fB__\fIKEY\fR
Override a key outside a list, for example CELERIAC__GLOBAL__INTERVAL=30s.
.TP
\fBCELERIAC_URL\fR
URL of the daemon that \fBstatus\fR and \fBtop\fR show.
.TP
\fBNO_COLOR\fR
If not empty, \fBstatus\fR and \fBtop\fR use no colors.
.TP
\fBRUST_LOG\fR
Log level, unless \fB\-\-log\-level\fR is given.
.TP
\fBNOTIFY_SOCKET\fR, \fBWATCHDOG_USEC\fR
Set by systemd to receive the daemon's status.
.SH FILES
.TP
\fI/etc/celeriac/celeriac.yaml\fR
Configuration of the service.
.TP
\fI/var/lib/celeriac\fR
\fIdata_dir\fR of the service: counters and pending samples.
"#;

/// Returns a man page for the program and one for each command, by file name.
fn pages() -> BTreeMap<String, String> {
    let mut program = Cli::command();
    program.build();
    let page = |command: &clap::Command, more: &str| {
        let man = Man::new(command.clone()).manual("celeriac");
        let mut text = Vec::new();
        man.render(&mut text).expect("a buffer takes all");
        let text = String::from_utf8(text).expect("a text");
        let text = match text.split_once(".SH VERSION") {
            Some((before, version)) => format!("{before}{more}.SH VERSION{version}"),
            None => text + more,
        };
        (format!("deploy/man/{}", man.get_filename()), text)
    };
    let mut pages: BTreeMap<_, _> = program
        .get_subcommands()
        .map(|command| page(command, ""))
        .collect();
    pages.extend([page(&program, MORE)]);
    pages
}

fn completions() -> BTreeMap<String, String> {
    let shells = [
        (Shell::Bash, "celeriac.bash"),
        (Shell::Zsh, "_celeriac"),
        (Shell::Fish, "celeriac.fish"),
    ];
    let completions = shells.map(|(shell, name)| {
        let mut text = Vec::new();
        clap_complete::generate(shell, &mut Cli::command(), "celeriac", &mut text);
        let text = String::from_utf8(text).expect("a text");
        (format!("deploy/completions/{name}"), text)
    });
    completions.into()
}

#[test]
fn man_pages_and_completions_are_what_the_command_line_is() {
    let mut made = pages();
    made.extend(completions());
    for (path, text) in &made {
        if std::env::var_os("UPDATE_DOCS").is_some() {
            fs::write(file(path), text).expect("a writable folder");
        }
        let written = fs::read_to_string(file(path)).unwrap_or_default();
        assert!(written == *text, "{path} is stale: run `make docs`");
    }
    let lying = ["deploy/man", "deploy/completions"].map(|folder| {
        fs::read_dir(file(folder))
            .expect("a folder of the repository")
            .count()
    });
    assert_eq!(lying.iter().sum::<usize>(), made.len(), "one is too many");
}

#[test]
fn man_reads_the_pages_without_a_warning() {
    for path in pages().into_keys() {
        let mut man = Command::new("man");
        man.args(["--warnings=all", "-l"]).arg(file(&path));
        let text = run(man.env("MANWIDTH", "80").env("LC_ALL", "C.UTF-8"));
        assert!(!text.contains("warning:"), "{path}: {text}");
        assert!(
            text.contains("NAME") && text.contains("SYNOPSIS"),
            "{path}: {text}"
        );
    }
    let main = run(Command::new("man")
        .arg("-l")
        .arg(file("deploy/man/celeriac.1"))
        .env("LC_ALL", "C.UTF-8"));
    for words in ["SIGHUP", "run(1)", "78", "CELERIAC__SECTION__KEY"] {
        assert!(main.contains(words), "{words}: {main}");
    }
}

#[test]
fn bash_completes_commands_and_flags() {
    let script = r#"
        source "$1"
        complete_line() {
            COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
            _celeriac celeriac "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
            echo "${COMPREPLY[*]}"
        }
        complete_line celeriac che
        complete_line celeriac run --bro
        complete_line celeriac run --log-format j
    "#;
    let completions = file("deploy/completions/celeriac.bash");
    let text = run(Command::new("bash")
        .args(["-c", script, "bash"])
        .arg(completions));
    assert_eq!(
        text.lines().collect::<Vec<_>>(),
        ["check-config", "--broker", "json"]
    );
}
