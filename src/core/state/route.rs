//! Determines the queues of tasks from bindings, task-sent events and workers' reports, and from
//! assumptions where none of them helps.

use std::collections::{BTreeMap, btree_map};
use std::time::Duration;

use hashbrown::HashMap;

use super::Symbol;
use super::binding::{Binding, ExchangeKind, the_one, without_delay};
use super::generated::folded;
use crate::bounds::{Bounds, Limit};
use crate::timestamp::Timestamp;

/// How long a binding stays valid after it was last reported. Queues outlive an absent worker.
const BELIEVED: Duration = Duration::from_secs(3_600);

/// The most bindings that are kept. Further ones are ignored.
const BINDINGS_MAX: usize = 10_000;

/// After this many consecutive tasks of a name without a task-sent, none is waited for until one
/// arrives.
const UNSENT_MAX: u8 = 3;

/// Celery's default queue, unless `task_default_queue` overrides it.
const DEFAULT_QUEUE: &str = "celery";

/// Known routes of tasks.
#[derive(Debug, Default)]
pub(super) struct Routes {
    homes: HashMap<Symbol, Home>,
    /// By exchange, with the time at which each was last reported.
    bindings: BTreeMap<String, BTreeMap<Binding, Timestamp>>,
    bound: usize,
    /// Whether any task-sent has arrived.
    pub(super) sent: bool,
    /// Tasks, of any name, for which a task-sent was awaited and did not arrive.
    unsent: u8,
    bounds: Bounds,
}

/// The queue of the tasks of one name.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Home {
    /// The latest queue in which a task of this name was seen.
    pub(super) queue: Option<Symbol>,
    /// Whether tasks of this name were seen in other queues before.
    pub(super) several: bool,
    /// Consecutive tasks without a task-sent.
    pub(super) unsent: u8,
}

impl Home {
    fn seen(&mut self, queue: Symbol) {
        self.several |= self.queue.is_some_and(|known| known != queue);
        self.queue = Some(queue);
    }
}

impl Routes {
    pub(super) fn within(bounds: Bounds) -> Self {
        Self {
            bounds,
            ..Self::default()
        }
    }

    /// Records that a task of this name was seen in a queue.
    pub(super) fn seen(&mut self, name: Symbol, queue: Symbol) {
        self.homes.entry(name).or_default().seen(queue);
    }

    /// Records a task-sent for a task of this name, and its queue if it named one.
    pub(super) fn sent(&mut self, name: Option<Symbol>, queue: Option<Symbol>) {
        self.sent = true;
        let Some(name) = name else { return };
        let home = self.homes.entry(name).or_default();
        home.unsent = 0;
        if let Some(queue) = queue {
            home.seen(queue);
        }
    }

    /// Records that a held task of this name received no task-sent.
    pub(super) fn unsent(&mut self, name: Option<Symbol>) {
        self.unsent = self.unsent.saturating_add(1);
        if let Some(name) = name {
            let home = self.homes.entry(name).or_default();
            home.unsent = home.unsent.saturating_add(1);
        }
    }

    /// Whether a task-sent is likely to arrive for a task of this name. Even the very first
    /// task-sent can be overtaken, so `at_first` one is expected although none has arrived yet.
    pub(super) fn expects_sent(&self, name: Option<Symbol>, at_first: bool) -> bool {
        let home = name.and_then(|name| self.homes.get(&name));
        let any = self.sent || (at_first && self.unsent < UNSENT_MAX);
        any && home.is_none_or(|home| home.unsent < UNSENT_MAX)
    }

    /// The queue of a task for which none was reported: the only queue in which its name was ever
    /// seen.
    pub(super) fn fallback(&self, name: Option<Symbol>) -> Option<Symbol> {
        let home = self.homes.get(&name?)?;
        home.queue.filter(|_| !home.several)
    }

    /// The queue of a message published to a named exchange, if task-sent also names a queue.
    ///
    /// Celery reports the *default* queue if the caller gave an exchange and no queue, as does
    /// every retry of a task that arrived through a topic exchange; with native delayed delivery it
    /// reports none. So the bindings decide. With `only_hint` no bindings are expected, and the
    /// reported queue is trusted unless it is the default one.
    pub(super) fn published<'a>(
        &'a self,
        exchange: &str,
        key: &'a str,
        hint: Option<&'a str>,
        only_hint: bool,
    ) -> Option<&'a str> {
        if hint == Some(key) {
            return hint;
        }
        let delayed = without_delay(exchange, key);
        let key = delayed.unwrap_or(key);
        let under = self.bindings.get(exchange).filter(|_| delayed.is_none());
        let everywhere = delayed.map(|_| self.bindings.values());
        let all = under.into_iter().chain(everywhere.into_iter().flatten());
        let ways = || {
            let bindings = all.clone().flat_map(BTreeMap::keys);
            // A delayed message is routed by its key, even if the exchange is a fanout.
            let by_key = |binding: &&Binding| delayed.is_none() || binding.routing_key == key;
            let is_fanout = |binding: &&Binding| binding.kind == ExchangeKind::Fanout;
            bindings.filter(move |binding| {
                binding.takes(key) && (!is_fanout(binding) || by_key(binding))
            })
        };
        let among = |hint: &&str| {
            let hint = folded(hint);
            ways().any(|way| way.queue == hint)
        };
        the_one(ways()).or_else(|| hint.filter(among)).or_else(|| {
            let believed = only_hint && self.bindings.is_empty() && delayed.is_none();
            hint.filter(|hint| believed && (*hint != DEFAULT_QUEUE || *hint == exchange))
        })
    }

    /// Records reported bindings.
    pub(super) fn bind(&mut self, bindings: &[Binding], now: Timestamp) {
        for binding in bindings {
            let queue = folded(&binding.queue);
            let under = self.bindings.entry(binding.exchange.clone()).or_default();
            let binding = Binding {
                queue: queue.into_owned(),
                ..binding.clone()
            };
            match under.entry(binding) {
                btree_map::Entry::Occupied(mut known) => *known.get_mut() = now,
                btree_map::Entry::Vacant(new) if self.bound < BINDINGS_MAX => {
                    new.insert(now);
                    self.bound += 1;
                }
                btree_map::Entry::Vacant(_) => self.bounds.reached(Limit::Bindings),
            }
        }
    }

    /// Removes bindings that have not been reported for long.
    pub(super) fn expire(&mut self, now: Timestamp) {
        self.bindings.retain(|_, under| {
            under.retain(|_, reported| now.since(*reported) <= BELIEVED);
            !under.is_empty()
        });
        self.bound = self.bindings.values().map(BTreeMap::len).sum();
    }

    /// The queues of each task name.
    pub(super) fn homes(&self) -> impl Iterator<Item = (Symbol, Home)> {
        self.homes.iter().map(|(name, home)| (*name, *home))
    }

    /// Restores the queue of a name.
    pub(super) fn restore(&mut self, name: Symbol, home: Home) {
        self.homes.insert(name, home);
    }

    /// Removes names that are not in use. Otherwise they would keep their queue forever.
    pub(super) fn retain(&mut self, in_use: impl Fn(&Symbol) -> bool) {
        self.homes.retain(|name, _| in_use(name));
    }

    /// The names that are referred to.
    pub(super) fn names(&self) -> impl Iterator<Item = Symbol> {
        let homes = self.homes.iter();
        homes.flat_map(|(name, home)| [Some(*name), home.queue].into_iter().flatten())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::Names;

    const NOW: Timestamp = Timestamp::from_millis(1_000_000);

    fn binding(exchange: &str, routing_key: &str, kind: ExchangeKind, queue: &str) -> Binding {
        Binding {
            exchange: exchange.into(),
            routing_key: routing_key.into(),
            kind,
            queue: queue.into(),
        }
    }

    #[test]
    fn bindings_decide_where_a_named_exchange_leads() {
        let mut routes = Routes::default();
        let uuid = "4ced9c12-797b-4fd2-8a5b-fe1d8febbb55";
        routes.bind(
            &[
                binding("default", "default", ExchangeKind::Topic, "default"),
                binding("default", "t.#", ExchangeKind::Topic, "topics"),
                binding("media", "a.*", ExchangeKind::Topic, "first"),
                binding("media", "#.b", ExchangeKind::Topic, "second"),
                binding("plain", "high", ExchangeKind::Direct, "urgent"),
                binding(
                    "reload",
                    "x",
                    ExchangeKind::Fanout,
                    &format!("bcast.{uuid}"),
                ),
            ],
            NOW,
        );
        let delay = "0.".repeat(26) + "1.1.";
        let (delayed_topics, delayed_both) = (delay.clone() + "t.x", delay + "a.b");
        let cases = [
            // A retry: it names the default queue, with the exchange and key of the first attempt.
            ("default", "t.x", Some("default"), Some("topics")),
            ("default", "default", Some("default"), Some("default")),
            ("default", "nowhere", Some("default"), None),
            ("media", "a.x", Some("default"), Some("first")),
            ("media", "a.b", Some("second"), Some("second")),
            ("media", "a.b", Some("default"), None),
            ("plain", "high", Some("default"), Some("urgent")),
            ("plain", "low", None, None),
            ("reload", "y", Some("default"), Some("bcast.(generated)")),
            ("unknown", "x", Some("reports"), None),
            ("unknown", "reports", Some("reports"), Some("reports")),
            ("celery_delayed_27", &*delayed_topics, None, Some("topics")),
            ("celery_delayed_27", &*delayed_both, None, None),
        ];
        for (exchange, key, hint, expected) in cases {
            let found = routes.published(exchange, key, hint, true);
            assert_eq!(found, expected, "{exchange} {key} {hint:?}");
        }
        routes.expire(NOW.after(BELIEVED + Duration::from_secs(1)));
        assert_eq!(routes.published("plain", "high", None, true), None);
    }

    #[test]
    fn without_any_bindings_to_come_task_sent_is_believed_unless_it_names_the_default_queue() {
        let routes = Routes::default();
        let cases = [
            ("media", "k", Some("reports"), true, Some("reports")),
            ("media", "k", Some("reports"), false, None),
            ("media", "k", Some("celery"), true, None),
            ("celery", "k", Some("celery"), true, Some("celery")),
            ("celery_delayed_27", "0.k", Some("reports"), true, None),
        ];
        for (exchange, key, hint, only_hint, expected) in cases {
            let found = routes.published(exchange, key, hint, only_hint);
            assert_eq!(found, expected, "{exchange} {key} {hint:?} {only_hint}");
        }
    }

    #[test]
    fn a_name_falls_back_on_its_only_queue_and_never_on_one_of_several() {
        let mut names = Names::default();
        let [name, a, b] = ["t", "a", "b"].map(|text| names.intern(text));
        let mut routes = Routes::default();
        assert_eq!(routes.fallback(Some(name)), None);
        routes.seen(name, a);
        routes.seen(name, a);
        assert_eq!(routes.fallback(Some(name)), Some(a));
        routes.seen(name, b);
        routes.seen(name, b);
        assert_eq!(routes.fallback(Some(name)), None);
        assert_eq!(routes.fallback(None), None);
    }

    #[test]
    fn no_task_sent_is_waited_for_where_none_came_for_the_last_tasks() {
        let mut names = Names::default();
        let name = names.intern("t");
        let mut routes = Routes::default();
        assert!(!routes.expects_sent(Some(name), false));
        for _ in 0..UNSENT_MAX {
            assert!(routes.expects_sent(Some(name), true));
            routes.unsent(None);
        }
        assert!(!routes.expects_sent(Some(name), true));
        routes.sent(None, None);
        for _ in 0..UNSENT_MAX {
            assert!(routes.expects_sent(Some(name), false));
            routes.unsent(Some(name));
        }
        assert!(!routes.expects_sent(Some(name), true));
        routes.sent(Some(name), None);
        assert!(routes.expects_sent(Some(name), false));
    }
}
