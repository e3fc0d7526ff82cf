//! The style sheet and the script, which browsers keep: their address changes with their content.

use xxhash_rust::xxh3::xxh3_64;

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");

/// The files beside the page.
#[derive(Debug)]
pub(super) struct Assets {
    pub(super) style: Asset,
    pub(super) script: Asset,
}

/// A file.
#[derive(Debug)]
pub(super) struct Asset {
    pub(super) content: String,
    pub(super) content_type: &'static str,
    /// In its address.
    pub(super) version: String,
}

impl Assets {
    pub(super) fn new() -> Self {
        Self {
            style: Asset::new(minified(STYLE), "text/css; charset=utf-8"),
            script: Asset::new(SCRIPT.to_owned(), "text/javascript; charset=utf-8"),
        }
    }
}

impl Asset {
    fn new(content: String, content_type: &'static str) -> Self {
        Self {
            version: format!("{:016x}", xxh3_64(content.as_bytes())),
            content,
            content_type,
        }
    }
}

/// Removes comments and optional spaces from our style sheet, in which texts contain neither.
fn minified(css: &str) -> String {
    let mut css = css.to_owned();
    while let Some(start) = css.find("/*") {
        let end = css[start..]
            .find("*/")
            .map_or(css.len(), |end| start + end + 2);
        css.replace_range(start..end, "");
    }
    let mut css: String = css.lines().map(str::trim).collect();
    let optional = [": ", "; ", " {", "{ ", " }", ", ", " > ", " + "];
    for spaced in optional {
        css = css.replace(spaced, spaced.trim());
    }
    css.replace(";}", "}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_style_sheet_is_served_without_comments_and_optional_spaces() {
        let css = "/* Why. */\na > b, .c .d {\n  margin: 0 1px; content: \" ↑\";\n}\n";
        assert_eq!(minified(css), "a>b,.c .d{margin:0 1px;content:\" ↑\"}");
    }
}
