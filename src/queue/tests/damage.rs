//! Every way in which a file can be damaged, and what is lost in each case.

use super::*;
use crate::queue::files::faults;
use crate::queue::frame::{CURSOR, Header, segment_header};

/// The sizes of the existing records.
const SIZES: [usize; 6] = [3, 0, 20, 5, 1, 9];

/// The samples of a record added afterwards.
const NEW: u64 = 40;

/// Two segments: records 1 to 3, of which the first two are a group, and records 4 to 6.
fn two_segments() -> Folder {
    let folder = Folder::new(270);
    let mut queue = folder.open();
    let record = |sequence| record(sequence, size(sequence));
    queue.append(vec![record(1), record(2)], 0);
    append_all(&mut queue, [record(3), record(4), record(5), record(6)]);
    assert_eq!(folder.segments(), [1, 4]);
    folder
}

fn size(sequence: u64) -> usize {
    SIZES[usize::try_from(sequence - 1).unwrap()]
}

/// Returns where the given records start in a segment, and where it ends.
fn bounds(records: &[u64]) -> Vec<usize> {
    let mut bounds = vec![SEGMENT_HEADER];
    for record in records {
        bounds.push(bounds.last().unwrap() + RECORD_HEADER + size(*record));
    }
    bounds
}

/// Opens the queue, reads everything, and asserts that each record is unchanged. Returns the queue,
/// the existing records, and what was lost.
fn survivors(folder: &Folder) -> (Queue, Vec<u64>, Lost) {
    let mut queue = folder.open();
    let entries = entries(&mut queue);
    for entry in &entries {
        let samples = entry.body.counts.samples;
        let expected = match samples {
            NEW => record(NEW, 30),
            _ => record(entry.sequence, size(samples)),
        };
        assert_eq!(entry.body, expected);
    }
    let lost = queue.take_lost();
    let sequences = entries.iter().map(|entry| entry.sequence).collect();
    (queue, sequences, lost)
}

/// Asserts that the queue works after the damage: a new record survives the next start with all
/// others.
fn goes_on(folder: &Folder, mut queue: Queue, mut there: Vec<u64>, context: &str) {
    append_all(&mut queue, [record(NEW, 30)]);
    let new = sequences(&mut queue).last().copied().unwrap();
    assert!(there.iter().all(|sequence| *sequence < new), "{context}");
    there.push(new);
    assert_eq!(sequences(&mut queue), there, "{context}");
    drop(queue);
    let (mut queue, found, _) = survivors(folder);
    assert_eq!(found, there, "{context}, reopened");
    queue.commit(new);
    drop(queue);
    assert!(folder.open().is_empty(), "{context}, committed");
}

const fn damaged(counts: Counts, damaged_bytes: u64) -> Lost {
    Lost {
        full: counts_zero(),
        age: counts_zero(),
        damaged: counts,
        damaged_bytes,
    }
}

const fn counts_zero() -> Counts {
    counts(0)
}

#[test]
fn the_last_segment_may_end_anywhere() {
    let bounds = bounds(&[4, 5, 6]);
    for length in 0..=*bounds.last().unwrap() {
        let folder = two_segments();
        let file = fs::OpenOptions::new()
            .write(true)
            .open(folder.segment(4))
            .unwrap();
        file.set_len(length as u64).unwrap();

        let context = format!("cut at {length}");
        let (queue, found, lost) = survivors(&folder);
        let whole = bounds[1..].iter().filter(|end| **end <= length).count() as u64;
        assert_eq!(found, (1..=3 + whole).collect::<Vec<_>>(), "{context}");
        assert_eq!(lost, Lost::default(), "{context}");
        let left = bounds.iter().rfind(|bound| **bound <= length);
        let size = fs::metadata(folder.segment(4)).ok().map(|file| file.len());
        assert_eq!(size, left.map(|left| *left as u64), "{context}");
        goes_on(&folder, queue, found, &context);
    }
}

#[test]
fn a_group_that_was_appended_in_part_is_not_there_at_all() {
    // Record 1, then 2 to 4 as a group, each with a later time.
    let sizes = [10, 5, 0, 8];
    let group = |range: std::ops::RangeInclusive<u64>| -> Vec<Body> {
        let size = |sequence: u64| sizes[usize::try_from(sequence - 1).unwrap()];
        let records =
            range.map(|sequence| record_at(sequence, size(sequence), sequence.cast_signed() * 100));
        records.collect()
    };
    let ends = |count: usize| {
        let records = sizes[..count].iter().map(|size| RECORD_HEADER + size);
        SEGMENT_HEADER + records.sum::<usize>()
    };
    for length in ends(1)..=ends(4) {
        let folder = Folder::new(1_000);
        let mut queue = folder.open();
        queue.append(group(1..=1), 0);
        queue.append(group(2..=4), 0);
        drop(queue);
        let file = fs::OpenOptions::new()
            .write(true)
            .open(folder.segment(1))
            .unwrap();
        file.set_len(length as u64).unwrap();

        let context = format!("cut at {length}");
        let is_whole = length == ends(4);
        for _ in 0..2 {
            let mut queue = folder.open();
            let expected: &[u64] = if is_whole { &[1, 2, 3, 4] } else { &[1] };
            assert_eq!(sequences(&mut queue), expected, "{context}");
            let newest_ms = if is_whole { 400 } else { 100 };
            assert_eq!(queue.newest_ms(), Some(newest_ms), "{context}");
            assert_eq!(queue.take_lost(), Lost::default(), "{context}");
        }
        let size = fs::metadata(folder.segment(1)).unwrap().len();
        let left = if is_whole { ends(4) } else { ends(1) };
        assert_eq!(size, left as u64, "{context}");
        // The next group is there as a whole.
        let mut queue = folder.open();
        queue.append(group(2..=3), 0);
        drop(queue);
        let found = entries(&mut folder.open());
        let samples = found.iter().map(|entry| entry.body.counts.samples);
        let expected: &[u64] = if is_whole {
            &[1, 2, 3, 4, 2, 3]
        } else {
            &[1, 2, 3]
        };
        assert_eq!(samples.collect::<Vec<_>>(), expected, "{context}");
    }
}

#[test]
fn records_that_do_not_tell_their_place_in_a_group_are_each_for_itself() {
    let folder = Folder::new(1_000);
    folder
        .open()
        .append((1..=3).map(|n| record_at(n, 4, 100)).collect(), 0);
    let mut bytes = fs::read(folder.segment(1)).unwrap();
    // As written by early versions: a gap of zeros.
    for start in (SEGMENT_HEADER..bytes.len()).step_by(RECORD_HEADER + 4) {
        let header = &mut bytes[start..start + RECORD_HEADER];
        header[65] = 0;
        let checksum = crc32c::crc32c(&header[..RECORD_HEADER - 4]);
        header[RECORD_HEADER - 4..].copy_from_slice(&checksum.to_le_bytes());
    }
    for (cut, expected) in [(0, &[1, 2, 3][..]), (1, &[1, 2])] {
        fs::write(folder.segment(1), &bytes[..bytes.len() - cut]).unwrap();
        assert_eq!(sequences(&mut folder.open()), expected);
        assert_eq!(folder.open().newest_ms(), Some(100));
    }
}

#[test]
fn zeros_behind_the_last_record_are_what_a_crash_leaves() {
    for zeros in [1, 71, 72, 500, 10_000] {
        let folder = two_segments();
        let mut bytes = fs::read(folder.segment(4)).unwrap();
        let length = bytes.len();
        bytes.resize(length + zeros, 0);
        fs::write(folder.segment(4), bytes).unwrap();

        let (queue, found, lost) = survivors(&folder);
        assert_eq!(
            (found.clone(), lost),
            ((1..=6).collect(), Lost::default()),
            "{zeros} zeros"
        );
        assert_eq!(
            fs::metadata(folder.segment(4)).unwrap().len(),
            length as u64
        );
        goes_on(&folder, queue, found, &format!("{zeros} zeros"));
    }
}

#[test]
fn zeros_with_anything_behind_them_are_damage() {
    for zeros in [72, 5_000] {
        let folder = two_segments();
        let mut bytes = fs::read(folder.segment(4)).unwrap();
        bytes.resize(bytes.len() + zeros, 0);
        bytes.push(1);
        fs::write(folder.segment(4), bytes).unwrap();

        let (queue, found, lost) = survivors(&folder);
        assert_eq!(found, [1, 2, 3, 4, 5, 6], "{zeros} zeros");
        assert_eq!(lost, damaged(counts(0), zeros as u64 + 1), "{zeros} zeros");
        goes_on(&folder, queue, found, &format!("{zeros} zeros"));
    }
}

#[test]
fn a_segment_before_the_last_that_ends_within_a_record_is_damage() {
    let bounds = bounds(&[1, 2, 3]);
    for length in 0..=*bounds.last().unwrap() {
        let folder = two_segments();
        let file = fs::OpenOptions::new()
            .write(true)
            .open(folder.segment(1))
            .unwrap();
        file.set_len(length as u64).unwrap();

        let context = format!("cut at {length}");
        let (queue, found, lost) = survivors(&folder);
        let whole = bounds[1..].iter().filter(|end| **end <= length).count() as u64;
        assert_eq!(
            found,
            (1..=whole).chain(4..=6).collect::<Vec<_>>(),
            "{context}"
        );
        let left = bounds.iter().rfind(|bound| **bound <= length).unwrap_or(&0);
        assert_eq!(
            lost,
            damaged(counts(0), (length - left) as u64),
            "{context}"
        );
        goes_on(&folder, queue, found, &context);
    }
}

#[test]
fn a_flipped_byte_loses_what_the_format_says() {
    for (first, records) in [(1, [1, 2, 3]), (4, [4, 5, 6])] {
        let bounds = bounds(&records);
        let length = *bounds.last().unwrap();
        for at in 0..length {
            let folder = two_segments();
            let mut bytes = fs::read(folder.segment(first)).unwrap();
            bytes[at] ^= 0x40;
            fs::write(folder.segment(first), bytes).unwrap();

            let mut expected: Vec<u64> = (1..=6).collect();
            let lost = if at < SEGMENT_HEADER {
                // The segment's header: nothing is lost.
                damaged(counts(0), SEGMENT_HEADER as u64)
            } else {
                let record = bounds.iter().rposition(|bound| *bound <= at).unwrap();
                let (start, sequence) = (bounds[record], records[record]);
                if at < start + RECORD_HEADER {
                    // A record's header: this record and the rest of the segment are lost.
                    expected.retain(|found| *found < sequence || *found >= first + 3);
                    damaged(counts(0), (length - start) as u64)
                } else {
                    // A body: this record is lost.
                    expected.retain(|found| *found != sequence);
                    damaged(counts(sequence), (bounds[record + 1] - start) as u64)
                }
            };
            let context = format!("segment {first}, byte {at}");
            let (queue, found, got) = survivors(&folder);
            assert_eq!((&found, got), (&expected, lost), "{context}");
            // The file is unchanged, or it is the first and is deleted because nothing in it is
            // pending.
            let size = fs::metadata(folder.segment(first)).map(|file| file.len());
            let stays = first == 4 || found.iter().any(|found| records.contains(found));
            assert_eq!(size.ok(), stays.then_some(length as u64), "{context}");
            goes_on(&folder, queue, found, &context);
        }
    }
}

#[test]
fn sequences_that_a_damaged_end_may_have_had_are_not_given_again() {
    let folder = two_segments();
    let mut bytes = fs::read(folder.segment(4)).unwrap();
    bytes[SEGMENT_HEADER] ^= 1;
    fs::write(folder.segment(4), bytes).unwrap();

    let mut queue = folder.open();
    append_all(&mut queue, [record(NEW, 30)]);
    // 231 bytes may have contained four records.
    assert_eq!(sequences(&mut queue), [1, 2, 3, 8]);
    assert_eq!(folder.segments(), [1, 4, 8]);

    // Likewise if only the cursor is left to show it.
    let folder = two_segments();
    let mut queue = folder.open();
    queue.commit(5);
    drop(queue);
    fs::write(folder.segment(4), [7; 100]).unwrap();
    for _ in 0..2 {
        assert!(folder.open().is_empty());
    }
    let mut queue = folder.open();
    append_all(&mut queue, [record(NEW, 30)]);
    assert_eq!(sequences(&mut queue), [9]);
}

#[test]
fn a_record_of_unknown_kind_is_lost_alone() {
    let folder = two_segments();
    let mut bytes = fs::read(folder.segment(4)).unwrap();
    let start = bounds(&[4, 5])[1];
    let range = start..start + RECORD_HEADER;
    let mut header = Header::read(bytes[range.clone()].try_into().unwrap()).unwrap();
    header.kind = 4;
    let mut other = Vec::new();
    header.write(&mut other);
    bytes[range].copy_from_slice(&other);
    fs::write(folder.segment(4), bytes).unwrap();

    let (queue, found, lost) = survivors(&folder);
    assert_eq!(found, [1, 2, 3, 4, 6]);
    assert_eq!(lost, damaged(counts(5), (RECORD_HEADER + size(5)) as u64));
    goes_on(&folder, queue, found, "kind 4");
}

#[test]
fn a_segment_of_another_version_is_left_as_it_is() {
    for first in [1, 4] {
        let folder = two_segments();
        // The other segment needs to be truncated.
        let torn = fs::read(folder.segment(4)).unwrap();
        fs::write(folder.segment(4), &torn[..torn.len() - 1]).unwrap();
        let mut bytes = fs::read(folder.segment(first)).unwrap();
        let mut header = segment_header();
        header[8] = 2;
        let checksum = crc32c::crc32c(&header[..12]);
        header[12..].copy_from_slice(&checksum.to_le_bytes());
        bytes[..SEGMENT_HEADER].copy_from_slice(&header);
        fs::write(folder.segment(first), bytes).unwrap();
        let before = [1, 4].map(|segment| fs::read(folder.segment(segment)).unwrap());

        let error = folder.try_open().unwrap_err();
        let path = folder.segment(first);
        assert!(
            matches!(&error, OpenError::Version { path: named, version: 2 } if *named == path),
            "{error}"
        );
        let after = [1, 4].map(|segment| fs::read(folder.segment(segment)).unwrap());
        assert_eq!(before, after);
    }
}

#[test]
fn without_a_sound_cursor_all_that_is_there_is_sent_again() {
    let folder = two_segments();
    folder.open().commit(5);
    assert_eq!(folder.segments(), [4]);
    let cursor = fs::read(folder.path("cursor")).unwrap();
    assert_eq!(cursor.len(), CURSOR);
    assert_eq!(survivors(&folder).1, [6]);

    let mut broken = vec![Vec::new(), [&cursor[..], &[0]].concat(), vec![0; CURSOR]];
    for at in 0..CURSOR {
        broken.push(cursor[..at].to_vec());
        let mut flipped = cursor.clone();
        flipped[at] ^= 8;
        // The checksum covers the gap as well.
        broken.push(flipped);
    }
    for bytes in broken {
        fs::write(folder.path("cursor"), &bytes).unwrap();
        let (_, found, lost) = survivors(&folder);
        assert_eq!((found, lost), (vec![4, 5, 6], Lost::default()), "{bytes:?}");
    }
    fs::remove_file(folder.path("cursor")).unwrap();
    assert_eq!(survivors(&folder).1, [4, 5, 6]);
    // A cursor that was not renamed is ignored.
    fs::write(folder.path("cursor.new"), &cursor).unwrap();
    assert_eq!(survivors(&folder).1, [4, 5, 6]);
    fs::write(folder.path("cursor"), &cursor).unwrap();
    assert_eq!(survivors(&folder).1, [6]);
}

#[test]
fn a_segment_that_vanishes_is_damage() {
    let folder = two_segments();
    let mut queue = folder.open();
    fs::remove_file(folder.segment(1)).unwrap();
    assert_eq!(sequences(&mut queue), [4, 5, 6]);
    let bytes = (bounds(&[1, 2, 3])[3] - SEGMENT_HEADER) as u64;
    assert_eq!(queue.take_lost(), damaged(counts(1 + 2 + 3), bytes));
    assert_eq!(queue.pending(), counts(4 + 5 + 6));
}

#[test]
fn a_bad_sector_is_damage_and_a_lack_of_handles_is_not() {
    const EMFILE: i32 = 24;
    let folder = two_segments();
    let mut queue = folder.open();
    for steps in [faults::OPEN, faults::READ] {
        folder.files.faults.fail(steps, EMFILE);
        assert_eq!(queue.next(None), None);
        assert_eq!(
            (queue.pending(), queue.take_lost()),
            (counts(21), Lost::default())
        );
    }
    folder.files.faults.fail(0, 0);
    assert_eq!(sequences(&mut queue), [1, 2, 3, 4, 5, 6]);

    folder.files.faults.fail(faults::READ, faults::EIO);
    assert_eq!(queue.next(Some(4)), None);
    folder.files.faults.fail(0, 0);
    assert_eq!(sequences(&mut queue), [1, 2, 3, 4]);
    assert_eq!(queue.take_lost().damaged, counts(5 + 6));
}

#[test]
fn of_a_sequence_that_comes_twice_the_later_counts() {
    let folder = Folder::new(1000);
    append_all(
        &mut folder.open(),
        [record(1, 10), record(2, 10), record(3, 10)],
    );
    // As if a write had not been undone: the second segment starts with the same records.
    let mut bytes = fs::read(folder.segment(1)).unwrap();
    let second = SEGMENT_HEADER + RECORD_HEADER + 10;
    let rest = bytes.split_off(second);
    let again = [&segment_header()[..], &rest].concat();
    fs::write(folder.segment(2), &again).unwrap();
    // And the first ones are unreadable.
    let spoilt = [&bytes[..], &rest[..RECORD_HEADER], &[0; 10]].concat();
    fs::write(folder.segment(1), spoilt).unwrap();

    let mut queue = folder.open();
    assert_eq!(queue.pending(), counts(1 + 2 + 3));
    let found = entries(&mut queue);
    assert_eq!(
        found.iter().map(|entry| entry.sequence).collect::<Vec<_>>(),
        [1, 2, 3]
    );
    assert_eq!(found[1].body, record(2, 10));
    assert_eq!(queue.take_lost(), Lost::default());
}

#[test]
fn what_is_not_ours_is_left_alone() {
    let folder = two_segments();
    for name in ["notes.txt", "7.segment", "cursor.bak"] {
        fs::write(folder.path(name), name).unwrap();
    }
    let (mut queue, found, _) = survivors(&folder);
    assert_eq!(found, [1, 2, 3, 4, 5, 6]);
    queue.commit(6);
    for name in ["notes.txt", "7.segment", "cursor.bak"] {
        assert_eq!(fs::read_to_string(folder.path(name)).unwrap(), name);
    }
}

#[test]
fn errors_name_file_and_offset() {
    let folder = two_segments();
    folder.files.faults.fail(faults::READ, faults::EIO);
    let error = folder.try_open().unwrap_err();
    let path = folder.segment(1);
    assert_eq!(
        error.to_string(),
        format!(
            "cannot read {} at byte 0: Input/output error (os error 5)",
            path.display()
        )
    );
    let file = folder.path("a file");
    fs::write(&file, "").unwrap();
    let error = Queue::open(&file, UNLIMITED).unwrap_err();
    let beginning = format!("cannot use the folder {}: ", file.display());
    assert!(error.to_string().starts_with(&beginning), "{error}");
}
