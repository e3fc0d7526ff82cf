use std::f64::consts::SQRT_2;

use proptest::prelude::*;

use super::*;

/// A histogram with an initial schema.
fn at_schema(schema: i32) -> Exponential {
    Exponential {
        schema,
        ..Exponential::new()
    }
}

fn of(values: &[f64]) -> Exponential {
    let mut histogram = Exponential::new();
    values.iter().for_each(|value| histogram.observe(*value));
    histogram
}

/// Decodes spans and deltas as a receiver does: counts by index, without empty buckets.
fn decode(runs: &Runs) -> Vec<(i32, u64)> {
    let mut deltas = runs.deltas.iter();
    let (mut index, mut count) = (0, 0);
    let mut buckets = Vec::new();
    for (at, span) in runs.spans.iter().enumerate() {
        assert!(at == 0 || span.offset > 0, "a span that could be merged");
        index += span.offset;
        for _ in 0..span.length {
            count += deltas.next().expect("a delta for each bucket");
            if count != 0 {
                buckets.push((index, u64::try_from(count).expect("not negative")));
            }
            index += 1;
        }
    }
    assert_eq!(deltas.next(), None, "a bucket for each delta");
    buckets
}

fn pairs(side: &Side) -> Vec<(i32, u64)> {
    let buckets = side.0.iter();
    buckets.map(|bucket| (bucket.index, bucket.count)).collect()
}

/// The upper bound of a bucket, computed independently from powers and roots of two.
fn bound(index: i32, schema: i32) -> f64 {
    (f64::from(index) * (-f64::from(schema)).exp2()).exp2()
}

#[test]
fn a_value_has_the_bucket_that_go_clients_give_it() {
    let cases = [
        (1.0, 3, 0),
        (2.0, 3, 8),
        (4.0, 3, 16),
        (0.5, 3, -8),
        (0.25, 3, -16),
        (1.000_000_000_000_000_2, 3, 1),
        (0.999_999_999_999_999_9, 3, 0),
        (1.09, 3, 1),
        (1.091, 3, 2),
        (1.5, 3, 5),
        (3.0, 3, 13),
        (10.0, 3, 27),
        // A bound belongs to the bucket below it.
        (1.090_507_732_665_257_7, 3, 1),
        (SQRT_2.next_down(), 3, 4),
        (SQRT_2, 3, 5),
        (0.001, 3, -79),
        (3600.0, 3, 95),
        (f64::MAX, 3, 8_192),
        (f64::INFINITY, 3, 8_193),
        // The smallest non-zero value: 2^-128 belongs to the zero bucket, the next float does not.
        (Exponential::ZERO_THRESHOLD.next_up(), 3, -1_023),
        (1.0, 0, 0),
        (1.1, 0, 1),
        (2.0, 0, 1),
        (2.1, 0, 2),
        (f64::MAX, 0, 1_024),
        (f64::INFINITY, 0, 1_025),
        (1.0, -1, 0),
        (2.0, -1, 1),
        (4.0, -1, 1),
        (5.0, -1, 2),
        (0.3, -1, 0),
        (0.25, -1, -1),
        (65_536.0, -4, 1),
        (65_537.0, -4, 2),
        (f64::MAX, -4, 64),
        (f64::INFINITY, -4, 65),
    ];
    for (value, schema, index) in cases {
        let mut histogram = at_schema(schema);
        histogram.observe(value);
        histogram.observe(-value);

        let expected = Runs {
            spans: vec![Span {
                offset: index,
                length: 1,
            }],
            deltas: vec![1],
        };
        assert_eq!(histogram.positive(), expected, "{value} of {schema}");
        assert_eq!(histogram.negative(), expected, "-{value} of {schema}");
    }
}

#[test]
fn what_is_next_to_nothing_is_in_the_zero_bucket() {
    let zero = Exponential::ZERO_THRESHOLD;
    let histogram = of(&[0.0, -0.0, zero, -zero, f64::MIN_POSITIVE, 5e-324, -5e-324]);

    assert!((zero.log2() + 128.0).abs() < f64::EPSILON);
    assert_eq!((histogram.zero_count(), histogram.count()), (7, 7));
    assert_eq!(histogram.positive(), Runs::default());
    assert_eq!(histogram.negative(), Runs::default());
}

#[test]
fn what_is_not_a_number_is_not_counted() {
    assert_eq!(of(&[f64::NAN, -f64::NAN]), Exponential::new());
}

#[test]
fn gaps_of_two_buckets_are_bridged_and_of_three_are_not() {
    let values = |buckets: &[(i32, usize)]| {
        let values = buckets
            .iter()
            .flat_map(|(index, count)| [bound(*index, 3) * 0.99].repeat(*count));
        values.collect::<Vec<_>>()
    };
    let cases = [
        (&[][..], vec![], vec![]),
        (&[(3, 2)], vec![(3, 1)], vec![2]),
        (&[(-1, 2), (0, 1)], vec![(-1, 2)], vec![2, -1]),
        (&[(3, 2), (5, 1)], vec![(3, 3)], vec![2, -2, 1]),
        (&[(3, 2), (6, 3)], vec![(3, 4)], vec![2, -2, 0, 3]),
        (&[(3, 2), (7, 3)], vec![(3, 1), (3, 1)], vec![2, 1]),
        (
            &[(-9, 1), (-8, 4), (3, 2), (5, 2)],
            vec![(-9, 2), (10, 3)],
            vec![1, 3, -2, -2, 2],
        ),
    ];
    for (buckets, spans, deltas) in cases {
        let spans = spans
            .into_iter()
            .map(|(offset, length)| Span { offset, length });
        let expected = Runs {
            spans: spans.collect(),
            deltas,
        };

        assert_eq!(of(&values(buckets)).positive(), expected, "{buckets:?}");
    }
}

#[test]
fn the_hundred_and_sixty_first_bucket_halves_the_resolution() {
    let values: Vec<f64> = (1..=161).map(|index| bound(index, 3) * 0.99).collect();
    let mut full = of(&values[..160]);
    assert_eq!((full.schema(), full.positive.0.len()), (3, 160));
    full.observe(values[0]);
    assert_eq!((full.schema(), full.count()), (3, 161));

    let halved = of(&values);
    assert_eq!((halved.schema(), halved.positive.0.len()), (2, 81));
    assert_eq!(halved.count(), 161);
    // Buckets 1 to 161 are merged in pairs; the last one is alone.
    let counts: Vec<u64> = halved
        .positive
        .0
        .iter()
        .map(|bucket| bucket.count)
        .collect();
    assert_eq!(counts[..80], [2; 80]);
    assert_eq!(counts[80], 1);
}

#[test]
fn the_coarsest_schema_holds_every_float() {
    let powers = (-130..=1_023).map(|power| f64::from(power).exp2() * 1.5);
    let values: Vec<f64> = powers
        .chain([f64::MAX, f64::INFINITY])
        .flat_map(|value| [value, -value])
        .collect();
    let histogram = of(&values);

    assert!(histogram.positive.0.len() + histogram.negative.0.len() <= BUCKETS_MAX);
    assert!(histogram.schema() >= SCHEMA_MIN);
    assert_eq!(histogram.count(), values.len() as u64);
}

/// Values of every magnitude, including values on a bound or right next to one.
fn values() -> impl Strategy<Value = Vec<f64>> {
    let power = (-1_040..8_192_i32, 0..3_u8).prop_map(|(index, side)| {
        let on = bound(index, 3);
        [on.next_down(), on, on.next_up()][usize::from(side)]
    });
    let value = prop_oneof![
        4 => 0.001..3_600.0_f64,
        2 => any::<f64>().prop_filter("a number", |value| !value.is_nan()),
        2 => power.clone(),
        1 => power.prop_map(|value| -value),
        1 => Just(f64::INFINITY),
        1 => Just(0.0),
    ];
    // Enough values to reach the bucket limit several times.
    prop::collection::vec(value, 0..600)
}

proptest! {
    #[test]
    fn nothing_is_lost_and_the_limit_holds(values in values()) {
        let mut histogram = Exponential::new();
        let mut schema = SCHEMA_MAX;
        for value in &values {
            histogram.observe(*value);
            prop_assert!(histogram.positive.0.len() + histogram.negative.0.len() <= BUCKETS_MAX);
            prop_assert!(histogram.schema() <= schema);
            schema = histogram.schema();
        }

        let sides = [histogram.positive(), histogram.negative()];
        let counts = sides.iter().flat_map(decode).map(|(_, count)| count);
        prop_assert_eq!(histogram.zero_count() + counts.sum::<u64>(), values.len() as u64);
        prop_assert_eq!(histogram.count(), values.len() as u64);
        prop_assert_eq!(decode(&sides[0]), pairs(&histogram.positive));
        prop_assert_eq!(decode(&sides[1]), pairs(&histogram.negative));
    }

    #[test]
    fn a_lower_schema_is_what_it_would_have_been_from_the_start(values in values()) {
        let histogram = of(&values);
        let mut lower = at_schema(histogram.schema());
        values.iter().for_each(|value| lower.observe(*value));

        prop_assert_eq!(lower, histogram);
    }

    #[test]
    fn reducing_by_one_is_observing_at_the_schema_below(
        values in prop::collection::vec(0.001..100.0_f64, 0..50),
        schema in SCHEMA_MIN + 1..=SCHEMA_MAX,
    ) {
        let (mut reduced, mut lower) = (at_schema(schema), at_schema(schema - 1));
        for value in values.iter().flat_map(|value| [*value, -value * 3.0]) {
            reduced.observe(value);
            lower.observe(value);
        }
        reduced.reduce();

        prop_assert_eq!(reduced, lower);
    }

    #[test]
    fn a_value_lies_within_the_bounds_of_its_bucket(
        // Roots of two are rounded here and in the table, so values within that error of a bound
        // are excluded.
        fraction in 0.000_001..0.999_999_f64,
        index in -1_020..8_192_i32,
        schema in SCHEMA_MIN..=SCHEMA_MAX,
    ) {
        let index = coarser(index, SCHEMA_MAX - schema);
        let (lower, upper) = (bound(index - 1, schema), bound(index, schema));
        prop_assume!(upper.is_finite() && lower > Exponential::ZERO_THRESHOLD);
        let value = lower * (upper / lower).powf(fraction);
        let mut histogram = at_schema(schema);
        histogram.observe(value);

        prop_assert_eq!(pairs(&histogram.positive), [(index, 1)]);
    }
}
