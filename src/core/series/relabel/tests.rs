use super::*;

fn labels(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    let pairs = pairs.iter();
    pairs
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

// Cases with Prometheus' results are in tests/golden/relabel.yaml, which src/config/relabel/tests.rs
// reads.
#[test]
fn no_rules_keep_what_is_valid() {
    let rules = Relabel::default();
    assert!(rules.is_empty());
    let given = labels(&[("__name__", "x"), ("a", "b")]);
    assert_eq!(rules.apply(given.clone()), Relabelled::Kept(given));
    assert_eq!(rules.apply(labels(&[("a", "b")])), Relabelled::Invalid);
    assert_eq!(rules.apply(Vec::new()), Relabelled::Dropped);
}

#[test]
fn a_label_that_was_taken_away_and_set_again_is_there_once() {
    let pattern = || Pattern::new("(.*)").expect("a pattern");
    let set = |value: &str| Rule::Replace {
        source: Source {
            labels: Vec::new(),
            separator: String::new(),
        },
        pattern: pattern(),
        target: Template::new("a", &pattern()),
        replacement: Template::new(value, &pattern()),
    };
    let rules = Relabel::new(vec![set(""), set("1"), set("2")]);
    assert_eq!(
        rules.apply(labels(&[("__name__", "x"), ("a", "b")])),
        Relabelled::Kept(labels(&[("__name__", "x"), ("a", "2")]))
    );
}

fn pattern(text: &str) -> Pattern {
    Pattern::new(text).expect("a pattern")
}

fn source(labels: &[&str]) -> Source {
    Source {
        labels: labels.iter().map(|label| (*label).to_owned()).collect(),
        separator: ";".to_owned(),
    }
}

fn replace(of: &str, by: &str, to: &str, with: &str) -> Rule {
    let pattern = pattern(by);
    Rule::Replace {
        source: source(&[of]),
        target: Template::new(to, &pattern),
        replacement: Template::new(with, &pattern),
        pattern,
    }
}

fn map(by: &str, with: &str) -> Rule {
    let pattern = pattern(by);
    Rule::LabelMap {
        replacement: Template::new(with, &pattern),
        pattern,
    }
}

/// The labels that a rule leaves of `a="One"`, `b="two"` and `c="One"`; `None` if it drops them.
fn left(rule: Rule) -> Option<String> {
    let given = labels(&[("__name__", "x"), ("a", "One"), ("b", "two"), ("c", "One")]);
    match Relabel::new(vec![rule]).apply(given) {
        Relabelled::Kept(labels) => {
            let labels = labels.iter().map(|(name, value)| format!("{name}={value}"));
            Some(labels.skip(1).collect::<Vec<_>>().join(" "))
        }
        Relabelled::Dropped => None,
        Relabelled::Invalid => panic!("a name is left"),
    }
}

#[test]
fn each_action_does_what_its_name_says() {
    let all = Some("a=One b=two c=One");
    let equal = |target: &str| Rule::KeepEqual {
        source: source(&["a"]),
        target: target.to_owned(),
    };
    let unequal = |target: &str| Rule::DropEqual {
        source: source(&["a"]),
        target: target.to_owned(),
    };
    let cases = [
        (
            replace("a", "(.)(.*)", "d", "$2$1"),
            Some("a=One b=two c=One d=neO"),
        ),
        (
            replace("a", "One", "a", "$0$0"),
            Some("a=OneOne b=two c=One"),
        ),
        (replace("a", ".*", "b", ""), Some("a=One c=One")),
        (replace("a", "two", "d", "x"), all),
        (replace("b", "(.*)", "$1-", "x"), all),
        (
            replace("b", "(.*)", "$1", "x"),
            Some("a=One b=two c=One two=x"),
        ),
        (equal("c"), all),
        (equal("b"), None),
        (unequal("c"), None),
        (unequal("b"), all),
        (
            map("(a|b)", "${1}_"),
            Some("a=One a_=One b=two b_=two c=One"),
        ),
        (map("[ab]", "d"), Some("a=One b=two c=One d=two")),
        (Rule::LabelDrop(pattern("[ab]")), Some("c=One")),
        (Rule::LabelKeep(pattern("__name__|b")), Some("b=two")),
    ];
    for (rule, expected) in cases {
        let shown = format!("{rule:?}");
        assert_eq!(left(rule).as_deref(), expected, "{shown}");
    }
}

#[test]
fn a_source_is_the_values_of_its_labels_between_separators() {
    for (labels, text) in [
        (&["a", "b"][..], "One;two"),
        (&["b"], "two"),
        (&["b", "missing", "a"], "two;;One"),
        (&[], ""),
    ] {
        let keep = |text| Rule::Keep {
            source: source(labels),
            pattern: pattern(text),
        };
        let drop = Rule::Drop {
            source: source(labels),
            pattern: pattern(text),
        };
        assert!(left(keep(text)).is_some(), "{labels:?}");
        assert_eq!(left(keep("other")), None, "{labels:?}");
        assert_eq!(left(drop), None, "{labels:?}");
    }
}

#[test]
fn a_value_is_hashed_and_changed_in_case() {
    let to = || ("d".to_owned(), source(&["a", "b"]));
    let (target, source) = to();
    // The last eight bytes of md5("One;two"), 6b622a94eb443992.
    let hash = Rule::HashMod {
        source,
        target,
        modulus: NonZeroU64::new(1_000).expect("not 0"),
    };
    let (target, source) = to();
    let lower = Rule::Lowercase { source, target };
    let (target, source) = to();
    let upper = Rule::Uppercase { source, target };
    for (rule, value) in [(hash, "786"), (lower, "one;two"), (upper, "ONE;TWO")] {
        let expected = format!("a=One b=two c=One d={value}");
        assert_eq!(left(rule), Some(expected));
    }
}

#[test]
fn what_rules_leave_must_be_a_valid_series() {
    let drop = Rule::LabelDrop(pattern("__name__"));
    let given = || labels(&[("__name__", "x"), ("a", "b")]);
    let after = |rules| Relabel::new(rules).apply(given());
    assert_eq!(after(vec![drop.clone()]), Relabelled::Invalid);
    assert_eq!(
        after(vec![drop, Rule::LabelDrop(pattern("a"))]),
        Relabelled::Dropped
    );
    assert_eq!(
        after(vec![replace("a", ".*", "__name__", "x-y")]),
        Relabelled::Invalid
    );
    assert_eq!(after(vec![map("a", "a-b")]), Relabelled::Invalid);
    let rules = Relabel::new(vec![map("a", "c")]);
    assert!(!rules.is_empty());
}
