//! Tests of the queue through its public interface, on disk and in memory.

mod access;
mod damage;
mod model;
mod trouble;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use tempfile::TempDir;

use super::*;
use crate::timestamp::Timestamp;
use crate::wire::Protocol;

const UNLIMITED: Limits = Limits {
    bytes_max: u64::MAX,
    age_max: None,
};

/// A directory for a queue with small segments.
struct Folder {
    folder: TempDir,
    files: Files,
    limits: Limits,
    segment_bytes: u64,
}

impl Folder {
    fn new(segment_bytes: u64) -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            files: Files::default(),
            limits: UNLIMITED,
            segment_bytes,
        }
    }

    fn try_open(&self) -> Result<Queue, OpenError> {
        let files = self.files.clone();
        Queue::open_with(self.folder.path(), self.limits, self.segment_bytes, files)
    }

    /// Opens it once it is not locked any more. A process that another test is starting holds the lock of a queue that was
    /// closed until it executes its program.
    fn open(&self) -> Queue {
        loop {
            match self.try_open() {
                Err(OpenError::Locked { .. }) => std::thread::yield_now(),
                result => return result.unwrap(),
            }
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Returns the segment numbers, in order.
    fn segments(&self) -> Vec<u64> {
        let names = fs::read_dir(self.folder.path()).unwrap();
        let mut segments: Vec<u64> = names
            .filter_map(|entry| {
                let name = entry.unwrap().file_name().into_string().unwrap();
                name.strip_suffix(".segment")
                    .map(|first| first.parse().unwrap())
            })
            .collect();
        segments.sort_unstable();
        segments
    }

    fn segment(&self, first: u64) -> PathBuf {
        self.path(&format!("{first:020}.segment"))
    }
}

/// Returns a record whose content is derived from `samples`.
fn record_at(samples: u64, bytes: usize, newest_ms: i64) -> Body {
    let body: Vec<u8> = (0..bytes as u64)
        .map(|at| (samples * 31 + at * 7).to_le_bytes()[0])
        .collect();
    Body {
        protocol: if samples.is_multiple_of(2) {
            Protocol::V1
        } else {
            Protocol::V2
        },
        bytes: Bytes::from(body),
        counts: counts(samples),
        oldest: Timestamp::from_millis(newest_ms - 5),
        newest: Timestamp::from_millis(newest_ms),
    }
}

fn record(samples: u64, bytes: usize) -> Body {
    record_at(samples, bytes, 0)
}

const fn counts(samples: u64) -> Counts {
    Counts {
        samples,
        histograms: samples * 2,
        exemplars: samples * 3,
    }
}

/// Returns all pending entries, in order.
fn entries(queue: &mut Queue) -> Vec<Entry> {
    let (mut entries, mut after) = (Vec::new(), None);
    while let Some(entry) = queue.next(after) {
        after = Some(entry.sequence);
        entries.push(entry);
    }
    entries
}

/// Returns the sequences of all pending entries.
fn sequences(queue: &mut Queue) -> Vec<u64> {
    entries(queue).iter().map(|entry| entry.sequence).collect()
}

/// Appends each record as its own group.
fn append_all(queue: &mut Queue, records: impl IntoIterator<Item = Body>) {
    for record in records {
        queue.append(vec![record], 0);
    }
}

/// Returns one queue in memory, and one on disk with its directory.
fn both(limits: Limits, segment_bytes: u64) -> [(&'static str, Queue, Option<Folder>); 2] {
    let folder = Folder {
        limits,
        ..Folder::new(segment_bytes)
    };
    [
        ("memory", Queue::in_memory(limits), None),
        ("disk", folder.open(), Some(folder)),
    ]
}

#[test]
fn what_goes_in_comes_out_in_order() {
    for (name, mut queue, _folder) in both(UNLIMITED, 1000) {
        assert!(queue.is_empty());
        assert_eq!((queue.next(None), queue.newest_ms()), (None, None));
        let records = [
            record_at(1, 10, 7),
            record_at(2, 0, 9),
            record_at(3, 500, 8),
        ];
        queue.append(records[..2].to_vec(), 0);
        queue.append(Vec::new(), 0);
        queue.append(records[2..].to_vec(), 0);

        let entries = entries(&mut queue);
        let got: Vec<Body> = entries.iter().map(|entry| entry.body.clone()).collect();
        assert_eq!(got, records, "{name}");
        let numbers = entries
            .iter()
            .map(|entry| (entry.sequence, entry.group, entry.recovered));
        assert_eq!(
            numbers.collect::<Vec<_>>(),
            [(1, 1, false), (2, 1, false), (3, 3, false)],
            "{name}"
        );
        assert_eq!(queue.pending(), counts(6), "{name}");
        assert_eq!(queue.pending_bytes(), 510, "{name}");
        assert_eq!(queue.newest_ms(), Some(9), "{name}");

        queue.commit(2);
        assert_eq!(sequences(&mut queue), [3], "{name}");
        queue.commit(1);
        assert_eq!(queue.pending(), counts(3), "{name}");
        queue.commit(u64::MAX);
        assert!(queue.is_empty() && queue.pending().is_zero(), "{name}");
        append_all(&mut queue, [record(4, 1)]);
        assert_eq!(sequences(&mut queue), [4], "{name}");
        assert_eq!(queue.take_lost(), Lost::default(), "{name}");
    }
}

#[test]
fn a_commit_beyond_the_end_is_not_of_what_comes_next() {
    let folder = Folder::new(1000);
    let mut queue = folder.open();
    append_all(&mut queue, [record(1, 10), record(2, 10)]);
    queue.commit(u64::MAX);
    append_all(&mut queue, [record(3, 10)]);
    drop(queue);

    assert_eq!(sequences(&mut folder.open()), [3]);
}

#[test]
fn a_reopened_queue_goes_on_where_it_was() {
    let folder = Folder::new(1000);
    let mut queue = folder.open();
    let records = [
        record_at(1, 10, 70),
        record_at(2, 20, 60),
        record_at(3, 3000, 50),
    ];
    queue.append(records[..2].to_vec(), 0);
    queue.append(records[2..].to_vec(), 0);
    queue.commit(1);
    drop(queue);

    let mut queue = folder.open();
    assert_eq!(queue.newest_ms(), Some(70));
    assert_eq!((queue.pending(), queue.pending_bytes()), (counts(5), 3020));
    append_all(&mut queue, [record(4, 5)]);
    let found: Vec<_> = entries(&mut queue)
        .into_iter()
        .map(|entry| (entry.sequence, entry.group, entry.recovered, entry.body))
        .collect();
    let expected = [
        (2, 1, true, records[1].clone()),
        (3, 3, true, records[2].clone()),
        (4, 4, false, record(4, 5)),
    ];
    assert_eq!(found, expected);

    // A sequence is not reused, even if nothing is left.
    queue.commit(4);
    for expected in 5..8 {
        drop(queue);
        queue = folder.open();
        assert!(queue.is_empty());
        append_all(&mut queue, [record(5, 5)]);
        assert_eq!(sequences(&mut queue), [expected]);
        queue.commit(expected);
    }
    assert_eq!(queue.take_lost(), Lost::default());
}

#[test]
fn what_waits_behind_a_sequence_is_known() {
    for (name, mut queue, folder) in both(UNLIMITED, 1000) {
        assert_eq!(queue.bytes_max(), u64::MAX, "{name}");
        assert_eq!(queue.is_durable(), folder.is_some(), "{name}");
        assert!(
            queue.is_read(None) && !queue.has_several_groups(None),
            "{name}"
        );
        queue.append(vec![record(1, 10), record(2, 10)], 0);
        assert!(!queue.has_several_groups(None), "{name}");
        queue.append(vec![record(3, 10), record(4, 10)], 0);
        for (after, several, read) in [
            (None, true, false),
            (Some(1), true, false),
            (Some(2), false, false),
            (Some(3), false, false),
            (Some(4), false, true),
        ] {
            let context = format!("{name}, after {after:?}");
            assert_eq!(queue.has_several_groups(after), several, "{context}");
            assert_eq!(queue.is_read(after), read, "{context}");
        }
    }
}

#[test]
fn a_second_process_is_refused() {
    let folder = Folder::new(1000);
    let queue = folder.open();
    let error = folder.try_open().unwrap_err();
    assert!(
        matches!(&error, OpenError::Locked { folder: locked } if locked == folder.folder.path()),
        "{error}"
    );
    drop(queue);
    folder.open();
}

#[test]
fn a_segment_goes_when_nothing_in_it_waits() {
    let folder = Folder::new(500);
    let mut queue = folder.open();
    // Each segment holds two records of 172 bytes.
    append_all(&mut queue, (1..=7).map(|samples| record(samples, 100)));
    for (through, left) in [
        (0, vec![1, 3, 5, 7]),
        (1, vec![1, 3, 5, 7]),
        (2, vec![3, 5, 7]),
        (6, vec![7]),
        // The active segment stays for the next records.
        (7, vec![7]),
    ] {
        queue.commit(through);
        assert_eq!(folder.segments(), left, "committed through {through}");
    }
    append_all(&mut queue, (8..=9).map(|samples| record(samples, 100)));
    assert_eq!(folder.segments(), [7, 9]);
    queue.commit(8);
    assert_eq!(folder.segments(), [9]);
}

#[test]
fn a_group_costs_one_write_and_one_sync() {
    let folder = Folder::new(16 << 20);
    let mut queue = folder.open();
    append_all(&mut queue, [record(1, 1)]);
    let _ = folder.files.faults.took();
    queue.append((0..50).map(|samples| record(samples, 100_000)).collect(), 0);
    assert_eq!(folder.files.faults.took(), (1, 1));
    assert_eq!(queue.pending_bytes(), 5_000_001);

    // Likewise in a new segment.
    queue.append(
        (0..200).map(|samples| record(samples, 100_000)).collect(),
        0,
    );
    assert_eq!(folder.files.faults.took(), (1, 1));
    assert_eq!(folder.segments(), [1, 52]);
    assert_eq!(entries(&mut queue).len(), 251);
}

#[test]
fn the_oldest_goes_when_it_is_full_but_nothing_that_is_held() {
    // On disk, a record takes 172 bytes and a segment holds two; in memory, a record takes 100.
    let memory = [
        ("nothing is held", None, 1000, 12, 3..13, 1..3),
        ("the front is held", Some(2), 1000, 12, 5..13, 3..5),
        ("all is held", Some(9), 300, 9, 10..10, 10..10),
    ];
    for (name, held, bytes_max, appended, stay, go) in memory {
        let mut queue = Queue::in_memory(Limits {
            bytes_max,
            age_max: None,
        });
        queue.hold(held);
        append_all(
            &mut queue,
            (1..=appended).map(|samples| record(samples, 100)),
        );
        let held = 1..=held.unwrap_or(0);
        assert_eq!(
            sequences(&mut queue),
            held.chain(stay).collect::<Vec<_>>(),
            "{name}"
        );
        assert_eq!(queue.take_lost().full, counts(go.sum()), "{name}");
    }
    let disk = [
        ("nothing is held", None, 7..=12, 1..=6),
        ("half of the first segment is held", Some(1), 9..=12, 3..=8),
        ("the middle is held too", Some(4), 9..=12, 5..=8),
    ];
    for (name, held, stay, go) in disk {
        let folder = Folder {
            limits: Limits {
                bytes_max: 1100 + if held == Some(4) { 360 } else { 0 },
                age_max: None,
            },
            ..Folder::new(400)
        };
        let mut queue = folder.open();
        queue.hold(held);
        append_all(&mut queue, (1..=12).map(|samples| record(samples, 100)));
        // Records in the same segment as a held one stay with it.
        let beside = 1..=held.map_or(0, |held| held.next_multiple_of(2));
        let expected: Vec<u64> = beside.chain(stay).collect();
        assert_eq!(sequences(&mut queue), expected, "{name}");
        assert_eq!(queue.take_lost().full, counts(go.sum()), "{name}");
        drop(queue);
        assert_eq!(sequences(&mut folder.open()), expected, "{name}, reopened");
    }
}

#[test]
fn what_fits_exactly_stays() {
    // In memory, a record takes 100 bytes. On disk, it takes 172, and each group is in a segment of
    // its own, with a header of 16.
    for (memory, disk, expected) in [(300, 548, &[1, 2, 3][..]), (299, 547, &[2, 3])] {
        for (at, bytes_max) in [memory, disk].into_iter().enumerate() {
            let limits = Limits {
                bytes_max,
                age_max: None,
            };
            let (name, mut queue, _folder) = both(limits, 64).into_iter().nth(at).unwrap();
            append_all(&mut queue, [record(1, 100)]);
            queue.append(vec![record(2, 100), record(3, 100)], 0);
            assert_eq!(sequences(&mut queue), expected, "{name}, {bytes_max} bytes");
        }
    }
}

#[test]
fn a_record_larger_than_everything_is_there_if_alone() {
    let limits = Limits {
        bytes_max: 200,
        age_max: None,
    };
    for (name, mut queue, _folder) in both(limits, 64) {
        append_all(&mut queue, [record(1, 50), record(2, 5000)]);
        assert_eq!(sequences(&mut queue), [2], "{name}");
        assert_eq!(queue.take_lost().full, counts(1), "{name}");
        queue.append(vec![record(3, 5000), record(4, 150), record(5, 40)], 0);
        // The first record of the group never got a sequence; the others fit.
        let left: Vec<_> = entries(&mut queue)
            .iter()
            .map(|entry| (entry.sequence, entry.group, entry.body.counts.samples))
            .collect();
        assert_eq!(left, [(3, 3, 4), (4, 3, 5)], "{name}");
        assert_eq!(queue.take_lost().full, counts(2 + 3), "{name}");
        queue.append(vec![record(6, 10), record(7, 5000)], 0);
        assert_eq!(sequences(&mut queue), [5], "{name}");
    }
}

#[test]
fn a_smaller_limit_holds_from_the_start() {
    let mut folder = Folder::new(400);
    append_all(
        &mut folder.open(),
        (1..=6).map(|samples| record(samples, 100)),
    );
    folder.limits.bytes_max = 800;
    let mut queue = folder.open();
    assert_eq!(sequences(&mut queue), [3, 4, 5, 6]);
    assert_eq!(queue.take_lost().full, counts(1 + 2));
    assert_eq!(folder.segments(), [3, 5]);
}

#[test]
fn what_is_too_old_goes_from_the_front() {
    let limits = Limits {
        bytes_max: u64::MAX,
        age_max: Some(Duration::from_millis(100)),
    };
    for (name, mut queue, folder) in both(limits, 400) {
        for (samples, newest_ms) in [(1, 10), (2, 20), (3, 40), (4, 30), (5, 50)] {
            queue.append(vec![record_at(samples, 100, newest_ms)], 60);
        }
        queue.expire(110);
        assert_eq!(sequences(&mut queue), [1, 2, 3, 4, 5], "{name}");
        queue.expire(111);
        assert_eq!(sequences(&mut queue), [2, 3, 4, 5], "{name}");
        assert_eq!(queue.take_lost().age, counts(1), "{name}");
        // Held records stay, and those after them go. The fourth is just as old, but not at the
        // front.
        queue.hold(Some(2));
        queue.expire(135);
        assert_eq!(sequences(&mut queue), [2, 3, 4, 5], "{name}");
        queue.expire(145);
        assert_eq!(sequences(&mut queue), [2, 5], "{name}");
        queue.hold(None);
        queue.append(vec![record_at(6, 100, 140)], 149);
        assert_eq!(sequences(&mut queue), [5, 6], "{name}");
        assert_eq!(queue.take_lost().age, counts(3 + 4 + 2), "{name}");
        assert_eq!(queue.take_lost(), Lost::default(), "{name}");
        drop(queue);
        if let Some(folder) = folder {
            assert_eq!(sequences(&mut folder.open()), [5, 6], "{name}, reopened");
        }
    }
}

#[test]
fn what_is_not_in_memory_is_read_from_the_disk() {
    let folder = Folder::new(4 << 20);
    let mut queue = folder.open();
    let records: Vec<Body> = (1..=30).map(|samples| record(samples, 1 << 20)).collect();
    append_all(&mut queue, records.clone());
    let found = entries(&mut queue);
    assert!(found.iter().map(|entry| &entry.body).eq(&records));
    // Only the first eight are in memory.
    folder
        .files
        .faults
        .fail(files::faults::READ, files::faults::EIO);
    assert_eq!(queue.next(None).map(|entry| entry.sequence), Some(1));
    assert_eq!(queue.next(Some(7)).map(|entry| entry.sequence), Some(8));
    assert_eq!(queue.next(Some(8)), None);
}
