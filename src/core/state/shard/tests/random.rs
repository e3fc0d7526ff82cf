//! Random events through one daemon and through shards.

use super::*;

/// The course of one attempt.
#[derive(Clone, Copy, Debug)]
struct Attempt {
    worker: usize,
    /// How late its task-sent arrives, in milliseconds.
    late: i64,
    /// Delays until it is received, started, and ended.
    waits: [i64; 3],
    /// Whether its worker returns it to its queue and receives it again.
    requeued: bool,
}

/// The course of one task.
#[derive(Clone, Debug)]
struct Plan {
    begin: i64,
    eta: Option<i64>,
    attempts: Vec<Attempt>,
    /// `None`: it never ends.
    end: Option<TaskKind>,
    /// If set, its id is reused for a similar task, on workers shifted by this number.
    again: Option<usize>,
    /// Every `twice`-th event is delivered twice.
    twice: usize,
}

fn attempt() -> impl Strategy<Value = Attempt> {
    let waits = [0..4_000_i64, 0..3_000, 1..3_000];
    (0..WORKERS, 0..3_000_i64, waits, prop::bool::weighted(0.1)).prop_map(
        |(worker, late, waits, requeued)| Attempt {
            worker,
            late,
            waits,
            requeued,
        },
    )
}

fn plan() -> impl Strategy<Value = Plan> {
    let ends = [
        Some(TaskKind::Succeeded),
        Some(TaskKind::Failed),
        Some(TaskKind::Rejected),
        Some(TaskKind::Revoked),
        Some(TaskKind::Cancelled),
        None,
    ];
    (
        0..20_000_i64,
        prop::option::of(0..6_000_i64),
        vec(attempt(), 1..5),
        prop::sample::select(ends.to_vec()),
        prop::option::weighted(0.2, 0..WORKERS),
        1..20_usize,
    )
        .prop_map(|(begin, eta, attempts, end, again, twice)| Plan {
            begin,
            eta,
            attempts,
            end,
            again: again.filter(|_| end.is_some()),
            twice,
        })
}

impl Plan {
    /// Its events, each with the time of arrival.
    fn events(&self, uuid: &str) -> Vec<(i64, Event<'static>)> {
        let mut events = Vec::new();
        let end = self.run(uuid, self.begin, 0, &mut events);
        if let Some(by) = self.again {
            self.run(uuid, end + 10_000, by, &mut events);
        }
        let with_twice = events.into_iter().enumerate().flat_map(|(n, event)| {
            let times = 1 + usize::from(n % self.twice == self.twice - 1);
            std::iter::repeat_n(event, times)
        });
        with_twice.collect()
    }

    fn run(
        &self,
        uuid: &str,
        begin: i64,
        by: usize,
        events: &mut Vec<(i64, Event<'static>)>,
    ) -> i64 {
        let mut now = begin;
        for (retries, attempt) in (0_u32..).zip(&self.attempts) {
            let worker = (attempt.worker + by) % WORKERS;
            let eta = self.eta.map(|eta| now + eta);
            // Events after the end of a task cannot be distinguished from those of the next one
            // with its id.
            let late = if self.again.is_some() {
                0
            } else {
                attempt.late
            };
            events.push((now + late, sent(uuid, retries, eta, now)));
            let mut add = |event: Event<'static>, now| events.push((now, event));
            for round in 0..=u8::from(attempt.requeued) {
                let [receive, start, run] = attempt.waits;
                now += receive + 1;
                add(received(uuid, worker, retries, now), now);
                now += start + 1;
                add(of_worker(TaskKind::Started, uuid, worker, now), now);
                let other = OtherEvent {
                    kind: "task-progress".into(),
                    uuid: Some(uuid.to_owned().into()),
                };
                add(event(&hostname(worker), now, Detail::Other(other)), now);
                now += run + 1;
                if round == 0 && attempt.requeued {
                    let mut rejected = of_worker(TaskKind::Rejected, uuid, worker, now);
                    if let Detail::Task(task) = &mut rejected.detail {
                        task.requeue = true;
                    }
                    add(rejected, now);
                }
            }
            let last = retries as usize + 1 == self.attempts.len();
            let end = if last {
                self.end
            } else {
                Some(TaskKind::Retried)
            };
            if let Some(kind) = end {
                add(of_worker(kind, uuid, worker, now), now);
            }
        }
        now
    }
}

proptest! {
    /// Whatever workers do, and wherever the broker delivers their events, the sums over shards
    /// equal the results of one daemon.
    #[test]
    fn sums_over_shards_are_what_one_daemon_counts(
        plans in vec(plan(), 1..12),
        count in 1..6_u32,
        shard_of in vec(0..5_usize, WORKERS),
    ) {
        let events = plans.iter().enumerate();
        let events = events.flat_map(|(n, plan)| plan.events(&format!("{n:08x}-0000-4000-8000-000000000000")));
        let mut events: Vec<_> = events.collect();
        events.sort_by_key(|(millis, _)| *millis);
        let (mut one, mut shards) = (Daemons::one(), Daemons::sharded(count, &shard_of));
        // Every daemon knows the queue of each name, and that task-sent events arrive.
        for uuid in ["0", "1", "2"] {
            let event = sent(uuid, 0, None, 0);
            one.publish(&event, at(0));
            shards.publish(&event, at(0));
        }
        let half = events.len() / 2;
        for (n, (millis, event)) in events.iter().enumerate() {
            one.publish(event, at(*millis));
            shards.publish(event, at(*millis));
            if n == half || n + 1 == events.len() {
                let mut oldest = one.oldest();
                oldest.retain(|place, _| !place.starts_with("Sent") && !place.starts_with("Retry"));
                prop_assert_eq!(shards.oldest(), oldest);
                prop_assert_eq!(&shards.sums.told, &one.sums.told);
                prop_assert_eq!(&shards.sums.held, &one.sums.held);
                prop_assert_eq!(shards.sums.on_the_way, 0);
            }
        }

        // Tasks that workers still have in the end are lost; tasks on their way may have ended
        // elsewhere.
        let held: i64 = shards.sums.held.values().sum();
        shards.expire();
        prop_assert_eq!(i64::from(shards.lost()), held);
        prop_assert!(shards.states.iter().all(|state| state.tasks_alive() == 0));
        prop_assert!(shards.sums.held.is_empty());
    }
}
