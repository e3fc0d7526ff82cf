//! x
pub mod event;
pub mod state;
pub mod profile;
pub mod series;
pub mod wire;
pub mod telemetry;
pub mod timestamp;
pub mod clock;
