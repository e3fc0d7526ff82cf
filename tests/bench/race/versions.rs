//! The machine, and the versions of everything that runs.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use crate::support::exporter::Kind;
use crate::support::target;

/// Describes the machine: processor, number of cores, memory, and the load before the race.
pub fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let model = cpu.lines().find(|line| line.starts_with("model name"));
    let model = model.and_then(|line| line.split_once(": "));
    let memory = read("/proc/meminfo");
    let kib = memory.split_whitespace().nth(1).unwrap_or_default();
    let gib = kib.parse::<f64>().unwrap_or_default() / f64::from(1 << 20);
    let load = read("/proc/loadavg");
    format!(
        "{} cores ({}), {gib:.0} GiB, Linux {}, load average {} before the race",
        std::thread::available_parallelism().map_or(0, usize::from),
        model.map_or("unknown", |(_, model)| model.trim()),
        read("/proc/sys/kernel/osrelease").trim(),
        load.split(' ').next().unwrap_or_default(),
    )
}

/// Returns the version of each program that is installed.
pub fn all() -> BTreeMap<String, String> {
    let prometheus = target().join("prometheus-3/usr/bin/prometheus");
    let mut versions = BTreeMap::new();
    let mut add = |program: &str, version: Option<String>| {
        let version = version.unwrap_or_else(|| "not installed".to_owned());
        versions.insert(program.to_owned(), version);
    };
    add(
        "celeriac",
        printed(env!("CARGO_BIN_EXE_celeriac"), "--version", 1),
    );
    add("Redis", printed("redis-server", "--version", 2));
    add(
        "RabbitMQ",
        printed("/usr/lib/rabbitmq/bin/rabbitmqctl", "version", 0),
    );
    add(
        "Prometheus",
        printed(&prometheus.display().to_string(), "--version", 2),
    );
    add("VictoriaMetrics and vmagent", victoria());
    for (program, kind, package) in [
        (
            "celery-exporter",
            Kind::Danihodovic,
            "prometheus_exporter_celery",
        ),
        ("Flower", Kind::Flower, "flower"),
        (
            "OvalMoney's celery-exporter",
            Kind::OvalMoney,
            "celery_exporter",
        ),
    ] {
        let version = kind
            .installed()
            .and_then(|folder| installed(&folder, package));
        add(program, version);
    }
    versions
}

/// Returns a word of the first line that a program prints.
fn printed(program: &str, argument: &str, word: usize) -> Option<String> {
    let output = Command::new(program).arg(argument).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let word = text.split_whitespace().nth(word)?;
    Some(word.trim_start_matches("v=").to_owned())
}

/// Returns the version of Debian's package, because its programs do not know their own.
fn victoria() -> Option<String> {
    let folder = target().join("victoria-metrics-newer/usr/share/doc/victoria-metrics");
    let file = folder.join("changelog.Debian.gz");
    let output = Command::new("zcat").arg(file).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let (version, _) = text.split_once('(')?.1.split_once([')', '+'])?;
    Some(version.to_owned())
}

/// Returns the versions of a Python package, and of Python.
fn installed(folder: &Path, package: &str) -> Option<String> {
    let python = std::fs::read_dir(folder.join("lib"))
        .ok()?
        .flatten()
        .next()?;
    let packages = std::fs::read_dir(python.path().join("site-packages")).ok()?;
    let prefix = format!("{package}-");
    let version = packages.flatten().find_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        let rest = name.strip_prefix(&prefix)?.strip_suffix(".dist-info")?;
        Some(rest.to_owned())
    })?;
    let python = python.file_name().into_string().ok()?;
    let python = python.replacen("python", "Python ", 1);
    Some(format!("{version} on {python}"))
}
