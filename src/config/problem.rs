//! Problems of a configuration file.

use std::fmt;

use crate::escape::printable;

/// A problem: where it is, what is wrong, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The key's path: `brokers[0].prefetch`.
    pub key: String,
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // One line per problem, whatever the file contains.
        f.write_str(&printable(&format!("{}: {}", self.key, self.what)))
    }
}

/// Returns a question for the end of a message about a misspelled word, if a candidate is similar.
pub(super) fn did_you_mean<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> String {
    nearest(word, candidates).map_or_else(String::new, |near| format!("; did you mean `{near}`?"))
}

/// Returns the candidate that is most similar to a misspelled word, if it is similar enough.
pub(crate) fn nearest<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let scored = candidates
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(word, candidate), candidate));
    let best = scored.max_by(|(a, _), (b, _)| a.total_cmp(b));
    best.filter(|(score, _)| *score > 0.8)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_offered_and_a_far_one_is_not() {
        let keys = ["remote_timeout", "url", "headers"];

        assert_eq!(nearest("remote_timeuot", keys), Some("remote_timeout"));
        assert_eq!(nearest("urls", keys), Some("url"));
        assert_eq!(nearest("zzz", keys), None);
    }
}
