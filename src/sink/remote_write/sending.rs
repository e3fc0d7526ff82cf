//! Decides which requests to send next, and how many at a time.

use std::sync::Arc;

use super::{Answered, RemoteWrite, Sent, float};
use crate::blocking::blocking;
use crate::clock;
use crate::sink::client::Request;
use crate::sink::request::request;
use crate::telemetry::sink::DropReason;
use crate::wire::Protocol;

impl RemoteWrite {
    /// Sends everything that may be sent now, up to the maximum number of concurrent requests.
    pub(super) fn send_more(&mut self) {
        if self.wait.is_some() {
            return;
        }
        self.send_records();
        self.send_apart();
    }

    pub(super) fn send_records(&mut self) {
        let shards = self.shards();
        self.metrics.shards_desired.set(float(shards));
        while self.window.sending() < shards {
            if self.failures == 0 && self.answers.is_empty() && self.send_metadata() {
                return;
            }
            let (window, queue) = (&mut self.window, &mut self.queue);
            let next = blocking(|| window.next(queue).map(|flight| flight.sequence));
            let Some(sequence) = next else { return };
            self.send(sequence);
            self.window.commit(&mut self.queue);
        }
    }

    /// Returns how many requests may be in flight. One is enough unless there is more than one
    /// snapshot to send. While the receiver fails, one request is enough to detect when it
    /// recovers.
    pub(super) fn shards(&self) -> usize {
        let queue = &self.config.queue;
        if self.failures > 0 {
            1
        } else if self.queue.has_several_groups(self.window.sent_through()) {
            queue.shards_max
        } else {
            queue.shards_min
        }
    }

    pub(super) fn send_metadata(&mut self) -> bool {
        let Some(metadata) = self.metadata.pop_front() else {
            return false;
        };
        self.metrics.metadata_bytes.add(metadata.bytes.len() as u64);
        let sent = Sent::Metadata {
            entries: metadata.entries,
        };
        let request = request(&self.config.url, Protocol::V1, metadata.bytes, 0);
        self.send_request(sent, request);
        true
    }

    pub(super) fn send(&mut self, sequence: u64) {
        self.sort(sequence);
        let Some(flight) = self.window.get(sequence) else {
            return;
        };
        if flight.is_suspect(clock::monotonic()) {
            return self.check(sequence);
        }
        // It may have been queued before the receiver turned out not to support its protocol.
        let (receiver, samples_max) = (self.protocol, self.feed.samples_max());
        loop {
            let unreadable = blocking(|| flight.downgrade(receiver, samples_max));
            if unreadable.is_zero() {
                break;
            }
            self.metrics.dropped(DropReason::Damaged, unreadable);
        }
        let Some(body) = flight.body().cloned() else {
            return;
        };
        flight.sending = true;
        self.metrics.bytes.add(body.bytes.len() as u64);
        let attempt = flight.attempt();
        if attempt > 0 {
            self.metrics.retried.add(body.counts);
        }
        let sent = Sent::Record {
            sequence,
            protocol: body.protocol,
            counts: body.counts,
            newest: body.newest,
        };
        let request = request(&self.config.url, body.protocol, body.bytes, attempt);
        self.send_request(sent, request);
    }

    pub(super) fn send_request(&self, sent: Sent, request: Request) {
        let client = Arc::clone(&self.client);
        let since = clock::monotonic();
        self.answers.push(Box::pin(async move {
            let answer = client.send(request).await;
            Answered {
                sent,
                since,
                answer,
            }
        }));
    }
}
