//! Connects to the brokers: one source per broker turns sockets into batches of payloads.
//!
//! A source connects, subscribes, and hands over batches of messages. On any error it starts over,
//! indefinitely, with growing pauses. Client libraries must not reconnect on their own: a gap in
//! the events has to be detected, counted and shown, and anything the broker has lost has to be
//! declared again.
//!
//! For each broker, a poller also asks the broker for queue lengths, and the workers for their
//! state over remote control. It runs in the background on its own connection.
//!
//! Nothing in this module decodes an event.

mod context;
mod error;
mod in_flight;
mod link;
mod stream;
mod thread;

// Which requests are sent and when, and how the replies are interpreted.
mod beats;
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

pub use context::Checkpointed;
pub use poller::Poller;
pub use source::Source;
