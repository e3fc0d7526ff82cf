//! Folds generated queue names, which differ in each process, before they become labels.
//!
//! Source: kombu 5.6, `common.py` (`Broadcast`), `pidbox.py`; Celery 5.6, `worker/direct`,
//! `backends/rpc.py`.

use std::borrow::Cow;

/// Replaces the generated part of a name.
const GENERATED: &str = "(generated)";

/// The length of a UUID with dashes.
const UUID: usize = 36;
const DASHES: [usize; 4] = [8, 13, 18, 23];

/// The length of a UUID without dashes.
const HEX: usize = 32;

/// A queue name without its generated part: `bcast.<uuid>` becomes `bcast.(generated)`. Other names
/// are returned unchanged.
pub(super) fn folded(name: &str) -> Cow<'_, str> {
    if name.starts_with("amq.gen-") {
        return format!("amq.gen-{GENERATED}").into();
    }
    // Queues that belong to one worker: for remote control, and for tasks sent to it directly.
    if let Some((_, behind)) = name.split_once('@') {
        if behind.ends_with(".dq2") {
            return format!("{GENERATED}.dq2").into();
        }
        if let Some((_, exchange)) = behind
            .strip_suffix(".pidbox")
            .and_then(|node| node.rsplit_once('.'))
        {
            return format!("{GENERATED}.{exchange}.pidbox").into();
        }
    }
    without_uuids(name)
}

/// Whether a part of a queue name is generated, or has been folded.
pub(super) fn is_generated(name: &str) -> bool {
    name.contains(GENERATED) || matches!(folded(name), Cow::Owned(_))
}

/// Whether a name is exactly a UUID with dashes.
pub fn is_uuid(name: &str) -> bool {
    name.len() == UUID && uuid(name.as_bytes()) == Some(UUID)
}

fn without_uuids(name: &str) -> Cow<'_, str> {
    let bytes = name.as_bytes();
    let mut folded = String::new();
    let (mut at, mut kept) = (0, 0);
    while at + HEX <= bytes.len() {
        let Some(length) = uuid(&bytes[at..]) else {
            let digits = bytes[at..]
                .iter()
                .take_while(|byte| byte.is_ascii_hexdigit());
            // Part of a longer run of digits is not a UUID.
            at += digits.count().max(1);
            continue;
        };
        folded.push_str(&name[kept..at]);
        folded.push_str(GENERATED);
        at += length;
        kept = at;
    }
    if kept == 0 {
        return name.into();
    }
    folded.push_str(&name[kept..]);
    folded.into()
}

/// The length of the UUID at the start of a text.
fn uuid(bytes: &[u8]) -> Option<usize> {
    let digits = |bytes: &[u8]| {
        bytes
            .iter()
            .take_while(|byte| byte.is_ascii_hexdigit())
            .count()
    };
    if digits(bytes) == HEX {
        return Some(HEX);
    }
    let mut dashed = bytes.get(..UUID)?.iter().enumerate();
    let is_uuid = dashed.all(|(at, byte)| {
        if DASHES.contains(&at) {
            *byte == b'-'
        } else {
            byte.is_ascii_hexdigit()
        }
    });
    is_uuid.then_some(UUID)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_names_are_folded_to_their_stem() {
        let uuid = "4ced9c12-797b-4fd2-8a5b-fe1d8febbb55";
        let hex = uuid.replace('-', "");
        let cases = [
            (format!("bcast.{uuid}"), "bcast.(generated)"),
            (format!("reload.{uuid}"), "reload.(generated)"),
            (uuid.to_owned(), "(generated)"),
            (uuid.to_uppercase(), "(generated)"),
            (format!("{hex}-high"), "(generated)-high"),
            (
                format!("tenant-{uuid}/{uuid}"),
                "tenant-(generated)/(generated)",
            ),
            (format!("очередь.{uuid}"), "очередь.(generated)"),
            (
                format!("{uuid}.reply.celery.pidbox"),
                "(generated).reply.celery.pidbox",
            ),
            (format!("celeryev.{uuid}"), "celeryev.(generated)"),
            (
                "amq.gen-JzTY20BRgKO-HjmUJj0wLg".into(),
                "amq.gen-(generated)",
            ),
            (
                "w1@vm.example.celery.pidbox".into(),
                "(generated).celery.pidbox",
            ),
            ("w1@vm.example.dq2".into(), "(generated).dq2"),
        ];
        for (name, expected) in cases {
            assert_eq!(folded(&name), expected, "{name}");
            assert!(is_generated(&name) && is_generated(expected), "{name}");
            assert_eq!(folded(expected), expected);
        }
    }

    #[test]
    fn a_uuid_has_its_dashes_and_nothing_else() {
        let uuid = "4ced9c12-797b-4fd2-8a5b-fe1d8febbb55";
        assert!(is_uuid(uuid) && is_uuid(&uuid.to_uppercase()));
        for name in [&uuid.replace('-', ""), &format!("{uuid}0"), &"0".repeat(36)] {
            assert!(!is_uuid(name), "{name}");
        }
    }

    #[test]
    fn names_that_somebody_chose_stay() {
        let long = "0".repeat(33);
        for name in [
            "",
            "celery",
            "bcast",
            "mail@example",
            "4ced9c12-797b-4fd2-8a5b-fe1d8febbb5",
            "deadbeef",
            &long,
            "очередь-очередь-очередь-очередь-очередь",
        ] {
            assert!(
                matches!(folded(name), Cow::Borrowed(same) if same == name),
                "{name}"
            );
            assert!(!is_generated(name) && !is_uuid(name), "{name}");
        }
    }
}
