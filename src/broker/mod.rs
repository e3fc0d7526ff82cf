//! Sockets to payloads: the sources, one for each broker.
//!
//! A source connects, subscribes, and hands batches of messages over; on any error it starts over, for ever,
//! with growing pauses. The client libraries' own recovery stays off: a gap in the events has to be seen,
//! counted and shown, and what the broker forgot has to be declared afresh.
//!
//! Nothing here reads a message.

mod link;

pub mod amqp;
pub mod redis;

mod source;

mod poller;

pub use poller::Poller;
pub use source::Source;
