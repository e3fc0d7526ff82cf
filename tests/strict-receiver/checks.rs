//! Rules that can be checked on a single request.

use std::collections::HashSet;

use axum::http::HeaderMap;

use super::answer::Knows;
use super::rules::{Broken, Rule};
use super::{Encoding, STALE, Version};
use crate::wire::{Labels, Series, v2};

/// Of 1.0, and of 2.0.
const CONTENT_TYPES: [&str; 2] = [
    "application/x-protobuf",
    "application/x-protobuf;proto=io.prometheus.write.v2.Request",
];

/// Maximum length of an exemplar's labels in OpenMetrics.
const EXEMPLAR_CHARACTERS_MAX: usize = 128;

/// Checks the headers, and returns the version that they indicate.
pub fn headers(headers: &HeaderMap, knows: Knows, broken: &mut Broken) -> (Version, Encoding) {
    let mut exactly = |name: &str, rule: Rule, allowed: &[&str]| {
        let values: Vec<_> = headers.get_all(name).iter().collect();
        let holds = values.len() == 1 && allowed.iter().any(|allowed| values[0] == allowed);
        broken.rule(holds, rule, || format!("{values:?}"));
    };
    let is_zstd = knows.may_be_zstd()
        && headers
            .get("content-encoding")
            .is_some_and(|it| it == "zstd");
    let encoding = if is_zstd {
        Encoding::Zstd
    } else {
        Encoding::Snappy
    };
    let allowed = if is_zstd { "zstd" } else { "snappy" };
    exactly("content-encoding", Rule::ContentEncoding, &[allowed]);
    exactly("content-type", Rule::ContentType, &CONTENT_TYPES);
    let content_type = headers.get("content-type");
    let second = content_type.is_some_and(|value| {
        let text = String::from_utf8_lossy(value.as_bytes());
        text.contains("io.prometheus.write.v2.Request")
    });
    let (version, number) = if second {
        (Version::V2, "2.0.0")
    } else {
        (Version::V1, "0.1.0")
    };
    exactly(
        "x-prometheus-remote-write-version",
        Rule::ProtocolVersion,
        &[number],
    );
    let agent = headers.get("user-agent");
    broken.rule(agent.is_some(), Rule::UserAgent, String::new);
    let versioned = agent.is_none_or(|agent| {
        let text = String::from_utf8_lossy(agent.as_bytes()).into_owned();
        text.split_once('/')
            .is_some_and(|(name, version)| !name.is_empty() && !version.is_empty())
    });
    broken.rule(versioned, Rule::UserAgentVersion, || format!("{agent:?}"));
    (version, encoding)
}

/// Checks the 2.0 symbol table, and all references into it.
pub fn symbols(request: &v2::Request, broken: &mut Broken) {
    let symbols = &request.symbols;
    let first = symbols.first().is_some_and(String::is_empty);
    broken.rule(first, Rule::SymbolsEmptyFirst, || {
        format!("{:?}", symbols.first())
    });
    let mut seen = HashSet::new();
    let repeated = symbols.iter().find(|symbol| !seen.insert(symbol.as_str()));
    broken.rule(repeated.is_none(), Rule::SymbolsUnique, || {
        format!("{repeated:?}")
    });
    let references = request.references();
    let outside = references
        .iter()
        .find(|reference| **reference >= symbols.len() as u64);
    broken.rule(outside.is_none(), Rule::SymbolsInside, || {
        format!("{outside:?} of {}", symbols.len())
    });
    let used: HashSet<u64> = references.into_iter().collect();
    let unused = (1..symbols.len()).find(|index| !used.contains(&(*index as u64)));
    broken.rule(unused.is_none(), Rule::SymbolsUsed, || {
        format!("{:?}", unused.map(|index| &symbols[index]))
    });
    let exemplars = |entry: &v2::Entry| {
        entry
            .exemplars
            .iter()
            .all(|one| one.labels.len().is_multiple_of(2))
    };
    let odd = |entry: &&v2::Entry| !entry.labels.len().is_multiple_of(2) || !exemplars(entry);
    let odd = request.series.iter().find(odd);
    broken.rule(odd.is_none(), Rule::LabelRefsEven, || format!("{odd:?}"));
}

/// Checks a single series on its own.
pub fn series(key: &str, series: &Series, version: Version, broken: &mut Broken) {
    let case = || key.to_owned();
    labels(&series.labels, key, broken);
    let name = series.name();
    broken.rule(valid(name, true), Rule::MetricName, case);
    let reserved = |name: &str| name.starts_with("__") && name != "__name__";
    let unreserved = !series.labels.iter().any(|(name, _)| reserved(name));
    broken.rule(unreserved, Rule::LabelsReserved, case);
    let (samples, histograms) = (!series.samples.is_empty(), !series.histograms.is_empty());
    if series.exemplars.is_empty() {
        broken.rule(samples || histograms, Rule::SamplesThere, case);
    } else {
        broken.rule(samples || histograms, Rule::ExemplarWithSample, case);
    }
    for sample in &series.samples {
        let bits = sample.value.to_bits();
        // Go's NaN, and Rust's.
        let ordinary = [0x7ff8_0000_0000_0001, 0x7ff8_0000_0000_0000];
        let holds = !sample.value.is_nan() || bits == STALE || ordinary.contains(&bits);
        broken.rule(holds, Rule::NanBits, || format!("{bits:#x} in {key}"));
    }
    exemplars(key, series, broken);
    if version == Version::V2 {
        broken.rule(!(samples && histograms), Rule::SamplesXorHistograms, case);
        metadata(key, series, broken);
    }
}

fn labels(labels: &Labels, key: &str, broken: &mut Broken) {
    let case = || format!("{labels:?} of {key}");
    let bytes = |index: usize| labels[index].0.as_bytes();
    let sorted = (1..labels.len()).all(|index| bytes(index - 1) <= bytes(index));
    broken.rule(sorted, Rule::LabelsSorted, case);
    let names: HashSet<_> = labels.iter().map(|(name, _)| name).collect();
    broken.rule(names.len() == labels.len(), Rule::LabelsUnique, case);
    let named = labels.iter().all(|(name, _)| valid(name, false));
    broken.rule(named, Rule::LabelNames, case);
    let filled = labels.iter().all(|(_, value)| !value.is_empty());
    broken.rule(filled, Rule::LabelValues, case);
}

fn exemplars(key: &str, series: &Series, broken: &mut Broken) {
    for exemplar in &series.exemplars {
        let case = || format!("{exemplar:?} of {key}");
        broken.rule(exemplar.timestamp != 0, Rule::ExemplarTimestamp, case);
        // The same rules as for a series, except for the name.
        let mut own = Broken::default();
        labels(&exemplar.labels, key, &mut own);
        broken.rule(own.rules().next().is_none(), Rule::ExemplarLabels, case);
        let texts = exemplar.labels.iter();
        let characters: usize = texts
            .map(|(name, value)| name.chars().count() + value.chars().count())
            .sum();
        let short = characters <= EXEMPLAR_CHARACTERS_MAX;
        broken.rule(short, Rule::ExemplarLength, case);
    }
    let times: Vec<_> = series.exemplars.iter().map(|one| one.timestamp).collect();
    let ascending = times.windows(2).all(|pair| pair[0] < pair[1]);
    broken.rule(ascending, Rule::ExemplarsAscending, || {
        format!("{times:?} of {key}")
    });
}

fn metadata(key: &str, series: &Series, broken: &mut Broken) {
    let case = || format!("{:?} of {key}", series.metadata);
    let metadata = series.metadata.clone().unwrap_or_default();
    broken.rule(metadata.kind != 0, Rule::MetadataType, case);
    broken.rule(metadata.kind <= 7, Rule::MetadataKnownType, case);
    broken.rule(!metadata.help.is_empty(), Rule::MetadataHelp, case);
    let counts = matches!(metadata.kind, 1 | 3);
    let mut times = Vec::new();
    for sample in &series.samples {
        times.push((
            sample.timestamp,
            sample.start,
            sample.value.to_bits() == STALE,
        ));
    }
    for histogram in &series.histograms {
        let stale = histogram.sum.to_bits() == STALE;
        times.push((histogram.timestamp, histogram.start, stale));
    }
    for (at, start, stale) in times {
        let case = || format!("start {start} at {at} of {key}");
        broken.rule(!counts || stale || start != 0, Rule::StartGiven, case);
        broken.rule(start <= at, Rule::StartNotLater, case);
    }
}

fn valid(name: &str, colons: bool) -> bool {
    let part = |c: char| c.is_ascii_alphanumeric() || c == '_' || (colons && c == ':');
    name.chars().all(part) && !name.is_empty() && !name.starts_with(|c: char| c.is_ascii_digit())
}
