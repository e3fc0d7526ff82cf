//! The types of single values.
//!
//! A plain scalar of YAML and the value of an environment variable are untyped texts: the key that
//! reads them decides. Quoted texts are never numbers.

use config::{Value, ValueKind};

use super::yaml::{self, PLAIN};

/// The origin of values from environment variables.
pub(super) const ENVIRONMENT: &str = "the environment";

/// Returns the text of an untyped value.
fn untyped(value: &Value) -> Option<&str> {
    let ValueKind::String(text) = &value.kind else {
        return None;
    };
    matches!(value.origin(), Some(ENVIRONMENT | PLAIN)).then_some(text.trim())
}

/// Returns a Boolean, with all words of YAML 1.1.
pub(super) fn bool_of(value: &Value) -> Option<bool> {
    if let ValueKind::Boolean(bool) = value.kind {
        return Some(bool);
    }
    match untyped(value)? {
        "true" | "True" | "TRUE" | "yes" | "Yes" | "YES" | "y" | "Y" | "on" | "On" | "ON" => {
            Some(true)
        }
        "false" | "False" | "FALSE" | "no" | "No" | "NO" | "n" | "N" | "off" | "Off" | "OFF" => {
            Some(false)
        }
        _ => None,
    }
}

/// Returns a whole number, in any of YAML's notations: `1_000`, `0x3e8`, `1e3`.
pub(super) fn whole_of(value: &Value) -> Option<u64> {
    if let ValueKind::I64(number) = value.kind {
        return u64::try_from(number).ok();
    }
    if let ValueKind::U64(number) = value.kind {
        return Some(number);
    }
    let text = untyped(value)?.replace('_', "");
    let digits = text.strip_prefix('+').unwrap_or(&text);
    let based = |prefix: &str, base| {
        let digits = digits.strip_prefix(prefix)?;
        u64::from_str_radix(digits, base).ok()
    };
    based("0x", 16)
        .or_else(|| based("0b", 2))
        .or_else(|| based("0o", 8))
        .or_else(|| based("0", 8))
        .or_else(|| digits.parse().ok())
        .or_else(|| {
            let number = float(digits).filter(|number| number.fract() == 0.0)?;
            format!("{number}").parse().ok()
        })
}

#[expect(clippy::cast_precision_loss, reason = "a bound of seconds")]
pub(super) fn number_of(value: &Value) -> Option<f64> {
    if let ValueKind::Float(number) = value.kind {
        return Some(number);
    }
    let whole = whole_of(value).map(|number| number as f64);
    whole.or_else(|| float(untyped(value)?))
}

/// Parses a decimal number, without words such as `inf`.
fn float(text: &str) -> Option<f64> {
    let is_number = |c: char| c.is_ascii_digit() || "+-.eE".contains(c);
    text.chars().all(is_number).then(|| text.parse().ok())?
}

/// Returns a text: any scalar of YAML as it is written, or a whole number of TOML.
pub(super) fn text_of(value: &Value) -> Option<String> {
    match &value.kind {
        ValueKind::String(text) => Some(text.clone()),
        ValueKind::I64(number) => Some(number.to_string()),
        ValueKind::Nil
        | ValueKind::Boolean(_)
        | ValueKind::I128(_)
        | ValueKind::U64(_)
        | ValueKind::U128(_)
        | ValueKind::Float(_)
        | ValueKind::Table(_)
        | ValueKind::Array(_) => None,
    }
}

pub(super) fn list_of(value: &Value) -> Option<Vec<Value>> {
    match structure(value.clone()).kind {
        ValueKind::Array(items) => Some(items),
        ValueKind::Nil
        | ValueKind::Boolean(_)
        | ValueKind::I64(_)
        | ValueKind::I128(_)
        | ValueKind::U64(_)
        | ValueKind::U128(_)
        | ValueKind::Float(_)
        | ValueKind::String(_)
        | ValueKind::Table(_) => None,
    }
}

/// Returns a value, or the list or map that the text of an environment variable contains.
pub(super) fn structure(value: Value) -> Value {
    if value.origin() != Some(ENVIRONMENT) {
        return value;
    }
    let Some(Ok(read)) = text_of(&value).map(|text| yaml::load(&text)) else {
        return value;
    };
    if matches!(read.kind, ValueKind::Array(_) | ValueKind::Table(_)) {
        read
    } else {
        value
    }
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
