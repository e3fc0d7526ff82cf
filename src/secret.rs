//! Secrets: inline or from a file, never printed, and masked in texts from others.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::event::json::quote;
use crate::regular_file;

/// Maximum size of a secret file; tokens have a few kilobytes.
const BYTES_MAX: usize = 64 << 10;

/// A password or token.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    Inline(String),
    /// Read again at each use, so that rotation requires no restart.
    File(PathBuf),
}

/// Why a secret cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    #[error("cannot read {path}: {source}")]
    Read { path: PathBuf, source: io::Error },
    #[error("reading a secret was interrupted")]
    Interrupted,
}

impl Secret {
    /// Returns the current secret. A trailing line break of a file is removed.
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
                    .map_err(|_| failed(io::Error::other("not valid UTF-8")))?;
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

/// A prefix of this length or more reveals a secret.
const PART_BYTES_MAX: usize = 16;

/// Shorter secrets are masked only as a whole, because their prefixes occur in ordinary words.
const DIVISIBLE_BYTES_MIN: usize = 8;

/// Returns the first `bytes_max` bytes of a text, with each secret that starts in them replaced by
/// `<secret>`.
///
/// Pass more text than `bytes_max` if there is more, so that a secret at the end is complete. The
/// sender may have truncated the text too, so half a secret, or its first 16 bytes, counts as well.
/// Secrets are also found in URL and JSON encoding.
pub fn masked<'s>(
    text: &str,
    bytes_max: usize,
    secrets: impl IntoIterator<Item = &'s str>,
) -> String {
    let secrets: Vec<String> = secrets.into_iter().flat_map(spellings).collect();
    let mut out = String::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next()
        && text.len() - rest.len() < bytes_max
    {
        let found = secrets.iter().map(|secret| shared(rest, secret));
        let found = found.max().unwrap_or_default();
        if found > 0 {
            out.push_str("<secret>");
            rest = &rest[found..];
        } else {
            out.push(c);
            rest = &rest[c.len_utf8()..];
        }
    }
    out
}

/// A secret verbatim, URL-encoded and JSON-encoded.
fn spellings(secret: &str) -> [String; 3] {
    let in_form = url::form_urlencoded::byte_serialize(secret.as_bytes()).collect();
    let mut in_json = String::new();
    quote(&mut in_json, secret);
    let in_json = in_json[1..in_json.len() - 1].to_owned();
    [secret.to_owned(), in_form, in_json]
}

/// Length of the common prefix of a text and a secret; 0 if it is too short to reveal the secret.
fn shared(text: &str, secret: &str) -> usize {
    let pairs = text.chars().zip(secret.chars());
    let same = pairs.take_while(|(a, b)| a == b);
    let bytes = same.map(|(c, _)| c.len_utf8()).sum();
    let enough = if secret.len() < DIVISIBLE_BYTES_MIN {
        secret.len()
    } else {
        (secret.len() / 2).min(PART_BYTES_MAX)
    };
    if bytes >= enough { bytes } else { 0 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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

    #[test]
    fn a_secret_is_masked_whole_or_cut_and_however_it_is_spelled() {
        const SECRET: &str = "pass/word \"1\"";
        for (text, expected) in [
            (
                "you sent pass/word \"1\", twice: pass/word \"1\"",
                "you sent <secret>, twice: <secret>",
            ),
            (r#"{"got":"pass/word \"1\""}"#, r#"{"got":"<secret>"}"#),
            ("/w?key=pass%2Fword+%221%22&b", "/w?key=<secret>&b"),
            // Whoever answered cut it.
            (
                "with args beginning with: 'pass/wor' ",
                "with args beginning with: '<secret>' ",
            ),
            ("the end: pass/w", "the end: <secret>"),
            ("in passing", "in passing"),
        ] {
            assert_eq!(masked(text, 1_024, [SECRET, ""]), expected);
        }
        assert_eq!(
            masked("a tok is no token", 1_024, ["token"]),
            "a tok is no <secret>"
        );
        assert_eq!(masked("", 1_024, ["token"]), "");
    }

    proptest! {
        /// Wherever our cut and that of the other side are.
        #[test]
        fn of_a_secret_no_more_than_fifteen_bytes_are_ever_told(
            before in 0..200_usize,
            secret in "[A-Za-z0-9+/=.~é\"%]{8,80}",
            bytes_max in 0..300_usize,
            cut in 0..300_usize,
        ) {
            let whole = format!("{}{secret} ", "_".repeat(before));
            let text = &whole[..whole.floor_char_boundary(cut)];
            let told = masked(text, bytes_max, [&*secret]);
            let part = secret.floor_char_boundary((secret.len() / 2).min(PART_BYTES_MAX));
            let next = secret[part..].chars().next().map_or(0, char::len_utf8);
            prop_assert!(!told.contains(&secret[..part + next]), "{}", told);
            let is_seen = text.len() == whole.len() && before < bytes_max;
            prop_assert!(!is_seen || told.contains("<secret>"), "{}", told);
        }
    }
}
