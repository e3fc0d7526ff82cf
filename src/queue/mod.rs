//! stub of the queue to come
use std::collections::VecDeque;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;

pub use crate::counts::Counts;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    V1,
    V2,
}
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub kind: Kind,
    pub bytes: Bytes,
    pub counts: Counts,
    pub oldest_ms: i64,
    pub newest_ms: i64,
}
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub sequence: u64,
    pub group: u64,
    pub record: Record,
    pub recovered: bool,
}
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub bytes_max: u64,
    pub age_max: Option<Duration>,
}
#[must_use]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    pub full: Counts,
    pub age: Counts,
    pub damaged: Counts,
    pub damaged_bytes: u64,
}
#[derive(Debug, thiserror::Error)]
#[error("x")]
pub struct OpenError;
#[derive(Debug, thiserror::Error)]
#[error("x")]
pub struct Trouble;
#[derive(Debug)]
pub struct Queue {
    entries: VecDeque<Entry>,
    limits: Limits,
    lost: Lost,
    sequence: u64,
    hold: u64,
    newest: Option<i64>,
}
impl Queue {
    pub fn in_memory(limits: Limits) -> Self {
        Self {
            entries: VecDeque::new(),
            limits,
            lost: Lost::default(),
            sequence: 0,
            hold: 0,
            newest: None,
        }
    }
    pub fn open(_: &Path, limits: Limits) -> Result<Self, OpenError> {
        Ok(Self::in_memory(limits))
    }
    pub fn append(&mut self, group: Vec<Record>, _now_ms: i64) {
        let first = self.sequence + 1;
        for record in group {
            self.sequence += 1;
            self.newest = self.newest.max(Some(record.newest_ms));
            self.entries.push_back(Entry {
                sequence: self.sequence,
                group: first,
                record,
                recovered: false,
            });
        }
        while self.pending_bytes() > self.limits.bytes_max {
            let Some(at) = self.entries.iter().position(|e| e.sequence > self.hold) else {
                break;
            };
            if let Some(e) = self.entries.remove(at) {
                self.lost.full += e.record.counts;
            }
        }
    }
    pub fn next(&mut self, after: Option<u64>) -> Option<Entry> {
        self.entries
            .iter()
            .find(|e| after.is_none_or(|a| e.sequence > a))
            .cloned()
    }
    pub fn hold(&mut self, through: Option<u64>) {
        self.hold = through.unwrap_or(0);
    }
    pub fn commit(&mut self, through: u64) {
        self.entries.retain(|e| e.sequence > through);
    }
    pub fn expire(&mut self, now_ms: i64) {
        let Some(age) = self.limits.age_max else {
            return;
        };
        let age = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
        let hold = self.hold;
        let lost = &mut self.lost;
        self.entries.retain(|e| {
            let old = e.sequence > hold && e.record.newest_ms < now_ms - age;
            if old {
                lost.age += e.record.counts;
            }
            !old
        });
    }
    pub fn take_lost(&mut self) -> Lost {
        std::mem::take(&mut self.lost)
    }
    pub fn pending(&self) -> Counts {
        self.entries.iter().map(|e| e.record.counts).sum()
    }
    pub fn pending_bytes(&self) -> u64 {
        self.entries
            .iter()
            .map(|e| e.record.bytes.len() as u64)
            .sum()
    }
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
    pub fn newest_ms(&self) -> Option<i64> {
        self.newest
    }
    pub fn first_group(&self) -> Option<u64> {
        self.entries.front().map(|e| e.group)
    }
    pub fn last_group(&self) -> Option<u64> {
        self.entries.back().map(|e| e.group)
    }
    pub fn is_durable(&self) -> bool {
        false
    }
    pub fn trouble(&self) -> Option<&Trouble> {
        None
    }
}
