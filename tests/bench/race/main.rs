//! Races celeriac against its peers on this machine: CPU, memory, bytes on the wire and latency, and how celeriac's own
//! costs grow.
//!
//! `cargo bench --profile dist --bench race` builds celeriac as released and runs everything on real brokers in about a
//! quarter of an hour; with `-- memory` at the end it runs one section. Everything listens on loopback. Values of programs
//! that are compared come from the same minutes, in turns or side by side, because the speed of a machine changes from day
//! to day: read the ratios, not the values.
//!
//! The values are added to `target/race.json`, from which `tests/race.py` draws the picture and writes the tables in
//! docs/performance.md. A section that is run again replaces its older values.

#![expect(clippy::print_stdout, reason = "a benchmark prints what it measured")]
#![expect(
    clippy::disallowed_methods,
    reason = "measures time, and spawns what it needs"
)]
#![expect(unreachable_pub, reason = "a benchmark has no public API")]

#[path = "../../it/support/mod.rs"]
#[expect(dead_code, reason = "the integration tests use the rest")]
#[expect(clippy::panic, clippy::needless_collect, reason = "fit for tests")]
mod support;

mod agents;
mod events;
mod latency;
mod memory;
mod pace;
mod push;
mod report;
mod scale;
mod shards;
mod sink;
mod usage;
mod versions;

use report::Report;
use support::target;

/// In the order of the table.
const SECTIONS: [&str; 6] = ["events", "memory", "push", "latency", "scale", "shards"];

#[tokio::main]
async fn main() {
    // `cargo bench` passes its own arguments, and so does `cargo test --benches`: then nothing is measured.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let only: Vec<String> = std::env::args()
        .filter(|argument| SECTIONS.contains(&argument.as_str()))
        .collect();
    let file = target().join("race.json");
    let mut report = Report::read(&file);
    report.machine = versions::machine();
    report.versions = versions::all();
    println!("{}", report.machine);
    for (program, version) in &report.versions {
        println!("{program} {version}");
    }
    for name in SECTIONS {
        if !only.is_empty() && !only.iter().any(|one| one == name) {
            continue;
        }
        println!("measuring: {name}");
        let section = match name {
            "events" => events::run().await,
            "memory" => memory::run().await,
            "push" => push::run().await,
            "latency" => latency::run().await,
            "scale" => scale::run().await,
            _ => shards::run().await,
        };
        report.sections.insert(name.to_owned(), section);
        report.write(&file);
    }
    report.print(&SECTIONS);
    println!("written to {}", file.display());
}
