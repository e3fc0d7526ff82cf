//! Remote control (pidbox): decides which requests go to which workers, and interprets the replies.
//! This module uses no sockets.
//!
//! A request is one message to all workers. Each worker replies with one message to a queue (on
//! Redis, a list) that the request names. Nothing marks the last reply: a round ends when every
//! known worker has answered, or at its deadline.
//!
//! Source: kombu 4.6 to 5.7, `pidbox.py`; the recordings in `tests/golden/pidbox`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::reply::{self, Method, Replies, Settings};
use crate::bounds::{Bounds, Limit};
use crate::event::json::quote;
use crate::event::{Accept, ContentType, DecodeError};
use crate::state::WorkerAnswer;

/// How long a round waits for workers that do not answer.
pub(super) const DEADLINE: Duration = Duration::from_secs(2);

/// Maximum size of a reply. `reserved` contains the arguments of every prefetched task.
pub(super) const REPLY_BYTES_MAX: usize = 8 << 20;

/// Maximum number of replies per round. The round ends when it is reached.
const REPLIES_MAX: usize = 40_000;

/// Number of missed rounds after which a round no longer waits for a worker, and most requests no
/// longer include it.
const MISSED_MAX: u32 = 3;

/// A new worker is asked this many times in quick succession, because it sends events before it
/// listens for requests.
const TRIES_MAX: u32 = 3;

/// Every node is asked once in this many rounds.
pub(super) const ALL_EVERY: u64 = 10;

/// With more workers, listing their names would make the request larger than the replies it saves.
const DESTINATIONS_MAX: usize = 100;

/// The body of a request with JSON arguments. Identical to Kombu's except for the ticket.
pub(super) fn request(
    method: &str,
    arguments: &str,
    destination: Option<&[Arc<str>]>,
    reply: Option<(&str, &str)>,
) -> String {
    let mut body =
        format!("{{\"method\": \"{method}\", \"arguments\": {arguments}, \"destination\": ");
    match destination {
        None => body.push_str("null"),
        Some(workers) => {
            body.push('[');
            for (at, worker) in workers.iter().enumerate() {
                body.push_str(if at > 0 { ", " } else { "" });
                quote(&mut body, worker);
            }
            body.push(']');
        }
    }
    body.push_str(", \"pattern\": null, \"matcher\": null");
    if let Some((ticket, reply_key)) = reply {
        body.push_str(", \"ticket\": ");
        quote(&mut body, ticket);
        body.push_str(", \"reply_to\": {\"exchange\": \"\", \"routing_key\": ");
        quote(&mut body, reply_key);
        body.push('}');
    }
    body.push('}');
    body
}

/// A UUID-shaped identifier like Kombu's.
pub(super) fn unique(chance: u128) -> String {
    let digits = format!("{chance:032x}");
    format!(
        "{}-{}-4{}-8{}-{}",
        &digits[..8],
        &digits[8..12],
        &digits[13..16],
        &digits[17..20],
        &digits[20..]
    )
}

/// One round of requests and the replies to it.
#[derive(Debug)]
pub(super) struct Round {
    methods: &'static [Method],
    /// How long it waits for nodes that do not answer.
    pub(super) deadline: Duration,
    /// One ticket per method.
    tickets: Vec<String>,
    /// The workers to ask; `None` for all.
    destination: Option<Vec<Arc<str>>>,
    workers: BTreeMap<String, Replies>,
    /// The workers being waited for that have not answered every request yet.
    missing: BTreeSet<Arc<str>>,
    /// Whether any worker was expected to answer.
    expecting: bool,
    replies: usize,
    /// The accepted serializers.
    accept: Accept,
    unreadable: usize,
    /// Whether a reply exceeded the length limit.
    too_long: bool,
    /// Why the first unreadable reply could not be read.
    problem: Option<DecodeError>,
}

impl Round {
    /// Starts a round of commands. `chance` seeds the tickets. JSON replies are always accepted,
    /// regardless of `accept`.
    pub(super) fn new(
        methods: &'static [Method],
        asked: Asked,
        accept: Accept,
        mut chance: impl FnMut() -> u128,
    ) -> Self {
        Self {
            methods,
            deadline: DEADLINE,
            tickets: methods.iter().map(|_| unique(chance())).collect(),
            destination: asked.destination,
            workers: BTreeMap::new(),
            expecting: !asked.expected.is_empty(),
            missing: asked.expected,
            replies: 0,
            accept,
            unreadable: 0,
            too_long: false,
            problem: None,
        }
    }

    /// A round that lasts until its deadline, so that every node can answer that wants to.
    pub(super) fn to_any(
        methods: &'static [Method],
        destination: Option<Vec<Arc<str>>>,
        (accept, deadline): (Accept, Duration),
    ) -> Self {
        let asked = Asked {
            destination,
            expected: BTreeSet::new(),
        };
        Self {
            deadline,
            ..Self::new(methods, asked, accept, || fastrand::u128(..))
        }
    }

    /// The bodies of the requests. Replies are requested under `reply_key`.
    pub(super) fn requests(&self, reply_key: &str) -> Vec<String> {
        let destination = self.destination.as_deref();
        let asked = self.methods.iter().zip(&self.tickets);
        let bodies = asked.map(|(method, ticket)| {
            let reply = Some((ticket.as_str(), reply_key));
            request(method.name(), method.arguments(), destination, reply)
        });
        bodies.collect()
    }

    /// Adds a reply. One with another ticket is a late reply to an earlier round and is dropped.
    pub(super) fn accept(
        &mut self,
        ticket: &str,
        content_type: ContentType,
        body: &[u8],
    ) -> Result<(), DecodeError> {
        let asked = self.tickets.iter().position(|own| own == ticket);
        let Some(method) = asked.map(|at| self.methods[at]) else {
            self.replies += 1;
            return Ok(());
        };
        match self.read(method, content_type, body) {
            Ok(worker) => {
                self.replies += 1;
                let replies = self.workers.get(&worker);
                if replies.is_some_and(|replies| replies.has_all(self.methods)) {
                    self.missing.remove(worker.as_str());
                }
                Ok(())
            }
            Err(error) => {
                self.unreadable(error);
                Err(error)
            }
        }
    }

    /// Reads a reply and returns its worker.
    fn read(
        &mut self,
        method: Method,
        content_type: ContentType,
        body: &[u8],
    ) -> Result<String, DecodeError> {
        let always = [ContentType::Json, ContentType::Unknown];
        if !always.contains(&content_type) && !self.accept.has(content_type) {
            return Err(DecodeError::NotAccepted(content_type));
        }
        reply::read(content_type, body, method, &mut self.workers)
    }

    /// Records a reply that cannot be read.
    pub(super) fn unreadable(&mut self, problem: DecodeError) {
        self.replies += 1;
        self.unreadable += 1;
        self.too_long |= matches!(problem, DecodeError::Large(_));
        self.problem.get_or_insert(problem);
    }

    /// Whether all expected replies have arrived.
    pub(super) fn is_over(&self) -> bool {
        (self.expecting && self.missing.is_empty()) || self.replies >= REPLIES_MAX
    }

    /// Reports the limits that the replies have reached.
    pub(super) fn report_limits(&self, bounds: &Bounds) {
        if self.replies >= REPLIES_MAX || self.too_long {
            bounds.reached(Limit::Replies);
        }
        for _ in self.workers.values().filter(|worker| worker.is_cut()) {
            bounds.reached(Limit::ReplyItems);
        }
    }

    /// How many replies could not be read, and the reason for the first.
    pub(super) fn unreadable_replies(&self) -> Option<(usize, DecodeError)> {
        self.problem.map(|problem| (self.unreadable, problem))
    }

    /// The nodes that answered `ping`, with the number of their answers.
    pub(super) fn pongs(&self) -> impl Iterator<Item = (&str, u64)> {
        let workers = self.workers.iter();
        workers
            .filter(|(_, replies)| replies.pongs > 0)
            .map(|(node, replies)| (node.as_str(), replies.pongs))
    }

    /// The nodes that answered `ping` and nothing else, as beats do.
    pub(super) fn beats(&self) -> Vec<String> {
        let beats = self.workers.iter().filter(|(_, it)| it.only_ponged());
        beats.map(|(node, _)| node.clone()).collect()
    }

    /// The settings of each worker. `None` for a worker that replied with an error.
    pub(super) fn settings(self) -> BTreeMap<String, Option<Settings>> {
        let workers = self.workers.into_iter();
        let workers = workers.filter(|(_, replies)| !replies.only_ponged());
        workers
            .map(|(worker, replies)| (worker, replies.settings))
            .collect()
    }

    /// The bindings that the workers reported, and their answers.
    pub(super) fn finish(self) -> Vec<WorkerAnswer> {
        let answer = |(worker, replies): (String, Replies)| {
            let (pool_size, slots) = (replies.pool_size(), replies.slots());
            let complete = replies.is_complete();
            let queues = replies.queues;
            let passive_queues = queues.iter().flatten().filter(|queue| queue.is_passive);
            let passive_queues = passive_queues.map(|queue| queue.binding.queue.clone());
            let passive_queues = passive_queues.collect();
            let bindings = queues.map(|queues| {
                let bindings = queues.into_iter().map(|queue| queue.binding);
                bindings.collect::<Vec<_>>()
            });
            let tasks = |tasks: Option<Vec<reply::Task>>| {
                tasks.map(|tasks| {
                    let answers = tasks.into_iter();
                    answers
                        .map(|task| task.answer(bindings.as_deref()))
                        .collect()
                })
            };
            WorkerAnswer {
                worker,
                pid: replies.pid,
                pool_size,
                slots,
                processes: replies.processes,
                prefetch_count: replies.prefetch_count,
                uptime: replies.uptime,
                active: tasks(replies.active),
                reserved: tasks(replies.reserved),
                scheduled: tasks(replies.scheduled),
                complete,
                registered: replies.registered,
                queues: bindings.as_ref().map(|bindings| {
                    let queues = bindings.iter();
                    queues.map(|binding| binding.queue.clone()).collect()
                }),
                passive_queues,
                bindings: bindings.unwrap_or_default(),
            }
        };
        self.workers.into_iter().map(answer).collect()
    }
}

/// The workers that a round asks, and those that it waits for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Asked {
    /// `None` for all workers.
    pub(super) destination: Option<Vec<Arc<str>>>,
    pub(super) expected: BTreeSet<Arc<str>>,
}

/// Tracks which workers answer.
///
/// The request exchange is a fanout: requests for any destination pile up at a worker that hangs,
/// and it processes them all when it resumes. At one round a minute, that backlog stays small. Its
/// late replies are the costly part, so a worker that missed three rounds is left out of
/// `destination` and then ignores the requests. Every tenth round addresses all workers, which
/// finds those that have recovered or are still unknown.
#[derive(Debug, Default)]
pub(super) struct Roster {
    /// Consecutive rounds that each worker missed.
    missed: BTreeMap<Arc<str>, u32>,
    /// Workers that have ever answered.
    answered: BTreeSet<Arc<str>>,
    /// How many rounds have asked each worker that has never answered.
    tries: BTreeMap<Arc<str>, u32>,
    rounds: u64,
}

impl Roster {
    /// Which of the online workers to ask now.
    pub(super) fn ask(&mut self, online: &[Arc<str>]) -> Asked {
        for worker in online {
            self.missed.entry(Arc::clone(worker)).or_insert(0);
        }
        let answering = self
            .missed
            .iter()
            .filter(|(_, missed)| **missed < MISSED_MAX);
        let expected: BTreeSet<_> = answering.map(|(worker, _)| Arc::clone(worker)).collect();
        let some_hang = expected.len() < self.missed.len();
        let to_all = self.rounds.is_multiple_of(ALL_EVERY)
            || !some_hang
            || expected.is_empty()
            || expected.len() > DESTINATIONS_MAX;
        self.rounds += 1;
        let destination = (!to_all).then(|| expected.iter().cloned().collect());
        Asked {
            destination,
            expected,
        }
    }

    /// Records which workers answered. Unresponsive workers that are no longer online are
    /// forgotten. A round `for_new` workers does not count as missed, because it follows soon after
    /// the previous one. Returns whether to ask a new worker again, since it may not have been
    /// listening yet.
    pub(super) fn answered(
        &mut self,
        answers: &[WorkerAnswer],
        online: &[Arc<str>],
        for_new: bool,
    ) -> bool {
        for missed in self.missed.values_mut() {
            *missed = missed.saturating_add(u32::from(!for_new));
        }
        for answer in answers {
            self.missed.insert(answer.worker.as_str().into(), 0);
            self.answered.insert(answer.worker.as_str().into());
        }
        let online: BTreeSet<&Arc<str>> = online.iter().collect();
        self.missed
            .retain(|worker, missed| *missed < MISSED_MAX || online.contains(worker));
        self.answered
            .retain(|worker| self.missed.contains_key(worker));
        self.tries.retain(|worker, _| online.contains(worker));
        let mut again = false;
        for worker in online {
            if !self.answered.contains(worker) {
                let tries = self.tries.entry(Arc::clone(worker)).or_default();
                *tries = tries.saturating_add(1);
                again |= *tries < TRIES_MAX;
            }
        }
        again
    }
}

#[cfg(test)]
mod tests;
