//! The document that tests show: a shop with a failing receiver, a growing queue, and hostile names.

use std::path::{Path, PathBuf};

use crate::status::document::Status;

fn golden(file: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    root.join("tests/golden/top").join(file)
}

pub(super) fn status() -> Status {
    let text = std::fs::read(golden("document.json")).expect("a golden file");
    serde_json::from_slice(&text).expect("a document")
}

/// Asserts that a text equals a golden file. With `UPDATE_TOP` in the environment, writes it.
pub(super) fn assert_golden(file: &str, text: &str) {
    let path = golden(file);
    if std::env::var_os("UPDATE_TOP").is_some() {
        std::fs::write(&path, text).expect("a writable folder");
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        expected == text,
        "{file} differs; if that is intended, set UPDATE_TOP=1 and read the difference\n{text}"
    );
}
