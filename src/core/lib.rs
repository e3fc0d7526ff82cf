//! The pure part of celeriac: payloads become events, events state, state series, and series bytes.
//!
//! Nothing here does I/O, reads a clock or knows the configuration: time and limits come in as values. What restarts must
//! not lose goes out as messages of [`saved`] and comes back in the same form.

#![cfg_attr(
    test,
    expect(
        clippy::too_many_lines,
        reason = "a test tells one story, however long"
    )
)]

pub mod bounds;
pub mod counts;
pub mod escape;
pub mod event;
pub mod profile;
pub mod saved;
pub mod series;
pub mod state;
pub mod timestamp;
pub mod wire;
