//! Parses command lines as click, argparse and tornado do, with fallbacks from the environment.

use std::collections::BTreeMap;
use std::iter::Peekable;

use super::variables::reference;
use crate::config::nearest;

/// Marks words that belong to the command itself, which are skipped.
pub(super) const COMMAND: &str = "it is the command";

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

/// The options of an exporter, in several lists.
pub(super) type Options = &'static [&'static [Opt]];

/// The given values by first name of the option. The command line takes precedence over the
/// environment.
#[derive(Debug)]
pub(super) struct Given {
    values: BTreeMap<&'static str, Vec<String>>,
    /// Given options without a counterpart, with the reason.
    pub(super) notes: Vec<(String, String)>,
    /// Arguments that are not options of the exporter, and why.
    pub(super) unknown: Vec<(String, String)>,
    /// Whether there may be variables that were not given.
    pub(super) is_partial: bool,
}

impl Given {
    pub(super) fn read(
        options: Options,
        arguments: &[String],
        environment: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, Vec<String>> {
        let mut given = Self {
            values: BTreeMap::new(),
            notes: Vec::new(),
            unknown: Vec::new(),
            is_partial: false,
        };
        let mut problems = Vec::new();
        let mut arguments = arguments.iter().peekable();
        while let Some(argument) = arguments.next() {
            if let Err(problem) = given.read_argument(options, argument, &mut arguments) {
                problems.push(problem);
            }
        }
        given.read_environment(options, environment);
        for option in options.iter().copied().flatten() {
            if let Some(why) = option.without
                && given.values.remove(option.names[0]).is_some()
                && why != COMMAND
            {
                given
                    .notes
                    .push((option.names[0].to_owned(), why.to_owned()));
            }
        }
        if problems.is_empty() {
            Ok(given)
        } else {
            let unknown = given.unknown.iter();
            problems.extend(unknown.map(|(name, why)| format!("{name}: {why}")));
            Err(problems)
        }
    }

    /// Reads an argument, with its value from those that follow.
    fn read_argument<'a>(
        &mut self,
        options: Options,
        argument: &'a str,
        following: &mut Peekable<impl Iterator<Item = &'a String>>,
    ) -> Result<(), String> {
        let (name, value) = match argument.split_once('=') {
            Some((name, value)) if name.starts_with("--") => (name, Some(value)),
            _ => (argument, None),
        };
        let found = find(options, name).map(|option| (option, name, value));
        // As in -Qhigh,low.
        let found = found.or_else(|| {
            let (name, value) = argument.split_at_checked(2)?;
            let option = find(options, name).filter(|_| name != "--" && !value.is_empty())?;
            Some((option, name, Some(value)))
        });
        let is_value = |next: &&String| !next.starts_with('-');
        let Some((option, name, value)) = found else {
            if name.starts_with('-') && value.is_none() {
                following.next_if(is_value);
            }
            if name != "--" {
                let why = unknown(options, name);
                self.unknown.push((name.to_owned(), why));
            }
            return Ok(());
        };
        let all = self.values.entry(option.names[0]).or_default();
        match (option.takes, value.map(str::to_owned)) {
            (Takes::Nothing, Some(_)) => return Err(format!("{name}: accepts no value")),
            (Takes::Nothing | Takes::Maybe, None) => *all = vec![String::from("true")],
            (Takes::Rest, None) => {
                let is_value = |next: &&String| !next.starts_with("--");
                *all = std::iter::from_fn(|| following.next_if(is_value).cloned()).collect();
            }
            (Takes::One | Takes::Maybe | Takes::Rest, Some(value)) => *all = vec![value],
            (Takes::Each, Some(value)) => all.push(value),
            (Takes::One | Takes::Each, None) => match following.next() {
                Some(value) if option.takes == Takes::Each => all.push(value.clone()),
                Some(value) => *all = vec![value.clone()],
                None => return Err(format!("{name}: requires a value")),
            },
        }
        Ok(())
    }

    /// Reads the options that were not given from their variables.
    fn read_environment(&mut self, options: Options, environment: impl Fn(&str) -> Option<String>) {
        for option in options.iter().copied().flatten() {
            let set = option.variables.iter();
            let text = set
                .filter_map(|name| environment(name))
                .find(|text| !text.is_empty());
            let (Some(text), false) = (text, self.values.contains_key(option.names[0])) else {
                continue;
            };
            let all = match option.takes {
                Takes::Each => text.split_whitespace().map(str::to_owned).collect(),
                Takes::Nothing | Takes::Maybe | Takes::One | Takes::Rest => vec![text],
            };
            self.values.insert(option.names[0], all);
        }
    }

    /// Returns the broker's URL. If it may be among the variables that were not given, it is a
    /// reference to that variable.
    pub(super) fn broker(&mut self, name: &str, variable: &str) -> Option<String> {
        let given = self.one(name);
        given.or_else(|| self.is_partial.then(|| reference(variable, None)))
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
fn find(options: Options, name: &str) -> Option<&'static Opt> {
    let same = |known: &&str| known.replace('_', "-") == name.replace('_', "-");
    let mut options = options.iter().copied().flatten();
    options.find(|option| option.names.iter().any(&same))
}

/// Why an argument is unknown.
fn unknown(options: Options, name: &str) -> String {
    if !name.starts_with('-') {
        return "not an option of this exporter".to_owned();
    }
    let names = options.iter().copied().flatten();
    let hint = nearest(name, names.flat_map(|option| option.names).copied());
    let hint = hint.map_or_else(String::new, |near| format!("; did you mean {near}?"));
    format!("unknown option of this exporter{hint}")
}
