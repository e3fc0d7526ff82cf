//! `profile`: the names and labels that an output uses.

use super::problem::nearest;
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
        let hint = nearest(&text, names)
            .map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
        let expected = names.join(", ");
        section.problem(
            KEY,
            format!("expected one of {expected}, found `{text}`{hint}"),
        );
        ProfileName::Native
    })
}
