//! celeriac: Celery's events, straight from RabbitMQ or Redis, as Prometheus series.
//!
//! Data flows in one direction, and the modules follow that order. Sources turn sockets into
//! payloads ([`broker`]). The core turns payloads into events, state, series and bytes ([`event`],
//! [`state`], [`profile`], [`series`], [`wire`], combined in [`pipeline`]), without IO and without
//! a clock. Sinks deliver the bytes to receivers ([`queue`], [`sink`]), and [`http`] serves them on
//! request. One task owns all state ([`aggregator`]); everything else reads immutable snapshots.
//! See `ARCHITECTURE.md` for the overview.

#![cfg_attr(
    test,
    expect(
        clippy::too_many_lines,
        reason = "a test tells one story, however long"
    )
)]

// Start, run and stop the process.
pub mod app;
pub mod cli;
pub mod resolver;
pub mod shutdown;
pub mod supervisor;
pub mod version;

// Shared basics.
pub mod backoff;
pub mod blocking;
pub mod cgroup;
pub mod clock;
pub mod config;
pub mod folder;
pub mod memory;
pub mod open_files;
pub mod output;
pub mod regular_file;
pub mod secret;
pub mod telemetry;
pub mod tls;

// Sockets to payloads.
pub mod broker;

// The core, which is a separate crate, and the pipeline that combines its parts.
pub use celeriac_core::{
    bounds, counts, escape, event, profile, saved, series, state, timestamp, wire,
};

pub mod pipeline;

// The task that owns the core, and its state on disk.
pub mod aggregator;
pub mod checkpoint;

// What the page and the terminal show.
pub mod status;

// The commands that show it in a terminal.
pub mod terminal;

// Delivery to receivers, and pages.
pub mod http;
pub mod queue;
pub mod sink;

// A simulated cluster and receiver.
pub mod demo;

// Recorded messages, and what they add up to.
pub mod recording;

// Tools for setting celeriac up.
pub mod doctor;
pub mod migrate;
