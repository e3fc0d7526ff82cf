//! Stub.
use super::Series;
use crate::saved;
use crate::timestamp::Timestamp;
use std::time::Duration;

/// Stub.
#[derive(Debug)]
pub struct Captured;

impl Series {
    /// Stub.
    pub fn at(&self) -> Timestamp {
        Timestamp::default()
    }
    /// Stub.
    pub fn capture(&self) -> Captured {
        Captured
    }
    /// Stub.
    pub fn restore(&mut self, _saved: &saved::View, _at: Timestamp) {}
    /// Stub.
    pub fn expire_restored(&mut self, _ttl: Duration, _now: Timestamp) {}
}
impl Captured {
    /// Stub.
    pub fn into_saved(self, profile: &str) -> impl Iterator<Item = saved::View> + use<> {
        std::iter::once(saved::View {
            profile: profile.to_owned(),
            ..Default::default()
        })
    }
}
