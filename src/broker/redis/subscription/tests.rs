use super::*;
use proptest::prelude::*;
use tokio::io::{DuplexStream, duplex};

const BODY_BYTES_MAX: usize = 1_000;

fn message(channel: &str, body: &[u8]) -> Vec<u8> {
    let mut message = MESSAGE.to_vec();
    for part in [b"*".as_slice(), channel.as_bytes(), body] {
        message.extend(format!("${}\r\n", part.len()).bytes());
        message.extend(part);
        message.extend(b"\r\n");
    }
    message
}

fn subscription() -> (Subscription, DuplexStream) {
    let (ours, theirs) = duplex(1 << 20);
    let subscription = Subscription {
        stream: Box::new(ours),
        read: BytesMut::new(),
        body_bytes_max: BODY_BYTES_MAX,
        passed_over: 0,
    };
    (subscription, theirs)
}

/// Describes the frames in bytes that arrive in pieces, and how parsing ended.
fn heard(pieces: &[&[u8]]) -> (Vec<String>, Result<(), String>) {
    let (mut subscription, _theirs) = subscription();
    let mut frames = Vec::new();
    for piece in pieces {
        subscription.read.extend_from_slice(piece);
        let taken = subscription.drain_frames(|frame| {
            frames.push(match frame {
                Frame::Message { channel, body } => format!(
                    "{} {}",
                    String::from_utf8_lossy(channel),
                    String::from_utf8_lossy(body)
                ),
                Frame::TooLong => "too long".to_owned(),
                Frame::Answer(value) => format!("{value:?}"),
            });
        });
        if let Err(error) = taken {
            return (frames, Err(error.to_string()));
        }
    }
    (frames, Ok(()))
}

#[test]
fn messages_and_answers_come_in_their_order() {
    let mut bytes = message("/0.celeryev/a", b"one\r\n");
    bytes.extend(b"*3\r\n$10\r\npsubscribe\r\n$1\r\n*\r\n:1\r\n");
    bytes.extend(message("/0.celeryev/b", b""));
    bytes.extend(b"*2\r\n$4\r\npong\r\n$0\r\n\r\n");
    bytes.extend(b"-NOPERM no\r\n$-1\r\n*-1\r\n+OK\r\n");

    let (frames, ended) = heard(&[&bytes]);

    assert_eq!(ended, Ok(()));
    assert_eq!(frames[0], "/0.celeryev/a one\r\n");
    assert!(frames[1].contains("psubscribe"), "{frames:?}");
    assert_eq!(frames[2], "/0.celeryev/b ");
    assert!(frames[3].contains("pong"), "{frames:?}");
    assert!(frames[4].contains("NOPERM"), "{frames:?}");
    assert_eq!(frames[5..], ["nil", "nil", "ok"]);
}

#[test]
fn a_body_that_is_too_long_is_passed_over_in_pieces_and_the_next_message_comes() {
    let mut bytes = message("c", &[b'x'; 10_000]);
    bytes.extend(message("c", &[b'y'; BODY_BYTES_MAX]));
    let pieces: Vec<&[u8]> = bytes.chunks(700).collect();

    let (frames, ended) = heard(&pieces);

    assert_eq!(ended, Ok(()));
    assert_eq!(
        frames,
        ["too long".to_owned(), format!("c {}", "y".repeat(1_000))]
    );
}

#[test]
fn what_is_no_protocol_is_an_error_behind_what_was_whole() {
    let cases: [(&[u8], &str); 12] = [
        (b"$1099511627776\r\n", "too long"),
        (b"*3\r\n$10\r\npsubscribe\r\n$1099511627776\r\n", "too long"),
        (b"*4\r\n$8\r\npmessage\r\n$1099511627776\r\n", "too long"),
        (b"*4\r\n$8\r\npmessage\r\n$1\r\n*\r\n$2000\r\n", "too long"),
        (b"HTTP/1.1 200 OK\r\n", "unknown type"),
        (b"\r\n", "an empty line"),
        (b"+OK\n", "wrong ending"),
        (b"$x\r\n", "an invalid length"),
        (b"$-2\r\n", "an invalid length"),
        (b"*4\r\n$8\r\npmessage\r\n:1\r\n", "unexpected type"),
        (
            b"*4\r\n$8\r\npmessage\r\n$1\r\nab\r\n",
            "longer than announced",
        ),
        (
            b"*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n",
            "unknown type",
        ),
    ];
    for (bytes, expected) in cases {
        let whole = message("c", b"whole");
        let (frames, ended) = heard(&[&whole, bytes]);
        assert_eq!(frames, ["c whole"]);
        let error = ended.expect_err(expected);
        assert!(error.contains(expected), "{error}: {expected}");
    }
    let (_, ended) = heard(&[&vec![b'+'; LINE_BYTES_MAX + 1]]);
    assert!(ended.expect_err("a line").contains("unterminated"));
    let (_, ended) = heard(&[b"*1000000000\r\n", &b":1\r\n".repeat(20_000)]);
    assert!(ended.expect_err("a list").contains("too long"));
}

proptest! {
    /// Splitting the bytes differently must not change the result.
    #[test]
    fn where_bytes_are_cut_does_not_matter(
        bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..1_100), 1..6),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let mut bytes = Vec::new();
        for body in &bodies {
            bytes.extend(message("c", body));
            bytes.extend(b"*2\r\n$4\r\npong\r\n$0\r\n\r\n");
        }
        let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len())).collect();
        places.extend([0, bytes.len()]);
        places.sort_unstable();
        let pieces: Vec<&[u8]> = places.windows(2).map(|cut| &bytes[cut[0]..cut[1]]).collect();

        let (frames, ended) = heard(&pieces);

        prop_assert_eq!(ended, Ok(()));
        prop_assert_eq!(&frames, &heard(&[&bytes]).0);
        prop_assert_eq!(frames.len(), 2 * bodies.len());
    }

    /// No input causes a panic.
    #[test]
    fn anything_may_come(bytes in prop::collection::vec(prop::sample::select(b"*$+-:\r\n0123458pmesag".to_vec()), 0..60)) {
        let mut behind = MESSAGE.to_vec();
        behind.extend(&bytes);
        let _ = (heard(&[&bytes]), heard(&[&behind]));
    }
}

#[tokio::test]
async fn what_comes_before_an_answer_is_heard() {
    let (mut subscription, mut theirs) = subscription();
    let mut bytes = message("c", b"early");
    bytes.extend(b"*3\r\n$10\r\npsubscribe\r\n$1\r\nx\r\n:2\r\n");
    theirs.write_all(&bytes).await.expect("room");
    let mut early = 0;

    let subscribed = subscription.subscribe("x", |_| early += 1).await;

    assert!(subscribed.is_ok(), "{subscribed:?}");
    assert_eq!(early, 1);
}
