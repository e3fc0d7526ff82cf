//! Schedules password hashing: addresses take turns, so that guesses from one do not delay another.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Maximum number of passwords hashed concurrently, so that guesses leave CPU time for event
/// processing.
const HASHINGS_MAX: usize = 2;

/// Maximum number of logins per address that are hashed or waiting. Further ones get 429.
const LOGINS_OF_ADDRESS_MAX: usize = 8;

#[derive(Debug)]
pub(super) struct Turns {
    /// Limits each address with waiting logins to one at a time. Bounded by the number of
    /// connections.
    addresses: Mutex<HashMap<IpAddr, Arc<Semaphore>>>,
    /// Grants permits in order of arrival; each address has at most one request waiting.
    hashings: Arc<Semaphore>,
}

/// Permission to hash a password; dropping it lets the next one proceed.
#[derive(Debug)]
pub(super) struct Turn {
    _address: OwnedSemaphorePermit,
    _hashing: OwnedSemaphorePermit,
}

impl Turns {
    pub(super) fn new() -> Self {
        Self {
            addresses: Mutex::default(),
            hashings: Arc::new(Semaphore::new(HASHINGS_MAX)),
        }
    }

    /// Waits for a turn; `None` if too many logins of this address are already waiting.
    pub(super) async fn wait(&self, address: IpAddr) -> Option<Turn> {
        let address = self.line(address)?.acquire_owned().await.ok()?;
        let hashing = Arc::clone(&self.hashings).acquire_owned().await.ok()?;
        Some(Turn {
            _address: address,
            _hashing: hashing,
        })
    }

    /// Returns the semaphore of an address, unless too many are waiting.
    fn line(&self, address: IpAddr) -> Option<Arc<Semaphore>> {
        let mut addresses = self
            .addresses
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        addresses.retain(|_, line| Arc::strong_count(line) > 1);
        let line = addresses.entry(origin(address));
        let line = line.or_insert_with(|| Arc::new(Semaphore::new(1)));
        // Each waiting request holds one reference, and the map another.
        (Arc::strong_count(line) <= LOGINS_OF_ADDRESS_MAX).then(|| Arc::clone(line))
    }
}

/// Returns the address to count a client under: for IPv6 its network, because a host can use any
/// address in it.
pub(super) fn origin(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => {
            let network = address.to_bits() & !u128::from(u64::MAX);
            std::net::Ipv6Addr::from_bits(network).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
    use std::time::Duration;

    use futures_util::future::join_all;

    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[tokio::test(start_paused = true)]
    async fn another_address_waits_for_one_hashing_and_not_for_all_guesses() {
        let (turns, hashed) = (Turns::new(), AtomicUsize::new(0));
        // Number of passwords hashed before this one.
        let login = async |from: &str, delay_ms| {
            tokio::time::sleep(Duration::from_millis(delay_ms)).await;
            let _turn = turns.wait(address(from)).await?;
            let before = hashed.fetch_add(1, Relaxed);
            tokio::time::sleep(Duration::from_secs(1)).await;
            Some(before)
        };
        let guessing = ["10.0.0.1", "10.0.0.2", "10.0.0.3"];
        let guesses = guessing
            .iter()
            .flat_map(|from| (0..400).map(|_| login(from, 0)));
        let right = login("10.0.0.4", 10);
        let (guesses, right) = tokio::join!(join_all(guesses), right);
        // One from each other address, plus one from those whose turn came meanwhile.
        assert!(right.is_some_and(|before| before <= 4), "{right:?}");
        let hashed = guesses.iter().flatten().count();
        assert_eq!(hashed, guessing.len() * LOGINS_OF_ADDRESS_MAX);
        // Finished logins leave nothing behind.
        turns.wait(address("10.0.0.5")).await.expect("a turn");
        assert_eq!(turns.addresses.lock().expect("no panic").len(), 1);
    }

    #[test]
    fn an_address_is_known_however_it_is_written() {
        let cases = [
            ("10.0.0.1", "::ffff:10.0.0.1", true),
            ("10.0.0.1", "10.0.0.2", false),
            ("2001:db8::1", "2001:db8::ffff:1", true),
            ("2001:db8::1", "2001:db8:0:1::1", false),
        ];
        for (one, other, same) in cases {
            let [one, other] = [one, other].map(address);
            assert_eq!(origin(one) == origin(other), same, "{one} {other}");
        }
    }
}
