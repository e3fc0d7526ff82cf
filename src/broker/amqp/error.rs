//! Errors of a connection to RabbitMQ.

use std::io;

/// Reply codes: an object does not exist, access is refused, or a resource is locked by another
/// connection.
pub(super) const NOT_FOUND: u16 = 404;
pub(super) const ACCESS_REFUSED: u16 = 403;
pub(super) const NOT_ALLOWED: u16 = 530;
pub(super) const RESOURCE_LOCKED: u16 = 405;

/// Reply codes: an object exists with different arguments, a command is invalid, or a feature is
/// not implemented.
pub(super) const PRECONDITION_FAILED: u16 = 406;
pub(super) const COMMAND_INVALID: u16 = 503;
pub(super) const NOT_IMPLEMENTED: u16 = 540;

/// An error of a connection, or of one channel.
#[derive(Debug, thiserror::Error)]
pub(in crate::broker) enum AmqpError {
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The server closed a channel, or the connection.
    #[error("{text}")]
    Closed {
        code: u16,
        text: String,
        is_channel: bool,
    },
    #[error("the broker closed the connection")]
    Ended,
    #[error("the broker ended the subscription")]
    Canceled,
    #[error("the broker has stopped sending heartbeats")]
    Silent,
    #[error("the broker allows no more channels")]
    NoChannel,
    #[error("the broker sent {0}")]
    Malformed(&'static str),
}

impl AmqpError {
    /// The reply code, if the server gave one.
    pub(super) const fn code(&self) -> Option<u16> {
        match self {
            Self::Closed { code, .. } => Some(*code),
            Self::Io(_)
            | Self::Ended
            | Self::Canceled
            | Self::Silent
            | Self::NoChannel
            | Self::Malformed(_) => None,
        }
    }

    /// Whether the error affects only one channel, so that the connection remains usable.
    pub(in crate::broker) const fn is_of_channel(&self) -> bool {
        matches!(
            self,
            Self::Closed {
                is_channel: true,
                ..
            }
        )
    }
}
