//! Why a connection to a broker ended, or a request on it failed.

use std::time::Duration;

use super::amqp::error::AmqpError;

/// How long to wait for the reply to a ping.
pub(super) const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum LinkError {
    #[error("no connection within {} s", .0.as_secs())]
    Timeout(Duration),
    #[error("cannot connect: {0}")]
    Connect(#[from] std::io::Error),
    #[error(transparent)]
    Secret(#[from] crate::secret::SecretError),
    #[error(transparent)]
    Tls(#[from] crate::tls::TlsError),
    #[error("cannot {doing}: {error}{hint}")]
    Amqp {
        doing: &'static str,
        error: AmqpError,
        hint: String,
    },
    #[error("cannot {doing}: {error}{hint}")]
    Redis {
        doing: &'static str,
        error: ::redis::RedisError,
        hint: String,
    },
    /// The server's response to the login, with the password masked.
    #[error("cannot log in: {0}")]
    Login(String),
    #[error("the broker closed the connection")]
    Closed,
    #[error(
        "Redis closed the connection while events arrived faster than celeriac read them, probably because \
         client-output-buffer-limit was exceeded"
    )]
    FellBehind,
    #[error("no reply to a ping within {} s", PING_TIMEOUT.as_secs())]
    Silent,
    #[error("no reply to a poll within {} s", .0.as_secs())]
    Late(Duration),
    #[error("no sentinel knows a master named `{name}`{hint}")]
    NoMaster { name: String, hint: String },
    #[error("the server at {0} is not the master")]
    NotMaster(String),
    /// The receiver of the batches is gone: the daemon is stopping.
    #[error("celeriac closed the connection")]
    Abandoned,
}

impl LinkError {
    /// Whether the server said why, so that waiting alone will not help.
    pub(super) fn is_definite(&self) -> bool {
        self.is_refusal() || matches!(self, Self::Login(_))
    }

    /// Whether the connection is still usable, because the broker only refused a single request.
    pub(super) fn is_refusal(&self) -> bool {
        match self {
            Self::Amqp { error, .. } => error.is_of_channel(),
            Self::Redis { error, .. } => error.code().is_some(),
            Self::Timeout(_)
            | Self::Connect(_)
            | Self::Secret(_)
            | Self::Tls(_)
            | Self::Login(_)
            | Self::Closed
            | Self::FellBehind
            | Self::Silent
            | Self::Late(_)
            | Self::NoMaster { .. }
            | Self::NotMaster(_)
            | Self::Abandoned => false,
        }
    }
}
