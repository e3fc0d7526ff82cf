//! Requirements for celeriac's container in every deployment.

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::manifests::{Manifests, items, named, said, selects, text};

/// Allowed differences of a pod.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Except {
    /// The pod belongs to another application.
    pub sidecar: bool,
    /// The cluster chooses the uid.
    pub any_uid: bool,
    /// The cluster refuses a seccomp profile.
    pub old: bool,
    /// A probe can only check that the port is open.
    pub closed: bool,
}

/// Checks that each workload in these manifests runs celeriac as required.
pub(super) fn check(manifests: &Manifests, except: Except) {
    let mut workloads = 0;
    for workload in manifests.workloads() {
        workloads += 1;
        let template = &workload["spec"]["template"];
        let pod = &template["spec"];
        let container = named(&pod["containers"], "celeriac").expect("a container celeriac");
        is_locked_up(pod, container, except);
        never_dies_for_a_broker(pod, container, except);
        is_stable(workload, container);
        takes_its_configuration(manifests, workload, container);
        is_reached(manifests, template, container, except);
    }
    assert_eq!(workloads, 1, "one workload");
}

fn is_locked_up(pod: &Value, container: &Value, except: Except) {
    let security = &container["securityContext"];
    assert_eq!(security["readOnlyRootFilesystem"], true);
    assert_eq!(security["allowPrivilegeEscalation"], false);
    assert_eq!(security["privileged"], false);
    assert_eq!(
        security["capabilities"],
        json!({"drop": ["ALL"]}),
        "no capability"
    );
    let of_either = |key: &str| {
        let own = &security[key];
        if own.is_null() {
            pod["securityContext"][key].clone()
        } else {
            own.clone()
        }
    };
    assert_eq!(of_either("runAsNonRoot"), true);
    let uid = if except.any_uid {
        Value::Null
    } else {
        json!(65532)
    };
    assert_eq!(of_either("runAsUser"), uid);
    let seccomp = if except.old {
        Value::Null
    } else {
        json!({"type": "RuntimeDefault"})
    };
    assert_eq!(of_either("seccompProfile"), seccomp);
    for key in ["hostNetwork", "hostPID", "hostIPC"] {
        assert!(pod[key].is_null(), "{key}");
    }
    let kinds = ["configMap", "secret", "emptyDir", "persistentVolumeClaim"];
    for volume in items(&pod["volumes"]) {
        assert!(
            kinds.iter().any(|kind| volume[kind].is_object()),
            "{volume}"
        );
    }
    assert!(container["resources"]["limits"]["memory"].is_string());
    if !except.sidecar {
        assert_eq!(pod["automountServiceAccountToken"], false);
        assert_eq!(pod["securityContext"]["fsGroup"], uid, "for the volume");
    }
}

fn never_dies_for_a_broker(pod: &Value, container: &Value, except: Except) {
    let port = &items(&container["ports"])[0]["name"];
    let (healthy, ready) = if except.closed {
        let open = json!({"port": port});
        (("tcpSocket", open.clone()), ("tcpSocket", open))
    } else {
        let get = |path| ("httpGet", json!({"path": path, "port": port}));
        (get("/-/healthy"), get("/-/ready"))
    };
    let mut probes = vec![("livenessProbe", &healthy)];
    if !except.old {
        probes.push(("startupProbe", &healthy));
    }
    if except.sidecar {
        // It would apply to the whole pod.
        assert!(container["readinessProbe"].is_null());
    } else {
        probes.push(("readinessProbe", &ready));
    }
    for (probe, (kind, asked)) in probes {
        assert_eq!(&container[probe][kind], asked, "{probe}");
    }
    let grace = pod["terminationGracePeriodSeconds"].as_u64();
    // The default if a pod sets none.
    let grace = grace.unwrap_or(30);
    assert!(grace > 20, "more than global.grace_period: {grace}");
}

/// Two daemons on one cluster would count everything twice, and a changing instance would restart every series.
fn is_stable(workload: &Value, container: &Value) {
    let instance = named(&container["env"], "CELERIAC_INSTANCE").expect("an instance");
    let of_the_pod = instance["valueFrom"]["fieldRef"]["fieldPath"] == "metadata.name";
    if workload["kind"] == "StatefulSet" {
        assert!(of_the_pod || instance["value"].is_string(), "{instance}");
        if of_the_pod {
            assert_eq!(workload["spec"]["podManagementPolicy"], "Parallel");
        }
    } else {
        assert!(instance["value"].is_string(), "{instance}");
        assert_eq!(workload["spec"]["strategy"]["type"], "Recreate");
    }
    let replicas = workload["spec"]["replicas"].as_u64();
    assert!(matches!(replicas, Some(1 | 2)), "{replicas:?}");
}

/// Returns the container's environment variables, with plausible values for those that a cluster fills in.
fn environment(manifests: &Manifests, container: &Value) -> BTreeMap<String, String> {
    let mut environment = BTreeMap::new();
    for variable in items(&container["env"]) {
        let from = &variable["valueFrom"];
        let value = if let Some(value) = variable["value"].as_str() {
            value.to_owned()
        } else if let Some(reference) = from["configMapKeyRef"].as_object() {
            let map = manifests.named("ConfigMap", text(&reference["name"]));
            text(&map["data"][text(&reference["key"])]).to_owned()
        } else if from["fieldRef"]["fieldPath"] == "metadata.name" {
            "celeriac-0".to_owned()
        } else if from["fieldRef"]["fieldPath"] == "metadata.namespace" {
            "monitoring".to_owned()
        } else {
            assert!(from["secretKeyRef"].is_object(), "{variable}");
            "from-a-secret".to_owned()
        };
        environment.insert(text(&variable["name"]).to_owned(), value);
    }
    environment
}

/// Checks the ConfigMap at /etc/celeriac: each file is valid, and the one in use fits the container.
fn takes_its_configuration(manifests: &Manifests, workload: &Value, container: &Value) {
    let pod = &workload["spec"]["template"]["spec"];
    let mounted_at = |path: &str| {
        let mounts = items(&container["volumeMounts"]);
        let mount = mounts.iter().find(|mount| mount["mountPath"] == path);
        mount.unwrap_or_else(|| panic!("nothing is mounted at {path}"))
    };
    let config = named(&pod["volumes"], text(&mounted_at("/etc/celeriac")["name"]));
    let map = text(&config.expect("its volume")["configMap"]["name"]);
    let files = manifests.named("ConfigMap", map)["data"]
        .as_object()
        .expect("files");
    let arguments: Vec<_> = items(&container["args"]).iter().map(text).collect();
    let ["run", "--config", runs] = arguments[..] else {
        panic!("{arguments:?}")
    };
    let runs = runs.strip_prefix("/etc/celeriac/").expect("in the volume");
    assert!(files.contains_key(runs), "{runs}");

    let environment = environment(manifests, container);
    let folder = TempDir::new().expect("a temporary folder");
    for (name, content) in files.iter().filter(|(name, _)| name.ends_with(".yaml")) {
        let file = folder.path().join(name);
        std::fs::write(&file, text(content)).expect("a writable folder");
        let check = |print: &[&str]| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_celeriac"));
            command
                .arg("check-config")
                .args(print)
                .arg(&file)
                .env_clear();
            said(command.envs(&environment), "")
        };
        let summary = check(&[]).unwrap_or_else(|problems| panic!("{problems}\n{content}"));
        let port = items(&container["ports"])[0]["containerPort"].to_string();
        assert!(
            summary.trim_end().ends_with(&format!(":{port}")),
            "{port}: {summary}"
        );
        let printed = check(&["--print"]).expect("it was fine");
        let line = printed
            .lines()
            .find_map(|line| line.strip_prefix("data_dir: "));
        let data = mounted_at(line.expect("a data_dir").trim_matches('"'));
        assert_ne!(data["readOnly"], true);
        has_its_volume(workload, text(&data["name"]));
        for path in printed
            .split_whitespace()
            .filter(|word| word.contains("/run/secrets/"))
        {
            let path = path.trim_matches('"');
            let (mount, _) = path.rsplit_once('/').expect("a path");
            assert_eq!(mounted_at(mount)["readOnly"], true, "{path}");
        }
    }
}

fn has_its_volume(workload: &Value, name: &str) {
    let pod = &workload["spec"]["template"]["spec"];
    let claims = items(&workload["spec"]["volumeClaimTemplates"]);
    assert!(
        named(&pod["volumes"], name).is_some()
            || claims.iter().any(|claim| claim["metadata"]["name"] == name),
        "no volume {name}"
    );
}

/// Checks that selectors match the pods and the Service, and that ports have the referenced names.
fn is_reached(manifests: &Manifests, template: &Value, container: &Value, except: Except) {
    let labels = &template["metadata"]["labels"];
    let port = &items(&container["ports"])[0]["name"];
    for service in manifests.of_kind("Service") {
        let spec = &service["spec"];
        assert!(selects(&spec["selector"], labels), "{spec}");
        assert_eq!(&spec["ports"][0]["targetPort"], port);
        // Otherwise, a page that reports a broker outage could not be scraped during the outage.
        assert_eq!(spec["publishNotReadyAddresses"], true);
    }
    for policy in manifests.of_kind("NetworkPolicy") {
        let spec = &policy["spec"];
        assert!(selects(&spec["podSelector"]["matchLabels"], labels));
        assert_eq!(spec["policyTypes"], json!(["Ingress", "Egress"]));
        assert_eq!(items(&spec["ingress"]).len(), 1, "Prometheus only");
        assert_eq!(&spec["ingress"][0]["ports"][0]["port"], port);
        assert!(!items(&spec["ingress"][0]["from"]).is_empty());
        // DNS, brokers and receivers: no rule is without a port.
        assert!(items(&spec["egress"]).len() >= 3);
        for rule in items(&spec["egress"]) {
            assert!(!items(&rule["ports"]).is_empty(), "{rule}");
        }
    }
    for budget in manifests.of_kind("PodDisruptionBudget") {
        let spec = &budget["spec"];
        assert!(selects(&spec["selector"]["matchLabels"], labels));
        assert_eq!(spec["maxUnavailable"], 1, "a node can be drained");
        assert_eq!(spec["unhealthyPodEvictionPolicy"], "AlwaysAllow");
    }
    for monitor in manifests.of_kind("ServiceMonitor") {
        assert!(!except.sidecar, "it has no Service");
        let service = manifests.one("Service");
        let spec = &monitor["spec"];
        let selector = &spec["selector"]["matchLabels"];
        assert!(selects(selector, &service["metadata"]["labels"]));
        assert_eq!(
            spec["endpoints"][0]["port"],
            service["spec"]["ports"][0]["name"]
        );
    }
    for monitor in manifests.of_kind("PodMonitor") {
        let spec = &monitor["spec"];
        assert!(selects(&spec["selector"]["matchLabels"], labels));
        assert_eq!(&spec["podMetricsEndpoints"][0]["port"], port);
    }
}
