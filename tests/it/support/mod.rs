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

use std::collections::VecDeque;
use std::net::{TcpListener, UdpSocket};
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// How many ports stay reserved: more than the tests that run at a time take until their servers listen.
const RESERVED_MAX: usize = 100;

/// Returns a free port outside the kernel's ephemeral range, so that no connection of another test can take it before
/// a slow server starts. A UDP socket of the same number reserves it across test processes.
pub fn free_port() -> u16 {
    static RESERVED: Mutex<VecDeque<UdpSocket>> = Mutex::new(VecDeque::new());
    let mut reserved = RESERVED.lock().expect("nothing panics with the lock");
    reserved.truncate(RESERVED_MAX - 1);
    let mut ports = std::iter::repeat_with(|| fastrand::u16(10_000..32_000)).take(100);
    let free = ports.find_map(|port| {
        let reservation = UdpSocket::bind(("127.0.0.1", port)).ok()?;
        TcpListener::bind(("127.0.0.1", port)).ok()?;
        reserved.push_front(reservation);
        Some(port)
    });
    drop(reserved);
    free.expect("a free port")
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

/// Factor on deadlines, so that a busy machine does not fail a test.
const PATIENCE: u64 = 3;

/// The deadline in seconds that is never extended: the runner ends tests after six minutes, without the last state.
const LONGEST: u64 = 120;

/// Waits until a condition holds, for [`PATIENCE`] times the given seconds. Panics with the last state if it never does.
pub async fn wait_for<T>(
    what: &str,
    seconds: u64,
    check: impl AsyncFnMut() -> Result<T, String>,
) -> T {
    let extended = (PATIENCE * seconds).min(LONGEST.max(seconds));
    wait_within(extended, what, check).await
}

/// Waits until a condition holds, for exactly the given seconds: the time itself is what is tested.
pub async fn wait_within<T>(
    seconds: u64,
    what: &str,
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
