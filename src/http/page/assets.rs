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
    pub(super) content: &'static str,
    pub(super) content_type: &'static str,
    /// In its address.
    pub(super) version: String,
}

impl Assets {
    pub(super) fn new() -> Self {
        Self {
            style: Asset::new(STYLE, "text/css; charset=utf-8"),
            script: Asset::new(SCRIPT, "text/javascript; charset=utf-8"),
        }
    }
}

impl Asset {
    fn new(content: &'static str, content_type: &'static str) -> Self {
        Self {
            content,
            content_type,
            version: format!("{:016x}", xxh3_64(content.as_bytes())),
        }
    }
}
