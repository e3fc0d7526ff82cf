//! Decides which beats to ask, and which answers come from one. This module uses no sockets.
//!
//! A beat answers nothing but `ping`, which workers answer as well. So a node counts as a beat if
//! it answers `ping` and is not known as a worker. Known beats are asked by name; all nodes are
//! asked only now and then, to find new ones.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use super::control::{ALL_EVERY, Round};
use super::reply::Method;
use crate::event::Accept;
use crate::state::{BeatAnswer, WorkerAnswer};

/// How long a round waits. It always waits that long, because two beats may share a name.
const DEADLINE: Duration = Duration::from_secs(1);

/// The first rounds ask all nodes, so that a beat is found soon after the start.
const FIRST_ROUNDS: u64 = 3;

/// The name of a beat, unless its option `--hostname` changes it.
const NODENAME: &str = "celerybeat@";

/// The most workers that are remembered.
const WORKERS_MAX: usize = 10_000;

/// Tracks which nodes are beats.
#[derive(Debug, Default)]
pub(super) struct BeatRoster {
    rounds: u64,
    /// Whether the latest round asked all nodes.
    to_all: bool,
    /// Whether every known beat answered the latest round.
    all_answered: bool,
    /// Nodes that have answered as workers.
    workers: BTreeSet<String>,
    /// Nodes with other names than a beat's that answered the latest round to all nodes.
    unknown: BTreeSet<String>,
}

impl BeatRoster {
    /// Records who answered as a worker.
    pub(super) fn workers_answered(&mut self, answers: &[WorkerAnswer]) {
        if self.workers.len() > WORKERS_MAX {
            self.workers.clear();
        }
        let names = answers.iter().map(|answer| answer.worker.clone());
        self.workers.extend(names);
    }

    /// The next round. `None` if there is nobody to ask.
    pub(super) fn ask(&mut self, known: &[Arc<str>], accept: Accept) -> Option<Round> {
        // Another one may have replaced a beat that does not answer.
        let some_silent = !known.is_empty() && !self.all_answered;
        self.to_all =
            self.rounds < FIRST_ROUNDS || self.rounds.is_multiple_of(ALL_EVERY) || some_silent;
        self.rounds += 1;
        let to_all = self.to_all;
        let destination = (!to_all).then(|| known.to_vec());
        let asks = to_all || !known.is_empty();
        asks.then(|| Round::to_any(Method::OF_BEATS, destination, (accept, DEADLINE)))
    }

    /// The beats among the nodes that answered. `online` are the workers that send events.
    pub(super) fn answered(
        &mut self,
        round: &Round,
        known: &[Arc<str>],
        online: &[Arc<str>],
    ) -> Vec<BeatAnswer> {
        let set = |names: &[Arc<str>]| -> HashSet<Arc<str>> { names.iter().cloned().collect() };
        let (known_names, online) = (set(known), set(online));
        let mut unknown = BTreeSet::new();
        let mut beats = Vec::new();
        for (node, processes) in round.pongs() {
            if self.workers.contains(node) || online.contains(node) {
                continue;
            }
            // A worker that has just started answers `ping` before anything else is known of it.
            let is_beat = node.starts_with(NODENAME)
                || known_names.contains(node)
                || self.unknown.contains(node);
            if is_beat {
                beats.push(BeatAnswer {
                    beat: node.to_owned(),
                    processes,
                });
            } else {
                unknown.insert(node.to_owned());
            }
        }
        if self.to_all {
            self.unknown = unknown;
        }
        let answered = |node: &str| beats.iter().any(|answer| answer.beat == node);
        self.all_answered = known.iter().all(|node| answered(node));
        beats
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::ContentType;

    fn names(names: &[&str]) -> Vec<Arc<str>> {
        names.iter().map(|&name| name.into()).collect()
    }

    /// How many nodes a round asked (`None` for all), and which beats answered.
    type Asked = (Option<usize>, Vec<(String, u64)>);

    /// Runs the next round, in which these nodes answer.
    fn round(
        roster: &mut BeatRoster,
        known: &[&str],
        online: &[&str],
        pongs: &[&str],
    ) -> Option<Asked> {
        let (known, online) = (names(known), names(online));
        let mut round = roster.ask(&known, Accept::default())?;
        let request: serde_json::Value =
            serde_json::from_str(&round.requests("reply")[0]).expect("JSON");
        assert_eq!(request["method"], "ping");
        let ticket = request["ticket"].as_str().expect("a ticket");
        for node in pongs {
            let body = format!("{{\"{node}\": {{\"ok\": \"pong\"}}}}");
            let read = round.accept(ticket, ContentType::Json, body.as_bytes());
            read.expect("a reply");
        }
        assert!(!round.is_over(), "another may answer");
        let beats = roster.answered(&round, &known, &online);
        let beats = beats.into_iter().map(|it| (it.beat, it.processes));
        let destination = request["destination"].as_array().map(Vec::len);
        Some((destination, beats.collect()))
    }

    #[test]
    fn known_beats_are_asked_by_name_and_all_nodes_now_and_then() {
        let mut roster = BeatRoster::default();
        let beat = "celerybeat@a";
        for n in 0..21 {
            let known: &[&str] = if n == 0 { &[] } else { &[beat] };
            let (asked, beats) = round(&mut roster, known, &[], &[beat]).expect("a round");
            let to_all = n < 3 || n % 10 == 0;
            assert_eq!(asked, (!to_all).then_some(1), "{n}");
            assert_eq!(beats, [(beat.to_owned(), 1)]);
        }
        // While a beat is silent, another one may have replaced it.
        assert_eq!(
            round(&mut roster, &[beat], &[], &[]),
            Some((Some(1), vec![]))
        );
        assert_eq!(round(&mut roster, &[beat], &[], &[]), Some((None, vec![])));
    }

    #[test]
    fn without_a_beat_few_rounds_are_made() {
        let mut roster = BeatRoster::default();
        let asked = (0..20).filter(|_| round(&mut roster, &[], &["w@h"], &["w@h"]).is_some());
        assert_eq!(asked.count(), 4);
    }

    #[test]
    fn workers_are_no_beats() {
        let mut roster = BeatRoster::default();
        roster.workers_answered(&[WorkerAnswer {
            worker: "quiet@h".to_owned(),
            ..WorkerAnswer::default()
        }]);
        let nodes = [
            "quiet@h",
            "online@h",
            "own-name@h",
            "celerybeat@h",
            "celerybeat@h",
        ];
        let twice = ("celerybeat@h".to_owned(), 2);
        let found = round(&mut roster, &[], &["online@h"], &nodes);
        assert_eq!(found, Some((None, vec![twice.clone()])));
        // A beat with a name of its own is believed when it answers again.
        let found = round(&mut roster, &["celerybeat@h"], &["online@h"], &nodes);
        let own = ("own-name@h".to_owned(), 1);
        assert_eq!(found, Some((None, vec![twice, own])));
    }
}
