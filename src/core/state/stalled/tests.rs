use super::*;
use crate::state::Names;

fn at(second: i64) -> Timestamp {
    Timestamp::from_millis(1_000_000 + second * 1_000)
}

fn round(second: i64) -> Recency {
    Recency {
        asked: at(second),
        now: at(second),
        levels_asked: at(second),
        read_until: at(second),
        unseen_until: Timestamp::default(),
        pause: Duration::ZERO,
    }
}

/// Since when it is known to be stalled on a queue, in seconds.
fn shown(stalls: &Stalls) -> Option<Timestamp> {
    stalls.confirmed().next().map(|(_, since)| since)
}

#[test]
fn every_source_confirms_a_stall() {
    let queue = Names::default().intern("q");
    let later = round(5);
    let cases = [
        ("all", later, 5, true),
        (
            "round",
            Recency {
                asked: at(4),
                ..later
            },
            5,
            false,
        ),
        (
            "events",
            Recency {
                read_until: at(4),
                ..later
            },
            5,
            false,
        ),
        ("heartbeats", later, 4, false),
        (
            "levels",
            Recency {
                levels_asked: at(0),
                ..later
            },
            5,
            false,
        ),
        (
            "levels just after",
            Recency {
                levels_asked: at(1),
                ..later
            },
            5,
            true,
        ),
        (
            "gap",
            Recency {
                unseen_until: at(0),
                ..later
            },
            5,
            false,
        ),
    ];
    for (case, second, counted, is_shown) in cases {
        let mut stalls = Stalls::default();
        stalls.found(&[queue], &round(0));
        assert_eq!(shown(&stalls), None, "{case}");
        stalls.count(at(counted));
        stalls.found(&[queue], &second);
        assert_eq!(shown(&stalls), is_shown.then_some(at(0)), "{case}");
    }
}

#[test]
fn a_confirmed_stall_stays_until_a_round_or_work_ends_it() {
    let mut names = Names::default();
    let (one, other) = (names.intern("one"), names.intern("other"));
    let confirmed = || {
        let mut stalls = Stalls::default();
        for second in [0, 10] {
            stalls.count(at(second));
            stalls.found(&[one], &round(second));
        }
        assert_eq!(shown(&stalls), Some(at(0)));
        stalls
    };
    let mut stalls = confirmed();
    // The other sources are late.
    stalls.found(
        &[one, other],
        &Recency {
            read_until: at(0),
            ..round(11)
        },
    );
    assert_eq!(stalls.confirmed().collect::<Vec<_>>(), [(one, at(0))]);
    stalls.found(&[other], &round(20));
    assert_eq!(shown(&stalls), None);
    let mut stalls = confirmed();
    stalls.works(at(11));
    assert_eq!((shown(&stalls), stalls.worked()), (None, at(11)));
    let mut stalls = confirmed();
    stalls.keep(|queue| queue == one);
    assert_eq!(shown(&stalls), Some(at(0)));
    stalls.keep(|queue| queue == other);
    assert_eq!(shown(&stalls), None);
}
