//! Secrets: inline or from a file, never printed.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::regular_file;

/// The largest file with a secret; tokens have some kilobytes.
const BYTES_MAX: usize = 64 << 10;

/// A password or token.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    Inline(String),
    /// Read again at each use, so that a rotation needs no restart.
    File(PathBuf),
}

/// Why a secret cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    #[error("cannot read {path}: {source}")]
    Read { path: PathBuf, source: io::Error },
    #[error("reading a secret was interrupted")]
    Interrupted,
}

impl Secret {
    /// The secret as it is now; the line's end of a file does not belong to it.
    pub fn read(&self) -> Result<String, SecretError> {
        match self {
            Self::Inline(text) => Ok(text.clone()),
            Self::File(path) => {
                let failed = |source| SecretError::Read {
                    path: path.clone(),
                    source,
                };
                let bytes = regular_file::read(path, BYTES_MAX).map_err(failed)?;
                let text = String::from_utf8(bytes)
                    .map_err(|_| failed(io::Error::other("it is not UTF-8")))?;
                Ok(text.trim_end_matches(['\r', '\n']).to_owned())
            }
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inline(_) => f.write_str("<secret>"),
            Self::File(path) => write!(f, "<secret in {}>", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_never_printed_and_a_file_is_read_again() {
        assert_eq!(
            format!("{:?}", Secret::Inline("hunter2".into())),
            "<secret>"
        );

        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        let secret = Secret::File(file.path().to_owned());
        for password in ["first", "second"] {
            std::fs::write(file.path(), format!("{password}\n")).expect("a writable file");
            assert_eq!(secret.read().expect("a readable file"), password);
        }
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let error = Secret::File("/nowhere/password".into())
            .read()
            .expect_err("no such file");

        assert!(error.to_string().contains("/nowhere/password"), "{error}");
    }
}
