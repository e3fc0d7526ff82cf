//! Manifests as a cluster would receive them, and the programs that create and check them.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;

use serde_json::Value;

use crate::support::made_by_setup;

/// Returns a path in the repository.
pub(super) fn repository(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Returns the example in docs/deploy.md that begins with this line.
pub(super) fn documented(first: &str) -> String {
    let page = std::fs::read_to_string(repository("docs/deploy.md")).expect("the page");
    let start = page.find(&format!("```yaml\n{first}")).expect(first);
    let block = page[start..].trim_start_matches("```yaml\n");
    let end = block.find("```").expect("the end of the example");
    block[..end].to_owned()
}

/// Runs a program, and returns its standard output, or its standard error if it fails.
pub(super) fn said(command: &mut Command, input: &str) -> Result<String, String> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("{command:?}: {error}"))?;
    let mut stdin = child.stdin.take().expect("a pipe");
    let input = input.to_owned();
    // A program that fails early closes its end of the pipe.
    let writer = thread::spawn(move || stdin.write_all(input.as_bytes()).is_ok());
    let output = child.wait_with_output().expect("it ends");
    writer.join().expect("the writer ends");
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() {
        Ok(text(&output.stdout))
    } else {
        Err(text(&output.stderr))
    }
}

/// Returns the command for a Python helper, in the environment for Kubernetes.
pub(super) fn python(script: &str) -> Command {
    let mut command = Command::new(made_by_setup("venvs/kubernetes/bin/python"));
    command.arg(repository("tests/it/python").join(script));
    command
}

pub(super) fn helm() -> Command {
    Command::new(made_by_setup("kubernetes-tools/helm"))
}

pub(super) fn kubectl() -> Command {
    Command::new(made_by_setup("kubernetes-tools/kubectl"))
}

#[derive(Debug)]
pub(super) struct Manifests(pub Vec<Value>);

impl Manifests {
    /// Parses manifests, each of which must match the schema of its kind.
    pub(super) fn check(yaml: &str) -> Result<Self, String> {
        let openapi = made_by_setup("kubernetes-tools/openshift-openapi-spec.json.gz");
        let json = said(python("manifests.py").arg(openapi), yaml)?;
        let list = serde_json::from_str(&json).expect("a list of manifests");
        Ok(Self(list))
    }

    pub(super) fn of_kind<'a, 'b>(
        &'a self,
        kind: &'b str,
    ) -> impl Iterator<Item = &'a Value> + use<'a, 'b> {
        self.0
            .iter()
            .filter(move |manifest| manifest["kind"] == kind)
    }

    pub(super) fn one(&self, kind: &str) -> &Value {
        let mut all = self.of_kind(kind);
        let first = all.next().unwrap_or_else(|| panic!("no {kind}"));
        assert!(all.next().is_none(), "more than one {kind}");
        first
    }

    pub(super) fn named(&self, kind: &str, name: &str) -> &Value {
        self.of_kind(kind)
            .find(|manifest| manifest["metadata"]["name"] == name)
            .unwrap_or_else(|| panic!("no {kind} {name}"))
    }

    /// Returns the objects that run pods.
    pub(super) fn workloads(&self) -> impl Iterator<Item = &Value> {
        self.0
            .iter()
            .filter(|manifest| manifest["spec"]["template"]["spec"]["containers"].is_array())
    }
}

/// Returns the elements of a list; none if the key is missing.
pub(super) fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// Returns the element with this name.
pub(super) fn named<'a>(list: &'a Value, name: &str) -> Option<&'a Value> {
    items(list).iter().find(|item| item["name"] == name)
}

pub(super) fn text(value: &Value) -> &str {
    value
        .as_str()
        .unwrap_or_else(|| panic!("no text: {value:?}"))
}

/// Whether labels match a selector.
pub(super) fn selects(selector: &Value, labels: &Value) -> bool {
    let asked = selector.as_object().expect("labels to select by");
    !asked.is_empty() && asked.iter().all(|(key, value)| labels[key] == *value)
}
