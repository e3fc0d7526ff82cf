//! From the exchange and the routing key of a message to its queue, where bindings leave no doubt.

/// The exchange that binds every queue by its name.
const DEFAULT_EXCHANGE: &str = "";

/// Celery's exchanges for delayed delivery put a word for each of 28 levels before the routing key.
const DELAYED_EXCHANGE: &str = "celery_delayed_";
const DELAYED_WORDS: usize = 28;

/// A queue under an exchange.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Binding {
    pub(super) exchange: String,
    pub(super) routing_key: String,
    /// Whether the routing key is a pattern with `*` and `#`.
    pub(super) topic: bool,
    pub(super) queue: String,
}

/// The queue of a message that went to an exchange under a key, if it can be one only.
pub(super) fn queue_of<'a>(
    exchange: &'a str,
    routing_key: &'a str,
    bindings: &'a [Binding],
) -> Option<&'a str> {
    if exchange == DEFAULT_EXCHANGE {
        return Some(routing_key).filter(|queue| !queue.is_empty());
    }
    if exchange.starts_with(DELAYED_EXCHANGE) {
        let key = without_delay(routing_key);
        return the_one(bindings.iter().filter(|binding| binding.takes(key)));
    }
    let under = || {
        bindings
            .iter()
            .filter(|binding| binding.exchange == exchange)
    };
    // With one queue under the exchange there is no doubt, whatever other keys it is bound with.
    the_one(under()).or_else(|| the_one(under().filter(|binding| binding.takes(routing_key))))
}

impl Binding {
    fn takes(&self, routing_key: &str) -> bool {
        if self.topic {
            let pattern: Vec<&str> = self.routing_key.split('.').collect();
            let key: Vec<&str> = routing_key.split('.').collect();
            matches(&pattern, &key)
        } else {
            self.routing_key == routing_key
        }
    }
}

/// The queue that all of some bindings lead to.
fn the_one<'a>(mut bindings: impl Iterator<Item = &'a Binding>) -> Option<&'a str> {
    let first = bindings.next()?;
    bindings
        .all(|binding| binding.queue == first.queue)
        .then_some(first.queue.as_str())
}

/// The routing key behind the levels of a delay.
fn without_delay(routing_key: &str) -> &str {
    let mut rest = routing_key;
    for _ in 0..DELAYED_WORDS {
        match rest.strip_prefix("0.").or_else(|| rest.strip_prefix("1.")) {
            Some(behind) => rest = behind,
            None => break,
        }
    }
    rest
}

/// AMQP's topics: `*` is one word, `#` any number of them.
pub(super) fn matches(pattern: &[&str], key: &[&str]) -> bool {
    // What is before the newest `#` stays matched: a later one can take whatever an earlier one could.
    let (mut p, mut k) = (0, 0);
    let mut hash: Option<(usize, usize)> = None;
    while k < key.len() {
        match pattern.get(p) {
            Some(&"#") => {
                hash = Some((p, k));
                p += 1;
            }
            Some(word) if *word == "*" || word == &key[k] => {
                p += 1;
                k += 1;
            }
            Some(_) | None => match &mut hash {
                Some((at, taken)) => {
                    *taken += 1;
                    (p, k) = (*at + 1, *taken);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|word| *word == "#")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binding(exchange: &str, routing_key: &str, topic: bool, queue: &str) -> Binding {
        Binding {
            exchange: exchange.into(),
            routing_key: routing_key.into(),
            topic,
            queue: queue.into(),
        }
    }

    #[test]
    fn a_queue_is_named_only_where_it_can_be_no_other() {
        let bindings = [
            binding("celery", "celery", false, "celery"),
            binding("celery", "high", false, "high"),
            binding("topix", "t.#", true, "topicq"),
            binding("both", "a.*", true, "first"),
            binding("both", "#.b", true, "second"),
            binding("media", "x", false, "media"),
            binding("media", "y", false, "media"),
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
                queue_of(exchange, key, &bindings),
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
                queue_of("celery_delayed_27", &key, &bindings),
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
        ];
        for (pattern, key, expected) in cases {
            let binding = binding("x", pattern, true, "q");
            assert_eq!(binding.takes(key), expected, "{pattern} {key}");
        }
    }
}
