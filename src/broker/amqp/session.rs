//! One connection to RabbitMQ: sends methods, and receives replies, deliveries and heartbeats.
//!
//! Nothing is read ahead. A message that no caller is waiting for stays in the socket, so TCP slows
//! the broker down and nothing piles up here. While a caller waits for something else,
//! [`Session::beside`] keeps the connection alive.
//!
//! Every wait is cancel-safe: bytes already read stay in the buffer, and a half-written frame is
//! completed later.
//!
//! Source: AMQP 0-9-1, and RabbitMQ's documentation of heartbeats and of its extensions.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use amq_protocol::frame::{AMQPFrame, GenError, WriteContext, gen_frame};
use amq_protocol::protocol::{AMQPClass, basic, channel, connection};
use bytes::{Buf, BytesMut};
use futures_util::FutureExt;
use tokio::io::AsyncWrite;
use tokio_util::io::poll_read_buf;

use super::assembly::{Assembly, Delivery};
use super::channels::Channels;
use super::error::AmqpError;
use super::frame::{self, FrameKind};
use super::tuning::Tuning;
use crate::broker::link::Alive;
use crate::broker::stream::Stream;
use crate::clock;

/// Maximum number of bytes to read at a time.
const READ_BYTES: usize = 64 << 10;

/// Reading pauses while this many bytes are waiting to be written. Otherwise, a peer that sends
/// without reading would make the write buffer grow without limit.
const UNWRITTEN_BYTES_MAX: usize = 1 << 20;

/// Number of heartbeats sent per negotiated interval, and number of silent intervals after which
/// the peer is considered dead.
const BEATS: u32 = 2;
const SILENT_INTERVALS: u32 = 2;

/// The class and method of the reply to `connection.close`.
const CLOSE_OK: (u16, u16) = (10, 51);

/// The next item read from the connection.
#[derive(Debug)]
enum Incoming {
    Reply(u16, AMQPClass),
    Delivery(Delivery),
    /// The server closed a channel.
    Closed(u16, AmqpError),
}

/// A connection, from the protocol header until it is closed.
pub(super) struct Session {
    stream: Box<dyn Stream>,
    read: BytesMut,
    unwritten: BytesMut,
    is_flushed: bool,
    tuning: Tuning,
    channels: Channels,
    assembly: Assembly,
    /// The server has confirmed that our consumer is cancelled.
    pub(super) is_canceled: bool,
    sent_at: Instant,
    received_at: Instant,
    alive: Option<Alive>,
}

impl Session {
    /// Starts a session on a fresh stream. Bodies of more than `body_max` bytes are skipped.
    pub(super) fn new(stream: Box<dyn Stream>, body_max: usize, alive: Option<Alive>) -> Self {
        let now = clock::monotonic();
        Self {
            stream,
            read: BytesMut::new(),
            unwritten: BytesMut::new(),
            is_flushed: true,
            tuning: Tuning::INITIAL,
            channels: Channels::new(Tuning::INITIAL.channel_max),
            assembly: Assembly::new(body_max),
            is_canceled: false,
            sent_at: now,
            received_at: now,
            alive,
        }
    }

    /// Applies the negotiated limits. No channel may be open yet.
    pub(super) fn tune(&mut self, tuning: Tuning) {
        self.tuning = tuning;
        self.channels = Channels::new(tuning.channel_max);
    }

    pub(super) const fn payload_max(&self) -> usize {
        self.tuning.payload_max()
    }

    pub(super) const fn body_max(&self) -> usize {
        self.assembly.body_max()
    }

    /// Sends bytes that are not a frame. Only the protocol header is sent this way.
    pub(super) fn send_raw(&mut self, bytes: &[u8]) {
        self.unwritten.extend_from_slice(bytes);
    }

    /// The payload of the next method, unparsed: the server's greeting contains tables, which are
    /// not parsed here.
    pub(super) async fn raw_method(&mut self) -> Result<Vec<u8>, AmqpError> {
        loop {
            while let Some((frame, length)) = frame::first(&self.read, self.payload_max())? {
                let method = (frame.kind == FrameKind::Method).then(|| frame.payload.to_vec());
                self.read.advance(length);
                if let Some(payload) = method {
                    return Ok(payload);
                }
            }
            self.fill().await?;
        }
    }

    /// Opens a channel.
    pub(super) async fn open_channel(&mut self) -> Result<u16, AmqpError> {
        let number = self.channels.open().ok_or(AmqpError::NoChannel)?;
        let open = channel::AMQPMethod::Open(channel::Open {});
        self.call(number, AMQPClass::Channel(open)).await?;
        Ok(number)
    }

    pub(super) fn is_open(&self, channel: u16) -> bool {
        self.channels.is_open(channel)
    }

    /// Closes a channel. Errors of earlier methods on it are reported here.
    pub(super) async fn close_channel(&mut self, number: u16) -> Result<(), AmqpError> {
        let close = channel::AMQPMethod::Close(channel::Close {
            reply_code: 200,
            reply_text: "done".into(),
            class_id: 0,
            method_id: 0,
        });
        self.call(number, AMQPClass::Channel(close)).await?;
        self.channels.close(number);
        self.assembly.forget(number);
        Ok(())
    }

    /// Closes the connection and waits for the reply.
    pub(super) async fn close(&mut self, text: &str) -> Result<(), AmqpError> {
        self.send_goodbye(text);
        self.reply(0, CLOSE_OK).await.map(drop)
    }

    /// Sends a close without waiting, if the socket has room for it.
    pub(super) fn leave(&mut self, text: &str) {
        self.send_goodbye(text);
        let _ = self.write_now();
    }

    fn send_goodbye(&mut self, text: &str) {
        let close = connection::AMQPMethod::Close(connection::Close {
            reply_code: 200,
            reply_text: text.into(),
            class_id: 0,
            method_id: 0,
        });
        self.send(0, AMQPClass::Connection(close));
    }

    /// Calls a method and waits for its reply.
    pub(super) async fn call(
        &mut self,
        channel: u16,
        method: AMQPClass,
    ) -> Result<AMQPClass, AmqpError> {
        // In AMQP, a reply has the number after that of its method.
        let reply = (method.get_amqp_class_id(), method.get_amqp_method_id() + 1);
        self.send(channel, method);
        self.reply(channel, reply).await
    }

    /// Sends a method. It is written during the next wait.
    pub(super) fn send(&mut self, channel: u16, method: AMQPClass) {
        self.send_frame(&AMQPFrame::Method(channel, method));
    }

    pub(super) fn send_frame(&mut self, frame: &AMQPFrame) {
        let mut context = WriteContext::from(Vec::with_capacity(256));
        let written: Result<_, GenError> = gen_frame(frame)(context);
        context = written.expect("a vector has room for what we send");
        self.unwritten.extend_from_slice(&context.into_inner().0);
    }

    /// Waits for a reply on a channel. Deliveries before it are dropped: no caller consumes while
    /// it waits for a reply.
    pub(super) async fn reply(
        &mut self,
        channel: u16,
        method: (u16, u16),
    ) -> Result<AMQPClass, AmqpError> {
        let id = |reply: &AMQPClass| (reply.get_amqp_class_id(), reply.get_amqp_method_id());
        loop {
            match self.incoming()? {
                Some(Incoming::Reply(on, reply)) if on == channel && id(&reply) == method => {
                    return Ok(reply);
                }
                Some(Incoming::Closed(on, error)) if on == channel => return Err(error),
                Some(_) => {}
                None => self.fill().await?,
            }
        }
    }

    /// Waits for the next message.
    pub(super) async fn delivery(&mut self) -> Result<Delivery, AmqpError> {
        loop {
            if let Some(delivery) = self.buffered_delivery()? {
                return Ok(delivery);
            }
            self.fill().await?;
        }
    }

    /// The next message, or `None` once the consumer is cancelled and no more can arrive.
    pub(super) async fn last_deliveries(&mut self) -> Result<Option<Delivery>, AmqpError> {
        loop {
            let delivery = self.buffered_delivery()?;
            if delivery.is_some() || self.is_canceled {
                return Ok(delivery);
            }
            self.fill().await?;
        }
    }

    /// The next message that is available without waiting, from the buffer or the socket.
    pub(super) fn delivery_now(&mut self) -> Result<Option<Delivery>, AmqpError> {
        let delivery = self.buffered_delivery()?;
        if delivery.is_some() {
            return Ok(delivery);
        }
        match self.fill().now_or_never() {
            Some(filled) => filled?,
            None => return Ok(None),
        }
        self.buffered_delivery()
    }

    fn buffered_delivery(&mut self) -> Result<Option<Delivery>, AmqpError> {
        loop {
            match self.incoming()? {
                Some(Incoming::Delivery(delivery)) => return Ok(Some(delivery)),
                Some(Incoming::Closed(_, error)) => return Err(error),
                Some(Incoming::Reply(..)) => {}
                None => return Ok(None),
            }
        }
    }

    /// Acknowledges messages up to a tag. It is written during the next wait.
    pub(super) fn acknowledge(&mut self, channel: u16, delivery_tag: u64) {
        let ack = basic::AMQPMethod::Ack(basic::Ack {
            delivery_tag,
            multiple: true,
        });
        self.send(channel, AMQPClass::Basic(ack));
    }

    /// Waits for something else on an idle connection, and meanwhile reads what the server sends.
    pub(super) async fn idle<T>(
        &mut self,
        waiting: impl Future<Output = T>,
    ) -> Result<T, AmqpError> {
        tokio::pin!(waiting);
        loop {
            while self.incoming()?.is_some() {}
            tokio::select! {
                ended = &mut waiting => return Ok(ended),
                filled = self.fill() => filled?,
            }
        }
    }

    /// Waits for something else without reading meanwhile.
    pub(super) async fn beside<T>(
        &mut self,
        waiting: impl Future<Output = T>,
    ) -> Result<T, AmqpError> {
        tokio::pin!(waiting);
        loop {
            let wake = self.beat();
            let is_written = self.is_flushed && self.unwritten.is_empty();
            tokio::select! {
                ended = &mut waiting => return Ok(ended),
                written = self.write(), if !is_written => written?,
                () = sleep_until(wake) => {}
            }
        }
    }

    /// Writes pending bytes while there is room, and waits until something is read.
    async fn fill(&mut self) -> Result<(), AmqpError> {
        loop {
            let wake = self.beat();
            let silent = self.tuning.heartbeat.map(|every| every * SILENT_INTERVALS);
            let given_up = silent.map(|silent| self.received_at + silent);
            let wake = wake.into_iter().chain(given_up).min();
            tokio::select! {
                biased;
                // Read first, so that data that arrived while no one was reading counts as a sign
                // of life.
                read = self.exchange() => return read,
                () = sleep_until(wake) => {}
            }
            if given_up.is_some_and(|given_up| given_up <= clock::monotonic()) {
                return Err(AmqpError::Silent);
            }
        }
    }

    /// Sends a heartbeat if one is due. Returns when the next one is due.
    fn beat(&mut self) -> Option<Instant> {
        let every = self.tuning.heartbeat? / BEATS;
        let now = clock::monotonic();
        if now >= self.sent_at + every {
            self.sent_at = now;
            self.send_frame(&AMQPFrame::Heartbeat);
        }
        Some(self.sent_at + every)
    }

    async fn exchange(&mut self) -> Result<(), AmqpError> {
        self.read.reserve(READ_BYTES);
        let count = poll_fn(|context| {
            match self.poll_write(context) {
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending if self.unwritten.len() > UNWRITTEN_BYTES_MAX => {
                    return Poll::Pending;
                }
                Poll::Ready(Ok(())) | Poll::Pending => {}
            }
            poll_read_buf(Pin::new(&mut self.stream), context, &mut self.read)
        });
        let count = count.await?;
        let now = clock::monotonic();
        if count == 0 {
            if let Some(alive) = &self.alive {
                alive.closed(now);
            }
            return Err(AmqpError::Ended);
        }
        self.received_at = now;
        if let Some(alive) = &self.alive {
            alive.note(now);
        }
        Ok(())
    }

    /// Writes pending bytes.
    pub(super) async fn write(&mut self) -> Result<(), AmqpError> {
        Ok(poll_fn(|context| self.poll_write(context)).await?)
    }

    /// Writes as many pending bytes as there is room for now.
    pub(super) fn write_now(&mut self) -> Result<(), AmqpError> {
        self.write().now_or_never().unwrap_or(Ok(()))
    }

    fn poll_write(&mut self, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        while !self.unwritten.is_empty() {
            let stream = Pin::new(&mut self.stream);
            let count = ready!(stream.poll_write(context, &self.unwritten))?;
            if count == 0 {
                return Poll::Ready(Err(std::io::ErrorKind::WriteZero.into()));
            }
            self.unwritten.advance(count);
            self.is_flushed = false;
            self.sent_at = clock::monotonic();
        }
        if !self.is_flushed {
            ready!(Pin::new(&mut self.stream).poll_flush(context))?;
            self.is_flushed = true;
        }
        Poll::Ready(Ok(()))
    }

    /// Parses the bytes read, up to the next item that a caller may wait for.
    fn incoming(&mut self) -> Result<Option<Incoming>, AmqpError> {
        while let Some((frame, length)) = frame::first(&self.read, self.tuning.payload_max())? {
            let mut method = None;
            let mut delivery = None;
            match frame.kind {
                FrameKind::Heartbeat => {}
                FrameKind::Method => match frame::deliver(frame.payload) {
                    Some(_) if !self.channels.is_open(frame.channel) => {
                        return Err(AmqpError::Malformed("a message on a closed channel"));
                    }
                    Some(tag) => self.assembly.begin(frame.channel, tag?)?,
                    None => method = Some((frame.channel, frame::method(frame.payload)?)),
                },
                FrameKind::Header | FrameKind::Body => delivery = self.assembly.add(frame)?,
            }
            self.read.advance(length);
            if let Some(delivery) = delivery {
                return Ok(Some(Incoming::Delivery(delivery)));
            }
            if let Some((channel, method)) = method
                && let Some(incoming) = self.on_method(channel, method)?
            {
                return Ok(Some(incoming));
            }
        }
        Ok(None)
    }

    fn on_method(
        &mut self,
        channel: u16,
        method: AMQPClass,
    ) -> Result<Option<Incoming>, AmqpError> {
        use {basic::AMQPMethod as Basic, channel::AMQPMethod as Ch, connection::AMQPMethod as Co};

        match method {
            AMQPClass::Connection(Co::Close(close)) => {
                let ok = Co::CloseOk(connection::CloseOk {});
                self.send(0, AMQPClass::Connection(ok));
                // The server waits for this reply, and the connection is not used again.
                let _ = self.write_now();
                Err(AmqpError::Closed {
                    code: close.reply_code,
                    text: close.reply_text.to_string(),
                    is_channel: false,
                })
            }
            // A blocked connection still delivers messages, and our requests have deadlines, so
            // there is nothing to do.
            AMQPClass::Connection(Co::Blocked(_) | Co::Unblocked(_)) => Ok(None),
            AMQPClass::Channel(Ch::Close(close)) => {
                if !self.channels.close(channel) {
                    return Err(AmqpError::Malformed(
                        "a close of a channel that is not open",
                    ));
                }
                let ok = Ch::CloseOk(channel::CloseOk {});
                self.send(channel, AMQPClass::Channel(ok));
                self.assembly.forget(channel);
                let error = AmqpError::Closed {
                    code: close.reply_code,
                    text: close.reply_text.to_string(),
                    is_channel: true,
                };
                Ok(Some(Incoming::Closed(channel, error)))
            }
            AMQPClass::Basic(Basic::Cancel(_)) => Err(AmqpError::Canceled),
            reply @ (AMQPClass::Connection(_)
            | AMQPClass::Channel(_)
            | AMQPClass::Access(_)
            | AMQPClass::Exchange(_)
            | AMQPClass::Queue(_)
            | AMQPClass::Basic(_)
            | AMQPClass::Tx(_)
            | AMQPClass::Confirm(_)) => {
                self.is_canceled |= matches!(reply, AMQPClass::Basic(Basic::CancelOk(_)));
                Ok(Some(Incoming::Reply(channel, reply)))
            }
        }
    }
}

async fn sleep_until(wake: Option<Instant>) {
    match wake {
        Some(wake) => tokio::time::sleep_until(wake.into()).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod differential;
#[cfg(test)]
mod tests;
