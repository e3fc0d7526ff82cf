//! `limits`: limits for the whole process.

use super::section::Section;
use crate::bounds::MEMORY_MIN;

/// Limits for the whole process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitsConfig {
    /// In bytes. `None`: derived from the control group's limit.
    pub memory: Option<u64>,
}

impl LimitsConfig {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        Self {
            memory: section.optional_bytes("memory", MEMORY_MIN),
        }
    }
}
