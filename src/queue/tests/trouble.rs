//! Disk errors: what happens when writes or syncs fail.

use super::*;
use crate::queue::files::faults;

/// Returns the samples of the records that exist after a restart.
fn reopened(folder: &Folder) -> Vec<u64> {
    let mut queue = folder.open();
    let samples = entries(&mut queue)
        .iter()
        .map(|entry| {
            let samples = entry.body.counts.samples;
            assert_eq!(entry.body, record(samples, entry.body.bytes.len()));
            samples
        })
        .collect();
    assert_eq!(queue.take_lost(), Lost::default());
    samples
}

#[test]
fn a_full_disk_delays_and_loses_nothing() {
    // However much of the next group still fits.
    for room in 0..=250 {
        let folder = Folder::new(10_000);
        let mut queue = folder.open();
        append_all(&mut queue, [record(1, 50)]);
        let length = fs::metadata(folder.segment(1)).unwrap().len();
        folder.files.faults.room(room);
        queue.append(vec![record(2, 50), record(3, 50)], 0);
        let full = room < 244;
        assert_eq!(queue.trouble().is_some(), full, "{room}");
        if full {
            let trouble = queue.trouble().unwrap().to_string();
            let path = folder.segment(1);
            assert_eq!(
                trouble,
                format!(
                    "cannot write {} at byte {length}: No space left on device (os error 28)",
                    path.display()
                )
            );
            assert_eq!(fs::metadata(&path).unwrap().len(), length, "{room}");
            // The queue continues in memory, in order.
            append_all(&mut queue, [record(4, 500)]);
            assert_eq!(folder.segments(), [1], "{room}");
            assert_eq!(sequences(&mut queue), [1, 2, 3, 4], "{room}");
            assert_eq!(queue.pending(), counts(10), "{room}");
            // The first record that fits brings all earlier ones along.
            folder.files.faults.room(usize::MAX);
            append_all(&mut queue, [record(5, 50)]);
            assert!(queue.trouble().is_none(), "{room}");
            let found: Vec<_> = entries(&mut queue)
                .iter()
                .map(|entry| (entry.sequence, entry.group))
                .collect();
            assert_eq!(found, [(1, 1), (2, 2), (3, 2), (4, 4), (5, 5)], "{room}");
            drop(queue);
            assert_eq!(reopened(&folder), [1, 2, 3, 4, 5], "{room}");
        }
    }
}

#[test]
fn whatever_step_fails_nothing_is_lost_when_it_works_again() {
    use faults::{CREATE, CUT, REMOVE, SYNC, SYNC_FOLDER};
    // In the active segment, and when a new one must be started.
    for segment_bytes in [10_000, 150] {
        for steps in [
            CREATE,
            SYNC,
            SYNC_FOLDER,
            SYNC | CUT,
            SYNC | REMOVE,
            SYNC | CUT | REMOVE,
        ] {
            let context = format!("steps {steps:b}, segments of {segment_bytes}");
            let folder = Folder::new(segment_bytes);
            let mut queue = folder.open();
            append_all(&mut queue, [record(1, 20)]);
            folder.files.faults.fail(steps, faults::EIO);
            append_all(&mut queue, [record(2, 30), record(3, 40)]);
            let fails = steps & SYNC != 0 || segment_bytes == 150;
            assert_eq!(queue.trouble().is_some(), fails, "{context}");
            assert_eq!(sequences(&mut queue), [1, 2, 3], "{context}");
            folder.files.faults.fail(0, 0);
            append_all(&mut queue, [record(4, 50)]);
            assert!(queue.trouble().is_none(), "{context}");
            assert_eq!(sequences(&mut queue), [1, 2, 3, 4], "{context}");
            drop(queue);
            assert_eq!(reopened(&folder), [1, 2, 3, 4], "{context}");
            let mut queue = folder.open();
            queue.commit(3);
            drop(queue);
            assert_eq!(reopened(&folder), [4], "{context}");
        }
    }
}

#[test]
fn a_process_that_ends_in_trouble_leaves_what_was_on_the_disk() {
    let folder = Folder::new(10_000);
    let mut queue = folder.open();
    append_all(&mut queue, [record(1, 50), record(2, 50)]);
    folder.files.faults.room(100);
    append_all(&mut queue, [record(3, 50), record(4, 50)]);
    drop(queue);
    folder.files.faults.room(usize::MAX);
    assert_eq!(reopened(&folder), [1, 2]);
}

#[test]
fn what_waits_in_memory_counts_against_the_limit() {
    let folder = Folder {
        limits: Limits {
            bytes_max: 1050,
            age_max: None,
        },
        ..Folder::new(400)
    };
    let mut queue = folder.open();
    append_all(&mut queue, (1..=4).map(|samples| record(samples, 100)));
    assert_eq!(folder.segments(), [1, 3]);
    queue.hold(Some(3));
    folder.files.faults.room(0);
    for samples in 5..=20 {
        append_all(&mut queue, [record(samples, 100)]);
        let used = queue.used_bytes();
        assert!(used <= 1050, "{used} bytes with record {samples}");
    }
    // The first and second segment contain held records; in memory, the oldest made room.
    let there = sequences(&mut queue);
    assert_eq!(there, [1, 2, 3, 4, 19, 20]);
    assert_eq!(queue.take_lost().full, counts((5..=18).sum()));
    // Records on disk that are not held are dropped first.
    queue.hold(Some(2));
    append_all(&mut queue, [record(21, 100)]);
    assert_eq!(sequences(&mut queue), [1, 2, 19, 20, 21]);
    assert_eq!(queue.take_lost().full, counts(3 + 4));
    folder.files.faults.room(usize::MAX);
    append_all(&mut queue, [record(22, 10)]);
    assert!(queue.trouble().is_none());
    drop(queue);
    assert_eq!(reopened(&folder), [1, 2, 19, 20, 21, 22]);
}

#[test]
fn what_was_sent_from_memory_is_not_sent_again() {
    let folder = Folder::new(10_000);
    let mut queue = folder.open();
    append_all(&mut queue, [record(1, 50)]);
    assert_eq!((queue.unwritten(), queue.used_bytes()), (counts(0), 138));
    folder.files.faults.fail(faults::SYNC, faults::EIO);
    append_all(&mut queue, [record(2, 50), record(3, 50)]);
    assert_eq!(queue.unwritten(), counts(2 + 3));
    assert_eq!(queue.used_bytes(), 138 + 100);
    queue.commit(2);
    assert_eq!(sequences(&mut queue), [3]);
    assert_eq!((queue.unwritten(), queue.used_bytes()), (counts(3), 50));
    // Nothing in the segment is pending, and nothing may be added to it.
    assert_eq!(folder.segments(), [0; 0]);
    folder.files.faults.fail(0, 0);
    append_all(&mut queue, [record(4, 50)]);
    assert_eq!((queue.unwritten(), queue.used_bytes()), (counts(0), 260));
    drop(queue);
    assert_eq!(reopened(&folder), [3, 4]);
}

#[test]
fn what_waited_fills_each_segment_to_its_size() {
    // Two records of 144 bytes, and the header.
    let folder = Folder::new(304);
    let mut queue = folder.open();
    folder.files.faults.room(0);
    append_all(&mut queue, (1..=4).map(|samples| record(samples, 72)));
    assert_eq!(folder.segments(), [0; 0]);
    folder.files.faults.room(usize::MAX);
    let _ = folder.files.faults.took();
    append_all(&mut queue, [record(5, 72)]);
    assert_eq!(folder.files.faults.took(), (3, 3));
    let sizes = [1, 3, 5].map(|first| fs::metadata(folder.segment(first)).unwrap().len());
    assert_eq!(sizes, [304, 304, 160]);
    assert_eq!(folder.segments(), [1, 3, 5]);
    drop(queue);
    assert_eq!(reopened(&folder), [1, 2, 3, 4, 5]);
}

#[test]
fn a_cursor_that_cannot_be_written_sends_again() {
    for steps in [faults::CREATE, faults::RENAME] {
        let folder = Folder::new(10_000);
        let mut queue = folder.open();
        append_all(&mut queue, (1..=3).map(|samples| record(samples, 50)));
        queue.commit(1);
        folder.files.faults.fail(steps, faults::EIO);
        queue.commit(2);
        assert_eq!(sequences(&mut queue), [3]);
        drop(queue);
        folder.files.faults.fail(0, 0);
        assert_eq!(reopened(&folder), [2, 3]);
    }
}
