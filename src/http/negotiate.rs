//! `Accept` and `Accept-Encoding` to the format and the coding of a page.
//!
//! Source: RFC 9110, "Content Negotiation"; "Content Negotiation" and "Escaping Schemes" in Prometheus' documentation.
//! Of what is asked for, the most wanted that we have counts, and of the equally wanted the first.

use http::header::{ACCEPT, ACCEPT_ENCODING};
use http::{HeaderMap, HeaderName};

use crate::wire::{protobuf, text};

/// How a page is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Format {
    pub(super) syntax: Syntax,
    /// What becomes of names that are not of the classic form; told only to those who asked.
    escaping: Option<Escaping>,
}

/// The languages of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Syntax {
    Text004,
    /// The same with another version: our names need no quotes.
    Text100,
    /// The draft, which older servers ask for.
    OpenMetrics001,
    OpenMetrics100,
    Protobuf,
}

/// An escaping scheme. All our names are of the classic form, which each of these leaves as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Escaping {
    AllowUtf8,
    Underscores,
    Values,
}

/// How a body is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    Identity,
    Gzip,
    Zstd,
}

/// Something that is asked for, and how much it is wanted.
#[derive(Debug)]
struct Wish<'h> {
    /// A media range or a coding.
    name: &'h str,
    parameters: Vec<(&'h str, &'h str)>,
    /// 1 where nothing is said, in thousandths.
    weight: u16,
}

impl Format {
    const FALLBACK: Self = Self {
        syntax: Syntax::Text004,
        escaping: None,
    };

    /// What a scraper wants most of what we have; the text format where that is nothing.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let wishes = wishes(headers, &ACCEPT);
        let known = wishes.iter().find_map(Self::wished);
        known.unwrap_or(Self::FALLBACK)
    }

    fn wished(wish: &Wish<'_>) -> Option<Self> {
        let version = wish.parameter("version");
        let is = |name: &str| wish.name.eq_ignore_ascii_case(name);
        let syntax = if is("text/plain") {
            match version {
                None | Some("0.0.4") => Syntax::Text004,
                Some("1.0.0") => Syntax::Text100,
                Some(_) => return None,
            }
        } else if is("application/openmetrics-text") {
            match version {
                None | Some("1.0.0") => Syntax::OpenMetrics100,
                Some("0.0.1") => Syntax::OpenMetrics001,
                Some(_) => return None,
            }
        } else if is("application/vnd.google.protobuf") {
            let messages = wish.parameter("proto") == Some("io.prometheus.client.MetricFamily");
            let delimited = wish.parameter("encoding") == Some("delimited");
            (messages && delimited).then_some(Syntax::Protobuf)?
        } else if is("*/*") || is("text/*") {
            return Some(Self::FALLBACK);
        } else {
            return None;
        };
        let escaping = wish.parameter("escaping").and_then(Escaping::of);
        Some(Self { syntax, escaping })
    }

    /// What the answer says it is.
    pub(super) fn content_type(self) -> String {
        let syntax = match self.syntax {
            Syntax::Text004 => text::CONTENT_TYPE,
            Syntax::Text100 => "text/plain; version=1.0.0; charset=utf-8",
            Syntax::OpenMetrics001 => "application/openmetrics-text; version=0.0.1; charset=utf-8",
            Syntax::OpenMetrics100 => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Syntax::Protobuf => protobuf::CONTENT_TYPE,
        };
        match self.escaping {
            Some(escaping) => format!("{syntax}; escaping={}", escaping.name()),
            None => syntax.to_owned(),
        }
    }
}

impl Syntax {
    /// The one of those that look the same, but for their name, by which a rendering is known.
    pub(super) const fn alike(self) -> Self {
        match self {
            Self::Text004 | Self::Text100 => Self::Text004,
            Self::OpenMetrics001 | Self::OpenMetrics100 => Self::OpenMetrics100,
            Self::Protobuf => Self::Protobuf,
        }
    }
}

impl Escaping {
    fn of(name: &str) -> Option<Self> {
        match name {
            "allow-utf-8" => Some(Self::AllowUtf8),
            // With `dots` every underscore would be doubled; the answer may name another scheme, and this one is what
            // it would have been without the parameter.
            "underscores" | "dots" => Some(Self::Underscores),
            "values" => Some(Self::Values),
            _ => None,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::AllowUtf8 => "allow-utf-8",
            Self::Underscores => "underscores",
            Self::Values => "values",
        }
    }
}

impl Coding {
    /// What a scraper wants most of what we have, where it asks; nothing is compressed unasked.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let wishes = wishes(headers, &ACCEPT_ENCODING);
        let known = wishes.iter().find_map(|wish| {
            let is = |name: &str| wish.name.eq_ignore_ascii_case(name);
            if is("gzip") || is("x-gzip") {
                Some(Self::Gzip)
            } else if is("zstd") {
                Some(Self::Zstd)
            } else if is("identity") || is("*") {
                Some(Self::Identity)
            } else {
                None
            }
        });
        known.unwrap_or(Self::Identity)
    }

    /// Its name in `Content-Encoding`.
    pub(super) const fn name(self) -> Option<&'static str> {
        match self {
            Self::Identity => None,
            Self::Gzip => Some("gzip"),
            Self::Zstd => Some("zstd"),
        }
    }
}

impl<'h> Wish<'h> {
    /// Reads an element of the list, without what it says about its weight if that is no number.
    fn parse(element: &'h str) -> Self {
        let mut parts = element.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let mut wish = Self {
            name,
            parameters: Vec::new(),
            weight: 1000,
        };
        for (key, value) in parts.filter_map(|part| part.split_once('=')) {
            let (key, value) = (key.trim(), value.trim().trim_matches('"'));
            if key.eq_ignore_ascii_case("q") {
                wish.weight = thousandths(value).unwrap_or(wish.weight);
            } else {
                wish.parameters.push((key, value));
            }
        }
        wish
    }

    fn parameter(&self, name: &str) -> Option<&'h str> {
        let mut parameters = self.parameters.iter();
        let found = parameters.find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| *value)
    }
}

/// The elements of all headers of a name, the most wanted first; what is not wanted at all is not there.
fn wishes<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Vec<Wish<'h>> {
    let values = headers.get_all(name).iter();
    let elements = values.filter_map(|value| value.to_str().ok());
    let elements = elements.flat_map(|value| value.split(','));
    let mut wishes: Vec<_> = elements
        .map(Wish::parse)
        .filter(|wish| wish.weight > 0)
        .collect();
    wishes.sort_by_key(|wish| std::cmp::Reverse(wish.weight));
    wishes
}

/// A weight between 0 and 1, of three digits at most.
fn thousandths(text: &str) -> Option<u16> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if fraction.len() > 3 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let whole: u16 = whole.parse().ok().filter(|whole| *whole <= 1)?;
    let fraction: u16 = format!("{fraction:0<3}").parse().ok()?;
    Some((whole * 1000 + fraction).min(1000))
}

#[cfg(test)]
mod tests;
