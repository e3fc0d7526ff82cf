use amq_protocol::frame::AMQPContentHeader;
use amq_protocol::protocol::basic::AMQPProperties;
use amq_protocol::protocol::queue;
use amq_protocol::types::FieldTable;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use std::time::Duration;

use super::super::assembly::TooLong;
use super::super::methods::{QUEUE_DECLARED, QueueFlags};
use super::*;

const BODY_MAX: usize = 100_000;

/// A session with three channels, and the server's end of its stream.
fn session() -> (Session, DuplexStream) {
    let (ours, server) = tokio::io::duplex(1 << 20);
    let mut session = Session::new(Box::new(ours), BODY_MAX, None);
    for number in 1..=3 {
        assert_eq!(session.channels.open(), Some(number));
    }
    (session, server)
}

pub(super) fn written(frames: &[AMQPFrame]) -> Vec<u8> {
    let mut all = Vec::new();
    for frame in frames {
        let context = gen_frame(frame)(WriteContext::from(all)).expect("room");
        all = context.into_inner().0;
    }
    all
}

fn deliver(channel: u16, delivery_tag: u64, body: &[u8], parts: usize) -> Vec<AMQPFrame> {
    let deliver = basic::AMQPMethod::Deliver(basic::Deliver {
        consumer_tag: "celeriac".into(),
        delivery_tag,
        redelivered: false,
        exchange: "celeryev".into(),
        routing_key: "worker.heartbeat".into(),
    });
    let header = AMQPContentHeader {
        class_id: 60,
        body_size: body.len() as u64,
        properties: AMQPProperties::default().with_content_type("application/json".into()),
    };
    let mut frames = vec![
        AMQPFrame::Method(channel, AMQPClass::Basic(deliver)),
        AMQPFrame::Header(channel, header),
    ];
    if !body.is_empty() {
        let size = body.len().div_ceil(parts);
        let parts = body.chunks(size);
        frames.extend(parts.map(|part| AMQPFrame::Body(channel, part.to_vec())));
    }
    frames
}

fn declared(channel: u16, message_count: u32) -> AMQPFrame {
    let ok = queue::AMQPMethod::DeclareOk(queue::DeclareOk {
        queue: "q".into(),
        message_count,
        consumer_count: 2,
    });
    AMQPFrame::Method(channel, AMQPClass::Queue(ok))
}

fn channel_closed(number: u16) -> AMQPFrame {
    let close = channel::AMQPMethod::Close(channel::Close {
        reply_code: 404,
        reply_text: "NOT_FOUND - no queue 'x'".into(),
        class_id: 50,
        method_id: 10,
    });
    AMQPFrame::Method(number, AMQPClass::Channel(close))
}

#[tokio::test]
async fn messages_come_whole_wherever_the_stream_is_cut() {
    let large = vec![b'x'; 70_000];
    let bodies: [(&[u8], usize); 4] = [(b"one", 1), (b"", 1), (b"in three parts", 3), (&large, 2)];
    let mut frames = Vec::new();
    for (number, (body, parts)) in bodies.iter().enumerate() {
        frames.extend(deliver(1, number as u64 + 1, body, *parts));
        frames.push(AMQPFrame::Heartbeat);
    }
    let bytes = written(&frames);
    for cut in (0..bytes.len()).step_by(331).chain(0..200) {
        let (mut session, mut server) = session();
        let (before, behind) = bytes.split_at(cut);
        server.write_all(before).await.expect("room");
        let mut received = Vec::new();
        while let Some(delivery) = session.delivery_now().expect("no error") {
            received.push(delivery);
        }
        server.write_all(behind).await.expect("room");
        while received.len() < bodies.len() {
            received.push(session.delivery().await.expect("a message"));
        }
        for (number, (delivery, (body, _))) in received.iter().zip(&bodies).enumerate() {
            assert_eq!(delivery.tag, number as u64 + 1);
            assert_eq!(delivery.body.as_deref(), Ok(*body));
        }
    }
}

#[tokio::test]
async fn a_body_that_is_too_long_is_passed_over_and_the_next_message_comes() {
    let (mut session, mut server) = session();
    let mut frames = deliver(1, 1, &vec![b'x'; BODY_MAX + 1], 4);
    frames.extend(deliver(1, 2, b"next", 1));
    server.write_all(&written(&frames)).await.expect("room");
    let skipped = session.delivery().await.expect("a message");
    assert_eq!(skipped.body, Err(TooLong(BODY_MAX as u64 + 1)));
    let next = session.delivery().await.expect("a message");
    assert_eq!(next.body.as_deref(), Ok(&b"next"[..]));
}

#[tokio::test]
async fn a_reply_is_found_behind_deliveries_and_those_behind_it_follow() {
    let (mut session, mut server) = session();
    let mut frames = deliver(1, 1, b"first", 1);
    frames.push(declared(2, 7));
    frames.extend(deliver(1, 2, b"second", 1));
    server.write_all(&written(&frames)).await.expect("room");
    let asked = session.queue_declare(2, "q", QueueFlags::default(), FieldTable::default());
    let answer = asked.await.expect("an answer");
    assert_eq!((answer.messages, answer.consumers), (7, 2));
    assert_eq!(session.delivery().await.expect("a message").tag, 2);
}

#[tokio::test]
async fn a_channel_that_is_closed_costs_no_other() {
    let (mut session, mut server) = session();
    let frames = [channel_closed(3), declared(2, 7)];
    server.write_all(&written(&frames)).await.expect("room");
    let error = session.reply(3, QUEUE_DECLARED).await;
    let error = error.expect_err("it is closed");
    assert_eq!((error.code(), error.is_of_channel()), (Some(404), true));
    assert_eq!(error.to_string(), "NOT_FOUND - no queue 'x'");
    assert!(!session.is_open(3));
    session.reply(2, QUEUE_DECLARED).await.expect("an answer");
    session.write().await.expect("room");
    let mut said = vec![0; 12];
    server.read_exact(&mut said).await.expect("bytes");
    assert_eq!(said, b"\x01\0\x03\0\0\0\x04\0\x14\0\x29\xce", "close-ok");
}

#[tokio::test]
async fn the_end_of_a_subscription_and_of_a_connection_are_errors() {
    let cancel = basic::AMQPMethod::Cancel(basic::Cancel {
        consumer_tag: "celeriac".into(),
        nowait: true,
    });
    let close = connection::AMQPMethod::Close(connection::Close {
        reply_code: 320,
        reply_text: "CONNECTION_FORCED".into(),
        class_id: 0,
        method_id: 0,
    });
    let start = connection::AMQPMethod::Start(connection::Start {
        version_major: 0,
        version_minor: 9,
        server_properties: FieldTable::default(),
        mechanisms: "PLAIN".into(),
        locales: "en_US".into(),
    });
    let cases = [
        (
            1,
            AMQPClass::Basic(cancel),
            "the broker ended the subscription",
        ),
        (0, AMQPClass::Connection(close), "CONNECTION_FORCED"),
        (
            0,
            AMQPClass::Connection(start),
            "the broker sent an unexpected method",
        ),
    ];
    for (channel, method, text) in cases {
        let (mut session, mut server) = session();
        let frame = AMQPFrame::Method(channel, method);
        server.write_all(&written(&[frame])).await.expect("room");
        let error = session.delivery().await.expect_err("it is over");
        assert_eq!(error.to_string(), text);
    }
    let (mut session, server) = session();
    drop(server);
    let error = session.delivery().await.expect_err("it is over");
    assert_eq!(error.to_string(), "the broker closed the connection");
}

#[tokio::test]
async fn what_was_delivered_before_a_consumer_ends_is_received() {
    let (mut session, mut server) = session();
    let mut frames = [deliver(1, 1, b"a", 1), deliver(1, 2, b"b", 1)].concat();
    let ok = basic::AMQPMethod::CancelOk(basic::CancelOk {
        consumer_tag: "celeriac".into(),
    });
    frames.push(AMQPFrame::Method(1, AMQPClass::Basic(ok)));
    server.write_all(&written(&frames)).await.expect("room");
    session.send_cancel(1, "celeriac");
    let mut tags = Vec::new();
    while let Some(delivery) = session.last_deliveries().await.expect("no error") {
        tags.push(delivery.tag);
    }
    assert_eq!(tags, [1, 2]);
}

#[tokio::test]
async fn what_no_server_sends_ends_the_connection() {
    let header = |body_size| {
        let header = AMQPContentHeader {
            class_id: 60,
            body_size,
            properties: AMQPProperties::default(),
        };
        AMQPFrame::Header(1, header)
    };
    let body = |size| AMQPFrame::Body(1, vec![b'x'; size]);
    let begin = |channel| deliver(channel, 1, b"", 1).swap_remove(0);
    let cases = [
        (vec![begin(4)], "a message on a closed channel"),
        (vec![begin(0)], "a message on a closed channel"),
        (vec![begin(1), begin(1)], "a message inside another message"),
        (
            vec![channel_closed(4)],
            "a close of a channel that is not open",
        ),
        (
            vec![channel_closed(2), channel_closed(2)],
            "a close of a channel that is not open",
        ),
        (vec![header(1)], "a content frame without a message"),
        (vec![body(1)], "a content frame without a message"),
        (
            vec![begin(1), body(1)],
            "the frames of a message out of order",
        ),
        (
            vec![begin(1), header(2), header(2)],
            "the frames of a message out of order",
        ),
        (
            vec![begin(1), header(2), body(3)],
            "a body longer than announced",
        ),
        (
            vec![begin(1), header(u64::MAX)],
            "a message of more than 2 GiB",
        ),
        (
            vec![begin(1), header((2 << 30) + 1)],
            "a message of more than 2 GiB",
        ),
    ];
    for (frames, text) in cases {
        let (mut session, mut server) = session();
        server.write_all(&written(&frames)).await.expect("room");
        let mut ended = Ok(());
        while ended.is_ok() {
            ended = session.reply(3, QUEUE_DECLARED).await.map(drop);
        }
        let error = ended.expect_err("it is over");
        assert_eq!(error.to_string(), format!("the broker sent {text}"));
    }
}

#[tokio::test]
async fn a_body_that_is_announced_takes_no_memory_before_it_comes() {
    let (ours, mut server) = tokio::io::duplex(1 << 20);
    let mut session = Session::new(Box::new(ours), usize::MAX, None);
    session.channels.open();
    let mut frames = deliver(1, 1, b"x", 1);
    frames.truncate(1);
    let header = AMQPContentHeader {
        class_id: 60,
        body_size: 2 << 30,
        properties: AMQPProperties::default(),
    };
    frames.push(AMQPFrame::Header(1, header));
    server.write_all(&written(&frames)).await.expect("room");
    assert_eq!(session.delivery_now().expect("no error"), None);
    let body = session.assembly.partial_body().expect("a body");
    assert!(body.capacity() <= 64 << 10, "{}", body.capacity());
}

#[tokio::test]
async fn nothing_is_read_from_a_peer_that_does_not_read() {
    let (ours, mut server) = tokio::io::duplex(1 << 10);
    let mut session = Session::new(Box::new(ours), BODY_MAX, None);
    session.send_raw(&vec![0; UNWRITTEN_BYTES_MAX + (2 << 10)]);
    server.write_all(b"anything").await.expect("room");
    assert_eq!(session.delivery_now().expect("no error"), None);
    assert!(session.read.is_empty());
    // Keep reading until it does.
    let mut some = vec![0; 1 << 10];
    server.read_exact(&mut some).await.expect("bytes");
    let error = session.delivery_now().expect_err("it is not AMQP");
    let text = "the broker sent a frame larger than negotiated";
    assert_eq!(error.to_string(), text);
}

#[tokio::test]
async fn heartbeats_are_sent_while_nothing_is_read_and_a_silent_peer_is_given_up() {
    let every = Duration::from_millis(200);
    let (mut session, mut server) = session();
    session.tune(Tuning {
        heartbeat: Some(every),
        ..Tuning::INITIAL
    });
    session.channels.open();
    let waiting = tokio::time::sleep(every * 3);
    session.beside(waiting).await.expect("no error");
    let mut said = vec![0; 32];
    server.read_exact(&mut said).await.expect("four heartbeats");
    assert_eq!(said, b"\x08\0\0\0\0\0\0\xce".repeat(4));
    // The peer was not silent; no one was reading.
    let delivery = written(&deliver(1, 1, b"x", 1));
    server.write_all(&delivery).await.expect("room");
    session.delivery().await.expect("a message");
    let start = clock::monotonic();
    let error = session.delivery().await.expect_err("silence");
    assert!(matches!(error, AmqpError::Silent), "{error}");
    assert!(start.elapsed() >= every * 2, "{:?}", start.elapsed());
}
