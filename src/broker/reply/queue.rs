//! Parses a queue that a worker consumes, from the reply to `active_queues`.

use super::{flag, text};
use crate::event::{DecodeError, Kind, Reader};
use crate::state::{Binding, ExchangeKind};

/// A queue that a worker consumes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::broker) struct ConsumedQueue {
    pub(in crate::broker) binding: Binding,
    /// Whether the queue may have messages although this worker has room: another worker may be its
    /// single active consumer, and the length of a stream includes what was consumed.
    pub(in crate::broker) is_passive: bool,
}

pub(super) fn read_queue<'a>(
    reader: &mut impl Reader<'a>,
) -> Result<Option<ConsumedQueue>, DecodeError> {
    let mut name = None;
    let mut queue = ConsumedQueue::default();
    reader.map(|reader, key| match key {
        b"name" => {
            name = text(reader)?;
            Ok(())
        }
        b"routing_key" => {
            queue.binding.routing_key = text(reader)?.unwrap_or_default();
            Ok(())
        }
        b"exchange" if reader.kind() == Kind::Map => reader.map(|reader, key| match key {
            b"name" => {
                queue.binding.exchange = text(reader)?.unwrap_or_default();
                Ok(())
            }
            b"type" => {
                let kind = text(reader)?;
                queue.binding.kind =
                    kind.map_or(ExchangeKind::Direct, |kind| ExchangeKind::of(&kind));
                Ok(())
            }
            _ => reader.skip(4),
        }),
        b"queue_arguments" if reader.kind() == Kind::Map => reader.map(|reader, key| {
            match key {
                b"x-single-active-consumer" => queue.is_passive |= flag(reader)? == Some(true),
                b"x-queue-type" => queue.is_passive |= text(reader)?.as_deref() == Some("stream"),
                _ => return reader.skip(4),
            }
            Ok(())
        }),
        _ => reader.skip(3),
    })?;
    Ok(name.map(|name| {
        queue.binding.queue = name;
        queue
    }))
}
