//! The test harness: real servers on free ports in temporary folders, stopped by pid.

pub mod amqp;
pub mod browser;
pub mod celeriac;
pub mod celery;
pub mod certificates;
pub mod cluster;
pub mod comparison;
pub mod disk;
pub mod endpoint;
pub mod events;
pub mod exporter;
pub mod exposition;
pub mod forward_proxy;
pub mod hostile_rabbitmq;
pub mod hostile_redis;
pub mod load;
pub mod polling;
pub mod process;
pub mod prometheus;
pub mod promtool;
pub mod proxy;
pub mod pushgateway;
pub mod querier;
pub mod rabbitmq;
pub mod raw_amqp;
pub mod redis;
pub mod sentinel;
#[cfg(feature = "sigv4")]
pub mod sigv4;
pub mod tasks;
pub mod tls;
pub mod victoria;

use std::net::TcpListener;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Returns a free port outside the kernel's ephemeral range, so that no connection of another test can take it before
/// a slow server starts.
pub fn free_port() -> u16 {
    let free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    let mut ports = std::iter::repeat_with(|| fastrand::u16(10_000..32_000));
    ports.by_ref().take(100).find(free).expect("a free port")
}

/// Returns the folder into which `tests/setup.sh` installs.
pub fn target() -> PathBuf {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    root.join(target)
}

/// Returns the path of a file that `tests/setup.sh` installed.
pub fn made_by_setup(path: &str) -> PathBuf {
    let path = target().join(path);
    assert!(
        path.exists(),
        "{} is missing: run `make setup`",
        path.display()
    );
    path
}

/// Waits until a condition holds. Panics with a description if it never does.
pub async fn wait_for<T>(
    what: &str,
    seconds: u64,
    mut check: impl AsyncFnMut() -> Result<T, String>,
) -> T {
    let deadline = Instant::now() + Duration::from_secs(seconds);
    loop {
        match check().await {
            Ok(value) => return value,
            Err(state) if Instant::now() > deadline => {
                panic!("waited {seconds} s for {what}; in the end: {state}")
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}
