//! Applies a batch in rounds: a few events are decoded, then applied, and then shown.
//!
//! The code of these three stages together does not fit in the processor's instruction cache, so
//! taking each event through all of them takes a tenth more time.

use smallvec::SmallVec;

use super::View;
use super::cluster::Cluster;
use crate::bounds::{Bounds, Limit};
use crate::event::judge::has_happened;
use crate::event::{Batch, Body, DecodeError, Event, KeyOrder, Opener};
use crate::series::Origin;
use crate::state::EVENTS_TOGETHER;
use crate::timestamp::Timestamp;

/// Once the bodies of a round have this many bytes, no more are opened, so that few large ones are
/// in memory at once.
const ROUND_BYTES: usize = 64 << 10;

/// The events or the bodies of a round.
type Few<T> = SmallVec<[T; EVENTS_TOGETHER]>;

/// Decodes and applies batches.
#[derive(Debug, Default)]
pub(super) struct Rounds {
    /// One for each body of a round, because events borrow from it.
    openers: [Opener; EVENTS_TOGETHER],
    order: KeyOrder,
}

/// Where the effects of events are shown.
#[derive(Debug)]
pub(super) struct Output<'p> {
    pub(super) views: &'p mut [View],
    /// Whether exemplars with task ids are recorded.
    pub(super) exemplars: bool,
    pub(super) bounds: &'p Bounds,
}

impl Rounds {
    /// Applies every event of a batch that was not applied before.
    pub(super) fn apply(&mut self, batch: &Batch, cluster: &mut Cluster, mut output: Output<'_>) {
        let now = batch.received;
        let mut newest = None;
        cluster.metrics.messages.add(batch.payloads.len() as u64);
        cluster.delivered.record(&batch.position);
        let mut payloads = batch.payloads.iter().enumerate();
        let mut is_over = false;
        while !is_over {
            let mut bodies: Few<Result<Body<'_>, DecodeError>> = SmallVec::new();
            let mut bytes = 0;
            for opener in &mut self.openers {
                let mut new = payloads
                    .by_ref()
                    .filter(|(at, _)| !cluster.is_again(batch, *at));
                let Some((_, payload)) = new.next() else {
                    is_over = true;
                    break;
                };
                let body = opener.open(payload, cluster.accept);
                // An opener's buffers are as large as either, also if it failed.
                bytes += payload
                    .bytes
                    .len()
                    .max(body.map_or(0, |body| body.bytes.len()));
                bodies.push(body);
                if bytes > ROUND_BYTES {
                    break;
                }
            }
            let mut events = SmallVec::new();
            for body in bodies {
                let each = |event| match event {
                    Ok(event) => {
                        events.push(event);
                        if events.len() == EVENTS_TOGETHER {
                            apply_few(&mut events, now, &mut newest, cluster, &mut output);
                        }
                    }
                    Err(error) => cluster.refuse(error),
                };
                match body {
                    Ok(body) => body.events(&mut self.order, now, each),
                    Err(error) => cluster.refuse(error),
                }
            }
            apply_few(&mut events, now, &mut newest, cluster, &mut output);
            drop(events);
            self.openers.iter_mut().for_each(Opener::free);
        }
        if let Some(newest) = newest {
            cluster.metrics.lag.set(now.seconds_since(newest));
        }
    }
}

/// Applies events, then shows their effects.
fn apply_few(
    events: &mut Few<Event<'_>>,
    now: Timestamp,
    newest: &mut Option<Timestamp>,
    cluster: &mut Cluster,
    output: &mut Output<'_>,
) {
    let happened = events.iter().map(|event| event.timestamp);
    let happened = happened.filter(|at| has_happened(*at, now));
    *newest = happened.max().max(*newest);
    cluster.apply(events, now);
    let mut from = 0;
    for (at, event) in events.iter().enumerate() {
        let to = cluster.ends[at];
        let task = event.task_id().filter(|_| output.exemplars);
        let origin = task.and_then(|task| Origin::new(task, now));
        if origin.is_none() && task.is_some_and(|task| !task.is_empty()) {
            output.bounds.reached(Limit::ExemplarBytes);
        }
        cluster.show_changes(from..to, output.views, now, origin);
        from = to;
    }
    cluster.changes.clear();
    events.clear();
}
