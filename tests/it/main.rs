//! The tests on real servers: what a user runs, against what a user has.

#![expect(
    clippy::disallowed_methods,
    reason = "tests read clocks, wait, and spawn what they need"
)]
#![expect(clippy::print_stdout, reason = "figures that are worth a look")]
#![expect(
    clippy::too_many_lines,
    reason = "a test tells one story, however long"
)]
#![expect(clippy::panic, clippy::needless_collect, reason = "fit for tests")]

#[expect(unreachable_pub, reason = "shared with the benchmarks")]
mod support;

mod attacks;
mod backlogs;
mod beats;
mod bombs;
mod bursts;
mod chaos;
mod clocks;
mod compat;
mod connections;
mod control;
mod dashboards;
mod delivery;
mod deploy;
mod docs;
mod doctor;
mod durability;
mod faults;
mod flood;
mod gaps;
mod hostile_amqp;
mod hostile_broker;
mod hostile_files;
mod labels;
mod late;
mod limits;
mod listener;
mod lives;
mod logins;
mod malformed;
mod memory;
mod migrate;
mod outages;
mod packaging;
mod page;
mod paste;
mod poison;
mod pull;
mod pushgateway;
mod queue;
mod queues;
mod receivers;
mod recordings;
mod reference;
mod refusals;
mod relabel;
mod reload;
mod remote_write;
mod rules;
mod secrets;
mod sentinel;
mod separators;
mod serializers;
mod shaped;
mod slots;
mod stalled;
mod standby;
mod stored;
mod strictness;
mod surface;
mod survival;
mod terminal;
mod texts;
mod transports;
mod unreported;
mod urls;
mod workers;
mod workload;
