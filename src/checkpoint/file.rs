//! The file format of a checkpoint, written and read part by part.

use std::io::{self, Read, Write};

use prost::Message;

use crate::saved::Checkpoint;

const MAGIC: &[u8; 8] = b"CELCHKPT";
const VERSION: u16 = 1;

/// Magic, version and gap.
const HEADER: usize = 12;

/// Maximum size of a part. Parts are usually about a megabyte.
const PART_BYTES_MAX: u32 = 1 << 30;

/// Why a file is not a usable checkpoint.
#[derive(Debug, thiserror::Error)]
pub enum Unsound {
    #[error("cannot read the file: {0}")]
    Read(#[from] io::Error),
    #[error("the file is not a celeriac checkpoint")]
    Foreign,
    #[error("the file has format version {0}; this release reads version {VERSION}")]
    Version(u16),
    #[error("the file is truncated")]
    Torn,
    #[error("a part of the file is larger than 1 GiB")]
    Large,
    #[error("the checksum does not match")]
    Checksum,
    #[error("a part of the file cannot be decoded: {0}")]
    Part(#[from] prost::DecodeError),
}

/// Writes all parts of a checkpoint. Returns the size in bytes.
pub(super) fn write(
    parts: impl Iterator<Item = Checkpoint>,
    out: &mut impl Write,
) -> io::Result<u64> {
    let mut written = Summed {
        out,
        bytes: 0,
        checksum: 0,
    };
    let mut header = [0; HEADER];
    header[..8].copy_from_slice(MAGIC);
    header[8..10].copy_from_slice(&VERSION.to_le_bytes());
    written.put(&header)?;
    let mut bytes = Vec::new();
    for part in parts {
        bytes.clear();
        // Growing a vector cannot fail.
        let _ = part.encode(&mut bytes);
        let length = u32::try_from(bytes.len()).ok();
        let length = length.filter(|length| *length <= PART_BYTES_MAX);
        let too_large = || io::Error::other("a part of the checkpoint is larger than 1 GiB");
        let length = length.ok_or_else(too_large)?;
        written.put(&length.to_le_bytes())?;
        written.put(&bytes)?;
    }
    written.put(&0_u32.to_le_bytes())?;
    let checksum = written.checksum;
    written.put(&checksum.to_le_bytes())?;
    Ok(written.bytes)
}

/// A writer that counts bytes and computes their checksum.
struct Summed<'a, W> {
    out: &'a mut W,
    bytes: u64,
    checksum: u32,
}

impl<W: Write> Summed<'_, W> {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)?;
        self.bytes += bytes.len() as u64;
        self.checksum = crc32c::crc32c_append(self.checksum, bytes);
        Ok(())
    }
}

/// The parts of a checkpoint, in order. The checksum is verified after the last one, so read all
/// parts once before relying on any of them.
#[derive(Debug)]
pub(super) struct Parts<R> {
    input: R,
    /// Remaining bytes, according to the length of the file.
    left: u64,
    checksum: u32,
    ended: bool,
}

impl<R: Read> Parts<R> {
    /// Reads the header of a file of `length` bytes.
    pub(super) fn new(input: R, length: u64) -> Result<Self, Unsound> {
        let mut parts = Self {
            input,
            left: length,
            checksum: 0,
            ended: false,
        };
        if length < HEADER as u64 {
            return Err(Unsound::Foreign);
        }
        let header = parts.bytes(HEADER)?;
        if header[..8] != MAGIC[..] {
            return Err(Unsound::Foreign);
        }
        let version = u16::from_le_bytes([header[8], header[9]]);
        if version == VERSION {
            Ok(parts)
        } else {
            Err(Unsound::Version(version))
        }
    }

    fn part(&mut self) -> Result<Option<Checkpoint>, Unsound> {
        let length = self.number()?;
        if length > PART_BYTES_MAX {
            return Err(Unsound::Large);
        }
        if length > 0 {
            let bytes = self.bytes(length as usize)?;
            return Ok(Some(Checkpoint::decode(bytes.as_slice())?));
        }
        let expected = self.checksum;
        if self.number()? != expected {
            return Err(Unsound::Checksum);
        }
        Ok(None)
    }

    fn number(&mut self) -> Result<u32, Unsound> {
        let bytes = self.bytes(4)?;
        Ok(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    /// Reads the next `length` bytes. A damaged length does not lead to a large allocation.
    fn bytes(&mut self, length: usize) -> Result<Vec<u8>, Unsound> {
        if length as u64 > self.left {
            return Err(Unsound::Torn);
        }
        let mut bytes = vec![0; length];
        self.input.read_exact(&mut bytes)?;
        self.left -= length as u64;
        self.checksum = crc32c::crc32c_append(self.checksum, &bytes);
        Ok(bytes)
    }
}

impl<R: Read> Iterator for Parts<R> {
    type Item = Result<Checkpoint, Unsound>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let part = self.part().transpose();
        self.ended = !matches!(part, Some(Ok(_)));
        part
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts() -> Vec<Checkpoint> {
        let part = |captured_ms| Checkpoint {
            at_ms: 1_800_000_000_000,
            captured_ms,
            version: "0.1.0".to_owned(),
            ..Checkpoint::default()
        };
        (1..4).map(part).collect()
    }

    fn written() -> Vec<u8> {
        let mut bytes = Vec::new();
        let length = write(parts().into_iter(), &mut bytes).expect("a vector grows");
        assert_eq!(length, bytes.len() as u64);
        bytes
    }

    fn read(bytes: &[u8]) -> Result<Vec<Checkpoint>, Unsound> {
        Parts::new(bytes, bytes.len() as u64)?.collect()
    }

    #[test]
    fn what_was_written_is_read() {
        assert_eq!(read(&written()).expect("sound"), parts());
    }

    #[test]
    fn a_file_that_is_cut_anywhere_is_unsound() {
        let bytes = written();
        for length in 0..bytes.len() {
            let error = read(&bytes[..length]).expect_err("something is missing");
            let expected = if length < HEADER {
                matches!(error, Unsound::Foreign)
            } else {
                matches!(error, Unsound::Torn)
            };
            assert!(expected, "{length}: {error}");
        }
    }

    #[test]
    fn a_bit_that_flips_anywhere_makes_it_unsound() {
        let bytes = written();
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut damaged = bytes.clone();
                damaged[at] ^= 1 << bit;
                assert!(read(&damaged).is_err(), "byte {at}, bit {bit}");
            }
        }
    }

    #[test]
    fn what_is_no_checkpoint_or_of_another_version_says_so() {
        let mut newer = written();
        newer[8] = 2;
        assert!(matches!(read(&newer), Err(Unsound::Version(2))));
        assert!(matches!(
            read(b"# a configuration file\n"),
            Err(Unsound::Foreign)
        ));
    }
}
