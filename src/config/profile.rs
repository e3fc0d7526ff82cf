//! `profile`: the names and labels that an output uses.

use super::problem::did_you_mean;
use super::section::Section;
use crate::profile::ProfileName;

/// Reads the profile of an output, `native` by default.
pub(super) fn profile(section: &mut Section<'_>) -> ProfileName {
    const KEY: &str = "profile";
    let text = section.text(KEY, ProfileName::Native.name());
    let names = ProfileName::ALL.map(ProfileName::name);
    let known = ProfileName::ALL
        .into_iter()
        .find(|profile| profile.name() == text);
    known.unwrap_or_else(|| {
        let hint = did_you_mean(&text, names);
        let expected = names.join(", ");
        section.problem(
            KEY,
            format!("expected one of {expected}, found `{text}`{hint}"),
        );
        ProfileName::Native
    })
}
