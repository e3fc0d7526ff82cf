//! Publishes the events of tasks that succeed, at a rate.

use std::time::{Duration, Instant};

use crate::support::cluster::Message;
use crate::support::events::life;
use crate::support::load::{Way, now};

/// Time between two steps.
const STEP: Duration = Duration::from_millis(10);

/// The largest part of a second that one step publishes. A broker that is slower than the rate gets fewer events.
const AT_ONCE: f64 = 0.1;

/// The tasks to come.
pub struct Lives {
    next: u64,
    names: u64,
    pub per_message: usize,
}

/// What was published.
pub struct Published {
    pub events: u64,
    pub seconds: f64,
    /// Unix time at which each step began, and the number of events published at its end.
    pub steps: Vec<(f64, u64)>,
}

impl Published {
    pub fn rate(&self) -> f64 {
        self.events as f64 / self.seconds
    }
}

impl Lives {
    pub fn new(names: u64, per_message: usize) -> Self {
        Self {
            next: 0,
            names,
            per_message,
        }
    }

    /// Returns the messages of the next tasks: four events each.
    pub fn messages(&mut self, tasks: u64) -> Vec<Message> {
        let keys = [
            "task.sent",
            "task.received",
            "task.started",
            "task.succeeded",
        ];
        let mut events = Vec::new();
        for n in self.next..self.next + tasks {
            let name = format!("race.task_{}", n % self.names);
            let hostname = format!("w{}@host", n % 4);
            let message = |(key, body): (&str, String)| Message {
                hostname: hostname.clone(),
                routing_key: key.to_owned(),
                body,
            };
            events.extend(keys.into_iter().zip(life(n, &name, now())).map(message));
        }
        self.next += tasks;
        if self.per_message == 1 {
            return events;
        }
        let list = |events: &[Message]| {
            let bodies: Vec<&str> = events.iter().map(|event| event.body.as_str()).collect();
            Message {
                hostname: events[0].hostname.clone(),
                routing_key: "task.multi".to_owned(),
                body: format!("[{}]", bodies.join(", ")),
            }
        };
        events.chunks(self.per_message).map(list).collect()
    }
}

/// Publishes for some seconds at a rate of events per second, or as fast as the broker accepts them.
pub async fn publish(way: &mut Way, lives: &mut Lives, rate: f64, seconds: f64) -> Published {
    let mut published = Published {
        events: 0,
        seconds: 0.0,
        steps: Vec::new(),
    };
    let mut steps = tokio::time::interval(STEP);
    let start = Instant::now();
    let (mut due, mut last) = (0.0, 0.0);
    while last < seconds {
        steps.tick().await;
        let passed = start.elapsed().as_secs_f64().min(seconds);
        due = (due + (passed - last) * rate / 4.0).min(AT_ONCE * rate / 4.0);
        last = passed;
        let mut tasks = 0;
        while due >= 1.0 {
            tasks += 1;
            due -= 1.0;
        }
        let begin = now();
        way.publish(lives.messages(tasks)).await;
        published.events += 4 * tasks;
        published.steps.push((begin, published.events));
    }
    way.confirmed().await;
    published.seconds = start.elapsed().as_secs_f64();
    published
}
