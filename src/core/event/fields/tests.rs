use super::*;

#[test]
fn a_field_is_found_by_its_name_and_by_no_other() {
    let names = [
        "type",
        "timestamp",
        "hostname",
        "pid",
        "uuid",
        "name",
        "queue",
        "exchange",
        "routing_key",
        "root_id",
        "parent_id",
        "retries",
        "eta",
        "expires",
        "runtime",
        "exception",
        "traceback",
        "requeue",
        "terminated",
        "expired",
        "freq",
        "active",
        "processed",
        "loadavg",
        "sw_ident",
        "sw_ver",
        "sw_sys",
    ];
    for name in names {
        let field = Field::of(name.as_bytes());
        assert_eq!(field.map(Field::name), Some(name));
        assert_eq!(Field::of(format!("{name}s").as_bytes()), None, "{name}");
    }
}

#[test]
fn the_queue_of_a_task_follows_from_its_exchange() {
    let long = "x".repeat(TEXT_MAX + 1);
    let longest = &long[1..];
    let cases = [
        ([Some("q"), None, Some("k")], [Some("q"), None, None]),
        // The default exchange delivers to the queue that the routing key names.
        ([Some("q"), Some(""), Some("k")], [Some("k"), None, None]),
        ([Some("q"), Some(""), None], [Some("q"), None, None]),
        ([Some("q"), Some("e"), Some("q")], [Some("q"), None, None]),
        (
            [Some("q"), Some("e"), Some("k")],
            [Some("q"), Some("e"), Some("k")],
        ),
        ([None, Some("e"), Some("")], [None, Some("e"), None]),
        (
            [Some(""), Some(longest), Some(longest)],
            [None, Some(longest), Some(longest)],
        ),
        ([Some("q"), Some(&long), Some("k")], [None, None, None]),
        (
            [Some("q"), Some("e"), Some(&long)],
            [Some("q"), Some("e"), None],
        ),
    ];
    for (given, expected) in cases {
        let [queue, exchange, key] = given.map(|text| text.map(Cow::Borrowed));
        let route = route(queue, exchange, key);
        assert_eq!(
            route.each_ref().map(Option::as_deref),
            expected,
            "{given:?}"
        );
    }
}

#[test]
fn whole_numbers_are_those_that_a_float_holds_exactly() {
    let exact = 9_007_199_254_740_992.0;
    let cases = [
        (0.0, Some(0)),
        (-7.0, Some(-7)),
        (1.5, None),
        (exact, Some(9_007_199_254_740_992)),
        (exact * 2.0, None),
        (f64::NAN, None),
    ];
    for (number, expected) in cases {
        assert_eq!(whole(number), expected, "{number}");
    }
}
