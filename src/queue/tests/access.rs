//! Which files the queue opens, writes and deletes, and which bodies it keeps in memory.

use super::*;
use crate::queue::files::faults;

/// Linux error number for a lack of file descriptors.
const EMFILE: i32 = 24;

/// Returns the sequence of the next record, if it can be read without opening a file.
fn read_opened(folder: &Folder, queue: &mut Queue, after: Option<u64>) -> Option<u64> {
    folder.files.faults.fail(faults::OPEN, EMFILE);
    let next = queue.next(after).map(|entry| entry.sequence);
    folder.files.faults.fail(0, 0);
    next
}

#[test]
fn the_segment_that_was_read_last_stays_open() {
    let folder = Folder::new(400);
    // Two records in each segment.
    append_all(
        &mut folder.open(),
        (1..=6).map(|samples| record(samples, 100)),
    );
    assert_eq!(folder.segments(), [1, 3, 5]);
    let mut queue = folder.open();
    // At first, only the last segment is open, to which records can be added.
    let opened = [None, Some(2), Some(4)].map(|after| read_opened(&folder, &mut queue, after));
    assert_eq!(opened, [None, None, Some(5)]);

    assert_eq!(queue.next(None).map(|entry| entry.sequence), Some(1));
    let opened = [Some(1), Some(2), Some(4)].map(|after| read_opened(&folder, &mut queue, after));
    assert_eq!(opened, [Some(2), None, Some(5)]);

    // Another segment replaces it, and stays open when the first one is deleted.
    assert_eq!(queue.next(Some(2)).map(|entry| entry.sequence), Some(3));
    assert_eq!(read_opened(&folder, &mut queue, None), None);
    queue.commit(2);
    assert_eq!(folder.segments(), [3, 5]);
    assert_eq!(read_opened(&folder, &mut queue, Some(3)), Some(4));
}

#[test]
fn bodies_that_were_sent_make_room_in_memory() {
    let folder = Folder::new(16 << 20);
    let mut queue = folder.open();
    let body = |samples| Body {
        bytes: Bytes::from(vec![0; 1 << 20]),
        ..record(samples, 0)
    };
    append_all(&mut queue, (1..=9).map(body));
    queue.commit(4);
    append_all(&mut queue, (10..=14).map(body));
    // There is room for eight. The ninth was written when there was none.
    folder.files.faults.fail(faults::READ, EMFILE);
    let mut is_in_memory = |sequence: u64| queue.next(Some(sequence - 1)).is_some();
    let found: Vec<u64> = (5..=14).filter(|at| is_in_memory(*at)).collect();
    assert_eq!(found, [5, 6, 7, 8, 10, 11, 12, 13]);
}

#[test]
fn nothing_is_written_if_nothing_changed() {
    let folder = Folder::new(1000);
    drop(folder.open());
    let names = fs::read_dir(folder.folder.path()).unwrap();
    let names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["lock"]);

    append_all(&mut folder.open(), [record(1, 10)]);
    let _ = folder.files.faults.took();
    // Nothing needs to be cut, either.
    folder.files.faults.fail(faults::CUT, faults::EIO);
    let mut queue = folder.open();
    queue.commit(0);
    assert_eq!(folder.files.faults.took().0, 0);
    queue.commit(1);
    assert_eq!(folder.files.faults.took().0, 1);
}

#[test]
fn a_cursor_that_cannot_be_opened_is_not_a_missing_one() {
    let folder = Folder::new(1000);
    let mut queue = folder.open();
    append_all(&mut queue, [record(1, 10)]);
    queue.commit(1);
    drop(queue);
    folder.files.faults.fail(faults::OPEN, EMFILE);
    let expected = format!(
        "cannot read {} at byte 0: Too many open files (os error 24)",
        folder.path("cursor").display()
    );
    assert_eq!(folder.try_open().unwrap_err().to_string(), expected);
}

#[test]
fn the_last_segment_leaves_its_sequences_to_the_cursor() {
    // It is dropped to make room for a record that cannot be written.
    let folder = Folder {
        limits: Limits {
            bytes_max: 300,
            age_max: None,
        },
        ..Folder::new(1000)
    };
    let mut queue = folder.open();
    append_all(&mut queue, [record(1, 100)]);
    folder.files.faults.fail(faults::SYNC, faults::EIO);
    append_all(&mut queue, [record(2, 100)]);
    assert_eq!(sequences(&mut queue), [2]);
    assert_eq!(folder.segments(), [0; 0]);
    drop(queue);
    folder.files.faults.fail(0, 0);
    let mut queue = folder.open();
    append_all(&mut queue, [record(3, 100)]);
    // The second record was never written or sent, so its sequence is free.
    assert_eq!(sequences(&mut queue), [2]);
    drop(queue);

    // Its only record is damaged, and nothing may be added to it.
    let folder = Folder::new(1000);
    append_all(&mut folder.open(), [record(1, 100)]);
    let mut bytes = fs::read(folder.segment(1)).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(folder.segment(1), bytes).unwrap();
    let mut queue = folder.open();
    folder.files.faults.fail(faults::SYNC, faults::EIO);
    append_all(&mut queue, [record(2, 100)]);
    assert_eq!(sequences(&mut queue), [2]);
    assert_eq!(folder.segments(), [0; 0]);
    drop(queue);
    folder.files.faults.fail(0, 0);
    let mut queue = folder.open();
    append_all(&mut queue, [record(3, 100)]);
    assert_eq!(sequences(&mut queue), [3]);
}

#[test]
fn the_name_of_a_segment_that_is_torn_at_its_start_is_remembered() {
    let folder = Folder::new(1000);
    // The first three sequences were assigned, and there is no cursor.
    fs::write(folder.segment(4), "CELQ").unwrap();
    for _ in 0..2 {
        assert!(folder.open().is_empty());
        assert_eq!(folder.segments(), [0; 0]);
    }
    let mut queue = folder.open();
    append_all(&mut queue, [record(1, 10)]);
    assert_eq!(sequences(&mut queue), [4]);
}

#[test]
fn nothing_is_added_to_a_damaged_segment() {
    // The second record starts at byte 98. The 82 bytes that are lost with it may have contained
    // two records.
    for (at, expected) in [(0, &[1, 2, 3][..]), (98, &[1, 4])] {
        let folder = Folder::new(10_000);
        append_all(&mut folder.open(), [record(1, 10), record(2, 10)]);
        let mut bytes = fs::read(folder.segment(1)).unwrap();
        bytes[at] ^= 1;
        fs::write(folder.segment(1), bytes).unwrap();

        let mut queue = folder.open();
        append_all(&mut queue, [record(3, 10)]);
        assert_eq!(sequences(&mut queue), expected, "byte {at}");
        let new = *expected.last().unwrap();
        assert_eq!(folder.segments(), [1, new], "byte {at}");
    }
}

#[test]
fn what_was_delivered_stays_delivered_when_the_end_is_damaged() {
    let folder = Folder::new(400);
    let mut queue = folder.open();
    append_all(&mut queue, (1..=4).map(|samples| record(samples, 100)));
    queue.commit(1);
    drop(queue);
    let mut bytes = fs::read(folder.segment(3)).unwrap();
    bytes[SEGMENT_HEADER] ^= 1;
    fs::write(folder.segment(3), bytes).unwrap();
    // The first start writes the cursor again.
    for _ in 0..2 {
        assert_eq!(sequences(&mut folder.open()), [2]);
    }
}

#[test]
fn nothing_is_added_to_a_segment_that_was_dropped() {
    let folder = Folder {
        limits: Limits {
            bytes_max: 600,
            age_max: None,
        },
        ..Folder::new(400)
    };
    let mut queue = folder.open();
    append_all(&mut queue, [record(1, 100), record(2, 300)]);
    assert_eq!(folder.segments(), [1, 2]);
    // The first segment is held, so the second one makes room.
    queue.hold(Some(1));
    append_all(&mut queue, [record(3, 20)]);
    assert_eq!(folder.segments(), [1, 3]);
    drop(queue);
    assert_eq!(sequences(&mut folder.open()), [1, 3]);
}
