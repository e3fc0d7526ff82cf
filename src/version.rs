//! The version, and the commit that it was built from.

/// Version, and if built from a commit also that and its date: `0.1.0 (1a2b3c4d5e6f, 2026-11-28)`.
pub const VERSION: &str = match option_env!("CELERIAC_VERSION") {
    Some(version) => version,
    None => env!("CARGO_PKG_VERSION"),
};

/// The commit, abbreviated; `unknown` in debug builds and outside a repository.
pub const REVISION: &str = match option_env!("CELERIAC_REVISION") {
    Some(revision) => revision,
    None => "unknown",
};

/// The date of the commit, `YYYY-MM-DD`; `unknown` like the commit.
pub const DATE: &str = match option_env!("CELERIAC_DATE") {
    Some(date) => date,
    None => "unknown",
};
