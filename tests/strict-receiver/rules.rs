//! The rules for a sender. `tests/senders.md` has the source of each in the specifications.

use std::collections::BTreeSet;

/// How binding a rule is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Breaking it fails the test.
    Must,
    /// Breaking it is noted, and may fail a test.
    Should,
}

macro_rules! rules {
    ($($level:ident $name:ident: $text:literal,)+) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Rule {
            $(#[doc = $text] $name,)+
        }

        impl Rule {
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            pub const fn level(self) -> Level {
                match self {
                    $(Self::$name => Level::$level,)+
                }
            }

            pub const fn text(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)+
                }
            }
        }
    };
}

rules! {
    Must ContentEncoding: "Content-Encoding is snappy",
    Must ContentType: "Content-Type names the message, without a blank or quotes",
    Must ProtocolVersion: "the version is 0.1.0 for 1.0 and 2.0.0 for 2.0",
    Must UserAgent: "there is a User-Agent",
    Should UserAgentVersion: "the User-Agent is a name and a version",
    Must SnappyBlock: "the body is snappy's block format",
    Must Protobuf: "the body is protobuf of the message that the headers name",
    Must KnownFields: "the message holds no field that is reserved or that it does not have",
    Must NotEmpty: "a request holds something",
    Must SamplesPerSend: "a request has at most max_samples_per_send samples",
    Must LabelsSorted: "labels are sorted by the bytes of their names",
    Must LabelsUnique: "a label is there once",
    Must LabelNames: "the names of labels are valid",
    Should LabelsReserved: "names that begin with two underscores are left to the system",
    Must LabelValues: "no value of a label is empty",
    Must MetricName: "there is a __name__, and it is valid",
    Must SamplesThere: "a series has a sample or a histogram",
    Must SamplesXorHistograms: "an entry has samples or histograms, not both",
    Must SamplesAscending: "samples of a series are in the order of time",
    Must TimestampOnce: "a time is not used again with another value",
    Must SeriesNotConcurrent: "two requests on their way at once share no series",
    Must NanBits: "a NaN is the stale marker or an ordinary NaN",
    Must RetriedUnchanged: "what was not taken comes again byte for byte, before anything newer of its series",
    Must RefusedNotResent: "what was refused with 4xx is not sent again unchanged",
    Must RetryAfterHonoured: "Retry-After is waited for",
    Should RetryAttempt: "Retry-Attempt counts the tries after the first",
    Must SymbolsEmptyFirst: "the first symbol is the empty string",
    Must SymbolsUnique: "a symbol is there once",
    Must SymbolsInside: "references lead into the table of symbols",
    Should SymbolsUsed: "each symbol is used",
    Must LabelRefsEven: "label references come in pairs",
    Should MetadataType: "an entry says its type",
    Should MetadataHelp: "an entry has a help text",
    Must MetadataKnownType: "a type is one of the eight",
    Must MetadataName: "metadata of 1.0 names its family",
    Should MetadataApart: "metadata of 1.0 goes in requests of its own",
    Should StartGiven: "what counts up says since when",
    Must StartNotLater: "a start is not later than the sample",
    Must StartConstant: "a start stays until the series begins anew, and then lies behind the sample before",
    Should StartMovesAtReset: "a counter that falls has a new start",
    Should DraftCreated: "field 6 of the drafts is not used unless asked for",
    Must ExemplarTimestamp: "an exemplar has a time",
    Must ExemplarLabels: "labels of an exemplar are as those of a series",
    Should ExemplarLength: "an exemplar's labels have at most 128 characters",
    Must ExemplarWithSample: "an exemplar is on the entry of its sample",
    Must ExemplarsAscending: "exemplars of a series are in the order of time",
    Should ExemplarOnce: "an exemplar is sent once",
    Must HistogramSchema: "a schema is -4 to 8, or in 2.0 -53",
    Must HistogramSpans: "spans cover as many buckets as are listed",
    Must HistogramOffsets: "offsets behind the first span are not negative",
    Must HistogramPopulations: "no bucket holds less than nothing",
    Must HistogramCount: "the count is that of the zero bucket and all others",
    Must HistogramKinds: "a histogram counts in whole numbers or in floats",
    Should HistogramBucketsMax: "a histogram has at most 160 buckets",
    Must HistogramReset: "a reset hint is known and true",
    Must HistogramCustom: "custom buckets have ascending finite bounds, and nothing else",
}

/// Broken rules, each with the first occurrence.
#[derive(Debug, Default)]
pub struct Broken {
    rules: BTreeSet<Rule>,
    cases: Vec<(Rule, String)>,
}

impl Broken {
    /// Records a rule unless it holds.
    pub fn rule(&mut self, holds: bool, rule: Rule, case: impl FnOnce() -> String) {
        if !holds && self.rules.insert(rule) {
            self.cases.push((rule, case()));
        }
    }

    pub fn rules(&self) -> impl Iterator<Item = Rule> {
        self.rules.iter().copied()
    }

    /// Describes the broken rules of a level.
    pub fn texts(&self, level: Level) -> Vec<String> {
        let cases = self.cases.iter();
        cases
            .filter(|(rule, _)| rule.level() == level)
            .map(|(rule, case)| format!("{rule:?}: {} ({case})", rule.text()))
            .collect()
    }
}
