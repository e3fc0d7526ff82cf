//! Parses the tasks that a worker knows, the reply to `registered`.

use super::{ITEMS_MAX, text};
use crate::event::{DecodeError, Reader};
use crate::state::RegisteredTask;

/// The arguments of the command, in JSON. Settings that are `None` are left out of the reply.
pub(super) const ARGUMENTS: &str = "{\"taskinfoitems\": [\"rate_limit\", \"max_retries\", \"time_limit\", \"soft_time_limit\"], \"builtins\": true}";

/// Reads a list of `name` or `name [rate_limit=5/s max_retries=3]`.
pub(super) fn read_registered<'a>(
    reader: &mut impl Reader<'a>,
) -> Result<Vec<RegisteredTask>, DecodeError> {
    let mut tasks = Vec::new();
    reader.list(|reader| {
        if let Some(text) = text(reader)?
            && tasks.len() < ITEMS_MAX
        {
            tasks.push(task(&text));
        }
        Ok(())
    })?;
    Ok(tasks)
}

fn task(text: &str) -> RegisteredTask {
    let parts = text.strip_suffix(']').and_then(|it| it.rsplit_once(" ["));
    let (name, settings) = parts.unwrap_or((text, ""));
    let mut task = RegisteredTask {
        name: name.to_owned(),
        ..RegisteredTask::default()
    };
    let mut limits = [None; 2];
    for setting in settings.split(' ') {
        let Some((key, value)) = setting.split_once('=') else {
            continue;
        };
        let seconds = || value.parse().ok().filter(|seconds: &f64| *seconds > 0.0);
        match key {
            "rate_limit" => task.is_rate_limited = true,
            "max_retries" => task.max_retries = value.parse().ok(),
            "time_limit" => limits[0] = seconds(),
            "soft_time_limit" => limits[1] = seconds(),
            _ => {}
        }
    }
    // A task may handle the exception that the soft limit raises, and go on.
    let [hard, soft] = limits;
    task.time_limit = hard.or(soft);
    task
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_comes_with_its_settings() {
        let plain = |name: &str| RegisteredTask {
            name: name.to_owned(),
            ..RegisteredTask::default()
        };
        let cases = [
            ("shop.pay", plain("shop.pay")),
            ("odd [name", plain("odd [name")),
            (
                "shop.pay [max_retries=3]",
                RegisteredTask {
                    max_retries: Some(3),
                    ..plain("shop.pay")
                },
            ),
            (
                "a b [rate_limit=5/s max_retries=0 time_limit=60 soft_time_limit=50.5]",
                RegisteredTask {
                    is_rate_limited: true,
                    max_retries: Some(0),
                    time_limit: Some(60.0),
                    ..plain("a b")
                },
            ),
            (
                "t [soft_time_limit=50.5 max_retries=inf]",
                RegisteredTask {
                    time_limit: Some(50.5),
                    ..plain("t")
                },
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(task(text), expected, "{text}");
        }
    }
}
