//! The class name out of what Celery says about an exception.
//!
//! An event carries `repr(exception)`, which is whatever the class makes of it. Seen: `ValueError('boom')`,
//! `app.errors.Broken(1)`, `<Broken: x>`, `Broken: x`, `None`, and since Celery 5.3, for a lost child and a
//! hard time limit, the constant `ExceptionWithTraceback()`, where only the traceback has the class.

use std::borrow::Cow;

/// What billiard 4 shows in place of the exception; the traceback then ends with the real one.
pub(super) const PLACEHOLDER: &str = "ExceptionWithTraceback()";

/// The longest class name that is believed.
const CLASS_MAX: usize = 128;

/// The class in the `repr` of an exception, of which the beginning is enough.
///
/// Dotted names keep their last part; `None` where no class name can be read.
pub(super) fn class(repr: &str) -> Option<&str> {
    let repr = repr.trim_start();
    let (open, text) = repr
        .strip_prefix('<')
        .map_or((false, repr), |text| (true, text));
    let end = text.find(|c: char| !is_part(c)).unwrap_or(text.len());
    let (path, rest) = text.split_at(end);
    // `<X>`, `<X: y>` and `<X object at …>`; `X(…)`, `X: y` and a bare `X`.
    let closed = match rest.chars().next() {
        None | Some('(' | ':') => true,
        Some(c) => open && (c == '>' || c == ' '),
    };
    let class = path.rsplit('.').next().unwrap_or_default();
    let named = class
        .chars()
        .next()
        .is_some_and(|c| c.is_alphabetic() || c == '_');
    (closed && named && class.len() <= CLASS_MAX && class != "None").then_some(class)
}

/// The class in a traceback: on its last line that begins in the first column with `module.Class: message`.
///
/// The message may have lines of its own, so the last line alone is not enough.
pub(super) fn class_in_traceback(traceback: &str) -> Option<&str> {
    traceback.lines().rev().find_map(|line| {
        let (path, _message) = line.split_once(": ")?;
        let is_path = path.contains('.') && path.chars().all(is_part);
        is_path.then(|| class(path)).flatten()
    })
}

fn is_part(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '.'
}

/// `class` for a text that may have been copied while it was unescaped.
pub(super) fn class_of(repr: Cow<'_, str>) -> Option<Cow<'_, str>> {
    match repr {
        Cow::Borrowed(text) => class(text).map(Cow::Borrowed),
        Cow::Owned(text) => class(&text).map(|name| Cow::Owned(name.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_class_is_read_out_of_every_form_of_repr() {
        let cases = [
            ("ValueError('boom')", Some("ValueError")),
            ("Broken()", Some("Broken")),
            ("app.errors.Broken(1, 2)", Some("Broken")),
            ("<Broken: it broke>", Some("Broken")),
            ("<app.Broken object at 0x7f>", Some("Broken")),
            ("Broken: it broke", Some("Broken")),
            ("Ошибка('x')", Some("Ошибка")),
            ("_Private('x')", Some("_Private")),
            ("KeyError", Some("KeyError")),
            ("None", None),
            ("", None),
            ("reject requeue=False: no", None),
            ("3rd(1)", None),
            ("('a', 'b')", None),
        ];
        for (repr, expected) in cases {
            assert_eq!(class(repr), expected, "{repr:?}");
        }
    }

    #[test]
    fn the_class_is_on_the_last_line_of_a_traceback_that_looks_like_one() {
        let traceback = "Traceback (most recent call last):\n  File \"/venv/x.py\", line 1: in f\n\
                         billiard.exceptions.WorkerLostError: Worker exited: signal 9\nsecond line: of it\n";

        assert_eq!(class_in_traceback(traceback), Some("WorkerLostError"));
        assert_eq!(class_in_traceback("no: class\n here.too: indented"), None);
    }
}
