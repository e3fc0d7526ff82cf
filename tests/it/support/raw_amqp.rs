//! Handwritten AMQP, for frames that client libraries refuse to write.

use amq_protocol::frame::{AMQPFrame, WriteContext, gen_frame, parse_frame};
use amq_protocol::protocol::basic::{AMQPMethod as Basic, Publish};
use amq_protocol::protocol::connection::{AMQPMethod as Conn, Open, StartOk, TuneOk};
use amq_protocol::protocol::{AMQPClass, channel};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Types of frames.
pub const HEADER: u8 = 2;
pub const BODY: u8 = 3;

pub fn frame(kind: u8, channel: u16, payload: &[u8]) -> Vec<u8> {
    let size = u32::try_from(payload.len()).expect("a small payload");
    let (channel, size) = (channel.to_be_bytes(), size.to_be_bytes());
    [&[kind][..], &channel, &size, payload, &[0xce]].concat()
}

pub fn method(channel: u16, method: AMQPClass) -> Vec<u8> {
    let frame = AMQPFrame::Method(channel, method);
    let context = gen_frame(&frame)(WriteContext::from(Vec::new())).expect("room");
    context.into_inner().0
}

/// Returns a content header with the given fields in its headers table.
pub fn header(channel: u16, size: u64, fields: &[u8]) -> Vec<u8> {
    let content_type = b"\x10application/json";
    let length = u32::try_from(fields.len()).expect("few fields");
    let class_and_weight = [0, 60, 0, 0];
    // Content type and headers.
    let flags = [0xa0, 0];
    let parts: [&[u8]; 6] = [
        &class_and_weight,
        &size.to_be_bytes(),
        &flags,
        content_type,
        &length.to_be_bytes(),
        fields,
    ];
    frame(HEADER, channel, &parts.concat())
}

/// Returns a field `deep` with nested tables (`F`) or arrays (`A`).
pub fn nested(kind: u8, depth: usize) -> Vec<u8> {
    let key: &[u8] = if kind == b'F' { b"\x01a" } else { b"" };
    // Built from the inside out, so written backwards.
    let mut reversed = Vec::new();
    for level in 0..depth {
        let length = u32::try_from(reversed.len()).expect("few bytes");
        reversed.extend(length.to_le_bytes());
        reversed.push(kind);
        if level + 1 < depth {
            reversed.extend(key.iter().rev());
        }
    }
    reversed.extend(b"\x04deep".iter().rev());
    reversed.reverse();
    reversed
}

/// Reads the next frame: its type, channel and payload.
pub async fn read_frame(stream: &mut TcpStream) -> std::io::Result<(u8, u16, Vec<u8>)> {
    let mut head = [0; 7];
    stream.read_exact(&mut head).await?;
    let [kind, c, d, size @ ..] = head;
    let mut payload = vec![0; u32::from_be_bytes(size) as usize + 1];
    stream.read_exact(&mut payload).await?;
    payload.pop();
    Ok((kind, u16::from_be_bytes([c, d]), payload))
}

/// Reads the next method, with its channel.
pub async fn read_method(stream: &mut TcpStream) -> std::io::Result<(u16, AMQPClass)> {
    loop {
        let (kind, channel, payload) = read_frame(stream).await?;
        let whole = frame(kind, channel, &payload);
        if let Ok((_, AMQPFrame::Method(channel, method))) = parse_frame(whole.as_slice()) {
            return Ok((channel, method));
        }
    }
}

/// A publisher with one channel.
pub struct RawPublisher {
    stream: TcpStream,
}

impl RawPublisher {
    pub async fn connect(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).await;
        let mut stream = stream.expect("a broker");
        let start_ok = StartOk {
            client_properties: Default::default(),
            mechanism: "PLAIN".into(),
            response: "\0guest\0guest".into(),
            locale: "en_US".into(),
        };
        let tune_ok = TuneOk {
            channel_max: 10,
            frame_max: 128 << 10,
            heartbeat: 0,
        };
        let open = Open {
            virtual_host: "/".into(),
        };
        let opened = channel::AMQPMethod::Open(channel::Open {});
        let connection = |method| AMQPClass::Connection(method);
        let steps = [
            (
                b"AMQP\0\0\x09\x01".to_vec(),
                method(0, connection(Conn::StartOk(start_ok))),
            ),
            (
                method(0, connection(Conn::TuneOk(tune_ok))),
                method(0, connection(Conn::Open(open))),
            ),
            (method(1, AMQPClass::Channel(opened)), Vec::new()),
        ];
        for (first, second) in steps {
            stream.write_all(&first).await.expect("a broker");
            if first.starts_with(b"AMQP") {
                read_frame(&mut stream).await.expect("a greeting");
            }
            stream.write_all(&second).await.expect("a broker");
            read_frame(&mut stream).await.expect("a reply");
        }
        Self { stream }
    }

    /// Publishes a message whose headers are the given fields.
    pub async fn publish(&mut self, (exchange, key): (&str, &str), fields: &[u8], body: &[u8]) {
        let publish = Basic::Publish(Publish {
            exchange: exchange.into(),
            routing_key: key.into(),
            mandatory: false,
            immediate: false,
        });
        let frames = [
            method(1, AMQPClass::Basic(publish)),
            header(1, body.len() as u64, fields),
            frame(BODY, 1, body),
        ];
        let sent = self.stream.write_all(&frames.concat()).await;
        sent.expect("a broker");
    }
}
