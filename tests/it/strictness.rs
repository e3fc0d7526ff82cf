//! The strict receiver detects each broken rule, and does not object to valid requests.

mod histograms;
mod messages;
mod order;
mod protocol;
mod requests;
mod wire;

use std::collections::BTreeSet;
use std::time::Duration;

use histograms::{of_custom_buckets, of_histograms};
use messages::{of_exemplars, of_labels, of_messages};
use order::{of_retries, of_starts, of_the_order};
use protocol::of_the_protocol;
use requests::*;

use super::support::wait_for;
use strict_receiver::answer::{Answer, Knows, Written};
use strict_receiver::rules::Rule;
use strict_receiver::wire::encode::Message;
use strict_receiver::{Level, Receiver, STALE, Version};

async fn play(receiver: &Receiver, steps: &[Step]) {
    for step in steps {
        match step {
            Step::Send(sent) => drop(sent.post(receiver).await),
            Step::Tell(answer) => receiver.answer(std::slice::from_ref(answer)),
            Step::Together(first, next) => {
                receiver.behave(|behaviour| behaviour.delay = Duration::from_millis(500));
                let requests = || receiver.with(|received| received.requests);
                let later = async {
                    wait_for("the first to be there", 5, async || match requests() {
                        0 => Err("nothing".to_owned()),
                        _ => Ok(()),
                    })
                    .await;
                    next.post(receiver).await
                };
                tokio::join!(first.post(receiver), later);
            }
            Step::HangUp(sent) => {
                receiver.behave(|behaviour| behaviour.delay = Duration::from_millis(500));
                let answer = sent.post_within(receiver, Duration::from_millis(100)).await;
                assert!(answer.is_none());
                receiver.behave(|behaviour| behaviour.delay = Duration::ZERO);
            }
            Step::Restart => receiver.with(|received| received.sender_restarted()),
            Step::Forget => receiver.forget(),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_rule_is_seen_to_be_broken_and_no_other() {
    let cases = [
        of_the_protocol(),
        of_labels(),
        of_messages(),
        of_exemplars(),
        of_the_order(),
        of_retries(),
        of_starts(),
        of_histograms(),
        of_custom_buckets(),
    ]
    .concat();
    let (mut seen, mut wrong) = (BTreeSet::new(), Vec::new());
    for (name, rules, steps) in cases {
        let receiver = Receiver::start().await;
        receiver.samples_max(3);
        play(&receiver, &steps).await;
        let broken = receiver.with(|received| received.broken_rules());
        let expected: BTreeSet<Rule> = rules.into_iter().collect();
        let texts = [Level::Must, Level::Should].map(|level| receiver.broken(level));
        if broken != expected {
            wrong.push(format!("{name}: {broken:?}, not {expected:?}: {texts:?}"));
        }
        seen.extend(broken);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let unseen: Vec<_> = Rule::ALL
        .iter()
        .filter(|rule| !seen.contains(rule))
        .collect();
    assert!(unseen.is_empty(), "no case breaks {unseen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sound_breaks_no_rule() {
    let at = |all: &[(f64, i64)]| Sent::new(Version::V1, &samples(all));
    let counts = |value, at, start| send(Version::V2, &counter(value, at, start));
    let marker = f64::from_bits(STALE);
    let ordinary = f64::from_bits(0x7ff8_0000_0000_0001);
    let again =
        |sent: &Sent, attempt: &str| Step::Send(sent.clone().with("retry-attempt", attempt));
    let one = at(&[(1.0, 0)]);
    let other = first(&[series(&[("__name__", "y")], &[(2, sample(1.0, T))])]);
    let other = Sent::new(Version::V1, &other);
    let natives = |change: fn(&mut Native)| {
        let mut next = native(5);
        change(&mut next);
        vec![native(0).send(), next.send()]
    };
    let lost = [
        Answer::Status(500),
        Answer::StoreAndCut,
        Answer::CutAfter(1),
        Answer::Silence(Duration::from_millis(1)),
    ];
    let lost = lost.map(|answer| {
        let next = Step::Send(at(&[(1.0, 1)]));
        let first = Step::Send(one.clone());
        vec![Step::Tell(answer), first, again(&one, "1"), next]
    });
    let exemplars = [(4, exemplar(&[6, 7], T)), (4, exemplar(&[6, 7], T + 1))];
    let cases = [
        vec![
            Step::Send(at(&[(1.0, 0), (ordinary, 1)])),
            Step::Send(at(&[(marker, 2)])),
        ],
        vec![send(Version::V1, &family("x_total", 1))],
        vec![
            counts(2.0, 0, -1),
            counts(3.0, 10, -1),
            counts(1.0, 20, 15),
            counts(marker, 30, -T),
        ],
        vec![gauge_with(&WITH_TASK, &exemplars)],
        natives(|native| native.hint = 2),
        natives(|native| {
            (native.sum, native.count, native.spans, native.deltas) =
                (f64::from_bits(STALE), 0, vec![], vec![]);
        }),
        // At half the resolution: 2 in bucket 0, 3 in bucket 1, and 4 in bucket 3.
        natives(|native| {
            (native.schema, native.hint) = (2, 2);
            native.spans = vec![(0, 2), (1, 1)];
        }),
        natives(|native| (native.hint, native.start) = (1, native.at - 1)),
        vec![native(0).send_first()],
        vec![Step::Together(one.clone(), other)],
        vec![
            Step::HangUp(one.clone()),
            again(&one, "1"),
            Step::Send(at(&[(1.0, 1)])),
        ],
        vec![
            Step::Tell(Answer::Status(500)),
            Step::Send(at(&[(1.0, 5)])),
            Step::Restart,
            Step::Send(at(&[(1.0, 5)])),
        ],
        vec![
            Step::Send(at(&[(1.0, 5)])),
            Step::Forget,
            Step::Send(at(&[(1.0, 0)])),
        ],
        vec![
            Step::Tell(Answer::Status(429)),
            Step::Send(one.clone()),
            Step::Send(at(&[(1.0, 1)])),
        ],
    ];
    for (index, steps) in cases.into_iter().chain(lost).enumerate() {
        let receiver = Receiver::start().await;
        play(&receiver, &steps).await;
        let broken = [Level::Must, Level::Should].map(|level| receiver.broken(level));
        assert_eq!(broken, [Vec::<String>::new(), Vec::new()], "case {index}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_answers_as_prometheus_does() {
    let written = |response: &reqwest::Response| {
        let kinds = ["samples", "histograms", "exemplars"];
        kinds.map(|kind| {
            let value = response
                .headers()
                .get(format!("x-prometheus-remote-write-{kind}-written"))?;
            Some(value.to_str().expect("text").to_owned())
        })
    };
    let counted = |samples: &str| [samples, "0", "0"].map(|count| Some(count.to_owned()));
    let post = async |receiver: &Receiver, version, message: &Message| {
        let sent = Sent::new(version, message);
        let response = sent.post(receiver).await.expect("an answer");
        let (status, written) = (response.status().as_u16(), written(&response));
        (status, written, response.text().await.expect("a body"))
    };
    let receiver = Receiver::start().await;
    let nothing = [None, None, None];
    let ok = post(&receiver, Version::V2, &counter(1.0, 0, -1)).await;
    assert_eq!(ok, (204, counted("1"), String::new()));
    let ok = post(&receiver, Version::V1, &samples(&[(2.0, 1)])).await;
    assert_eq!(ok, (204, nothing.clone(), String::new()));

    // One of two series is refused: with 1.0, both are lost.
    receiver.behave(|behaviour| {
        behaviour.refuses = Some(Box::new(|series| series.starts_with("bad")));
    });
    let pair = ["good", "bad"].map(|name| series(&[("__name__", name)], &[(2, sample(1.0, T))]));
    let answer = post(&receiver, Version::V1, &first(&pair)).await;
    assert_eq!(
        answer,
        (400, nothing.clone(), "label value too long\n".to_owned())
    );
    assert_eq!(receiver.series("good", &[]), []);
    let symbols = ["", "__name__", "good", "bad", "a", "Help."];
    let parts = [(2, sample(1.0, T)), (5, metadata(GAUGE))];
    let pair = [[1, 2], [1, 3]].map(|refs| entry(&refs, &parts));
    let answer = post(&receiver, Version::V2, &second(&symbols, &pair)).await;
    let text = "label value too long for series bad{}".to_owned();
    assert_eq!(answer, (400, counted("1"), text));
    assert_eq!(receiver.series("good", &[]), [(T, 1.0)]);

    // Another sender has written before.
    receiver.behave(|behaviour| behaviour.strict_order = true);
    receiver.plant("x_total{job=\"celery\"}", T + 9, 1.0);
    let answer = post(&receiver, Version::V1, &samples(&[(3.0, 8)])).await;
    assert_eq!(
        (answer.0, answer.2.as_str()),
        (400, "out of order sample\n")
    );
    let answer = post(&receiver, Version::V1, &samples(&[(3.0, 9)])).await;
    assert_eq!(answer.2, "duplicate sample for timestamp\n");
    let answer = post(&receiver, Version::V1, &samples(&[(1.0, 9)])).await;
    assert_eq!(answer.0, 204);

    let receiver = Receiver::start().await;
    for (how, shown) in [
        (Written::Absent, nothing.clone()),
        (Written::Zero, counted("0")),
        (
            Written::Rubbish,
            ["many"; 3].map(|text| Some(text.to_owned())),
        ),
    ] {
        receiver.behave(|behaviour| behaviour.written = how);
        let (status, written, _) = post(&receiver, Version::V2, &counter(1.0, 0, -1)).await;
        assert_eq!((status, written), (204, shown));
    }

    for (knows, status) in [
        (Knows::OnlyFirst(415), 415),
        (Knows::OnlyFirst(400), 400),
        (Knows::OnlyFirstUnawares, 204),
    ] {
        let receiver = Receiver::start().await;
        receiver.behave(|behaviour| behaviour.knows = knows);
        let answer = post(&receiver, Version::V2, &counter(1.0, 0, -1)).await;
        assert_eq!((answer.0, answer.1), (status, nothing.clone()));
        assert_eq!(receiver.samples(), 0);
        let answer = post(&receiver, Version::V1, &samples(&[(1.0, 0)])).await;
        assert_eq!((answer.0, receiver.samples()), (204, 1));
    }
}

/// Compares the table of rules with those that the receiver checks.
#[test]
fn the_table_of_rules_is_that_of_the_receiver() {
    let table = include_str!("../senders.md");
    let named: BTreeSet<&str> = table
        .split('`')
        .skip(1)
        .step_by(2)
        .flat_map(|code| code.strip_prefix("Rule::"))
        .collect();
    let names: BTreeSet<String> = Rule::ALL.iter().map(|rule| format!("{rule:?}")).collect();
    let names: BTreeSet<&str> = names.iter().map(String::as_str).collect();
    assert_eq!(named, names);
    let sources = [
        ("faults", include_str!("faults.rs")),
        ("faults::servers", include_str!("faults/servers.rs")),
        ("outages", include_str!("outages.rs")),
        ("refusals", include_str!("refusals.rs")),
        ("remote_write", include_str!("remote_write.rs")),
        ("strictness", include_str!("strictness.rs")),
        ("workers", include_str!("workers.rs")),
    ];
    for code in table.split('`').skip(1).step_by(2) {
        if let Some((module, test)) = code.rsplit_once("::")
            && module != "Rule"
        {
            let source = sources.iter().find(|(name, _)| *name == module);
            let (_, source) = source.unwrap_or_else(|| panic!("no module {module}"));
            assert!(source.contains(&format!("fn {test}(")), "no test {code}");
        }
    }
}
