//! What the daemon says about itself: its log, its metrics, and whether it is ready.

pub mod http;
pub mod log;
pub mod metrics;
pub mod process;
pub mod readiness;
pub mod sink;
