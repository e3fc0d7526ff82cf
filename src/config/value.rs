//! What a single value of the file is, strictly: a number in quotes is a text, and a text is no number.

use config::{Value, ValueKind};

/// What `config` calls the place that a value from an environment variable comes from.
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

/// The text of an environment variable, which has no other types.
pub(super) fn from_environment(value: &Value) -> Option<String> {
    text_of(value).filter(|_| value.origin() == Some(ENVIRONMENT))
}

/// A value for a message; long texts are cut, and whoever reads a secret does not come here.
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
