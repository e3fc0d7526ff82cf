//! Reads recordings: their headers first, then the messages of all of them in order of time.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use super::line::{Broker, Content, Header, Line, LineError, VERSION};
use crate::event::{Batch, BrokerId, Payload, Position};
use crate::timestamp::Timestamp;

/// The longest line: the largest message in base64, twice over for escapes.
const LINE_MAX: u64 = 64 << 20;

/// Maximum number of messages in a batch.
const BATCH_MESSAGES: usize = 512;

/// Why a recording cannot be replayed.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    #[error("{file}: {source}")]
    Open { file: String, source: io::Error },
    #[error("{file}:1: not a recording of `celeriac record`: {source}")]
    Header {
        file: String,
        source: serde_json::Error,
    },
    #[error(
        "{file}:1: recordings of version {version} are not supported, only {VERSION}; use a newer celeriac"
    )]
    Version { file: String, version: u64 },
}

/// All recordings of a replay.
pub(super) struct Recordings {
    recordings: Vec<Recording>,
    /// The brokers of all headers; those with the same name are the same.
    pub(super) brokers: Vec<Broker>,
    /// Whether each of those is from a scrubbed recording.
    pub(super) scrubbed: Vec<bool>,
    /// When the first recording began.
    pub(super) started: Timestamp,
    pub(super) tally: Tally,
}

/// What has been read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) messages: u64,
    /// Lines that are not part of a recording.
    pub(super) skipped: u64,
    /// Messages of which the recording has only the length.
    pub(super) omitted: u64,
    /// Lines that say that messages are missing.
    pub(super) lost: u64,
    /// The newest time on any line.
    pub(super) newest: Timestamp,
}

struct Recording {
    file: String,
    lines: Box<dyn BufRead + Send>,
    number: u64,
    /// The index of each of its brokers among those of all recordings.
    brokers: Vec<usize>,
    next: Option<Message>,
}

struct Message {
    at: Timestamp,
    broker: usize,
    payload: Payload,
}

impl Recordings {
    /// Opens files, `-` being standard input, and reads their headers.
    pub(super) fn open(
        files: &[impl AsRef<Path>],
        complain: &mut dyn FnMut(String),
    ) -> Result<Self, ReadError> {
        let mut inputs = Vec::new();
        for file in files {
            let path = file.as_ref();
            let file = path.display().to_string();
            let lines: Box<dyn BufRead + Send> = if path == Path::new("-") {
                Box::new(BufReader::new(io::stdin()))
            } else {
                match File::open(path) {
                    Ok(opened) => Box::new(BufReader::new(opened)),
                    Err(source) => return Err(ReadError::Open { file, source }),
                }
            };
            inputs.push((file, lines));
        }
        Self::read(inputs, complain)
    }

    fn read(
        inputs: Vec<(String, Box<dyn BufRead + Send>)>,
        complain: &mut dyn FnMut(String),
    ) -> Result<Self, ReadError> {
        let mut all = Self {
            recordings: Vec::new(),
            brokers: Vec::new(),
            scrubbed: Vec::new(),
            started: Timestamp::from_micros(i64::MAX),
            tally: Tally::default(),
        };
        for (file, mut lines) in inputs {
            let header = header(&file, &mut lines)?;
            let started = Timestamp::from_seconds(header.started).unwrap_or_default();
            all.started = all.started.min(started);
            let mut brokers = Vec::new();
            for broker in header.brokers {
                let same = |known: &Broker| known.name == broker.name;
                let at = all.brokers.iter().position(same).unwrap_or_else(|| {
                    all.brokers.push(broker);
                    all.scrubbed.push(false);
                    all.brokers.len() - 1
                });
                all.scrubbed[at] |= header.scrubbed;
                brokers.push(at);
            }
            all.recordings.push(Recording {
                file,
                lines,
                number: 1,
                brokers,
                next: None,
            });
        }
        for recording in &mut all.recordings {
            recording.advance(&mut all.tally, complain);
        }
        Ok(all)
    }

    /// The next messages that one broker received at one time.
    pub(super) fn next_batch(&mut self, complain: &mut dyn FnMut(String)) -> Option<Batch> {
        let Self {
            recordings, tally, ..
        } = self;
        let waiting = recordings.iter().enumerate();
        let waiting = waiting.filter_map(|(at, one)| Some((one.next.as_ref()?.at, at)));
        let (received, at) = waiting.min()?;
        let recording = &mut recordings[at];
        let broker = recording.next.as_ref()?.broker;
        let mut payloads = Vec::new();
        while payloads.len() < BATCH_MESSAGES
            && let Some(message) = recording
                .next
                .take_if(|next| (next.at, next.broker) == (received, broker))
        {
            payloads.push(message.payload);
            tally.messages += 1;
            recording.advance(tally, complain);
        }
        Some(Batch {
            broker: BrokerId::new(broker),
            received,
            payloads,
            position: Position::Transient,
        })
    }
}

impl Recording {
    /// Reads up to the next message. Reports lines that are not part of a recording.
    fn advance(&mut self, tally: &mut Tally, complain: &mut dyn FnMut(String)) {
        loop {
            let text = match line(&mut self.lines) {
                Ok(Some(text)) => text,
                Ok(None) => return,
                Err(error) => {
                    complain(format!("{}:{}: {error}", self.file, self.number + 1));
                    tally.skipped += 1;
                    return;
                }
            };
            self.number += 1;
            match self.message(&text, tally) {
                Ok(None) => {}
                Ok(Some(message)) => {
                    self.next = Some(message);
                    return;
                }
                Err(error) => {
                    complain(format!("{}:{}: {error}; skipped", self.file, self.number));
                    tally.skipped += 1;
                }
            }
        }
    }

    fn message(&self, text: &[u8], tally: &mut Tally) -> Result<Option<Message>, LineError> {
        let (line, at) = Line::parse(text)?;
        let broker = *self.brokers.get(line.broker).ok_or(LineError::Broker)?;
        let missing = match &line.content {
            Content::Lost { .. } => Some(&mut tally.lost),
            Content::Omitted { .. } => Some(&mut tally.omitted),
            Content::Body { .. }
            | Content::Envelope { .. }
            | Content::EnvelopeBase64 { .. }
            | Content::End { .. } => None,
        };
        if let Some(count) = missing {
            *count += 1;
        }
        let payload = line.content.payload()?;
        tally.newest = tally.newest.max(at);
        Ok(payload.map(|payload| Message {
            at,
            broker,
            payload,
        }))
    }
}

fn header(file: &str, lines: &mut Box<dyn BufRead + Send>) -> Result<Header, ReadError> {
    #[derive(serde::Deserialize)]
    struct Version {
        celeriac_recording: u64,
    }
    let file = file.to_owned();
    let text = match line(lines) {
        Ok(text) => text.unwrap_or_default(),
        Err(source) => return Err(ReadError::Open { file, source }),
    };
    match serde_json::from_slice::<Version>(&text) {
        Err(source) => Err(ReadError::Header { file, source }),
        Ok(version) if version.celeriac_recording != u64::from(VERSION) => {
            let version = version.celeriac_recording;
            Err(ReadError::Version { file, version })
        }
        Ok(_) => {
            let header = serde_json::from_slice(&text);
            header.map_err(|source| ReadError::Header { file, source })
        }
    }
}

/// Reads a line; `None` at the end.
fn line(lines: &mut Box<dyn BufRead + Send>) -> io::Result<Option<Vec<u8>>> {
    let mut text = Vec::new();
    lines.take(LINE_MAX).read_until(b'\n', &mut text)?;
    if text.last() == Some(&b'\n') {
        text.pop();
    } else if text.len() as u64 == LINE_MAX {
        return Err(io::Error::other("the line is too long; reading ends here"));
    }
    Ok((!text.is_empty() || lines.fill_buf().is_ok_and(|rest| !rest.is_empty())).then_some(text))
}
