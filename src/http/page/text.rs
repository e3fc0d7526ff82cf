//! Texts of a page: names from outside, addresses, and values in full.

use std::borrow::Cow;
use std::fmt::{self, Write};
use std::time::{Duration, UNIX_EPOCH};

use askama::filters::HtmlSafe;

use crate::escape::printable;
use crate::status::format;

/// Maximum number of characters of a name or an error text that a page shows.
pub(super) const SHOWN_CHARS_MAX: usize = 120;

/// The output of a template, which is not escaped again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Html(pub(super) String);

impl fmt::Display for Html {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl HtmlSafe for Html {}

impl Html {
    /// Renders a template into a string, which cannot fail.
    pub(super) fn of(template: &impl askama::Template) -> Self {
        let mut html = String::with_capacity(template_size(template));
        let rendered = template.render_into(&mut html);
        debug_assert!(rendered.is_ok(), "writing to a string cannot fail");
        Self(html)
    }
}

const fn template_size<T: askama::Template>(_: &T) -> usize {
    T::SIZE_HINT
}

/// A text from outside on one line, without characters that could change the text around it, and cut.
pub(super) fn shown(text: &str) -> String {
    let text = printable(text);
    match text.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.into_owned(),
    }
}

/// The same text in full, for a tooltip; empty if [`shown`] leaves nothing out.
pub(super) fn in_full(text: &str) -> Cow<'_, str> {
    let text = printable(text);
    if text.chars().count() > SHOWN_CHARS_MAX {
        text
    } else {
        Cow::Borrowed("")
    }
}

/// A text as part of a path or of a query: everything but unreserved characters is percent-encoded.
pub(super) fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// Reverses [`encoded`]. Invalid escapes stay, and bytes that are not UTF-8 are replaced.
pub(super) fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escape = (bytes[at] == b'%').then(|| bytes.get(at + 1..at + 3));
        let digits = escape
            .flatten()
            .and_then(|digits| str::from_utf8(digits).ok());
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        at += if byte.is_some() { 3 } else { 1 };
        out.push(byte.unwrap_or(bytes[at - 1]));
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// A point in time in full, in UTC.
pub(super) fn date(timestamp: f64) -> String {
    let since = Duration::try_from_secs_f64(timestamp).ok();
    match since.and_then(|since| UNIX_EPOCH.checked_add(since)) {
        Some(time) => {
            let text = humantime::format_rfc3339_seconds(time).to_string();
            text.replace('T', " ").replace('Z', " UTC")
        }
        None => format::exact(timestamp),
    }
}

/// The distance of a time from that of the document, such as `3 s ago`.
pub(super) fn ago(now: f64, timestamp: f64) -> String {
    let age = now - timestamp;
    if age < -0.5 {
        return format!("in {}", format::age(-age));
    }
    let age = age.max(0.0);
    if age < 1.0 {
        return "now".to_owned();
    }
    format!("{} ago", format::age(age))
}
