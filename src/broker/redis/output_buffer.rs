//! The limit on the output that Redis buffers for a subscriber.
//!
//! Source: redis.io, "Redis client handling", output buffer limits; and `redis.conf`, `client-output-buffer-limit`.

use std::fmt;

/// The usual size of a message with one event: in base64, with Kombu's envelope.
const EVENT_BYTES: u64 = 670;

/// Beyond these limits, Redis closes the connection and discards what it has buffered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutputBufferLimit {
    /// Maximum number of bytes; `None` if there is no limit.
    hard: Option<u64>,
    /// Maximum number of bytes over a time, and that time in seconds; `None` if there is no limit.
    soft: Option<(u64, u64)>,
}

impl OutputBufferLimit {
    /// Parses the value of `client-output-buffer-limit`, which lists a class of clients and three numbers for each class,
    /// and returns the limit of subscribers.
    pub(super) fn parse(setting: &str) -> Option<Self> {
        let mut words = setting.split_ascii_whitespace();
        words.find(|word| *word == "pubsub")?;
        let mut number = || words.next()?.parse().ok();
        let (hard, soft, seconds) = (number()?, number()?, number()?);
        Some(Self {
            hard: (hard > 0).then_some(hard),
            soft: (soft > 0 && seconds > 0).then_some((soft, seconds)),
        })
    }

    /// How many events without a list fit; `None` if there is no hard limit.
    pub fn events(self) -> Option<u64> {
        Some(self.hard? / EVENT_BYTES)
    }

    /// Whether a subscriber that does not read may lose a burst of this many bytes.
    pub fn is_below(self, bytes: u64) -> bool {
        self.hard.is_some_and(|hard| hard < bytes)
    }
}

impl fmt::Display for OutputBufferLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.hard, self.soft) {
            (None, None) => f.write_str("any number of bytes"),
            (Some(hard), None) => write!(f, "{}", size(hard)),
            (None, Some((soft, seconds))) => write!(f, "{} for {seconds} s", size(soft)),
            (Some(hard), Some((soft, seconds))) => {
                write!(f, "{}, or {} for {seconds} s", size(hard), size(soft))
            }
        }
    }
}

/// A size in the largest unit of which it is a multiple.
fn size(bytes: u64) -> String {
    let units = [(20, "MiB"), (10, "KiB")];
    let unit = units
        .into_iter()
        .find(|(shift, _)| bytes.trailing_zeros() >= *shift);
    let (shift, unit) = unit.unwrap_or((0, "bytes"));
    format!("{} {unit}", bytes >> shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_setting_is_read_and_shown() {
        let shown = |setting| OutputBufferLimit::parse(setting).map(|limit| limit.to_string());
        let defaults = "normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60";
        assert_eq!(
            shown(defaults).as_deref(),
            Some("32 MiB, or 8 MiB for 60 s")
        );
        // Classes come in any order, and Valkey may add some.
        let reordered = "pubsub 1048576 0 0 replica 1 2 3 other 4 5 6";
        assert_eq!(shown(reordered).as_deref(), Some("1 MiB"));
        assert_eq!(
            shown("pubsub 0 512 10").as_deref(),
            Some("512 bytes for 10 s")
        );
        assert_eq!(
            shown("pubsub 0 0 0").as_deref(),
            Some("any number of bytes")
        );
        for broken in ["", "normal 0 0 0", "pubsub", "pubsub 1 2", "pubsub 1 2 x"] {
            assert_eq!(shown(broken), None, "{broken}");
        }
    }

    #[test]
    fn the_default_holds_fifty_thousand_events() {
        let limit = |setting| OutputBufferLimit::parse(setting).expect("valid");
        assert_eq!(limit("pubsub 33554432 8388608 60").events(), Some(50_081));
        assert_eq!(limit("pubsub 0 8388608 60").events(), None);
    }

    #[test]
    fn only_the_hard_limit_ends_a_burst_at_once() {
        let limit = |setting| OutputBufferLimit::parse(setting).expect("valid");
        assert!(limit("pubsub 100 10 60").is_below(101));
        assert!(!limit("pubsub 100 10 60").is_below(100));
        assert!(!limit("pubsub 0 10 60").is_below(u64::MAX));
    }
}
