//! The queue on disk when its process is killed, and when the kernel limits the file size.
//!
//! The process is this test binary, started again: it appends to the queue named in a variable, and prints the
//! sequences after each `append` has returned.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use celeriac::counts::Counts;
use celeriac::queue::{Entry, Limits, Queue};
use celeriac::timestamp::Timestamp;
use celeriac::wire::{Body, Protocol};

const FOLDER: &str = "CELERIAC_TEST_QUEUE";
const LIMITS: Limits = Limits {
    bytes_max: 64 << 20,
    age_max: None,
};

/// Returns the record with this sequence, which is the same in every process.
fn record(sequence: u64) -> Body {
    // From a few bytes to several pages.
    let size = sequence.wrapping_mul(0x9e37_79b9) % (1 << (sequence % 16 + 1));
    let byte = |at: u64| (sequence * 31 + at * 7).to_le_bytes()[0];
    let time = Timestamp::from_millis(i64::try_from(sequence).expect("a small number"));
    Body {
        protocol: Protocol::V1,
        bytes: (0..size).map(byte).collect::<Vec<_>>().into(),
        counts: Counts {
            samples: sequence,
            ..Counts::default()
        },
        oldest: time,
        newest: time,
    }
}

fn entries(queue: &mut Queue) -> Vec<Entry> {
    let (mut entries, mut after) = (Vec::new(), None);
    while let Some(entry) = queue.next(after) {
        after = Some(entry.sequence);
        entries.push(entry);
    }
    entries
}

/// The body of the process that the other tests start. Does nothing in a normal test run.
#[test]
fn writer() {
    let Some(folder) = std::env::var_os(FOLDER) else {
        return;
    };
    let mut queue = Queue::open(Path::new(&folder), LIMITS).expect("the folder of the test");
    let mut next = entries(&mut queue)
        .last()
        .map_or(1, |entry| entry.sequence + 1);
    let mut out = std::io::stdout().lock();
    loop {
        let size = next % 5 + 1;
        queue.append((next..next + size).map(record).collect(), 0);
        // A single write, so that no line is torn.
        let mut lines = String::new();
        let word = if queue.trouble().is_some() {
            "waits"
        } else {
            "durable"
        };
        for sequence in next..next + size {
            writeln!(lines, "{word} {sequence}").expect("a string takes it");
        }
        // The reader is gone at the end.
        if out
            .write_all(lines.as_bytes())
            .and_then(|()| out.flush())
            .is_err()
        {
            return;
        }
        next += size;
    }
}

/// Starts the process, through a shell that sets it up.
fn start(folder: &Path, setup: &str) -> Child {
    let binary = std::env::current_exe().expect("a path");
    let script = format!("{setup} exec \"$0\" queue::writer --exact --nocapture");
    Command::new("sh")
        .args(["-c", &script])
        .arg(binary)
        .env(FOLDER, folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a shell")
}

/// Reads `count` printed sequences, kills the process, and reads the rest. Returns each sequence with its keyword.
fn kill_after(mut child: Child, count: usize) -> Vec<(String, u64)> {
    let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let mut printed = Vec::new();
    for line in lines {
        let line = line.expect("text");
        if let Some((word @ ("durable" | "waits"), sequence)) = line.split_once(' ') {
            printed.push((word.to_owned(), sequence.parse().expect("a number")));
        }
        if printed.len() == count {
            child.kill().expect("it runs");
        }
    }
    child.wait().expect("it was killed");
    printed
}

#[test]
fn what_append_returned_for_survives_a_kill_at_any_moment() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut total, mut committed) = (0, 0);
    for round in 0..50 {
        let printed = kill_after(start(folder.path(), ""), fastrand::usize(1..40));
        assert!(
            printed.iter().all(|(word, _)| word == "durable"),
            "{printed:?}"
        );
        total += printed.len();

        let mut queue = Queue::open(folder.path(), LIMITS).expect("nobody has it open");
        let found = entries(&mut queue);
        // All records from the first uncommitted one on, with the right bytes and without duplicates.
        for (entry, sequence) in found.iter().zip(committed + 1..) {
            assert_eq!(entry.sequence, sequence, "round {round}");
            assert_eq!(entry.body, record(sequence), "round {round}");
            assert!(entry.recovered);
        }
        let last = found.last().expect("something was appended").sequence;
        let promised = printed.iter().map(|(_, sequence)| *sequence).max();
        assert!(
            promised <= Some(last),
            "round {round}: {promised:?} is missing, {last} is the last"
        );
        assert!(queue.take_lost().is_zero(), "round {round}");
        // Commit some, but not the last one, which shows the next process where to continue.
        committed = fastrand::u64(committed..last);
        queue.commit(committed);
    }
    println!("50 kills, {total} records");
}

#[test]
fn a_limit_on_the_size_of_files_delays_and_loses_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    // 64 blocks of 512 bytes, while a segment could grow to 4 MiB. The signal would end the process; the error does
    // not.
    let child = start(folder.path(), "trap '' XFSZ; ulimit -f 64;");
    let printed = kill_after(child, 300);
    let waited = printed.iter().filter(|(word, _)| word == "waits").count();
    assert!(waited > 0, "the limit was not met");
    let durable = printed.iter().rfind(|(word, _)| word == "durable");
    let durable = durable.expect("the first fit").1;
    println!(
        "{} records, {waited} waited in memory at first, {durable} are durable",
        printed.len()
    );

    let mut queue = Queue::open(folder.path(), LIMITS).expect("nobody has it open");
    let found = entries(&mut queue);
    assert!(
        found
            .iter()
            .map(|entry| entry.sequence)
            .eq(1..=found.len() as u64)
    );
    assert!(
        found
            .iter()
            .all(|entry| entry.body == record(entry.sequence))
    );
    assert!(found.len() as u64 >= durable);
    assert!(queue.take_lost().is_zero());
    let files = std::fs::read_dir(folder.path()).expect("a folder");
    for file in files.map(|file| file.expect("an entry")) {
        let size = file.metadata().expect("a file").len();
        assert!(size <= 64 * 1024, "{:?} has {size} bytes", file.path());
    }
}
