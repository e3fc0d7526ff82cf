//! Chooses the format and coding of a page from `Accept` and `Accept-Encoding`.
//!
//! Source: RFC 9110, "Content Negotiation"; "Content Negotiation" and "Escaping Schemes" in
//! Prometheus' documentation. The supported option with the highest weight wins; among equals, the
//! first.

use http::header::{ACCEPT, ACCEPT_ENCODING};
use http::{HeaderMap, HeaderName};

use crate::wire::{protobuf, text};

/// The format of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Format {
    pub(super) syntax: Syntax,
    /// How names outside the classic character set are escaped. Only reported if requested.
    escaping: Option<Escaping>,
}

/// The syntax of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Syntax {
    Text004,
    /// The same apart from the version: our names need no quotes.
    Text100,
    /// The draft version that older servers request.
    OpenMetrics001,
    OpenMetrics100,
    Protobuf,
}

/// An escaping scheme. All our names are classic, so each scheme leaves them unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Escaping {
    AllowUtf8,
    Underscores,
    Values,
}

/// The compression of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    Identity,
    Gzip,
    Zstd,
}

/// An option that the client accepts, and its weight.
#[derive(Debug)]
struct Wish<'h> {
    /// A media range or a content coding.
    name: &'h str,
    parameters: Vec<(&'h str, &'h str)>,
    /// In thousandths; 1 by default.
    weight: u16,
}

impl Format {
    const FALLBACK: Self = Self {
        syntax: Syntax::Text004,
        escaping: None,
    };

    /// Returns the preferred supported format; the text format if there is none.
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

    /// Returns the value of `Content-Type`.
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
    /// Returns the format under which a rendering is cached: one for all syntaxes with identical
    /// output.
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
            // `dots` would double every underscore. The response may name a different scheme; this
            // one is the default if the parameter is missing.
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
    /// Returns the preferred supported coding. Nothing is compressed unless requested.
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

    /// Returns the name in `Content-Encoding`.
    pub(super) const fn name(self) -> Option<&'static str> {
        match self {
            Self::Identity => None,
            Self::Gzip => Some("gzip"),
            Self::Zstd => Some("zstd"),
        }
    }
}

impl<'h> Wish<'h> {
    /// Parses an element of the list. An invalid weight is ignored.
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

/// Returns the elements of all headers with this name, by descending weight; those with weight 0
/// are omitted.
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

/// Parses a weight between 0 and 1 with at most three digits.
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
