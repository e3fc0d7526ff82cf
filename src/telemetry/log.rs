//! Logging to stderr, as text or JSON.
//!
//! Fields contain strings from workers, brokers and receivers. All fields are escaped here, so that
//! a record stays on one line and cannot control a terminal.

use std::fmt;
use std::io::IsTerminal;

use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::{DefaultFields, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::escape::{is_unsafe, printable};

/// Log format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    #[default]
    Text,
    Json,
}

/// The minimum severity of logged records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Level {
    Off,
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl Level {
    /// The level's name in a filter.
    const fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// Initializes logging. `level` takes precedence over `RUST_LOG`.
///
/// Libraries log only warnings and errors, because our own code reports their retries.
pub fn install(format: Format, level: Option<Level>) {
    let fallback = || EnvFilter::new("warn,celeriac=info");
    let filter = match level {
        Some(level) => EnvFilter::new(format!("warn,celeriac={}", level.name())),
        None => EnvFilter::try_from_default_env().unwrap_or_else(|_| fallback()),
    };
    let builder = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_env_filter(filter);
    // A second initialization, as in tests, keeps the first.
    let _ = match format {
        Format::Text => builder
            .with_ansi(std::io::stderr().is_terminal())
            .with_target(false)
            .fmt_fields(EscapedFields)
            .try_init(),
        Format::Json => builder
            .json()
            .flatten_event(true)
            .with_span_list(false)
            .with_target(false)
            .map_event_format(EscapedJson)
            .try_init(),
    };
}

/// Formats the message and fields of a record or span, escaping unsafe characters. Without colours,
/// because those are escape sequences too.
#[derive(Debug)]
struct EscapedFields;

impl<'writer> FormatFields<'writer> for EscapedFields {
    fn format_fields<R: RecordFields>(
        &self,
        mut writer: Writer<'writer>,
        fields: R,
    ) -> fmt::Result {
        let mut text = String::new();
        DefaultFields::new().format_fields(Writer::new(&mut text), fields)?;
        writer.write_str(&printable(&text))
    }
}

/// Formats a record as JSON, in which C0 is already escaped. The remaining characters are unsafe
/// only for those who read it unparsed: a line may end at U+2028, and a terminal interprets C1.
#[derive(Debug)]
struct EscapedJson<F>(F);

impl<S, N, F> FormatEvent<S, N> for EscapedJson<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut record = String::new();
        self.0
            .format_event(context, Writer::new(&mut record), event)?;
        for c in record.chars() {
            // Keep the final line feed. No unsafe character is above U+FFFF, where JSON needs two
            // escapes.
            if is_unsafe(c) && c != '\n' {
                write!(writer, "\\u{:04x}", u32::from(c))?;
            } else {
                writer.write_char(c)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use proptest::prelude::*;
    use tracing::{info_span, warn};
    use tracing_subscriber::fmt::MakeWriter;

    use super::*;

    /// Collects what was logged.
    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("no panic").write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl MakeWriter<'_> for Written {
        type Writer = Self;

        fn make_writer(&self) -> Self {
            self.clone()
        }
    }

    /// Returns the log line of a record that has `text` in every field.
    fn logged(format: Format, text: &str) -> String {
        let written = Written::default();
        let builder = tracing_subscriber::fmt().with_writer(written.clone());
        let log = || {
            let span = info_span!("delivery", sink = text);
            let error = io::Error::other(text.to_owned());
            let cause: &(dyn std::error::Error + 'static) = &error;
            span.in_scope(|| warn!(worker = %text, debug = ?text, cause, "it said {text}"));
        };
        match format {
            Format::Text => {
                let builder = builder.with_ansi(false).fmt_fields(EscapedFields);
                tracing::subscriber::with_default(builder.finish(), log);
            }
            Format::Json => {
                let builder = builder.json().flatten_event(true);
                let builder = builder.map_event_format(EscapedJson);
                tracing::subscriber::with_default(builder.finish(), log);
            }
        }
        let bytes = written.0.lock().expect("no panic").clone();
        String::from_utf8(bytes).expect("UTF-8")
    }

    #[test]
    fn a_record_is_one_line_whatever_it_quotes() {
        let text = "w\n2026-11-28T09:00:00Z ERROR forged\x1b[2J\u{9b}1A\u{2028}";
        let line = logged(Format::Text, text);
        let escaped = r"w\n2026-11-28T09:00:00Z ERROR forged\u{1b}[2J\u{9b}1A\u{2028}";
        assert!(line.contains(&format!(" worker={escaped} ")), "{line:?}");
    }

    proptest! {
        #[test]
        fn no_text_makes_a_second_line_or_moves_a_cursor(
            text in prop::collection::vec(any::<char>(), 0..12).prop_map(String::from_iter)
        ) {
            for format in [Format::Text, Format::Json] {
                let line = logged(format, &text);
                let line = line.strip_suffix('\n').expect("a line");
                prop_assert!(!line.contains(is_unsafe), "{:?}", line);
                if format == Format::Json {
                    let record: serde_json::Value = serde_json::from_str(line).expect("JSON");
                    prop_assert_eq!(&record["worker"], &*text);
                    prop_assert_eq!(&record["span"]["sink"], &*text);
                    prop_assert_eq!(&record["message"], &format!("it said {text}"));
                }
            }
        }
    }
}
