//! Parses command lines as click, argparse and tornado do, with fallbacks from the environment.

use std::collections::BTreeMap;

use crate::config::nearest;

/// An option of an exporter.
#[derive(Debug)]
pub(super) struct Opt {
    /// The first is the name used in this code.
    pub(super) names: &'static [&'static str],
    /// Environment variables that set it too.
    pub(super) variables: &'static [&'static str],
    pub(super) takes: Takes,
    /// Why it never has a counterpart in celeriac, if so.
    pub(super) without: Option<&'static str>,
}

/// The values that an option accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Takes {
    /// Nothing.
    Nothing,
    /// Nothing, or true or false after `=`.
    Maybe,
    One,
    /// One, and the option may be repeated; space-separated in the environment.
    Each,
    /// All arguments up to the next option.
    Rest,
}

/// An option whose value is converted to a configuration key.
pub(super) const fn known(
    names: &'static [&'static str],
    variables: &'static [&'static str],
    takes: Takes,
) -> Opt {
    Opt {
        names,
        variables,
        takes,
        without: None,
    }
}

/// An option without a counterpart, with the reason.
pub(super) const fn without(
    names: &'static [&'static str],
    variables: &'static [&'static str],
    takes: Takes,
    why: &'static str,
) -> Opt {
    Opt {
        names,
        variables,
        takes,
        without: Some(why),
    }
}

/// The given values by first name of the option. The command line takes precedence over the
/// environment.
#[derive(Debug)]
pub(super) struct Given {
    values: BTreeMap<&'static str, Vec<String>>,
    /// Given options without a counterpart, with the reason.
    pub(super) notes: Vec<(String, &'static str)>,
}

impl Given {
    pub(super) fn read(
        options: &'static [Opt],
        arguments: &[String],
        environment: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, Vec<String>> {
        let mut values: BTreeMap<&'static str, Vec<String>> = BTreeMap::new();
        let mut problems = Vec::new();
        let mut arguments = arguments.iter().peekable();
        while let Some(argument) = arguments.next() {
            let (name, value) = match argument.split_once('=') {
                Some((name, value)) if name.starts_with("--") => (name, Some(value.to_owned())),
                _ => (argument.as_str(), None),
            };
            let Some(option) = find(options, name) else {
                problems.push(unknown(options, name));
                continue;
            };
            let all = values.entry(option.names[0]).or_default();
            let is_value = |next: &&String| !next.starts_with("--");
            match (option.takes, value) {
                (Takes::Nothing, Some(_)) => problems.push(format!("{name}: accepts no value")),
                (Takes::Nothing | Takes::Maybe, None) => *all = vec![String::from("true")],
                (Takes::Rest, None) => {
                    *all = std::iter::from_fn(|| arguments.next_if(is_value).cloned()).collect();
                }
                (Takes::One | Takes::Maybe | Takes::Rest, Some(value)) => *all = vec![value],
                (Takes::Each, Some(value)) => all.push(value),
                (Takes::One | Takes::Each, None) => match arguments.next() {
                    Some(value) if option.takes == Takes::Each => all.push(value.clone()),
                    Some(value) => *all = vec![value.clone()],
                    None => problems.push(format!("{name}: requires a value")),
                },
            }
        }
        for option in options {
            let set = option.variables.iter();
            let text = set
                .filter_map(|name| environment(name))
                .find(|text| !text.is_empty());
            let (Some(text), false) = (text, values.contains_key(option.names[0])) else {
                continue;
            };
            let all = match option.takes {
                Takes::Each => text.split_whitespace().map(str::to_owned).collect(),
                Takes::Nothing | Takes::Maybe | Takes::One | Takes::Rest => vec![text],
            };
            values.insert(option.names[0], all);
        }
        let mut notes = Vec::new();
        for option in options {
            if let Some(why) = option.without
                && values.remove(option.names[0]).is_some()
            {
                notes.push((option.names[0].to_owned(), why));
            }
        }
        if problems.is_empty() {
            Ok(Self { values, notes })
        } else {
            Err(problems)
        }
    }

    /// Returns the value of an option that can be given once.
    pub(super) fn one(&mut self, name: &str) -> Option<String> {
        self.values.remove(name)?.pop()
    }

    /// Returns the values of an option that can be repeated.
    pub(super) fn all(&mut self, name: &str) -> Vec<String> {
        self.values.remove(name).unwrap_or_default()
    }

    /// Returns the value of a flag, or `None` if it was not given.
    pub(super) fn flag(&mut self, name: &str) -> Option<bool> {
        let text = self.one(name)?.to_lowercase();
        Some(["1", "true", "t", "yes", "y", "on"].contains(&text.as_str()))
    }
}

/// tornado treats - and _ alike; with the other exporters no two options differ only in that.
fn find(options: &'static [Opt], name: &str) -> Option<&'static Opt> {
    let same = |known: &&str| known.replace('_', "-") == name.replace('_', "-");
    options.iter().find(|option| option.names.iter().any(&same))
}

fn unknown(options: &'static [Opt], name: &str) -> String {
    let names = options.iter().flat_map(|option| option.names);
    let hint = nearest(name, names.copied());
    let hint = hint.map_or_else(String::new, |near| format!("; did you mean {near}?"));
    format!("{name}: unknown option of this exporter{hint}")
}
