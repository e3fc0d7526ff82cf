//! Replaces environment variables in strings.

use super::Section;

/// Maximum number of bytes that variables may add to all strings: a short name can have a long
/// value.
const REPLACED_BYTES_MAX: usize = 4 << 20;

impl Section<'_> {
    /// Replaces `${NAME}` and `${NAME:-default}`.
    pub(super) fn interpolate(&mut self, key: &str, text: &str) -> Option<String> {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, behind)) = rest.split_once("${") {
            out.push_str(before);
            let Some((variable, after)) = behind.split_once('}') else {
                self.problem(key, "`${` without a matching `}`");
                return None;
            };
            let (name, default) = match variable.split_once(":-") {
                Some((name, default)) => (name, Some(default)),
                None => (variable, None),
            };
            match self.environment(name).or(default) {
                Some(value) => {
                    out.push_str(value);
                    let added = value.len();
                    self.reading.replaced_bytes += added;
                    if self.reading.replaced_bytes > REPLACED_BYTES_MAX {
                        let limit = REPLACED_BYTES_MAX >> 20;
                        let what =
                            format!("the variables in this file expand to more than {limit} MiB");
                        self.problem(key, what);
                        return None;
                    }
                }
                None => {
                    let hint = format!("set it, or write ${{{name}:-default}}");
                    self.problem(
                        key,
                        format!("the environment variable {name} is not set; {hint}"),
                    );
                    return None;
                }
            }
            rest = after;
        }
        out.push_str(rest);
        Some(out)
    }
}
