//! Parses requests, and checks what each of their parts must be.

use super::*;

/// Checks that a start time stays the same, or changes when the series starts over.
pub(super) fn check_starts(
    key: &str,
    start: i64,
    newest: i64,
    last: Option<f64>,
    metadata: &Metadata,
    samples: &[(i64, f64)],
    broken: &mut Broken,
) {
    let (mut start, mut last) = (start, last);
    for (next, value) in samples.iter().copied() {
        if value.to_bits() == STALE || next == 0 {
            continue;
        }
        let case = || format!("start {next} after {start}, {value} after {last:?} of {key}");
        broken.rule(next == start || next >= newest, Rule::StartConstant, case);
        let fell = metadata.kind == 1 && last.is_some_and(|last| value < last);
        broken.rule(!fell || next > start, Rule::StartMovesAtReset, case);
        (start, last) = (next, Some(value));
    }
}

/// Returns the value of `Retry-Attempt`.
pub(super) fn attempt(headers: &HeaderMap) -> Option<u64> {
    headers.get("retry-attempt")?.to_str().ok()?.parse().ok()
}

pub(super) fn value_at(samples: &[(i64, f64)], at: i64) -> Option<f64> {
    let index = samples.binary_search_by_key(&at, |(at, _)| *at).ok()?;
    Some(samples[index].1)
}

/// Inserts a value in chronological order, unless there is already one.
pub(super) fn insert<T>(to: &mut Vec<(i64, T)>, at: i64, value: T) {
    if let Err(index) = to.binary_search_by_key(&at, |(at, _)| *at) {
        to.insert(index, (at, value));
    }
}

/// Returns the family name of a series of this type.
pub(super) fn family(name: &str, kind: u64) -> &str {
    let suffixes: &[&str] = match kind {
        3 | 4 => &["_bucket", "_count", "_sum"],
        5 => &["_count", "_sum"],
        _ => &[],
    };
    let family = suffixes.iter().find_map(|suffix| name.strip_suffix(suffix));
    family.unwrap_or(name)
}

pub(super) fn decode(
    version: Version,
    encoding: Encoding,
    body: &[u8],
    broken: &mut Broken,
) -> Option<Parsed> {
    let raw = match encoding {
        Encoding::Snappy => snappy::decode(body).map_err(|error| format!("{error:?}")),
        Encoding::Zstd => zstd::decode(body),
    };
    broken.rule(raw.is_ok(), Rule::SnappyBlock, || format!("{raw:?}"));
    let raw = raw.ok()?;
    let parsed = match version {
        Version::V1 => WriteRequest::read(&raw).map(|request| (request.series, request.metadata)),
        Version::V2 => v2::Request::read(&raw).map(|request| {
            checks::symbols(&request, broken);
            let series = request.series.iter().map(|entry| request.resolve(entry));
            (series.collect(), Vec::new())
        }),
    };
    let (series, metadata) = match parsed {
        Ok(parsed) => parsed,
        Err(WireError::Broken(text)) => {
            broken.rule(false, Rule::Protobuf, || text);
            return None;
        }
        Err(WireError::Foreign(text)) => {
            broken.rule(false, Rule::KnownFields, || text);
            return None;
        }
    };
    let series = series
        .into_iter()
        .map(|series: Series| (series.key(), series));
    Some(Parsed {
        version,
        series: series.collect(),
        metadata,
    })
}
