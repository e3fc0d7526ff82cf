//! Runs dashboards and rules on the series of a real workload: real workers on RabbitMQ and Redis, and a real
//! Prometheus with the rules that the daemon pushes to. Every panel query and every rule has data, and every panel is
//! drawn.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use regex::Regex;
use serde_json::Value;
use tempfile::TempDir;

use super::rules::files;
use super::support::celeriac::Celeriac;
use super::support::celery::Celery;
use super::support::events;
use super::support::process::Process;
use super::support::prometheus::{Options, Prometheus};
use super::support::pushgateway::Pushgateway;
use super::support::rabbitmq::RabbitMq;
use super::support::redis::Redis;
use super::support::{made_by_setup, target, wait_for};

fn dashboard(file: &Path) -> Value {
    let text = std::fs::read_to_string(file).expect("a file");
    serde_json::from_str(&text).expect("JSON")
}

fn list<'a>(of: &'a Value, key: &str) -> &'a Vec<Value> {
    of[key].as_array().expect(key)
}

fn text<'a>(of: &'a Value, key: &str) -> &'a str {
    of[key].as_str().unwrap_or_else(|| panic!("{key}: {of}"))
}

/// Returns the panels that show data.
fn panels(dashboard: &Value) -> impl Iterator<Item = &Value> {
    let panels = list(dashboard, "panels").iter();
    panels.filter(|panel| panel["type"] != "row")
}

/// Returns every query of a dashboard's panels and variables with its location.
pub(crate) fn queries(file: &Path) -> Vec<(String, String)> {
    let dashboard = dashboard(file);
    let mut queries = Vec::new();
    for panel in panels(&dashboard) {
        let place = format!("{}, {}", text(&dashboard, "uid"), text(panel, "title"));
        let targets = list(panel, "targets").iter();
        queries.extend(targets.map(|target| (place.clone(), text(target, "expr").to_owned())));
    }
    queries
}

#[test]
fn dashboards_are_what_their_program_writes() {
    let check = Command::new("python3")
        .arg("-B")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/grafana/dashboards.py"))
        .arg("--check")
        .output()
        .expect("python3 starts");
    let said = String::from_utf8_lossy(&check.stderr);
    assert!(check.status.success(), "{said}");
}

#[test]
fn panels_have_units_descriptions_and_a_data_source_of_choice() {
    let variable = Regex::new(r"\$([a-z]+)").expect("a regex");
    let mut uids = BTreeSet::new();
    for file in files("deploy/grafana", ".json") {
        let dashboard = dashboard(&file);
        assert!(uids.insert(text(&dashboard, "uid").to_owned()), "{file:?}");
        assert!(dashboard["schemaVersion"].as_u64() >= Some(39), "{file:?}");
        for key in ["refresh", "title", "description"] {
            assert!(!text(&dashboard, key).is_empty(), "{file:?}: {key}");
        }
        let variables = list(&dashboard["templating"], "list");
        let names: BTreeSet<_> = variables.iter().map(|one| text(one, "name")).collect();
        assert!(
            ["datasource", "job", "namespace", "broker"]
                .iter()
                .all(|name| names.contains(name)),
            "{names:?}"
        );
        for one in variables.iter().filter(|one| one["type"] == "query") {
            // Any other value would hide series without the label.
            assert_eq!(text(one, "allValue"), ".*", "{one}");
        }
        let mut titles = BTreeSet::new();
        for panel in panels(&dashboard) {
            let title = text(panel, "title");
            assert!(titles.insert(title), "{file:?}: two panels {title}");
            assert!(!text(panel, "description").is_empty(), "{title}");
            let defaults = &panel["fieldConfig"]["defaults"];
            assert!(!text(defaults, "unit").is_empty(), "{title}");
            for target in list(panel, "targets") {
                assert_eq!(text(&target["datasource"], "uid"), "${datasource}");
                let expression = text(target, "expr");
                assert!(
                    expression.contains("$job") || expression.contains("scalar("),
                    "{title}: {expression}"
                );
                for used in variable.captures_iter(expression) {
                    assert!(names.contains(&used[1]), "{title}: {expression}");
                }
            }
        }
    }
    assert_eq!(uids.len(), 6, "{uids:?}");
}

/// Returns the rules with all times divided by thirty: a one-minute window evaluated every minute becomes two
/// seconds. A task counts as periodic after ten seconds. Includes the example of a task's own interval.
fn rules_in(folder: &TempDir) -> String {
    for file in files("deploy/prometheus", ".rules.yaml") {
        let rules = std::fs::read_to_string(&file).expect("a file");
        let rules = rules
            .replace("interval: 1m", "interval: 2s")
            .replace("offset 1m", "offset 2s")
            .replace("offset 3d", "offset 10s")
            .replace("# - record:", "- record:")
            .replace("      #   expr:", "        expr:")
            .replace(
                "      #   labels: {name: reports.weekly}",
                "        labels: {name: proj.add}",
            );
        let name = file.file_name().expect("a name");
        std::fs::write(folder.path().join(name), rules).expect("writable");
    }
    let rules = folder.path().join("*.rules.yaml");
    format!(
        "global: {{evaluation_interval: 1s}}\nrule_files: [{:?}]\n",
        rules.display().to_string()
    )
}

/// Prometheus with the rules, and when it started.
struct Filled {
    prometheus: Prometheus,
    start: f64,
}

impl Filled {
    /// Returns how many series an expression yielded at any time, ignoring NaN.
    async fn ever(&self, expression: &str) -> usize {
        let (start, end) = (self.start.to_string(), now().to_string());
        let parameters = [
            ("query", expression),
            ("start", &start),
            ("end", &end),
            ("step", "1"),
        ];
        let answer = self.prometheus.api("query_range", &parameters).await;
        let values = list(&answer, "result")
            .iter()
            .flat_map(|series| list(series, "values"));
        let finite = |pair: &&Value| {
            let value = pair[1].as_str().and_then(|text| text.parse::<f64>().ok());
            value.is_some_and(f64::is_finite)
        };
        values.filter(finite).count()
    }

    /// Asserts that every panel query has data with every value of the variables. The fallback for "no data" does not
    /// count.
    async fn panels_have_data(&self) {
        let mut empty = Vec::new();
        for file in files("deploy/grafana", ".json") {
            for (place, query) in queries(&file) {
                if self.ever(&chosen(&query)).await == 0 {
                    empty.push(format!("{place}: {query}"));
                }
            }
        }
        assert_eq!(empty, Vec::<String>::new());
    }

    /// Asserts that every variable has values.
    async fn variables_have_values(&self) {
        let lookup = Regex::new(r"^label_values\((.*), (\w+)\)$").expect("a regex");
        for file in files("deploy/grafana", ".json") {
            let dashboard = dashboard(&file);
            let variables = list(&dashboard["templating"], "list").iter();
            for variable in variables.filter(|one| one["type"] == "query") {
                let query = text(variable, "definition");
                let parts = lookup.captures(query).expect("label_values");
                let path = format!("label/{}/values", &parts[2]);
                let values = self
                    .prometheus
                    .api(&path, &[("match[]", &chosen(&parts[1]))])
                    .await;
                assert_ne!(values.as_array().map(Vec::len), Some(0), "{query}");
            }
        }
    }

    /// Asserts that panels with exemplars have some, and that each names a task.
    async fn exemplars_name_tasks(&self) {
        let mut with_exemplars = 0;
        for file in files("deploy/grafana", ".json") {
            let dashboard = dashboard(&file);
            for panel in panels(&dashboard) {
                let (mut wanted, mut found) = (false, 0);
                for target in list(panel, "targets") {
                    if target["exemplar"] == true {
                        wanted = true;
                        let query = chosen(text(target, "expr"));
                        let series = self.prometheus.exemplars(&query, self.start, now()).await;
                        for exemplar in series.iter().flat_map(|one| list(one, "exemplars")) {
                            let id = text(&exemplar["labels"], "task_id");
                            assert!(!id.is_empty(), "{exemplar}");
                            found += 1;
                        }
                    }
                }
                assert!(!wanted || found > 0, "{}", text(panel, "title"));
                with_exemplars += usize::from(wanted);
            }
        }
        assert!(with_exemplars > 5, "{with_exemplars}");
    }

    /// Asserts that recorded series exist. The comparisons of alerts are evaluated with `bool`, which yields 0 or 1
    /// whenever there is something to compare: they have a result if every operand has data and the labels match.
    async fn rules_have_data(&self) {
        let answer = self.prometheus.api("rules", &[]).await;
        let comparison = Regex::new(r"(\s)(==|>=|<=|>|<)(\s)").expect("a regex");
        let (mut empty, mut seen) = (Vec::new(), 0);
        let groups = list(&answer, "groups").iter();
        for rule in groups.flat_map(|group| list(group, "rules")) {
            let (name, query) = (text(rule, "name"), text(rule, "query"));
            assert_eq!(rule["health"], "ok", "{rule}");
            let asked = if rule["type"] == "recording" {
                name.to_owned()
            } else {
                // `unless` compares past and present series, so there must be some that are in both.
                let query = query.replace(" unless ", " and ");
                comparison.replace_all(&query, "$1$2 bool$3").into_owned()
            };
            if self.ever(&asked).await == 0 {
                empty.push(format!("{name}: {asked}"));
            }
            seen += 1;
        }
        assert!(seen > 70, "{seen}");
        assert_eq!(empty, Vec::<String>::new());
    }

    /// Asserts that every panel was drawn.
    async fn panels_have_pictures(&self) {
        let out = target().join("dashboards");
        let _ = std::fs::remove_dir_all(&out);
        let mut draw = Command::new(made_by_setup("venvs/drawing/bin/python"));
        draw.arg("-B")
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/grafana/draw.py"))
            .args([
                "--prometheus",
                &self.prometheus.base,
                "--rate-interval",
                "15s",
            ])
            .args(["--minutes", &format!("{:.2}", (now() - self.start) / 60.0)])
            .arg("--out")
            .arg(&out)
            .args(files("deploy/grafana", ".json"));
        let output = tokio::task::spawn_blocking(move || draw.output()).await;
        let output = output.expect("no panic").expect("it starts");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let report = report.as_array().expect("a list");
        let drawn = files("deploy/grafana", ".json")
            .iter()
            .fold(0, |sum, file| sum + panels(&dashboard(file)).count());
        assert_eq!(report.len(), drawn);
        for panel in report {
            for target in list(panel, "targets") {
                assert!(target["samples"].as_u64() > Some(0), "{panel}");
            }
            let picture = PathBuf::from(text(panel, "picture"));
            let bytes = std::fs::read(&picture).expect("a picture");
            assert!(bytes.starts_with(b"\x89PNG"), "{panel}");
        }
    }
}

fn now() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.expect("after 1970").as_secs_f64()
}

/// Returns a query as Grafana sends it with "All" selected, without the fallback for "no data".
fn chosen(query: &str) -> String {
    let variable = Regex::new(r"\$[a-z]+\b").expect("a regex");
    let query = query.replace("$__rate_interval", "15s");
    let query = variable.replace_all(&query, ".*");
    query.replace(" or vector(0)", "")
}

/// A worker that has stopped consuming, and messages in its queue.
async fn stalled_worker(celery: &Celery) -> Process {
    let only = ["-E", "-c", "1", "-Q", "high"];
    let worker = celery.worker_of("polled", "w5", &only).await;
    let host = rustix::system::uname();
    let name = format!("w5@{}", host.nodename().to_string_lossy());
    // Its first tasks show that it sends events. Otherwise it might hold back tasks because of their rate limit.
    let environment = [
        ("SEND", r#"[[3, 0, {"queue": "high"}]]"#),
        ("COMMAND", "stall"),
        ("DESTINATION", &name),
    ];
    for script in ["send.py", "command.py", "send.py"] {
        celery.script_with(script, 60, &environment).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    worker
}

/// What two beats have sent in the last hours.
async fn sends_of_two_beats(redis: &Redis) {
    let sends = (0..30_u64).rev().flat_map(|n| {
        let at = now() - n as f64 * 600.0;
        [1, 2].map(|beat| {
            let uuid = events::uuid(1 << 40 | n << 2 | beat);
            let sent = format!(
                r#"{{"type": "task-sent", "uuid": "{uuid}", "root_id": "{uuid}", "parent_id": null, "name": "proj.twice",
                "hostname": "gen{beat}@beat", "timestamp": {at}, "retries": 0, "queue": "celery"}}"#
            );
            events::envelope(&sent)
        })
    });
    let sends: Vec<String> = sends.collect();
    redis.publish(sends.iter().map(String::as_bytes)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_panel_and_every_rule_has_data_of_a_real_workload() {
    let (rabbitmq, redis) = (RabbitMq::start().await, Redis::start().await);
    let gateway = Pushgateway::start().await;
    let folder = TempDir::new().expect("a temporary folder");
    let options = Options {
        config: rules_in(&folder),
        ..Options::newer()
    };
    let start = now();
    let prometheus = Prometheus::start_with(options).await;

    // Tasks published before celeriac listened only leave the queue, so there is a time to drain.
    let on_rabbitmq = Celery::new("5.6", &rabbitmq.url(""), &redis.url(1));
    let on_redis = Celery::new("5.7", &redis.url(0), &redis.url(2));
    on_rabbitmq
        .script_with("steady.py", 60, &[("BACKLOG", "800")])
        .await;

    let config = format!(
        "global: {{interval: 1s, external_labels: {{job: celery, instance: celeriac-1, namespace: shop}}}}\n\
         http: {{listen: \"{{listen}}\"}}\n\
         data_dir: {:?}\n\
         brokers:\n\
         - {{name: main, url: {:?}, queue_interval: 1s, control_interval: 3s}}\n\
         - {{name: other, url: {:?}, queue_interval: 1s, control_interval: 3s}}\n\
         remote_write: [{{url: {:?}, send_native_histograms: true}}]\n\
         pushgateway: [{{url: {:?}, job: celery}}]\n\
         metrics: {{periodic_tasks: [{{name: proj.add, every: 10s}}]}}\n",
        folder.path().join("data").display().to_string(),
        rabbitmq.url(""),
        redis.url(0),
        prometheus.write_url(),
        gateway.url(),
    );
    let mut celeriac = Celeriac::start(&config).await;
    celeriac.ready().await;
    let filled = Filled { prometheus, start };

    let all = ["-c", "2", "-Q", "celery,green,prefork"];
    let _other = on_redis.worker("w3", &all).await;
    let _first = on_rabbitmq
        .worker("w1", &["-c", "2", "-Q", "celery,green"])
        .await;
    // A task that runs too long needs a pool that does not stop it.
    let thread = ["-P", "threads", "-c", "1", "-Q", "hang"];
    let _thread = on_redis.worker("w4", &thread).await;
    let beat = on_redis.beat("periodic", "beat").await;
    let _stalled = stalled_worker(&on_redis).await;
    sends_of_two_beats(&redis).await;
    let mut second = on_rabbitmq
        .worker("w2", &["-c", "2", "-Q", "prefork"])
        .await;
    let seconds = [("SECONDS", "60")];
    tokio::join!(
        on_rabbitmq.script_with("steady.py", 150, &seconds),
        on_redis.script_with("steady.py", 150, &seconds)
    );
    drop(beat);
    // A killed worker announces nothing, so the task it was running is lost.
    second.kill();
    let _second = on_rabbitmq
        .worker("w2", &["-c", "2", "-Q", "prefork"])
        .await;
    wait_for("tasks to be lost", 60, async || {
        let lost = filled.prometheus.sum("celery_task_lost_total").await;
        if lost > 0.0 {
            Ok(())
        } else {
            Err(celeriac.process.output())
        }
    })
    .await;
    tokio::join!(
        on_rabbitmq.script_with("steady.py", 60, &[("SECONDS", "10")]),
        on_redis.script_with("steady.py", 60, &[("SECONDS", "10")])
    );

    filled.variables_have_values().await;
    filled.panels_have_data().await;
    filled.exemplars_name_tasks().await;
    filled.rules_have_data().await;
    filled.panels_have_pictures().await;
    assert!(celeriac.terminate().success());
}
