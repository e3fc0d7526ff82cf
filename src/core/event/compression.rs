//! Decompresses bodies, up to a size limit.
//!
//! Takes the value of Kombu's header `compression` and the compressed bytes. Returns the body in a
//! reusable buffer. Celery does not compress events, but a publisher whose producers are configured
//! to compress everything does. A truncated stream, or one of a different format than the header
//! says, is refused entirely.
//!
//! Source: kombu 5.7.0, `compression.py`. Brotli, which Kombu supports if the library is installed,
//! is not supported.

use std::io::Read;

use flate2::bufread::ZlibDecoder;
use lzma_rust2::XzReader;
use ruzstd::decoding::StreamingDecoder;

use super::DecodeError;

/// The largest decompressed body: RabbitMQ 4's limit for uncompressed ones. A Celery batch has up
/// to 24 events of a few KiB. A small stream that claims more is refused once it has produced this
/// much.
pub(super) const BODY_MAX: usize = 16 << 20;

/// The most memory that a stream may require for its decoder: a window beyond [`BODY_MAX`] is
/// useless. Python's `lzma` requires 8 MiB, its `zstd` 2 MiB.
const WINDOW_MAX: usize = BODY_MAX + (1 << 20);

/// How much is decompressed at a time.
const CHUNK: usize = 4 << 10;

/// The format that a body is compressed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// What Kombu calls `gzip`: a zlib stream, not a gzip file.
    Zlib,
    Bzip2,
    Zstd,
    /// What Kombu calls `lzma`: an xz container.
    Xz,
    /// An unsupported format.
    Unknown,
}

impl Compression {
    /// Parses the header, which contains a content type or one of its short names. `None` if it is
    /// empty, which Kombu treats as uncompressed.
    pub fn of(text: &str) -> Option<Self> {
        Some(match text {
            "" => return None,
            "application/x-gzip" | "gzip" | "zlib" => Self::Zlib,
            "application/x-bz2" | "application/x-bzip2" | "bzip2" | "bzip" => Self::Bzip2,
            "application/zstd" | "zstd" | "zstandard" => Self::Zstd,
            "application/x-lzma" | "lzma" | "xz" => Self::Xz,
            _ => Self::Unknown,
        })
    }

    /// A name that [`Compression::of`] reads back.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Zlib => "zlib",
            Self::Bzip2 => "bzip2",
            Self::Zstd => "zstd",
            Self::Xz => "xz",
            Self::Unknown => "unknown",
        }
    }

    /// Decompresses `bytes` into `body`, replacing its content. Calls `may_grow` with the current
    /// length before growing beyond each [`CHUNK`].
    pub(super) fn open(
        self,
        bytes: &[u8],
        body: &mut Vec<u8>,
        may_grow: impl FnMut(usize) -> bool,
    ) -> Result<(), DecodeError> {
        match self {
            Self::Zlib => read(ZlibDecoder::new(bytes), body, may_grow),
            Self::Bzip2 => read(bzip2::read::BzDecoder::new(bytes), body, may_grow),
            Self::Zstd => {
                let stream = StreamingDecoder::new_with_max_window_size(bytes, WINDOW_MAX as u64);
                read(stream.map_err(|_| DecodeError::Stream)?, body, may_grow)
            }
            Self::Xz => {
                let kibibytes = u32::try_from(WINDOW_MAX >> 10).unwrap_or(u32::MAX);
                let stream = XzReader::new_mem_limit(bytes, false, kibibytes);
                read(stream, body, may_grow)
            }
            Self::Unknown => Err(DecodeError::Compressed),
        }
    }
}

/// Reads a stream to its end, or to a limit.
fn read(
    mut stream: impl Read,
    body: &mut Vec<u8>,
    mut may_grow: impl FnMut(usize) -> bool,
) -> Result<(), DecodeError> {
    body.clear();
    loop {
        let chunk = stream.by_ref().take(CHUNK as u64).read_to_end(body);
        if chunk.map_err(|_| DecodeError::Stream)? < CHUNK {
            return Ok(());
        }
        if body.len() > BODY_MAX {
            return Err(DecodeError::Inflated);
        }
        if !may_grow(body.len()) {
            return Err(DecodeError::Exhausted);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_is_read_as_kombu_reads_it() {
        let cases = [
            ("application/x-gzip", Some(Compression::Zlib)),
            ("zlib", Some(Compression::Zlib)),
            ("application/x-bz2", Some(Compression::Bzip2)),
            ("application/zstd", Some(Compression::Zstd)),
            ("application/x-lzma", Some(Compression::Xz)),
            ("application/x-brotli", Some(Compression::Unknown)),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(Compression::of(text), expected, "{text}");
        }
    }

    #[test]
    fn a_window_beyond_the_limit_is_refused() {
        // A frame that asks for a window of 128 MiB, and holds an empty block.
        let frame = b"\x28\xb5\x2f\xfd\x00\x88\x01\x00\x00";
        let opened = Compression::Zstd.open(frame, &mut Vec::new(), |_| true);
        assert_eq!(opened, Err(DecodeError::Stream));

        // As Python's `lzma.compress(b"{}", preset=9)`: a dictionary of 64 MiB.
        let block = b"\xfd7zXZ\x00\x00\x04\xe6\xd6\xb4F\x02\x00!\x01\x1c\x00\x00\x00\x10\xcfX\xcc";
        let opened = Compression::Xz.open(block, &mut Vec::new(), |_| true);
        assert_eq!(opened, Err(DecodeError::Stream));
    }
}
