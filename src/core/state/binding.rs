//! Derives a message's queue from its exchange and routing key, if the bindings are unambiguous.

/// The exchange that binds every queue by name.
const DEFAULT_EXCHANGE: &str = "";

/// The exchanges of Celery's native delayed delivery expect one word for each of 28 levels before
/// the routing key.
const DELAYED_EXCHANGE: &str = "celery_delayed_";
const DELAYED_WORDS: usize = 28;

/// A queue bound to an exchange.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Binding {
    pub exchange: String,
    pub routing_key: String,
    pub kind: ExchangeKind,
    pub queue: String,
}

/// How an exchange matches routing keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum ExchangeKind {
    #[default]
    Direct,
    /// The routing key of a binding is a pattern with `*` and `#`.
    Topic,
    /// Routing keys are ignored.
    Fanout,
    /// Headers exchanges and plugins, for which the routing key has no meaning.
    Other,
}

impl ExchangeKind {
    /// The kind with the name used by AMQP and Kombu.
    pub fn of(name: &str) -> Self {
        match name {
            "direct" => Self::Direct,
            "topic" => Self::Topic,
            "fanout" => Self::Fanout,
            _ => Self::Other,
        }
    }
}

/// The queue of a message *delivered* from one of the bound queues, if only one is possible.
pub fn queue_delivered<'a>(
    exchange: &'a str,
    routing_key: &'a str,
    bindings: &'a [Binding],
) -> Option<&'a str> {
    if exchange == DEFAULT_EXCHANGE {
        return Some(routing_key).filter(|queue| !queue.is_empty());
    }
    if let Some(key) = without_delay(exchange, routing_key) {
        return the_one(bindings.iter().filter(|binding| binding.takes(key)));
    }
    let under = || {
        bindings
            .iter()
            .filter(|binding| binding.exchange == exchange)
    };
    // The message came from one of these queues. If the exchange has only one, it is that one,
    // whatever the binding keys.
    the_one(under()).or_else(|| the_one(under().filter(|binding| binding.takes(routing_key))))
}

impl Binding {
    /// Whether this binding routes a message with this routing key.
    pub(super) fn takes(&self, routing_key: &str) -> bool {
        match self.kind {
            ExchangeKind::Direct => self.routing_key == routing_key,
            ExchangeKind::Topic => topic_matches(&self.routing_key, routing_key),
            ExchangeKind::Fanout => true,
            ExchangeKind::Other => false,
        }
    }
}

/// The queue, if all bindings lead to the same one.
pub(super) fn the_one<'a>(mut bindings: impl Iterator<Item = &'a Binding>) -> Option<&'a str> {
    let first = bindings.next()?;
    bindings
        .all(|binding| binding.queue == first.queue)
        .then_some(first.queue.as_str())
}

/// The routing key after the levels of a delay. `None` if the exchange is not for delayed delivery.
pub(super) fn without_delay<'a>(exchange: &str, routing_key: &'a str) -> Option<&'a str> {
    if !exchange.starts_with(DELAYED_EXCHANGE) {
        return None;
    }
    let mut rest = routing_key;
    for _ in 0..DELAYED_WORDS {
        match rest.strip_prefix("0.").or_else(|| rest.strip_prefix("1.")) {
            Some(behind) => rest = behind,
            None => break,
        }
    }
    Some(rest)
}

/// Whether a topic pattern matches a routing key: `*` matches one word, `#` any number of words.
pub fn topic_matches(pattern: &str, key: &str) -> bool {
    let (mut patterns, mut words) = (pattern.split('.'), key.split('.'));
    // Everything before the latest `#` stays matched: a later `#` can match whatever an earlier one
    // could.
    let mut after_hash = None;
    loop {
        let before = words.clone();
        match (patterns.next(), words.next()) {
            (Some("#"), _) => {
                // Let `#` match no words first; on a mismatch, extend it by one word.
                words = before;
                after_hash = Some((patterns.clone(), words.clone()));
            }
            (Some(pattern), Some(word)) if pattern == "*" || pattern == word => {}
            (None, None) => return true,
            (Some(_) | None, _) => {
                let Some((behind, taken)) = &mut after_hash else {
                    return false;
                };
                if taken.next().is_none() {
                    return false;
                }
                (patterns, words) = (behind.clone(), taken.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::ExchangeKind::{Direct, Topic};
    use super::*;

    fn binding(exchange: &str, routing_key: &str, kind: ExchangeKind, queue: &str) -> Binding {
        Binding {
            exchange: exchange.into(),
            routing_key: routing_key.into(),
            kind,
            queue: queue.into(),
        }
    }

    #[test]
    fn a_queue_is_named_only_where_it_can_be_no_other() {
        let bindings = [
            binding("celery", "celery", Direct, "celery"),
            binding("celery", "high", Direct, "high"),
            binding("topix", "t.#", Topic, "topicq"),
            binding("both", "a.*", Topic, "first"),
            binding("both", "#.b", Topic, "second"),
            binding("media", "x", Direct, "media"),
            binding("media", "y", Direct, "media"),
        ];
        let delay = "0.".repeat(26) + "1.1.";
        let delayed = |key: &str| delay.clone() + key;
        let cases = [
            ("", "celery", Some("celery")),
            (
                "",
                "a queue of another worker",
                Some("a queue of another worker"),
            ),
            ("", "", None),
            ("celery", "high", Some("high")),
            ("celery", "low", None),
            ("topix", "t.x.y", Some("topicq")),
            ("topix", "bound with another key too", Some("topicq")),
            ("both", "a.x", Some("first")),
            ("both", "x.b", Some("second")),
            ("both", "a.b", None),
            ("media", "z", Some("media")),
            ("unknown", "celery", None),
        ];
        for (exchange, key, queue) in cases {
            assert_eq!(
                queue_delivered(exchange, key, &bindings),
                queue,
                "{exchange} {key}"
            );
        }
        let cases = [
            (delayed("high"), Some("high")),
            (delayed("t.1.2"), Some("topicq")),
            (delayed("a.b"), None),
            (delayed("nowhere"), None),
        ];
        for (key, queue) in cases {
            assert_eq!(
                queue_delivered("celery_delayed_27", &key, &bindings),
                queue,
                "{key}"
            );
        }
    }

    #[test]
    fn topics_match_as_in_amqp() {
        let cases = [
            ("#", "", true),
            ("#", "a.b.c", true),
            ("a.#", "a", true),
            ("a.#", "a.b.c", true),
            ("a.*", "a", false),
            ("a.*", "a.b", true),
            ("a.*", "a.b.c", false),
            ("#.c", "a.b.c", true),
            ("#.b.#.d", "a.b.c.b.d", true),
            ("#.b.#.d", "a.b.c", false),
            ("*.*", "a.b", true),
            ("a", "b", false),
            ("a.b", "a", false),
            ("#.#", "a", true),
            ("*.#.c", "a.b.b.c", true),
        ];
        for (pattern, key, expected) in cases {
            let binding = binding("x", pattern, Topic, "q");
            assert_eq!(binding.takes(key), expected, "{pattern} {key}");
        }
    }
}
