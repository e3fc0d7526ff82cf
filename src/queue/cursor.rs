//! The cursor: how far records were removed from the queue, in a file that is replaced as a whole.

use std::io::{self, Read};

use super::directory::Directory;
use super::files::Files;
use super::frame;

/// The content of the cursor file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReadPosition {
    Sound {
        /// Records up to this sequence were delivered or given up.
        through: u64,
        /// The last sequence that was assigned.
        given: u64,
    },
    Missing,
    Unsound,
}

pub(super) fn read(directory: &Directory, files: &Files) -> io::Result<ReadPosition> {
    let file = match files.open(&directory.cursor()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(ReadPosition::Missing),
        opened => opened?,
    };
    let mut bytes = Vec::new();
    file.take(frame::CURSOR as u64 + 1)
        .read_to_end(&mut bytes)?;
    let content = <&[u8; frame::CURSOR]>::try_from(bytes.as_slice())
        .ok()
        .and_then(frame::cursor_content);
    Ok(content.map_or(ReadPosition::Unsound, |(through, given)| {
        ReadPosition::Sound { through, given }
    }))
}

/// Replaces the cursor without a sync: an outdated cursor only causes records to be sent again,
/// which does not justify a sync per request.
pub(super) fn write(
    directory: &Directory,
    files: &Files,
    through: u64,
    given: u64,
) -> io::Result<()> {
    let new = directory.cursor_new();
    let file = files.create(&new)?;
    files.write(&file, &frame::cursor(through, given), 0)?;
    files.rename(&new, &directory.cursor())
}
