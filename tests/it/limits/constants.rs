//! Lists every constant whose name marks it as a maximum, by what happens beyond it.
//!
//! A limit that no one notices makes numbers wrong, so every new constant must be added to one of these lists. Limits
//! on external data that is kept belong in the first, and in [`celeriac::bounds::Limit`].

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// `celeriac_limit_reached_total` counts it.
const COUNTED: &[&str] = &[
    "broker/control.rs: REPLIES_MAX REPLY_BYTES_MAX",
    "broker/redis/bindings.rs: BINDINGS_MAX EXCHANGES_MAX",
    "broker/reply.rs: ITEMS_MAX",
    "broker/watch.rs: QUEUES_MAX",
    "core/series/exemplar.rs: TASK_ID_MAX",
    "core/series/table/relabelled.rs: FAMILIES_MAX",
    "core/state/beats.rs: BEATS_MAX",
    "core/state/held.rs: HELD_MAX",
    "core/state/names.rs: QUEUE_BYTES_MAX TEXT_BYTES_MAX",
    "core/state/route.rs: BINDINGS_MAX",
    "core/state/periodic.rs: NAMES_MAX",
    "core/state/registered.rs: TASKS_MAX",
    "core/state/tasks.rs: ENDED_MAX",
    "core/state/tasks/members.rs: MEMBERS_MAX",
    "core/state/watched.rs: QUEUES_MAX",
    "core/state/workers.rs: WORKERS_MAX",
    "core/state/workflows.rs: WORKFLOWS_MAX",
    "core/wire/lines.rs: EXEMPLAR_LENGTH_MAX",
];

/// The message, value, response or request is refused; another counter has the reason, or the connection or request
/// fails.
const REFUSED: &[&str] = &[
    "broker/amqp/assembly.rs: ANNOUNCED_MAX",
    "broker/amqp/deliveries.rs: MESSAGE_BYTES_MAX",
    "broker/amqp/tuning.rs: CHANNEL_MAX FRAME_MAX",
    "broker/redis/bounded.rs: ANSWER_BYTES_MAX LINE_BYTES_MAX",
    "broker/redis/mod.rs: MESSAGE_BYTES_MAX",
    "broker/redis/subscription.rs: ANSWER_BYTES_MAX DEPTH_MAX",
    "broker/reply.rs: TEXT_MAX",
    "broker/watch.rs: NAME_MAX",
    "checkpoint/file.rs: PART_BYTES_MAX",
    "core/event/compression.rs: BODY_MAX WINDOW_MAX",
    "core/event/exception.rs: CLASS_MAX",
    "core/event/fields.rs: DEPTH_MAX SOFTWARE_MAX TEXT_MAX VALUES_MAX",
    "core/event/judge.rs: AHEAD_MAX COUNTER_MAX COUNT_MAX SECONDS_MAX SKEW_SECONDS_MAX STARTS_MAX STARTS_PER_SECOND_MAX",
    "core/event/pickle/text.rs: ESCAPED_MAX",
    "http/connections.rs: CONNECTIONS_MAX HEAD_BYTES_MAX",
    "http/renderings.rs: BYTES_MAX",
    "http/turns.rs: HASHINGS_MAX LOGINS_OF_ADDRESS_MAX",
    "core/series/label.rs: STORED_BYTES_MAX",
    "sink/auth/oauth2.rs: ANSWER_BYTES_MAX",
    "sink/client.rs: ANSWER_BYTES_MAX REDIRECTS_MAX",
    "core/state/tasks/later.rs: AHEAD_MAX",
    "core/state/worker.rs: FREQ_SECONDS_MAX",
    "core/timestamp.rs: SECONDS_MAX",
    "http/page/live.rs: LISTENERS_MAX",
    "recording/read.rs: LINE_MAX",
    "recording/scrub.rs: BYTES_MAX DEPTH_MAX",
    "status/query.rs: FILTER_MAX REGEX_BYTES_MAX",
    "status/saved.rs: BYTES_MAX",
    "terminal/client.rs: BODY_BYTES_MAX",
    "folder.rs: HOST_BYTES_MAX",
];

/// Exceeding it in the configuration is an error that names the limit.
const CONFIGURED: &[&str] = &[
    "cli/migrate.rs: FILE_BYTES_MAX",
    "config/amqp.rs: QUEUE_MAX SHARDS_MAX",
    "config/broker.rs: QUEUE_BYTES_MAX",
    "config/http.rs: COST_MAX PREFIX_BYTES_MAX",
    "config/load.rs: BYTES_MAX OVERRIDE_DEPTH_MAX",
    "config/section.rs: EXPRESSIONS_MAX PROBLEMS_MAX PROBLEM_BYTES_MAX",
    "config/section/variables.rs: REPLACED_BYTES_MAX",
    "config/yaml.rs: DEPTH_MAX TEXT_BYTES_MAX VALUES_MAX",
    "core/series/relabel/pattern.rs: COMPILED_BYTES_MAX",
    "secret.rs: BYTES_MAX PART_BYTES_MAX",
    "tls.rs: PEM_BYTES_MAX",
];

/// Only the text of a message or report is shortened; no data is lost.
const SHOWN: &[&str] = &[
    "status/late.rs: CHORD_AGE_MAX EXHAUSTED_MAX RETRIED_RATIO_MAX STALLED_MAX WORKFLOW_AGE_MAX",
    "broker/redis/unsubscribed_channels.rs: CHANNELS_MAX",
    "broker/redis/subscription.rs: ERROR_BYTES_MAX",
    "doctor/observed.rs: NAMES_MAX PROCESSES_MAX",
    "doctor/workers.rs: NAMES_MAX SKEW_MAX",
    "core/escape.rs: ESCAPED_BYTES_MAX",
    "sink/auth/oauth2.rs: ERROR_BYTES_MAX",
    "sink/refusal.rs: LOGGED_MAX TEXT_MAX",
    "sink/error_log.rs: LOGGED_MAX",
    "core/state/hint.rs: NAMED_MAX",
    "migrate/variables.rs: NESTED_MAX",
    "http/page/cell.rs: TEXTS_MAX",
    "http/page/text.rs: SHOWN_CHARS_MAX",
    "recording/replay.rs: COMPLAINTS_MAX",
    "status/attention.rs: BACKLOG_MAX BEHIND_MAX CHECKPOINT_AGE_MAX DRAIN_MAX FAILED_RATIO_MAX",
    "status/problem.rs: EACH_MAX",
    "status/history.rs: HISTORIES_MAX",
    "terminal/detail.rs: EXCEPTIONS_MAX",
    "terminal/table.rs: NUMBER_WIDTH_MAX PAIR_WIDTH_MAX SPARK_WIDTH_MAX",
    "terminal/top/overlay.rs: LINE_WIDTH_MAX",
];

/// Nothing is lost: work is divided, delayed, or remembered elsewhere.
const PACED: &[&str] = &[
    "broker/beats.rs: WORKERS_MAX",
    "core/state/beats.rs: MISSED_MAX",
    "core/state/periodic/calendar.rs: SUNDAYS_MAX",
    "core/state/periodic/history.rs: CHANGE_MAX PUNCTUAL_SLACK_MAX RESTART_MAX SLACK_MAX UNSEEN_MAX",
    "core/state/periodic/monthly.rs: MONTHLY_DAYS_MAX",
    "core/state/periodic/senders.rs: IGNORED_MAX REPEATED_MAX SENDERS_MAX SILENT_MAX SLACK_MAX TURN_MAX",
    "core/state/periodic/tape.rs: RUNS_MAX",
    "core/state/periodic/unseen.rs: SPELLS_MAX",
    "core/state/periodic/weekly.rs: WEEKLY_GAP_MAX",
    "core/state/cluster/stalled.rs: LATE_MAX",
    "core/state/rounds.rs: MISSED_MAX",
    "core/state/runtimes.rs: NAMES_MAX RUNS_MAX",
    "backoff.rs: RETRY_AFTER_MAX",
    "broker/amqp/control.rs: QUEUE_BYTES_MAX",
    "broker/amqp/queues.rs: AT_ONCE_MAX",
    "broker/amqp/session.rs: UNWRITTEN_BYTES_MAX",
    "broker/amqp/session/differential.rs: BODY_MAX",
    "broker/amqp/session/tests.rs: BODY_MAX",
    "broker/amqp/topology.rs: DELIVERIES_MAX SEGMENTS_MAX SEGMENT_BYTES_MAX",
    "broker/control.rs: DESTINATIONS_MAX MISSED_MAX TRIES_MAX",
    "broker/link.rs: SILENT_MAX",
    "broker/redis/bindings.rs: MEMBER_MAX",
    "broker/redis/drained.rs: CHUNKS_MAX",
    "broker/redis/subscription/tests.rs: BODY_BYTES_MAX",
    "broker/redis/unacked.rs: AGE_MAX ENTRIES_MAX SEEN_MAX SLICE_MAX TIME_MAX",
    "broker/context.rs: PAUSE_MAX",
    "cli.rs: THREADS_MAX",
    "core/event/decode.rs: KEPT_BYTES_MAX",
    "queue/index.rs: CACHED_MAX",
    "core/series/exponential.rs: BUCKETS_MAX GAP_MAX SCHEMA_MAX",
    "core/series/table/continued.rs: INTERVAL_SECONDS_MAX",
    "sink/enqueuer.rs: ACCEPTED_MAX",
    "sink/pushgateway.rs: PAUSE_MAX",
    "sink/quarantine.rs: BACKOFF_MAX GROUPS_MAX RELEASED_MAX",
    "sink/remote_write/apart.rs: SAMPLES_MAX",
    "sink/search.rs: NAMED_MAX REQUEST_MAX SINGLES_MAX TARGET_MAX",
    "sink/search/groups.rs: MIXED_MAX",
    "sink/search/learn.rs: LOST_MAX",
    "sink/transport.rs: CONNECT_TIMEOUT_MAX",
    "sink/triage.rs: OTHERS_MAX UNNAMED_MAX",
    "core/state/hint.rs: SIGN_AGE_MAX",
    "core/state/periodic/crontab.rs: DAYS_MAX",
    "core/state/periodic/history.rs: STEPS_MAX",
    "core/state/processed.rs: APART_MAX",
    "core/state/route.rs: UNSENT_MAX",
    "core/state/tasks/later.rs: STALE_MAX",
    "recording/replay.rs: PAUSE_MAX",
    "terminal/top/mod.rs: RETRY_MAX",
];

fn listed() -> BTreeSet<String> {
    let lists = [COUNTED, REFUSED, CONFIGURED, SHOWN, PACED].concat();
    let constants = lists.iter().flat_map(|line| {
        let (file, names) = line.split_once(": ").expect("a file and its constants");
        names.split(' ').map(move |name| format!("{file}: {name}"))
    });
    constants.collect()
}

fn source_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder of sources") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            source_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Returns the constants of a file whose names end in `_MAX`.
fn constants(source: &str) -> impl Iterator<Item = &str> {
    let names = source.split("const ").skip(1);
    let names = names
        .filter_map(|rest| rest.split_once(':'))
        .map(|(name, _)| name);
    names.filter(|name| {
        let mut letters = name.bytes();
        name.ends_with("_MAX")
            && letters.all(|letter| letter.is_ascii_uppercase() || letter == b'_')
    })
}

#[test]
fn every_bound_of_the_code_has_a_known_outcome() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    source_files(&root, &mut files);
    let mut found = BTreeSet::new();
    for path in files {
        let source = fs::read_to_string(&path).expect("a source file");
        let file = path.strip_prefix(&root).expect("below src").display();
        found.extend(constants(&source).map(|name| format!("{file}: {name}")));
    }
    let listed = listed();
    let new: Vec<_> = found.difference(&listed).collect();
    let gone: Vec<_> = listed.difference(&found).collect();
    assert!(
        new.is_empty(),
        "say what becomes of what is beyond: {new:#?}"
    );
    assert!(gone.is_empty(), "not in the code any more: {gone:#?}");
}
