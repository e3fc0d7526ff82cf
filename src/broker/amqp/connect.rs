//! Connects to a RabbitMQ server and logs in.
//!
//! Source: AMQP 0-9-1, "Connection class"; RabbitMQ's documentation of client capabilities.

use amq_protocol::auth::{Credentials, SASLMechanism};
use amq_protocol::protocol::{AMQPClass, connection};
use amq_protocol::types::{AMQPValue, FieldTable};

use super::error::AmqpError;
use super::frame::{take_field, take_long};
use super::session::Session;
use super::tuning::Tuning;
use crate::broker::error::LinkError;
use crate::broker::link::Alive;
use crate::broker::stream;
use crate::config::AmqpServer;

/// The operation named in errors that occur before the connection is open.
pub(super) const CONNECT: &str = "connect";

/// The first bytes that a client sends.
const PROTOCOL_HEADER: &[u8; 8] = b"AMQP\0\0\x09\x01";

/// Class, method and version of `connection.start`, which precede the server's properties.
const START: [u8; 6] = [0, 10, 0, 10, 0, 9];

/// Class and method of `connection.tune`, the reply to a login.
const TUNE: (u16, u16) = (10, 30);

/// Connects to one server. Bodies of more than `body_max` bytes are skipped.
pub(super) async fn connect(
    server: &AmqpServer,
    body_max: usize,
    alive: Option<Alive>,
) -> Result<Session, LinkError> {
    let password = server.password.read()?;
    let (mut session, _) = greet(server, body_max, alive).await?;
    let logged_in = log_in(&mut session, server, password).await;
    logged_in.map_err(|error| error.while_doing(CONNECT))?;
    Ok(session)
}

/// The product and version that a server reports before login, for example `RabbitMQ 3.10.8`.
pub(super) async fn server_properties(server: &AmqpServer) -> Result<String, LinkError> {
    let (_, product) = greet(server, 0, None).await?;
    Ok(product)
}

async fn greet(
    server: &AmqpServer,
    body_max: usize,
    alive: Option<Alive>,
) -> Result<(Session, String), LinkError> {
    let stream = stream::connect((&server.host, server.port), server.tls.as_ref()).await?;
    let mut session = Session::new(stream, body_max, alive);
    session.send_raw(PROTOCOL_HEADER);
    let started = session.raw_method().await;
    let product = started.and_then(|start| {
        let other = AmqpError::Malformed("something other than an AMQP 0-9-1 greeting");
        product(&start).ok_or(other)
    });
    let product = product.map_err(|error| error.while_doing(CONNECT))?;
    Ok((session, product))
}

async fn log_in(
    session: &mut Session,
    server: &AmqpServer,
    password: String,
) -> Result<(), AmqpError> {
    use connection::AMQPMethod as Method;

    let credentials = Credentials::new(server.username.as_str().into(), password.into());
    let start_ok = Method::StartOk(connection::StartOk {
        client_properties: client_properties(),
        mechanism: "PLAIN".into(),
        response: credentials.sasl_auth_string(SASLMechanism::Plain),
        locale: "en_US".into(),
    });
    session.send(0, AMQPClass::Connection(start_ok));
    let AMQPClass::Connection(Method::Tune(tune)) = session.reply(0, TUNE).await? else {
        return Err(AmqpError::Malformed("an unexpected reply to a login"));
    };
    let tuning = Tuning::negotiate(&tune, server.heartbeat)?;
    session.tune(tuning);
    let heartbeat = tuning.heartbeat.map_or(0, |heartbeat| heartbeat.as_secs());
    let tune_ok = Method::TuneOk(connection::TuneOk {
        channel_max: tuning.channel_max,
        frame_max: tuning.frame_max,
        heartbeat: u16::try_from(heartbeat).unwrap_or(server.heartbeat),
    });
    session.send(0, AMQPClass::Connection(tune_ok));
    let open = Method::Open(connection::Open {
        virtual_host: server.vhost.as_str().into(),
    });
    session.call(0, AMQPClass::Connection(open)).await?;
    Ok(())
}

/// The name that RabbitMQ shows for the connection, and the extensions that we support.
fn client_properties() -> FieldTable {
    let text = |text: &str| AMQPValue::LongString(text.into());
    let mut capabilities = FieldTable::default();
    for capability in [
        "authentication_failure_close",
        "consumer_cancel_notify",
        "exchange_exchange_bindings",
    ] {
        capabilities.insert(capability.into(), AMQPValue::Boolean(true));
    }
    let mut properties = FieldTable::default();
    properties.insert("product".into(), text("celeriac"));
    properties.insert("version".into(), text(env!("CARGO_PKG_VERSION")));
    properties.insert("connection_name".into(), text("celeriac"));
    properties.insert("capabilities".into(), AMQPValue::FieldTable(capabilities));
    properties
}

/// Product and version from the payload of a greeting, if present.
fn product(payload: &[u8]) -> Option<String> {
    let mut table = take_long(&mut payload.strip_prefix(&START)?)?;
    let (mut product, mut version) = (None, None);
    while let Some((key, _, value)) = take_field(&mut table) {
        match key {
            b"product" => product = std::str::from_utf8(value).ok(),
            b"version" => version = std::str::from_utf8(value).ok(),
            _ => {}
        }
    }
    let known = [product.unwrap_or("AMQP 0-9-1"), version.unwrap_or_default()];
    Some(known.join(" ").trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(key: &str, value: &str) -> Vec<u8> {
        let mut entry = vec![u8::try_from(key.len()).unwrap()];
        entry.extend(key.as_bytes());
        entry.push(b'S');
        entry.extend(u32::try_from(value.len()).unwrap().to_be_bytes());
        entry.extend(value.as_bytes());
        entry
    }

    fn server_properties(entries: &[u8]) -> Vec<u8> {
        let size = u32::try_from(entries.len()).unwrap().to_be_bytes();
        [&START[..], &size, entries, b"\0\0\0\x05PLAIN"].concat()
    }

    #[test]
    fn a_greeting_names_product_and_version() {
        let capabilities = b"\x0ccapabilitiesF\0\0\0\x05\x02abt\x01";
        let entries = [
            &capabilities[..],
            &text("product", "RabbitMQ"),
            &text("version", "3.10.8"),
        ];
        let whole = server_properties(&entries.concat());
        assert_eq!(product(&whole).as_deref(), Some("RabbitMQ 3.10.8"));
        let bare = server_properties(&text("product", "LavinMQ"));
        assert_eq!(product(&bare).as_deref(), Some("LavinMQ"));
        assert_eq!(
            product(&server_properties(b"")).as_deref(),
            Some("AMQP 0-9-1")
        );
        assert_eq!(product(b"HTTP/1.1 400"), None);
        for end in 0..whole.len() {
            // A truncated payload must not cause an out-of-bounds read.
            let _ = product(&whole[..end]);
        }
    }
}
