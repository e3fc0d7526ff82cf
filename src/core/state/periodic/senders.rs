//! Counts the processes that send a task at the same rhythm, such as two beats.
//!
//! Input: which process sent a task, and when by its clock. Output: how many of the processes
//! repeat the same gap between their sends.
//!
//! A second beat sends every periodic task twice, with any delay between the two: crontabs are sent
//! at the same time, intervals count from the start of each beat. So each process is looked at on
//! its own, and has to keep its rhythm for long enough to rule out chance. If a cron job sends its
//! requests to several web processes in turn, each of them has a rhythm too, so processes that take
//! turns do not count.

use std::time::Duration;

use xxhash_rust::xxh3::xxh3_64;

use super::history::PERIOD_MIN;
use crate::timestamp::Timestamp;

/// The most processes that are remembered for a name. Further ones are ignored until one of these
/// goes silent, so that of many processes in step, such as workers that all have `-B`, some stay
/// long enough to be found.
const SENDERS_MAX: usize = 8;

/// A process without a rhythm is silent once this many sends of ignored ones came after its own.
/// More than there are replicas of a worker, because all of them may send before it does again.
const IGNORED_MAX: u8 = 250;

/// Sends with a shorter silence between them belong to one occurrence: several schedule entries for
/// one task, a batch, or a stream of tasks. A stream without a pause has no gaps, so chance cannot
/// make them equal.
const SILENCE_MIN: Duration = Duration::from_secs(PERIOD_MIN.unsigned_abs());

/// How much two gaps with the same rhythm may differ: a tenth, within these limits. A busy beat
/// sends up to half a minute late.
const SLACK_MIN: Duration = Duration::from_secs(3);
const SLACK_MAX: Duration = Duration::from_secs(30);

/// A rhythm is believed once it was repeated for this long, but at least and at most this many
/// times. Short gaps are equal by chance more easily and more often: requests at random, or at some
/// of all whole minutes. A daily task is believed with its fifth send.
const REPEATED_FOR: Duration = Duration::from_secs(6 * 3_600);
const REPEATED_MIN: u8 = 3;
const REPEATED_MAX: u8 = 12;

/// How many repetitions a gap of another length outweighs. With this, processes that each send at
/// two fifths of all whole minutes, at random, do not get far.
const DEVIATION: u8 = 3;

/// How many repetitions are kept in reserve, so that a late send, which changes two gaps, or a night
/// does not end the rhythm.
const RESERVE: u8 = 2 * DEVIATION;

/// How long after the last send a rhythm goes on: this many gaps, and this time.
const SILENT_GAPS: u32 = 2;
const SILENT_MAX: Duration = Duration::from_secs(30);

/// How far from their turn processes that take turns may send: the fiftieth part of a gap, but not
/// more than this. Two beats whose intervals happen to be that evenly spread are not found, for as
/// long as they do not drift apart.
const TURN_PARTS: u32 = 50;
const TURN_MAX: Duration = Duration::from_secs(30);

/// Identifies a client process by the hash of its name, because each process has a new one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::state) struct ProcessId(u32);

impl ProcessId {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "half of a hash is a hash, and few processes are compared"
    )]
    pub(in crate::state) fn of(hostname: &str) -> Self {
        Self(xxh3_64(hostname.as_bytes()) as u32)
    }
}

/// The processes that sent one task most recently.
#[derive(Clone, Debug, Default)]
pub(super) struct Senders {
    list: [Sender; SENDERS_MAX],
    len: usize,
}

/// What is known about the sends of one task by one process.
#[derive(Clone, Copy, Debug, Default)]
struct Sender {
    process: ProcessId,
    /// The first and the last send of the latest occurrence.
    began: Timestamp,
    last_sent: Timestamp,
    /// The usual time between two occurrences; zero before the second one.
    gap: Duration,
    /// How often it was repeated, less the deviations.
    repeated: u8,
    /// How many sends of ignored processes came after its own.
    ignored: u8,
}

impl Senders {
    /// Records a send. Sends may be repeated; one that is older than the newest of its process is
    /// ignored.
    pub(super) fn sent(&mut self, process: ProcessId, at: Timestamp) {
        let known = &mut self.list[..self.len];
        if let Some(sender) = known.iter_mut().find(|sender| sender.process == process) {
            sender.sent(at);
            return;
        }
        let new = Sender {
            process,
            began: at,
            last_sent: at,
            ..Sender::default()
        };
        if self.len < SENDERS_MAX {
            self.list[self.len] = new;
            self.len += 1;
            return;
        }
        let silent = known.iter_mut().filter(|sender| sender.is_silent(at));
        if let Some(silent) = silent.min_by_key(|sender| sender.last_sent) {
            *silent = new;
        } else {
            for sender in known {
                sender.ignored = sender.ignored.saturating_add(1);
            }
        }
    }

    /// The number of processes that send at the same rhythm at `now`; `None` if it is less than
    /// two.
    pub(super) fn in_rhythm(&self, now: Timestamp) -> Option<u64> {
        let senders = self.list[..self.len].iter();
        let have_rhythm = senders.filter(|sender| sender.has_rhythm(now));
        let counts = have_rhythm.clone().map(|one| {
            if !one.is_regular() {
                return 0;
            }
            let same = have_rhythm.clone().filter(|it| is_same(one.gap, it.gap));
            let regular = same.clone().filter(|it| it.is_regular()).count();
            // Of processes that take turns, one is the first to be regular.
            let takes_turns = || Phases::of(same, one).takes_turns();
            if regular > 1 && !takes_turns() {
                regular as u64
            } else {
                0
            }
        });
        counts.max().filter(|count| *count > 0)
    }
}

impl Sender {
    fn sent(&mut self, at: Timestamp) {
        if at <= self.last_sent {
            return;
        }
        let silence = at.since(self.last_sent);
        let is_back = !self.is_in_time(at);
        self.last_sent = at;
        self.ignored = 0;
        if silence < SILENCE_MIN {
            return;
        }
        let gap = at.since(self.began);
        self.began = at;
        if self.gap.is_zero() {
            self.gap = gap;
        } else if is_same(self.gap, gap) {
            // The first one may have been unusual.
            self.gap = (self.gap * 3 + gap) / 4;
            self.repeated = (self.repeated + 1).min(repetitions(self.gap) + RESERVE);
        } else if self.repeated == 0 {
            self.gap = gap;
        } else {
            self.repeated = self.repeated.saturating_sub(DEVIATION);
        }
        if is_back {
            self.resume();
        }
    }

    /// Requires some repetitions after a silence. Until then, a process that sent instead, as when two
    /// beats take over from each other, is no longer in time.
    fn resume(&mut self) {
        let replaced = self.gap * SILENT_GAPS + SILENT_MAX;
        let more = replaced.as_secs() / self.gap.as_secs().max(1) + 1;
        let more = u8::try_from(more).unwrap_or(u8::MAX);
        let kept = repetitions(self.gap).saturating_sub(more);
        self.repeated = self.repeated.min(kept);
    }

    /// Whether the gap was repeated often enough.
    fn is_regular(&self) -> bool {
        self.repeated >= repetitions(self.gap)
    }

    /// Whether the gap was repeated, and the next send may still come.
    fn has_rhythm(&self, now: Timestamp) -> bool {
        self.repeated > 0 && self.is_in_time(now)
    }

    fn is_silent(&self, now: Timestamp) -> bool {
        let is_late = !self.gap.is_zero() && !self.is_in_time(now);
        is_late || (self.repeated == 0 && self.ignored >= IGNORED_MAX)
    }

    fn is_in_time(&self, now: Timestamp) -> bool {
        now.since(self.last_sent) <= self.gap * SILENT_GAPS + SILENT_MAX
    }
}

/// When processes with the same gap send, as times after the first of them, in order.
struct Phases {
    gap: Duration,
    list: [Duration; SENDERS_MAX],
    len: usize,
}

impl Phases {
    fn of<'a>(senders: impl Iterator<Item = &'a Sender>, first: &Sender) -> Self {
        let mut list = [Duration::ZERO; SENDERS_MAX];
        let mut len = 0;
        for (place, sender) in list.iter_mut().zip(senders) {
            *place = phase(sender.began, first.began, first.gap);
            len += 1;
        }
        list[..len].sort_unstable();
        Self {
            gap: first.gap,
            list,
            len,
        }
    }

    /// Whether they are evenly spread.
    fn takes_turns(&self) -> bool {
        let phases = &self.list[..self.len];
        let next = phases.iter().skip(1).copied();
        let next = next.chain([phases[0] + self.gap]);
        let turn = self.gap / u32::try_from(self.len).unwrap_or(1);
        let near = (self.gap / TURN_PARTS).min(TURN_MAX);
        let mut apart = phases.iter().zip(next).map(|(phase, next)| next - *phase);
        apart.all(|apart| apart.abs_diff(turn) <= near)
    }
}

fn is_same(gap: Duration, other: Duration) -> bool {
    gap.abs_diff(other) <= (gap / 10).clamp(SLACK_MIN, SLACK_MAX)
}

/// How often a gap has to be repeated.
fn repetitions(gap: Duration) -> u8 {
    let times = REPEATED_FOR.as_secs() / gap.as_secs().max(1);
    let times = u8::try_from(times).unwrap_or(u8::MAX);
    times.clamp(REPEATED_MIN, REPEATED_MAX)
}

/// How long after a send at `from` one at `at` is, apart from whole gaps.
fn phase(at: Timestamp, from: Timestamp, gap: Duration) -> Duration {
    let gap = i64::try_from(gap.as_micros()).unwrap_or(i64::MAX).max(1);
    let after = at.micros().saturating_sub(from.micros()).rem_euclid(gap);
    Duration::from_micros(after.unsigned_abs())
}
