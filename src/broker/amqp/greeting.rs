//! What a server says of itself before anybody logs in: its product and version. The client library keeps that to
//! itself.
//!
//! Source: AMQP 0-9-1, `connection.start`, and RabbitMQ's types of fields.

use futures_util::io::{AsyncReadExt, AsyncWriteExt};

use super::connect;
use crate::broker::source::LinkError;
use crate::config::AmqpServer;

/// What a client says first.
const HELLO: &[u8; 8] = b"AMQP\0\0\x09\x01";

/// Of a frame: its type, its channel, the size of its payload.
const HEADER_BYTES: usize = 7;

/// More than a greeting needs.
const GREETING_BYTES_MAX: u32 = 64 << 10;

/// A method frame, and the class, method and version of a greeting in front of the server's properties.
const METHOD: u8 = 1;
const START: [u8; 6] = [0, 10, 0, 10, 0, 9];

/// Asks a server what it is: `RabbitMQ 3.10.8`.
pub(super) async fn greeting(server: &AmqpServer) -> Result<String, LinkError> {
    let mut stream = connect::stream(server).await?;
    stream.write_all(HELLO).await?;
    stream.flush().await?;
    let mut header = [0; HEADER_BYTES];
    stream.read_exact(&mut header).await?;
    let [kind, _, _, size @ ..] = header;
    let size = u32::from_be_bytes(size);
    if kind != METHOD || size > GREETING_BYTES_MAX {
        return Err(not_amqp());
    }
    let mut payload = vec![0; size as usize];
    stream.read_exact(&mut payload).await?;
    product(&payload).ok_or_else(not_amqp)
}

fn not_amqp() -> LinkError {
    std::io::Error::other("this is no server of AMQP 0-9-1").into()
}

/// Product and version in the payload of a greeting, as far as it says so.
fn product(payload: &[u8]) -> Option<String> {
    let mut table = payload.strip_prefix(&START)?;
    let size = usize::try_from(u32::from_be_bytes(*table.split_off(..4)?.as_array()?)).ok()?;
    let mut table = table.get(..size)?;
    let (mut product, mut version) = (None, None);
    while let Some(length) = table.split_off_first() {
        let key = table.split_off(..usize::from(*length))?;
        let kind = table.split_off_first()?;
        let value = match kind {
            b't' => table.split_off(..1)?,
            b'S' | b'F' => {
                let size = u32::from_be_bytes(*table.split_off(..4)?.as_array()?);
                table.split_off(..usize::try_from(size).ok()?)?
            }
            // None that servers are known to send.
            _ => break,
        };
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

    fn greeting(entries: &[u8]) -> Vec<u8> {
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
        let whole = greeting(&entries.concat());
        assert_eq!(product(&whole).as_deref(), Some("RabbitMQ 3.10.8"));
        let bare = greeting(&text("product", "LavinMQ"));
        assert_eq!(product(&bare).as_deref(), Some("LavinMQ"));
        assert_eq!(product(&greeting(b"")).as_deref(), Some("AMQP 0-9-1"));
        assert_eq!(product(b"HTTP/1.1 400"), None);
        for end in 0..whole.len() {
            // Nothing is read that is not there.
            let _ = product(&whole[..end]);
        }
    }
}
