//! Reads the pending samples of a queue on disk from a copy of its folder, so that the daemon finds it as the crash
//! left it.

use std::path::Path;

use celeriac::queue::{Entry, Limits, Queue};
use celeriac::wire::Protocol;
use tempfile::TempDir;

use strict_receiver::wire::v1::WriteRequest;
use strict_receiver::wire::{Series, snappy, v2, zstd};

/// A sample: its series as text, its time and the bits of its value.
pub(super) type Sample = (String, i64, u64);

/// Returns the pending samples of a sink.
pub(super) fn samples(data_dir: &Path, sink: &str) -> Vec<Sample> {
    let entries = entries(data_dir, sink);
    let series = entries.iter().flat_map(series).flat_map(|series| {
        let key = series.key();
        let samples = series.samples.into_iter();
        samples.map(move |sample| (key.clone(), sample.timestamp, sample.value.to_bits()))
    });
    series.collect()
}

/// Returns the pending records of a sink.
pub(super) fn entries(data_dir: &Path, sink: &str) -> Vec<Entry> {
    let copy = TempDir::new().expect("a temporary folder");
    let files = std::fs::read_dir(data_dir.join("queue").join(sink)).expect("the queue's folder");
    for file in files.map(|file| file.expect("an entry")) {
        std::fs::copy(file.path(), copy.path().join(file.file_name())).expect("a copy");
    }
    let limits = Limits {
        bytes_max: 1 << 30,
        age_max: None,
    };
    let mut queue = Queue::open(copy.path(), limits).expect("a queue that can be read");
    let (mut entries, mut after) = (Vec::new(), None);
    while let Some(entry) = queue.next(after) {
        after = Some(entry.sequence);
        entries.push(entry);
    }
    assert!(queue.take_lost().is_zero(), "nothing is damaged");
    entries
}

fn series(entry: &Entry) -> Vec<Series> {
    let raw = match entry.body.protocol {
        Protocol::V1 | Protocol::V2 => snappy::decode(&entry.body.bytes).expect("snappy"),
        Protocol::V1Zstd => zstd::decode(&entry.body.bytes).expect("zstd"),
    };
    match entry.body.protocol {
        Protocol::V1 | Protocol::V1Zstd => {
            let request = WriteRequest::read(&raw).expect("a request");
            request.series
        }
        Protocol::V2 => {
            let request = v2::Request::read(&raw).expect("a request");
            let entries = request.series.iter();
            entries.map(|entry| request.resolve(entry)).collect()
        }
    }
}
