//! What a page is about.

use super::view::Links;
use crate::status::document::Status;

/// The document, and how it is asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scene<'a> {
    pub(super) status: &'a Status,
    pub(super) links: &'a Links,
}
