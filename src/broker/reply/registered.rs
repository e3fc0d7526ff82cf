//! Parses the tasks that a worker knows, the reply to `registered`.

use std::time::Duration;

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
            "rate_limit" => task.rate_pause = rate_pause(value),
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

/// The time between two starts. Celery takes a number of starts, a second unless another unit
/// follows; zero means no limit.
fn rate_pause(limit: &str) -> Option<Duration> {
    let (number, unit) = limit.split_once('/').unwrap_or((limit, "s"));
    let unit = match unit {
        "" | "s" => Some(1.0),
        "m" => Some(60.0),
        "h" => Some(3_600.0),
        _ => None,
    };
    let number = number.parse::<f64>().ok().filter(|number| *number >= 0.0);
    let Some((number, unit)) = number.zip(unit) else {
        return Some(Duration::MAX);
    };
    (number > 0.0).then(|| Duration::try_from_secs_f64(unit / number).unwrap_or(Duration::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_limit_is_a_pause() {
        let cases = [
            ("10/m", Some(Duration::from_secs(6))),
            ("1/h", Some(Duration::from_secs(3_600))),
            ("4", Some(Duration::from_millis(250))),
            ("0.5/s", Some(Duration::from_secs(2))),
            ("0/s", None),
            ("10/", Some(Duration::from_millis(100))),
            ("-1/s", Some(Duration::MAX)),
            ("often", Some(Duration::MAX)),
            ("1/d", Some(Duration::MAX)),
        ];
        for (limit, pause) in cases {
            assert_eq!(rate_pause(limit), pause, "{limit}");
        }
    }

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
                    rate_pause: Some(Duration::from_millis(200)),
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
