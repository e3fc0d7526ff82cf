//! Sockets to payloads: the sources, one for each broker.
//!
//! A source connects, subscribes, and hands batches of messages over; on any error it starts over, for ever,
//! with growing pauses. No client recovers by itself: a gap in the events has to be seen,
//! counted and shown, and what the broker forgot has to be declared afresh.
//!
//! Beside each source a poller asks the broker for the lengths of its queues, and the workers, over remote
//! control, for what they do: on a connection of its own, in the background.
//!
//! Nothing here reads an event.

mod in_flight;
mod link;
mod stream;

// What is asked, when, and what the answers mean.
mod control;
mod reply;
mod schedule;
mod watch;

pub mod amqp;
pub mod redis;

mod poller;
mod source;
mod unpack;

pub mod probe;

pub use poller::Poller;
pub use source::{Checkpointed, Source};
