//! The harness: real servers on free ports in temporary folders, stopped by their pid.

pub mod amqp;
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
pub mod load;
pub mod polling;
pub mod process;
pub mod prometheus;
pub mod promtool;
pub mod proxy;
pub mod pushgateway;
pub mod querier;
pub mod rabbitmq;
pub mod receiver;
pub mod redis;
pub mod sentinel;
#[cfg(feature = "sigv4")]
pub mod sigv4;
pub mod tasks;
pub mod tls;
pub mod victoria;
pub mod wire;

use std::net::TcpListener;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// A port that nobody listens on. Another process may take it before it is used; the ports of the range that the
/// kernel hands out go round, so that is rare.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener
        .local_addr()
        .expect("a bound listener has an address")
        .port()
}

/// Where `tests/setup.sh` puts what it makes.
pub fn target() -> PathBuf {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    root.join(target)
}

/// Something that `tests/setup.sh` made.
pub fn made_by_setup(path: &str) -> PathBuf {
    let path = target().join(path);
    assert!(
        path.exists(),
        "{} is missing: run `make setup`",
        path.display()
    );
    path
}

/// Waits until a condition holds, and says what it waited for if it never does.
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
