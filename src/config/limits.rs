//! `limits`: what the process as a whole may take.

use super::section::Section;
use crate::bounds::MEMORY_MIN;

/// What the process as a whole may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitsConfig {
    /// In bytes. `None`: what the control group allows decides.
    pub memory: Option<u64>,
}

impl LimitsConfig {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        Self {
            memory: section.optional_bytes("memory", MEMORY_MIN),
        }
    }
}
