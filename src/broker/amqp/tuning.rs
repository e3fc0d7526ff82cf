//! Negotiates the limits of a connection, which the server proposes and the client may lower.

use std::time::Duration;

use amq_protocol::protocol::connection::Tune;

use super::error::AmqpError;

/// The largest frame that is accepted, whatever the server proposes. RabbitMQ proposes the same.
pub(super) const FRAME_MAX: u32 = 128 << 10;

/// The smallest limit that AMQP allows.
const FRAME_MIN: u32 = 4096;

/// Number of bytes in a frame besides its payload.
const FRAME_OVERHEAD: u32 = 8;

/// Maximum number of channels to open. RabbitMQ proposes the same number.
pub(super) const CHANNEL_MAX: u16 = 2047;

/// The limits of one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tuning {
    pub(super) channel_max: u16,
    pub(super) frame_max: u32,
    /// `None`: neither side sends heartbeats.
    pub(super) heartbeat: Option<Duration>,
}

impl Tuning {
    /// The limits that apply before the server has proposed any.
    pub(super) const INITIAL: Self = Self {
        channel_max: CHANNEL_MAX,
        frame_max: FRAME_MAX,
        heartbeat: None,
    };

    /// Combines the limits of both sides: the lower of each pair, where 0 means no limit.
    pub(super) fn negotiate(proposed: &Tune, heartbeat_seconds: u16) -> Result<Self, AmqpError> {
        let channel_max = match proposed.channel_max {
            0 => CHANNEL_MAX,
            proposed => proposed.min(CHANNEL_MAX),
        };
        let frame_max = match proposed.frame_max {
            0 => FRAME_MAX,
            1..FRAME_MIN => {
                return Err(AmqpError::Malformed("a frame size below AMQP's minimum"));
            }
            proposed => proposed.min(FRAME_MAX),
        };
        let seconds = match proposed.heartbeat {
            0 => heartbeat_seconds,
            proposed => proposed.min(heartbeat_seconds),
        };
        Ok(Self {
            channel_max,
            frame_max,
            heartbeat: (seconds > 0).then(|| Duration::from_secs(seconds.into())),
        })
    }

    /// Maximum number of bytes in the payload of a frame.
    pub(super) const fn payload_max(&self) -> usize {
        (self.frame_max - FRAME_OVERHEAD) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_proposes_is_accepted_within_our_limits() {
        let tune = |channel_max, frame_max, heartbeat| Tune {
            channel_max,
            frame_max,
            heartbeat,
        };
        let cases = [
            (tune(0, 0, 0), (CHANNEL_MAX, FRAME_MAX, 10)),
            (tune(65_535, u32::MAX, 65_535), (CHANNEL_MAX, FRAME_MAX, 10)),
            (tune(100, 16 << 20, 5), (100, FRAME_MAX, 5)),
            (tune(1, 1 << 30, 1), (1, FRAME_MAX, 1)),
            (tune(100, 4096, 60), (100, 4096, 10)),
        ];
        for (proposed, (channel_max, frame_max, seconds)) in cases {
            let expected = Tuning {
                channel_max,
                frame_max,
                heartbeat: Some(Duration::from_secs(seconds)),
            };
            let agreed = Tuning::negotiate(&proposed, 10).expect("an agreement");
            assert_eq!(agreed, expected, "{proposed:?}");
        }
        for frame_max in [1, 7, 4095] {
            let error = Tuning::negotiate(&tune(0, frame_max, 0), 10);
            let error = error.expect_err("too small");
            let text = "the broker sent a frame size below AMQP's minimum";
            assert_eq!(error.to_string(), text);
        }
    }
}
