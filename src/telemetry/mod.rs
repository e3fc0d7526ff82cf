//! The daemon's own observability: its log, metrics and readiness.

pub mod http;
pub mod log;
pub mod metrics;
pub mod process;
pub mod readiness;
pub mod sink;
