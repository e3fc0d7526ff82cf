use super::*;

/// The class without a traceback.
fn alone(repr: &str) -> Option<Cow<'_, str>> {
    class_of(Cow::Borrowed(repr), None)
}

#[test]
fn the_class_is_read_out_of_every_form_of_repr() {
    let cases = [
        ("ValueError('boom')", Some("ValueError"), true),
        ("Broken()", Some("Broken"), true),
        ("app.errors.Broken(1, 2)", Some("Broken"), true),
        ("<Broken: it broke>", Some("Broken"), true),
        ("<app.Broken object at 0x7f>", Some("Broken"), true),
        ("<Broken>", Some("Broken"), true),
        ("Ошибка('x')", Some("Ошибка"), true),
        ("_Private('x')", Some("_Private"), true),
        // These may be messages: a traceback has the last word.
        ("error('unpack requires a buffer')", Some("error"), false),
        ("Broken: it broke", Some("Broken"), false),
        ("KeyError", Some("KeyError"), false),
        ("app.errors.Broken", Some("Broken"), false),
        ("boom", None, false),
        ("secret: 5", None, false),
        ("SECRET", None, false),
        ("call(5) failed", None, false),
        ("<Error><Code>NoSuchKey</Code></Error>", None, false),
        (
            "<Unrepresentable <class 'x.Y'>: RuntimeError('no')>",
            None,
            false,
        ),
        (
            "1 validation error for Model\nid\n  Field required",
            None,
            false,
        ),
        ("None", None, false),
        ("", None, false),
        ("reject requeue=False: no", None, false),
        ("3rd(1)", None, false),
        ("('a', 'b')", None, false),
        (PLACEHOLDER, None, false),
    ];
    for (repr, expected, certain) in cases {
        assert_eq!(alone(repr).as_deref(), expected, "{repr:?}");
        assert_eq!(is_certain(repr), certain, "{repr:?}");
    }
    // Only the beginning of a long one is there.
    for (length, certain) in [(EXCEPTION_HEAD - 4, false), (EXCEPTION_HEAD - 3, true)] {
        for begin in ["Broken('", "<Broken: "] {
            let long = format!("{begin}{}", "x".repeat(length - begin.len()));
            assert_eq!(is_certain(&long), certain, "{begin} {length}");
        }
    }
}

#[test]
fn a_class_name_has_a_limited_length() {
    for (length, is_class) in [(CLASS_MAX, true), (CLASS_MAX + 1, false)] {
        let name = "X".to_owned() + &"x".repeat(length - 1);
        let expected = Some(name.as_str()).filter(|_| is_class);
        assert_eq!(alone(&format!("{name}()")).as_deref(), expected);
        let traceback = format!("{FRAMES}{name}: boom\n");
        let class = class_of(Cow::Borrowed("boom"), Some(&traceback));
        assert_eq!(class.as_deref(), expected);
    }
}

/// As Python 3.11 writes them, shortened.
const FRAMES: &str = "Traceback (most recent call last):\n  File \"/app.py\", line 15, in run\n    return f()\n           ^^^\n";
const VALIDATION: &str = "pydantic_core._pydantic_core.ValidationError: 2 validation errors for Model\nid\n  \
                          Field required [type=missing]\nSecret: x\n  Input should be a valid string\n";
const DURING: &str = "\nDuring handling of the above exception, another exception occurred:\n\n";
const CAUSE: &str = "\nThe above exception was the direct cause of the following exception:\n\n";

#[test]
fn the_class_is_on_the_line_behind_the_last_frame_of_a_traceback() {
    let chained =
        |between: &str, last: &str| format!("{FRAMES}{VALIDATION}{between}{FRAMES}{last}");
    let group = "  + Exception Group Traceback (most recent call last):\n  |   File \"/app.py\", line 28, in g\n  |     \
                 raise Group()\n  | app.Group: eg (2 sub-exceptions)\n  +-+---------------- 1 ----------------\n    | \
                 ValueError: 1\n    +------------------------------------\n";
    let cases = [
        (format!("{FRAMES}{VALIDATION}"), Some("ValidationError")),
        (format!("{FRAMES}KeyError: 'x'\n"), Some("KeyError")),
        (format!("{FRAMES}app.Silent\n"), Some("Silent")),
        (format!("{FRAMES}app.Silent: \nSecret: x\n"), Some("Silent")),
        (
            format!("{FRAMES}run.<locals>.Local: Hunter2\n"),
            Some("Local"),
        ),
        (
            format!("{FRAMES}Broken: Boom\nSecret: a note\n"),
            Some("Broken"),
        ),
        (
            format!("{FRAMES}Broken: failed:\napp.Other: x\n  File \"y\", line 3\nSecret: 5\n"),
            Some("Broken"),
        ),
        (chained(CAUSE, "Broken: boom\n"), Some("Broken")),
        (chained(DURING, "Broken: boom\n"), Some("Broken")),
        (
            chained(
                DURING,
                "celery.exceptions.Retry: Retry in 1s: 2 validation errors\n",
            ),
            Some("ValidationError"),
        ),
        (
            format!("{FRAMES}celery.exceptions.Retry: Retry in 1s\n"),
            None,
        ),
        (group.to_owned(), Some("Group")),
        // The beginning is cut off.
        (
            FRAMES[35..].to_owned() + VALIDATION,
            Some("ValidationError"),
        ),
        (VALIDATION[90..].to_owned(), None),
        ("Traceback (most recent call last):\n".to_owned(), None),
        (format!("{FRAMES}two words: x\n"), None),
        (format!("{FRAMES}_Private: x\n"), Some("_Private")),
        (format!("{FRAMES}3rd: x\n"), None),
        (format!("{FRAMES}f.<locals>: x\n"), None),
        (format!("{FRAMES}Broken:\n"), Some("Broken")),
        (format!("{FRAMES}{}: x\n", "x".repeat(CLASS_MAX + 1)), None),
        ("NoneType: None\n".to_owned(), None),
        ("no: class\n here.too: indented".to_owned(), None),
    ];
    for (traceback, expected) in cases {
        for message in [
            "2 validation errors for Model",
            "boom",
            "Hunter2",
            "Secret: x",
            PLACEHOLDER,
        ] {
            let class = class_of(Cow::Borrowed(message), Some(&traceback));
            assert_eq!(class.as_deref(), expected, "{message} {traceback}");
        }
        let class = class_of(Cow::Borrowed("ValueError('x')"), Some(&traceback));
        assert_eq!(
            class,
            Some(Cow::Borrowed("ValueError")),
            "it needs no traceback"
        );
    }
    let class = class_of(Cow::Borrowed("KeyError"), Some(""));
    assert_eq!(class.as_deref(), Some("KeyError"));
}
