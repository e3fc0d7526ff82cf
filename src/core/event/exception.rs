//! Extracts the class name from what Celery reports about an exception.
//!
//! An event carries `repr(exception)`, whose form is up to the class, or the message if `__repr__`
//! fails. Seen: `ValueError('boom')`, `app.errors.Broken(1)`, `<Broken: x>`, `Broken: x`, `None`,
//! pydantic's `1 validation error for Model …`, and since Celery 5.3, for a lost child and a hard
//! time limit, the constant `ExceptionWithTraceback()`.
//!
//! No word of a message may become a label. So the `repr` alone determines the class only if it has
//! the form of a constructor call; otherwise the traceback, if there is one, has to name it.
//!
//! ```text
//!   Traceback (most recent call last):
//!     File "app.py", line 1, in validate        ◀── the last frame
//!       return Model(**data)
//!   pydantic_core._pydantic_core.ValidationError: 1 validation error for Model
//!   id                                          ◀── the message, which may have lines of its own
//! ```
//!
//! Source: CPython 3.14, `Lib/traceback.py`.

use std::borrow::Cow;

/// How many bytes of an exception's `repr` are examined. The class is at the beginning.
pub(super) const EXCEPTION_HEAD: usize = 256;

/// What billiard 4 reports instead of the exception; the traceback contains the real one.
const PLACEHOLDER: &str = "ExceptionWithTraceback()";

/// The longest class name that is accepted.
const CLASS_MAX: usize = 128;

/// The lines between the tracebacks of chained exceptions.
const CHAINED: [&str; 2] = [
    "\nThe above exception was the direct cause of the following exception:\n",
    "\nDuring handling of the above exception, another exception occurred:\n",
];

/// The form in which a class was found in a `repr`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// `Broken('x')` or `<Broken: x>`, which is unlikely to be a message.
    Call,
    /// `Broken`, `Broken: x` or `error('x')`, which may be a message.
    Word,
}

/// Whether a `repr` alone identifies the class.
pub(super) fn is_certain(repr: &str) -> bool {
    class(repr).is_some_and(|(_, form)| form == Form::Call)
}

/// The class of an exception. `None` if it cannot be determined.
pub(super) fn class_of<'a>(repr: Cow<'a, str>, traceback: Option<&str>) -> Option<Cow<'a, str>> {
    let traceback = traceback.filter(|traceback| !traceback.is_empty());
    if let Some(traceback) = traceback.filter(|_| !is_certain(&repr)) {
        return class_in_traceback(traceback).map(|class| Cow::Owned(class.to_owned()));
    }
    match repr {
        Cow::Borrowed(text) => class(text).map(|(class, _)| Cow::Borrowed(class)),
        Cow::Owned(text) => class(&text).map(|(class, _)| Cow::Owned(class.to_owned())),
    }
}

/// The class in the `repr` of an exception, whose beginning is sufficient. Of dotted names, the
/// last part is used.
fn class(repr: &str) -> Option<(&str, Form)> {
    let is_cut = repr.len() + 4 > EXCEPTION_HEAD;
    let repr = repr.trim();
    if repr == PLACEHOLDER {
        return None;
    }
    let (open, text) = repr
        .strip_prefix('<')
        .map_or((false, repr), |text| (true, text));
    let end = text.find(|c: char| !is_part(c)).unwrap_or(text.len());
    let (path, rest) = text.split_at(end);
    let class = path.rsplit('.').next().unwrap_or_default();
    let first = class.trim_start_matches('_').chars().next();
    let is_name = first.is_some_and(char::is_alphabetic) && class.len() <= CLASS_MAX;
    if !is_name || class == "None" {
        return None;
    }
    // In a script without letter case, any name is as good as another.
    let is_capitalized = first.is_some_and(|first| !first.is_lowercase());
    let is_cap_words = is_capitalized && !class.chars().skip(1).all(char::is_uppercase);
    // `<X>`, `<X: y>` and `<X object at …>`; `X(…)`, `X: y` and a bare `X`.
    let form = match rest.chars().next() {
        Some('>') if open && rest == ">" => Form::Call,
        Some(':' | ' ') if open && class != "Unrepresentable" => {
            if is_cut || rest.ends_with('>') {
                Form::Call
            } else {
                return None;
            }
        }
        Some('(') if !open && (is_cut || rest.ends_with(')')) => Form::Call,
        None if !open && is_cap_words => Form::Word,
        Some(':') if !open && is_cap_words => Form::Word,
        Some(_) | None => return None,
    };
    match form {
        Form::Call if is_capitalized => Some((class, Form::Call)),
        Form::Call | Form::Word => Some((class, Form::Word)),
    }
}

/// The class in a traceback: that of the last chained exception, except for a retry, which does not
/// name its cause.
fn class_in_traceback(traceback: &str) -> Option<&str> {
    let (before, last) = split_last(traceback);
    match class_of_block(last) {
        Some("Retry") => class_of_block(split_last(before?).1),
        class => class,
    }
}

/// The traceback of the last exception, and the text before it.
fn split_last(traceback: &str) -> (Option<&str>, &str) {
    let places = CHAINED.iter().filter_map(|chained| {
        let at = traceback.rfind(chained)?;
        Some((at, at + chained.len()))
    });
    match places.max() {
        Some((before, behind)) => (Some(&traceback[..before]), &traceback[behind..]),
        None => (None, traceback),
    }
}

/// The class in the traceback of one exception: on the first line after the frames that is not
/// indented. Anything after it is the message. The traceback of an exception group is inside a
/// frame of `  | `.
fn class_of_block(block: &str) -> Option<&str> {
    let mut in_frames = false;
    for line in block.lines() {
        let line = line.strip_prefix("  | ").unwrap_or(line);
        if line.starts_with("Traceback (most recent call last):") || line.starts_with("  File \"") {
            in_frames = true;
        } else if in_frames && !line.is_empty() && !line.starts_with(' ') {
            let path = line.split_once(": ").map_or(line, |(path, _message)| path);
            let path = path.strip_suffix(':').unwrap_or(path);
            // A class within a function is `f.<locals>.Broken`.
            let is_path = path.chars().all(|c| is_part(c) || c == '<' || c == '>');
            let class = path.rsplit('.').next().unwrap_or_default();
            let first = class.chars().next();
            let is_name = first.is_some_and(|c| c.is_alphabetic() || c == '_');
            let is_class = is_path && is_name && class.chars().all(is_part);
            return (is_class && class.len() <= CLASS_MAX).then_some(class);
        }
    }
    None
}

fn is_part(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '.'
}

#[cfg(test)]
mod tests;
