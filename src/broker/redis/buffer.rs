//! Buffers messages that were read from Redis and not handed over yet. It is bounded in bytes and
//! drops the oldest messages first.

use std::collections::VecDeque;

use super::super::context::{BATCH_BYTES, BATCH_MESSAGES};
use super::subscription::Frame;
use crate::bounds::{Bounds, Limit, Part};
use crate::event::{Form, Payload};

/// The memory of a message in addition to its bytes.
const OVERHEAD_BYTES: u64 = 64;

/// A larger capacity is freed once no message is waiting.
const MESSAGES_KEPT: usize = 4_096;

/// Messages in order of arrival.
#[derive(Debug)]
pub(super) struct Buffer {
    messages: VecDeque<Vec<u8>>,
    bytes: u64,
    bytes_max: u64,
    bounds: Bounds,
}

impl Buffer {
    pub(super) const fn new(bytes_max: u64, bounds: Bounds) -> Self {
        Self {
            messages: VecDeque::new(),
            bytes: 0,
            bytes_max,
            bounds,
        }
    }

    /// Adds a frame if it is a message. Returns how many messages were dropped.
    #[must_use = "dropped messages must be counted"]
    pub(super) fn push_frame(&mut self, frame: Frame<'_>) -> u64 {
        match frame {
            Frame::Message { body, .. } => self.push(body.to_vec()),
            Frame::TooLong => 1,
            Frame::Answer(_) => 0,
        }
    }

    /// Adds a message. Returns how many of the oldest were dropped to make room.
    #[must_use = "dropped messages must be counted"]
    fn push(&mut self, message: Vec<u8>) -> u64 {
        let bytes = cost(&message);
        let has_room = self.bounds.has_room(Part::Buffers, bytes);
        if !has_room {
            self.bounds.reached(Limit::BufferMemory);
        }
        let bytes_max = if has_room {
            self.bytes_max
        } else {
            self.bytes.min(self.bytes_max)
        };
        self.bytes += bytes;
        self.bounds.claim(Part::Buffers, bytes);
        self.messages.push_back(message);
        let mut dropped = 0;
        while self.bytes > bytes_max && self.pop().is_some() {
            dropped += 1;
        }
        dropped
    }

    fn pop(&mut self) -> Option<Vec<u8>> {
        let oldest = self.messages.pop_front()?;
        let bytes = cost(&oldest);
        self.bytes -= bytes;
        self.bounds.release(Part::Buffers, bytes);
        // A burst may have been a million messages.
        if self.messages.is_empty() && self.messages.capacity() > MESSAGES_KEPT {
            self.messages = VecDeque::new();
        }
        Some(oldest)
    }

    /// How many bytes the next batch may contain.
    pub(super) fn batch_bytes(&self) -> u64 {
        let first = self
            .messages
            .front()
            .map_or(0, |message| message.len() as u64);
        self.bytes.min(first.max(BATCH_BYTES as u64))
    }

    /// Removes the oldest messages, as many as fit in a batch.
    pub(super) fn next_batch(&mut self) -> Vec<Payload> {
        let mut payloads = Vec::with_capacity(self.messages.len().min(BATCH_MESSAGES));
        let mut bytes = 0;
        while payloads.len() < BATCH_MESSAGES
            && let Some(next) = self.messages.front()
            && (payloads.is_empty() || bytes + next.len() <= BATCH_BYTES)
            && let Some(message) = self.pop()
        {
            bytes += message.len();
            payloads.push(Payload {
                bytes: message,
                form: Form::Envelope,
            });
        }
        payloads
    }

    pub(super) fn is_half_full(&self) -> bool {
        self.bytes > self.bytes_max / 2 || !self.bounds.has_room(Part::Buffers, self.bytes)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.messages.len()
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.bounds.release(Part::Buffers, self.bytes);
    }
}

const fn cost(message: &[u8]) -> u64 {
    message.len() as u64 + OVERHEAD_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_for_a_burst_is_freed_once_it_is_handed_over() {
        let mut buffer = Buffer::new(1 << 20, Bounds::default());
        for (count, is_freed) in [(MESSAGES_KEPT, false), (2 * MESSAGES_KEPT, true)] {
            for n in 0..count {
                assert_eq!(buffer.push(n.to_le_bytes().to_vec()), 0);
            }
            while !buffer.is_empty() {
                buffer.next_batch();
            }
            assert_eq!(buffer.messages.capacity() == 0, is_freed, "{count}");
        }
    }

    #[test]
    fn the_oldest_go_when_it_is_full_and_are_counted() {
        let mut buffer = Buffer::new(3 * (OVERHEAD_BYTES + 10), Bounds::default());
        let dropped: Vec<_> = (0..5).map(|n| buffer.push(vec![n; 10])).collect();
        assert_eq!(dropped, [0, 0, 0, 1, 1]);

        let left: Vec<_> = buffer
            .next_batch()
            .into_iter()
            .map(|payload| payload.bytes[0])
            .collect();
        assert_eq!(left, [2, 3, 4]);
        assert_eq!((buffer.bytes, buffer.is_empty()), (0, true));
    }

    #[test]
    fn a_message_larger_than_all_the_room_is_dropped_itself() {
        assert_eq!(Buffer::new(100, Bounds::default()).push(vec![0; 200]), 1);
    }

    #[test]
    fn brokers_share_the_memory_budget_and_give_it_back() {
        // 42 MiB are shared out, of which messages may use 18.
        let bounds = Bounds::new(64 << 20, false, 0);
        let mut flooded = Buffer::new(u64::MAX, bounds.clone());
        let message = || vec![0; (1 << 20) - 64];
        let dropped: Vec<_> = (0..20).map(|_| flooded.push(message())).collect();
        assert_eq!(dropped[17..], [0, 1, 1]);
        assert_eq!(bounds.times(Limit::BufferMemory), 2);
        assert_eq!((flooded.len(), flooded.is_half_full()), (18, true));
        let mut other = Buffer::new(u64::MAX, bounds.clone());
        assert_eq!(other.push(message()), 1);

        drop(flooded);
        assert_eq!(bounds.used(Part::Buffers), 0);
        assert_eq!((other.push(message()), other.is_half_full()), (0, false));
    }

    #[test]
    fn a_batch_is_bounded_in_messages_and_bytes() {
        let mut buffer = Buffer::new(u64::MAX, Bounds::default());
        for _ in 0..BATCH_MESSAGES + 1 {
            assert_eq!(buffer.push(vec![0; 10]), 0);
        }
        assert_eq!(
            (buffer.next_batch().len(), buffer.next_batch().len()),
            (BATCH_MESSAGES, 1)
        );

        for _ in 0..4 {
            assert_eq!(buffer.push(vec![0; BATCH_BYTES]), 0);
        }
        assert_eq!(buffer.next_batch().len(), 1);
    }
}
