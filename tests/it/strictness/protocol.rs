//! Headers, bodies and fields that break a rule.

use super::requests::*;
use strict_receiver::Version;
use strict_receiver::rules::Rule;
use strict_receiver::wire::encode::Message;

pub(super) fn of_the_protocol() -> Vec<Case> {
    use Rule::*;
    let ok = Sent::new(Version::V1, &samples(&[(1.0, 0)]));
    let ok2 = Sent::new(Version::V2, &counter(1.0, 0, -1));
    let header = |name, value: &str| vec![Step::Send(ok.clone().with(name, value))];
    let header2 = |name, value: &str| vec![Step::Send(ok2.clone().with(name, value))];
    let v2 = "application/x-protobuf; proto=io.prometheus.write.v2.Request";
    let quoted = "application/x-protobuf;proto=\"io.prometheus.write.v2.Request\"";
    let body = |body: Vec<u8>| {
        let headers = ok.headers.clone();
        vec![Step::Send(Sent { headers, body })]
    };
    let framed = {
        let mut writer = snap::write::FrameEncoder::new(Vec::new());
        std::io::Write::write_all(&mut writer, &samples(&[(1.0, 0)]).0).expect("memory");
        writer.into_inner().expect("memory")
    };
    let message = |message: Message| vec![send(Version::V1, &message)];
    let message2 = |message: Message| vec![send(Version::V2, &message)];
    vec![
        (
            "gzip",
            vec![ContentEncoding],
            header("content-encoding", "gzip"),
        ),
        (
            "no encoding",
            vec![ContentEncoding],
            header("content-encoding", ""),
        ),
        (
            "json",
            vec![ContentType],
            header("content-type", "application/json"),
        ),
        ("a blank", vec![ContentType], header2("content-type", v2)),
        ("quotes", vec![ContentType], header2("content-type", quoted)),
        (
            "2.0 as 0.1.0",
            vec![ProtocolVersion],
            header2("x-prometheus-remote-write-version", "0.1.0"),
        ),
        (
            "1.0 as 2.0.0",
            vec![ProtocolVersion],
            header("x-prometheus-remote-write-version", "2.0.0"),
        ),
        (
            "no version",
            vec![ProtocolVersion],
            header("x-prometheus-remote-write-version", ""),
        ),
        ("nobody", vec![UserAgent], header("user-agent", "")),
        (
            "a bare word",
            vec![UserAgentVersion],
            header("user-agent", "vmagent"),
        ),
        ("no snappy", vec![SnappyBlock], body(samples(&[(1.0, 0)]).0)),
        ("framed snappy", vec![SnappyBlock], body(framed)),
        (
            "a message that is cut short",
            vec![Protobuf],
            message(Message(samples(&[(1.0, 0)]).0[..20].to_vec())),
        ),
        (
            "a timestamp as double",
            vec![Protobuf],
            message(first(&[series(
                &LABELS,
                &[(2, Message::new().double(2, 1.0))],
            )])),
        ),
        (
            "a value that is not UTF-8",
            vec![Protobuf],
            message2(second(&SYMBOLS, &[]).bytes(4, b"\xff")),
        ),
        (
            "Cortex' field",
            vec![KnownFields],
            message(samples(&[(1.0, 0)]).varint(2, 1)),
        ),
        (
            "1.0 under the name of 2.0",
            vec![KnownFields],
            message2(samples(&[(1.0, 0)])),
        ),
        (
            "a start in 1.0",
            vec![KnownFields],
            message(first(&[series(&LABELS, &[(2, sample_since(1.0, T, T))])])),
        ),
        ("nothing", vec![NotEmpty], message(Message::new())),
        (
            "three of two",
            vec![SamplesPerSend],
            message(samples(&[(1.0, 0), (1.0, 1), (1.0, 2), (1.0, 3)])),
        ),
    ]
}
