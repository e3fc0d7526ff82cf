//! The standard output of commands.

use std::io::{self, ErrorKind, Write};

/// Writes to standard output. A reader that has gone away, such as `head`, does not want the rest.
pub fn put(bytes: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}
