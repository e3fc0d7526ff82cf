//! Chooses the connection that a new one replaces when the limit is reached.
//!
//! Silent clients come first. Next are connections with a waiting login, from the address that has
//! the most of them: an address with a single one keeps it, however many passwords others guess.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::activity::Waiting;
use super::turns::origin;

/// How long a client may be silent before its connection is closed ahead of those with waiting
/// logins. The request on a new connection takes a moment to arrive.
const SILENCE: Duration = Duration::from_secs(1);

/// Returns the key of the connection to close; `None` if all are waiting for the daemon.
pub(super) fn to_close<K: Copy>(
    connections: impl Iterator<Item = (K, IpAddr, Waiting)>,
    now: Instant,
) -> Option<K> {
    let mut silent: Option<(Instant, K)> = None;
    let mut logins: HashMap<IpAddr, Logins<K>> = HashMap::new();
    for (key, address, waiting) in connections {
        match waiting {
            Waiting::Client(since) => {
                if silent.is_none_or(|(longest, _)| since < longest) {
                    silent = Some((since, key));
                }
            }
            Waiting::Login(since) => {
                let first = Logins {
                    count: 0,
                    newest: (since, key),
                };
                let logins = logins.entry(origin(address)).or_insert(first);
                logins.count += 1;
                if since > logins.newest.0 {
                    logins.newest = (since, key);
                }
            }
            Waiting::Us => {}
        }
    }
    let most = logins
        .into_values()
        .max_by_key(|logins| (logins.count, logins.newest.0));
    match (silent, most) {
        (Some((since, key)), _) if now.duration_since(since) >= SILENCE => Some(key),
        (_, Some(logins)) if logins.count > 1 => Some(logins.newest.1),
        (Some((_, key)), _) => Some(key),
        (None, most) => most.map(|logins| logins.newest.1),
    }
}

/// Connections of an address with waiting logins.
struct Logins<K> {
    count: usize,
    newest: (Instant, K),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    /// The last octet of each connection's address, and what it is waiting for.
    type Connections<'a> = &'a [(u8, Waiting)];

    #[test]
    fn places_are_taken_from_the_silent_and_from_the_address_with_the_most_logins() {
        let now = clock::monotonic();
        let ago = |ms| now.checked_sub(Duration::from_millis(ms)).expect("uptime");
        let client = |ms| Waiting::Client(ago(ms));
        let login = |ms| Waiting::Login(ago(ms));
        let us = Waiting::Us;
        let cases: [(Connections<'_>, Option<usize>, &str); 7] = [
            (
                &[(1, client(50)), (1, client(90)), (2, us)],
                Some(1),
                "the most silent",
            ),
            (
                &[(1, client(1500)), (1, login(900)), (1, login(800))],
                Some(0),
                "silent for long",
            ),
            (
                &[
                    (1, client(50)),
                    (1, login(900)),
                    (2, login(700)),
                    (2, login(800)),
                ],
                Some(2),
                "most logins",
            ),
            (
                &[(1, client(50)), (1, login(900)), (2, login(700))],
                Some(0),
                "one login each",
            ),
            (
                &[(1, login(900)), (2, login(700))],
                Some(1),
                "nothing but logins",
            ),
            (&[(1, us), (2, us)], None, "all wait for us"),
            (&[], None, "no connection"),
        ];
        for (connections, expected, why) in cases {
            let connections = connections.iter().enumerate();
            let connections = connections
                .map(|(key, (last, waiting))| (key, IpAddr::from([10, 0, 0, *last]), *waiting));
            assert_eq!(to_close(connections, now), expected, "{why}");
        }
    }
}
