//! Assembles messages from frames. Takes method, header and body frames of all channels, and
//! returns a delivery once its body is complete.

use super::error::AmqpError;
use super::frame::{self, Frame, FrameKind, Properties};

/// Bytes allocated for a body before any of it has arrived.
const FIRST_BYTES: usize = 64 << 10;

/// Maximum announced size of a body, even of one that is skipped. No RabbitMQ version allows larger
/// messages, and skipping one would block all later messages.
const ANNOUNCED_MAX: u64 = 2 << 30;

/// A message delivered by the server.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Delivery {
    pub(super) tag: u64,
    pub(super) properties: Properties,
    pub(super) body: Result<Vec<u8>, TooLong>,
}

/// The size of a body that was skipped because it is too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooLong(pub(super) u64);

/// The incomplete messages of a connection.
#[derive(Debug)]
pub(super) struct Assembly {
    /// At most one per channel, and few channels are open, so a list is enough.
    partial: Vec<Partial>,
    body_max: usize,
}

#[derive(Debug)]
struct Partial {
    channel: u16,
    delivery: Delivery,
    /// Bytes of the body that are still missing. `None`: the header has not arrived either.
    missing: Option<u64>,
}

impl Assembly {
    /// Skips bodies of more than `body_max` bytes.
    pub(super) const fn new(body_max: usize) -> Self {
        Self {
            partial: Vec::new(),
            body_max,
        }
    }

    pub(super) const fn body_max(&self) -> usize {
        self.body_max
    }

    /// Starts a message.
    pub(super) fn begin(&mut self, channel: u16, tag: u64) -> Result<(), AmqpError> {
        if self.position(channel).is_some() {
            return Err(AmqpError::Malformed("a message inside another message"));
        }
        self.partial.push(Partial {
            channel,
            delivery: Delivery {
                tag,
                properties: Properties::default(),
                body: Ok(Vec::new()),
            },
            missing: None,
        });
        Ok(())
    }

    /// Adds a header or part of a body, and returns the message once it is complete.
    pub(super) fn add(&mut self, frame: Frame<'_>) -> Result<Option<Delivery>, AmqpError> {
        let at = self.position(frame.channel);
        let at = at.ok_or(AmqpError::Malformed("a content frame without a message"))?;
        let partial = &mut self.partial[at];
        let missing = match (frame.kind, partial.missing) {
            (FrameKind::Header, None) => partial.delivery.header(frame.payload, self.body_max)?,
            (FrameKind::Body, Some(missing)) => {
                let rest = missing.checked_sub(frame.payload.len() as u64);
                let rest = rest.ok_or(AmqpError::Malformed("a body longer than announced"))?;
                if let Ok(body) = &mut partial.delivery.body {
                    body.extend_from_slice(frame.payload);
                }
                rest
            }
            _ => return Err(AmqpError::Malformed("the frames of a message out of order")),
        };
        partial.missing = Some(missing);
        Ok((missing == 0).then(|| self.partial.swap_remove(at).delivery))
    }

    /// Discards the incomplete message of a channel.
    pub(super) fn forget(&mut self, channel: u16) {
        self.partial.retain(|partial| partial.channel != channel);
    }

    /// The body of an incomplete message.
    #[cfg(test)]
    pub(super) fn partial_body(&self) -> Option<&Vec<u8>> {
        self.partial.first()?.delivery.body.as_ref().ok()
    }

    fn position(&self, channel: u16) -> Option<usize> {
        let mut partial = self.partial.iter();
        partial.position(|partial| partial.channel == channel)
    }
}

impl Delivery {
    /// Parses the header and returns the size of the body.
    fn header(&mut self, payload: &[u8], body_max: usize) -> Result<u64, AmqpError> {
        let (size, properties) = frame::content(payload)?;
        if size > ANNOUNCED_MAX {
            return Err(AmqpError::Malformed("a message of more than 2 GiB"));
        }
        self.properties = properties;
        let accepted = usize::try_from(size).ok().filter(|size| *size <= body_max);
        // Not the full size at once: the announced bytes may never arrive.
        let allocated = accepted.map(|size| Vec::with_capacity(size.min(FIRST_BYTES)));
        self.body = allocated.ok_or(TooLong(size));
        Ok(size)
    }
}
