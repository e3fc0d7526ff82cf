//! celeriac: Celery's events, straight from RabbitMQ or Redis, as Prometheus series.
//!
//! Data goes one way, and the modules stand in its order. Sources turn sockets into payloads ([`broker`]); the
//! core turns payloads into events, state, series and bytes ([`event`], [`state`], [`profile`], [`series`],
//! [`wire`], joined in [`pipeline`]), without IO and without a clock; sinks bring the bytes to receivers
//! ([`queue`], [`sink`]), and [`http`] shows them to who asks. One task owns all state ([`aggregator`]);
//! everybody else gets immutable snapshots. `ARCHITECTURE.md` has the picture.

#![cfg_attr(
    test,
    expect(
        clippy::too_many_lines,
        reason = "a test tells one story, however long"
    )
)]

// The process: what starts it, runs it and stops it.
pub mod allocator;
pub mod app;
pub mod cli;
pub mod shutdown;
pub mod supervisor;

// What everything stands on.
pub mod backoff;
pub mod blocking;
pub mod cgroup;
pub mod clock;
pub mod config;
pub mod folder;
pub mod open_files;
pub mod regular_file;
pub mod telemetry;
pub mod tls;

// Sockets to payloads.
pub mod broker;

// The core: a crate of its own, and what joins its parts.
pub use celeriac_core::{
    bounds, counts, escape, event, profile, saved, series, state, timestamp, wire,
};

pub mod pipeline;

// The owner of the core, and what it knows on disk.
pub mod aggregator;
pub mod checkpoint;

// Bodies to receivers, and pages to who asks.
pub mod http;
pub mod queue;
pub mod sink;

// All of it in one process.
pub mod demo;

// What is for the one who sets it up.
pub mod doctor;
pub mod migrate;
