use http::HeaderValue;

use super::*;

/// Sent by Prometheus 2.42.
const PROMETHEUS_2_42: &str = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
/// Sent by Prometheus 2.42 with native histograms.
const PROMETHEUS_2_42_NATIVE: &str = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited,application/openmetrics-text;version=1.0.0;q=0.8,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
/// Sent by Prometheus 3.5.
const PROMETHEUS_3_5: &str = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
/// Sent by Prometheus 3.5 with native histograms, or with zeros at start timestamps.
const PROMETHEUS_3_5_NATIVE: &str = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.6,application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1";
const VMAGENT: &str = "text/plain;version=0.0.4;q=1,*/*;q=0.1";
const CHROME: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8,application/signed-exchange;v=b3;q=0.7";
const FIREFOX: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";

const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const OPENMETRICS_UTF8: &str =
    "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=allow-utf-8";
const PROTOBUF: &str =
    "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited";

fn headers(name: HeaderName, values: &[&'static str]) -> HeaderMap {
    let values = values.iter().map(|value| HeaderValue::from_static(value));
    values.map(|value| (name.clone(), value)).collect()
}

#[test]
fn each_scraper_gets_what_it_wants_most() {
    let cases: [(&[&str], &str); 22] = [
        (&[PROMETHEUS_2_42], OPENMETRICS),
        (&[PROMETHEUS_2_42_NATIVE], PROTOBUF),
        (&[PROMETHEUS_3_5], OPENMETRICS_UTF8),
        (&[PROMETHEUS_3_5_NATIVE], PROTOBUF),
        (&[VMAGENT], TEXT),
        (&[CHROME], TEXT),
        (&[FIREFOX], TEXT),
        // curl.
        (&["*/*"], TEXT),
        (&[], TEXT),
        (&[""], TEXT),
        (&["application/json"], TEXT),
        (&["text/*"], TEXT),
        (&["text/plain"], TEXT),
        (&["application/openmetrics-text"], OPENMETRICS),
        (
            &[
                "text/plain;q=0.1",
                "Application/OpenMetrics-Text; Version=1.0.0",
            ],
            OPENMETRICS,
        ),
        (
            &["application/openmetrics-text; version=\"1.0.0\""],
            OPENMETRICS,
        ),
        (
            &["application/openmetrics-text;version=0.0.1"],
            "application/openmetrics-text; version=0.0.1; charset=utf-8",
        ),
        // An unknown version, one with weight 0, and an invalid weight.
        (
            &["application/openmetrics-text;version=2.0.0,text/plain;q=0.5"],
            TEXT,
        ),
        (&["application/openmetrics-text;q=0,*/*;q=0.1"], TEXT),
        (
            &["text/plain;q=0.9,application/openmetrics-text;q=high"],
            OPENMETRICS,
        ),
        (
            &[
                "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=text",
            ],
            TEXT,
        ),
        (
            &["text/plain;version=1.0.0;escaping=dots"],
            "text/plain; version=1.0.0; charset=utf-8; escaping=underscores",
        ),
    ];
    for (accept, expected) in cases {
        let format = Format::of(&headers(ACCEPT, accept));
        assert_eq!(format.content_type(), expected, "{accept:?}");
    }
}

#[test]
fn only_what_is_asked_for_is_compressed() {
    let cases: [(&[&str], Coding); 11] = [
        // Prometheus and vmagent.
        (&["gzip"], Coding::Gzip),
        (&[], Coding::Identity),
        (&[""], Coding::Identity),
        (&["*"], Coding::Identity),
        (&["identity"], Coding::Identity),
        (&["br"], Coding::Identity),
        (&["gzip;q=0"], Coding::Identity),
        (&["gzip;q=0.5, zstd"], Coding::Zstd),
        // Browsers.
        (&["gzip, deflate, br, zstd"], Coding::Gzip),
        (&["br;q=1.0, GZIP;q=0.8, *;q=0.1"], Coding::Gzip),
        (&["gzip;q=0.2", "identity;q=0.3"], Coding::Identity),
    ];
    for (accept, expected) in cases {
        let coding = Coding::of(&headers(ACCEPT_ENCODING, accept));
        assert_eq!(coding, expected, "{accept:?}");
    }
}

#[test]
fn a_weight_has_three_digits_at_most() {
    let cases = [
        ("1", Some(1000)),
        ("0.5", Some(500)),
        ("0.755", Some(755)),
        ("1.000", Some(1000)),
        ("1.", Some(1000)),
        ("0", Some(0)),
        ("2", None),
        ("0.1234", None),
        ("-1", None),
        ("x", None),
    ];
    for (text, expected) in cases {
        assert_eq!(thousandths(text), expected, "{text}");
    }
}
