//! Compares the queue with a plain list under random sequences of operations.

use std::collections::{BTreeMap, VecDeque};

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    /// Sizes of the records, and the time since the previous step.
    Append(Vec<usize>, i64),
    /// Number of records to hold from the front.
    Hold(Option<usize>),
    Commit(usize),
    Expire(i64),
    Reopen,
    /// The process ends during an append, after this part of the write, in 256ths, reached the
    /// disk.
    Crash(Vec<usize>, usize),
}

fn step() -> impl Strategy<Value = Step> {
    let sizes = || prop::collection::vec(0..150_usize, 1..5);
    prop_oneof![
        6 => (sizes(), 0..40_i64).prop_map(|(sizes, later)| Step::Append(sizes, later)),
        2 => prop::option::of(0..6_usize).prop_map(Step::Hold),
        3 => (0..6_usize).prop_map(Step::Commit),
        1 => (0..60_i64).prop_map(Step::Expire),
        1 => Just(Step::Reopen),
        1 => (sizes(), 0..=256_usize).prop_map(|(sizes, part)| Step::Crash(sizes, part)),
    ]
}

/// The expected content.
#[derive(Debug)]
struct Model {
    limits: Limits,
    waiting: VecDeque<(u64, Body)>,
    /// Too old, but behind a held record: the next process finds them again.
    may_return: BTreeMap<u64, Body>,
    /// The last sequence seen.
    sequence: u64,
    held: Option<u64>,
    now_ms: i64,
    /// Makes each record unique.
    appended: u64,
}

impl Model {
    fn group(&mut self, sizes: &[usize], later_ms: i64) -> Vec<Body> {
        self.now_ms += later_ms;
        let mut group = Vec::new();
        for bytes in sizes {
            self.appended += 1;
            // Not strictly in order.
            let newest_ms = self.now_ms - self.appended.cast_signed() % 3 * 10;
            group.push(record_at(self.appended, *bytes, newest_ms));
        }
        group
    }

    /// Removes what is too old. Returns what it contained.
    fn expire(&mut self) -> Counts {
        let Some(age_max) = self.limits.age_max else {
            return Counts::default();
        };
        let horizon = self.now_ms - i64::try_from(age_max.as_millis()).unwrap();
        let start = self.behind(self.held);
        let mut expired = Counts::default();
        while let Some((_, record)) = self.waiting.get(start)
            && record.newest.millis() < horizon
        {
            let (sequence, record) = self.waiting.remove(start).unwrap();
            expired += record.counts;
            if start > 0 {
                self.may_return.insert(sequence, record);
            }
        }
        expired
    }

    fn behind(&self, sequence: Option<u64>) -> usize {
        self.waiting
            .iter()
            .filter(|(found, _)| Some(*found) <= sequence)
            .count()
    }

    fn commit(&mut self, through: u64) {
        self.waiting.retain(|(sequence, _)| *sequence > through);
        self.may_return.retain(|sequence, _| *sequence > through);
    }

    /// Compares, and determines what was dropped to make room: it must be reported, must not be
    /// held, and must be the oldest if nothing is held.
    fn compare(&mut self, queue: &mut Queue, age: Counts, restarted: bool) {
        let found = entries(queue);
        if restarted {
            for entry in &found {
                if let Some(record) = self.may_return.remove(&entry.sequence) {
                    let at = self.behind(Some(entry.sequence));
                    self.waiting.insert(at, (entry.sequence, record));
                }
            }
        }
        let mut found = found.into_iter().peekable();
        let (mut gone, mut left) = (Counts::default(), VecDeque::new());
        for (sequence, record) in self.waiting.drain(..) {
            if let Some(entry) = found.next_if(|entry| entry.sequence == sequence) {
                assert_eq!(entry.body, record);
                left.push_back((sequence, record));
            } else {
                assert!(Some(sequence) > self.held, "record {sequence} was held");
                assert!(
                    self.held.is_some() || left.is_empty(),
                    "{sequence} is not the oldest"
                );
                gone += record.counts;
            }
        }
        assert_eq!(found.next(), None, "nobody appended that");
        self.waiting = left;
        let mut lost = queue.take_lost();
        if restarted {
            // Records that returned and did not fit were counted again.
            let again = std::mem::take(&mut self.may_return);
            let again: Counts = again.into_values().map(|record| record.counts).sum();
            assert!(lost.full.samples - gone.samples <= again.samples);
            lost.full = gone;
        }
        let expected = Lost {
            full: gone,
            age,
            ..Lost::default()
        };
        assert_eq!(lost, expected);
        let pending = self.waiting.iter().map(|(_, record)| record.counts).sum();
        assert_eq!(queue.pending(), pending);
        assert_eq!(queue.is_empty(), self.waiting.is_empty());
        let bytes: u64 = self
            .waiting
            .iter()
            .map(|(_, record)| record.bytes.len() as u64)
            .sum();
        assert_eq!(queue.pending_bytes(), bytes);
    }

    /// Assigns the queue's sequences to the appended records.
    fn took(&mut self, queue: &mut Queue, group: Vec<Body>) {
        for record in group {
            self.sequence += 1;
            self.waiting.push_back((self.sequence, record));
        }
        let last = entries(queue).last().map(|entry| entry.sequence);
        assert!(last.is_none() || last == self.waiting.back().map(|last| last.0));
    }
}

/// Returns the number and the size of the last segment.
fn last_segment(folder: &Folder) -> Option<(u64, u64)> {
    let last = folder.segments().pop()?;
    Some((last, fs::metadata(folder.segment(last)).unwrap().len()))
}

/// Truncates the file that a group was written to. Returns how many of its records remain: all or
/// none.
fn cut(folder: &Folder, before: Option<(u64, u64)>, group: &[Body], part: usize) -> usize {
    let (last, length) = last_segment(folder).unwrap();
    let start = before
        .filter(|(first, _)| *first == last)
        .map_or(0, |(_, length)| length);
    let end = start + (length - start) * part as u64 / 256;
    let file = fs::OpenOptions::new()
        .write(true)
        .open(folder.segment(last))
        .unwrap();
    file.set_len(end).unwrap();
    let mut offset = if start == 0 {
        SEGMENT_HEADER as u64
    } else {
        start
    };
    let fits = |record: &&Body| {
        offset += (RECORD_HEADER + record.bytes.len()) as u64;
        offset <= end
    };
    let is_whole = group.iter().take_while(fits).count() == group.len();
    if is_whole { group.len() } else { 0 }
}

fn run(limits: Limits, segment_bytes: Option<u64>, steps: Vec<Step>) {
    let folder = segment_bytes.map(|segment_bytes| Folder {
        limits,
        ..Folder::new(segment_bytes)
    });
    let open = || {
        folder
            .as_ref()
            .map_or_else(|| Queue::in_memory(limits), Folder::open)
    };
    let mut queue = open();
    let mut model = Model {
        limits,
        waiting: VecDeque::new(),
        may_return: BTreeMap::new(),
        sequence: 0,
        held: None,
        now_ms: 0,
        appended: 0,
    };
    for step in steps {
        let mut age = Counts::default();
        let mut restarted = false;
        match (step, &folder) {
            (Step::Append(sizes, later_ms), _) => {
                let group = model.group(&sizes, later_ms);
                age = model.expire();
                queue.append(group.clone(), model.now_ms);
                model.took(&mut queue, group);
            }
            (Step::Hold(count), _) => {
                let through = count.and_then(|count| model.waiting.get(count));
                model.held = through.map(|(sequence, _)| *sequence);
                queue.hold(model.held);
            }
            (Step::Commit(count), _) => {
                if let Some((through, _)) = model.waiting.get(count).cloned() {
                    model.commit(through);
                    queue.commit(through);
                }
            }
            (Step::Expire(later_ms), _) => {
                model.now_ms += later_ms;
                age = model.expire();
                queue.expire(model.now_ms);
            }
            (Step::Reopen | Step::Crash(..), None) => {}
            (Step::Reopen, Some(_)) => {
                drop(queue);
                queue = open();
                restarted = true;
                model.held = None;
            }
            (Step::Crash(sizes, part), Some(folder)) => {
                let group = model.group(&sizes, 1);
                let before = last_segment(folder);
                let expired = model.expire();
                queue.append(group.clone(), model.now_ms);
                model.took(&mut queue, group.clone());
                model.compare(&mut queue, expired, false);
                drop(queue);
                let whole = cut(folder, before, &group, part);
                let lost = group.len() - whole;
                model.waiting.truncate(model.waiting.len() - lost);
                model.sequence -= lost as u64;
                queue = open();
                restarted = true;
                model.held = None;
            }
        }
        model.compare(&mut queue, age, restarted);
    }
}

proptest! {
    #[test]
    fn without_limits_it_is_a_list(steps in prop::collection::vec(step(), 0..40), disk in any::<bool>()) {
        run(UNLIMITED, disk.then_some(400), steps);
    }

    #[test]
    fn with_limits_it_is_a_list_that_tells_what_it_drops(
        steps in prop::collection::vec(step(), 0..60),
        disk in any::<bool>(),
        bytes_max in 1000..3000_u64,
        age_max in prop::option::of(30..200_u64),
    ) {
        let age_max = age_max.map(Duration::from_millis);
        run(Limits { bytes_max, age_max }, disk.then_some(400), steps);
    }
}
