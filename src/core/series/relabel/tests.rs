use super::*;

fn labels(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    let pairs = pairs.iter();
    pairs
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

// Other cases are in tests/golden/relabel.yaml, which src/config/relabel/tests.rs reads.
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
