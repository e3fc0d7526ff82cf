use std::fmt::Write;

use super::*;
use crate::wire::example;

#[test]
fn a_page_has_types_units_and_exemplars_and_an_end() {
    let page = render(&example::snapshot(), false);
    let expected = r##"# TYPE run_seconds histogram
# UNIT run_seconds seconds
# HELP run_seconds How long.
run_seconds_bucket{le="0.5"} 0
run_seconds_bucket{le="1.0"} 0
run_seconds_bucket{le="+Inf"} 0
run_seconds_sum 0
run_seconds_count 0
run_seconds_bucket{name="a",le="0.5"} 0
run_seconds_bucket{name="a",le="1.0"} 1 # {task_id="u-2"} 0.75 4999.987
run_seconds_bucket{name="a",le="+Inf"} 2
run_seconds_sum{name="a"} 7.75
run_seconds_count{name="a"} 2
# TYPE sent counter
# HELP sent Sent.
sent_total{name="a"} 3 # {task_id="u-1"} 1 4999.987
# TYPE old_tasks unknown
# HELP old_tasks As another calls it.
old_tasks 1
# TYPE level_bytes gauge
# UNIT level_bytes bytes
# HELP level_bytes A \\ and \"a\"\nline.
level_bytes{name="b\"\\%0A"} 1.5
# EOF
"##;
    assert_eq!(page, expected);
}

#[test]
fn what_counts_tells_when_it_began_if_it_shall() {
    let page = render(&example::snapshot(), true);
    let created: String = page.lines().filter(|line| line.contains("_created")).fold(
        String::new(),
        |mut all, line| {
            let _ = writeln!(all, "{line}");
            all
        },
    );
    let expected = r#"run_seconds_created 1000.250
run_seconds_created{name="a"} 1000.250
sent_created{name="a"} 1000.250
"#;
    assert_eq!(created, expected);
}
