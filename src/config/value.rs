//! Strict types of single values: a quoted number is a text, and a text is never a number.

use config::{Value, ValueKind};

/// The origin that `config` reports for values from environment variables.
pub(super) const ENVIRONMENT: &str = "the environment";

pub(super) fn whole_of(value: &Value) -> Option<u64> {
    if let ValueKind::I64(number) = value.kind {
        return u64::try_from(number).ok();
    }
    if let ValueKind::U64(number) = value.kind {
        return Some(number);
    }
    from_environment(value)?.trim().parse().ok()
}

#[expect(clippy::cast_precision_loss, reason = "a bound of seconds")]
pub(super) fn number_of(value: &Value) -> Option<f64> {
    if let ValueKind::Float(number) = value.kind {
        return Some(number);
    }
    whole_of(value).map(|number| number as f64)
}

pub(super) fn text_of(value: &Value) -> Option<String> {
    if let ValueKind::String(text) = &value.kind {
        Some(text.clone())
    } else {
        None
    }
}

pub(super) fn list_of(value: &Value) -> Option<&[Value]> {
    if let ValueKind::Array(items) = &value.kind {
        Some(items)
    } else {
        None
    }
}

/// Returns the text if the value comes from an environment variable, which is always a text.
pub(super) fn from_environment(value: &Value) -> Option<String> {
    text_of(value).filter(|_| value.origin() == Some(ENVIRONMENT))
}

/// Formats a value for a message. Long texts are truncated. Never call this for secrets.
pub(super) fn found(value: &Value) -> String {
    match &value.kind {
        ValueKind::Nil => "nothing".to_owned(),
        ValueKind::Table(_) => "a map".to_owned(),
        ValueKind::Array(_) => "a list".to_owned(),
        ValueKind::Boolean(bool) => format!("`{bool}`"),
        ValueKind::I64(number) => format!("`{number}`"),
        ValueKind::I128(number) => format!("`{number}`"),
        ValueKind::U64(number) => format!("`{number}`"),
        ValueKind::U128(number) => format!("`{number}`"),
        ValueKind::Float(number) => format!("`{number}`"),
        ValueKind::String(text) => format!("`{}`", text.chars().take(60).collect::<String>()),
    }
}
