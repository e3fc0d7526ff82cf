//! Explains why a Pushgateway refused a push and what to do about it, and remembers what was
//! logged.
//!
//! The error texts are those of Pushgateway 1.5.1 and 1.11.2. They contain the pushed values, so
//! the same reason reads differently with each push.

use http::StatusCode;

use super::error_log::without_figures;

/// Maximum number of reasons to log until a push is accepted. Beyond that, more of them would not
/// help.
const LOGGED_MAX: usize = 8;

/// Maximum length of the gateway's text in the log.
const TEXT_MAX: usize = 300;

/// Refusals that were already logged.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    logged: Vec<Reason>,
}

/// Identifies equal refusals whose texts differ.
#[derive(Debug, PartialEq, Eq)]
enum Reason {
    /// A known refusal. The gateway names the affected families in random order, from our group or
    /// from the other, so only the first one is compared.
    Known(&'static str, Option<String>),
    Unknown(StatusCode, String),
}

impl Refusals {
    /// Returns whether this reason is new, and remembers it.
    pub(super) fn is_new(&mut self, status: StatusCode, text: &str) -> bool {
        let reason = match advice(status, text) {
            Some(advice) => Reason::Known(advice, family(text)),
            None => Reason::Unknown(status, without_figures(text)),
        };
        if self.logged.contains(&reason) || self.logged.len() >= LOGGED_MAX {
            return false;
        }
        self.logged.push(reason);
        true
    }

    /// Forgets all reasons after a push was accepted, so that later ones are logged again.
    pub(super) fn clear(&mut self) {
        self.logged.clear();
    }
}

/// Returns the beginning of an error text, on one line.
pub(super) fn bounded(text: &str) -> String {
    let words: Vec<_> = text.split_whitespace().collect();
    let text = words.join(" ");
    match text.char_indices().nth(TEXT_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// Returns advice for a refusal; `None` if the gateway's own text is all there is.
pub(super) fn advice(status: StatusCode, text: &str) -> Option<&'static str> {
    let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
    if says(&[
        "is not a ",
        "but should have ",
        "collides with previously collected",
    ]) {
        return Some(
            "another group, or the gateway itself, already has a metric of this name with another \
             type: delete that group, or push to another gateway",
        );
    }
    if says(&["was collected before with the same name and label values"]) {
        return Some(
            "a label of the grouping key is also a label of the series, which made series \
             identical: remove it from `grouping_key`",
        );
    }
    if says(&["must not have timestamps"]) {
        return Some(
            "celeriac pushes no timestamps: something in between adds them, or this is not a \
             Pushgateway",
        );
    }
    match status.as_u16() {
        300..=399 => Some(
            "`url` redirects elsewhere: set it to the gateway's base URL, including its path \
             prefix if any",
        ),
        401 | 403 => Some("credentials are missing or wrong: set `basic_auth` or `authorization`"),
        404 | 405 => Some(
            "this is not a Pushgateway: set `url` to its base URL, including its path prefix if \
             any",
        ),
        413 => Some(
            "a proxy in front of the gateway limits the body size: raise the limit, or lower \
             `metrics.max_series`",
        ),
        _ => None,
    }
}

/// Returns the first family named in an error text.
fn family(text: &str) -> Option<String> {
    let (_, behind) = text.split_once("collected metric \"").or_else(|| {
        let named = text.split_once(" named \"");
        named.or_else(|| text.split_once("metric family "))
    })?;
    let end = behind.find(['"', ' '])?;
    Some(behind[..end].to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEGINS: &str = "pushed metrics are invalid or inconsistent with existing metrics:";

    #[test]
    fn what_a_gateway_is_known_to_say_is_explained() {
        let cases = [
            (
                400,
                r#"collected metric "x" { label:<name:"job" value:"b" > gauge:<value:1 > } is not a COUNTER"#,
                "another type",
            ),
            (
                400,
                "gathered metric family go_goroutines has type COUNTER but should have GAUGE",
                "another type",
            ),
            (
                400,
                r#"collected metric named "h_count" collides with previously collected histogram named "h""#,
                "another type",
            ),
            (
                400,
                r#"collected histogram or summary named "h" collides with previously collected metric named "h_count""#,
                "another type",
            ),
            (
                400,
                r#"collected metric "y" { untyped:{value:2}} was collected before with the same name and label values"#,
                "grouping key",
            ),
            (400, "pushed metrics must not have timestamps", "adds them"),
            (401, "Unauthorized", "credentials"),
            (404, "404 page not found", "not a Pushgateway"),
            (301, "", "redirects"),
            (413, "", "max_series"),
        ];
        for (status, text, expected) in cases {
            let status = StatusCode::from_u16(status).expect("a status");
            let found = advice(status, &format!("{BEGINS} {text}"));
            assert!(
                found.is_some_and(|found| found.contains(expected)),
                "{text}: {found:?}"
            );
        }
        assert_eq!(
            advice(
                StatusCode::BAD_REQUEST,
                "text format parsing error in line 1"
            ),
            None
        );
    }

    #[test]
    fn a_reason_is_new_once_whatever_values_it_names() {
        let said = |name: &str, value: u32| {
            format!(
                r#"{BEGINS} collected metric "{name}" {{ label:<name:"job" > gauge:<value:{value} > }} is not a COUNTER"#
            )
        };
        let mut refusals = Refusals::default();
        let bad = StatusCode::BAD_REQUEST;
        assert!(refusals.is_new(bad, &said("x", 1)));
        assert!(!refusals.is_new(bad, &said("x", 2)));
        assert!(
            refusals.is_new(bad, &said("y", 2)),
            "another family is another reason"
        );
        let two = said("x", 5).replace("metrics: ", "metrics: 2 error(s) occurred:\n* ");
        assert!(!refusals.is_new(bad, &two));
        assert!(!refusals.is_new(bad, &said("x", 3)), "in turns");
        assert!(refusals.is_new(StatusCode::NOT_FOUND, ""));
        assert!(
            refusals.is_new(bad, "error in line 1") && !refusals.is_new(bad, "error in line 2")
        );
        refusals.clear();
        assert!(refusals.is_new(bad, &said("x", 4)));
        let logged = ('a'..='z').filter(|name| refusals.is_new(bad, &said(&name.to_string(), 1)));
        assert_eq!(logged.count(), LOGGED_MAX - 1);
    }

    #[test]
    fn a_long_text_is_cut_and_stands_on_one_line() {
        assert_eq!(bounded(" 1 error:\n* too\n"), "1 error: * too");
        let long = bounded(&"ü".repeat(1_000));
        assert_eq!(long.chars().count(), TEXT_MAX + 1);
        assert!(long.ends_with('…'));
    }
}
