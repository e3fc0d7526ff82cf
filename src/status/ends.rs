//! The rows of brokers and receivers, from the daemon's own metrics and from what their stages report.

use std::sync::Arc;

use super::before::Before;
use super::document::{BrokerRow, ReceiverRow};
use super::number::{float, whole};
use super::own::is_intended;
use super::setup::{BrokerSetup, ReceiverKind, ReceiverSetup};
use crate::telemetry::metrics::OwnValue;
use crate::telemetry::readiness::StageReport;
use crate::timestamp::Timestamp;

/// The daemon's own metrics.
pub(super) struct OwnValues<'a>(&'a [OwnValue]);

impl<'a> OwnValues<'a> {
    pub(super) const fn new(values: &'a [OwnValue]) -> Self {
        Self(values)
    }

    /// The sum of all series of a counter.
    pub(super) fn total(&self, name: &str) -> u64 {
        let values = self.0.iter().filter(|value| value.name == name);
        values.map(|value| whole(value.value)).sum()
    }

    /// The series of a family with this label value.
    fn of(&self, name: &str, label: &str, of: &str) -> impl Iterator<Item = f64> {
        let values = self.0.iter().filter(move |value| value.name == name);
        let own = values.filter(move |value| value.label(label) == Some(of) && !is_intended(value));
        own.map(|value| value.value)
    }
}

/// The values about one broker or receiver.
struct Own<'a> {
    values: &'a OwnValues<'a>,
    label: &'static str,
    of: &'a str,
}

impl Own<'_> {
    fn count(&self, name: &str) -> u64 {
        self.values.of(name, self.label, self.of).map(whole).sum()
    }

    fn gauge(&self, name: &str) -> Option<f64> {
        self.values.of(name, self.label, self.of).next()
    }
}

pub(super) fn broker(
    setup: &BrokerSetup,
    values: &OwnValues<'_>,
    stages: &[StageReport],
    before: &Before<'_>,
) -> BrokerRow {
    let own = Own {
        values,
        label: "broker",
        of: &setup.name,
    };
    let stage = stage(stages, "broker", &setup.name);
    let messages = own.count("celeriac_messages_total");
    BrokerRow {
        name: Arc::clone(&setup.name),
        connected: own.gauge("celeriac_broker_connected") == Some(1.0),
        since_timestamp_seconds: stage.map(|stage| stage.since.seconds()),
        reason: stage.and_then(|stage| stage.reason.as_deref().map(str::to_owned)),
        delivery: setup.delivery.to_owned(),
        shard: setup.shard.map(|(index, _)| index),
        shards: setup.shard.map(|(_, count)| count),
        events_per_second: before.own("celeriac_messages_total", &setup.name, messages),
        lag_seconds: own
            .gauge("celeriac_event_lag_seconds")
            .filter(|_| messages > 0),
        gap_seconds: own
            .gauge("celeriac_broker_gap_seconds_total")
            .unwrap_or_default(),
        reconnects: own.count("celeriac_broker_reconnects_total"),
        messages,
        dropped: own.count("celeriac_messages_dropped_total"),
        undecodable: own.count("celeriac_messages_undecodable_total"),
        missing: own.count("celeriac_events_missing_total"),
        tasks_tracked: own.count("celeriac_tasks_tracked"),
        hints: Vec::new(),
    }
}

pub(super) fn receiver(
    setup: &ReceiverSetup,
    values: &OwnValues<'_>,
    stages: &[StageReport],
    before: &Before<'_>,
    at: Timestamp,
) -> ReceiverRow {
    let stage = stage(stages, setup.kind.name(), &setup.name);
    let row = ReceiverRow {
        name: Arc::clone(&setup.name),
        kind: setup.kind.name().to_owned(),
        url: setup.url.clone(),
        working: stage.is_some_and(|stage| stage.reason.is_none()),
        since_timestamp_seconds: stage.map(|stage| stage.since.seconds()),
        last_error: stage.and_then(|stage| stage.reason.as_deref().map(str::to_owned)),
        ..ReceiverRow::default()
    };
    match setup.kind {
        ReceiverKind::RemoteWrite => remote_write(row, setup, values, before, at),
        ReceiverKind::Pushgateway => {
            let own = Own {
                values,
                label: "pushgateway",
                of: &setup.name,
            };
            ReceiverRow {
                last_push_timestamp_seconds: own.gauge("celeriac_last_push_timestamp_seconds"),
                ..row
            }
        }
    }
}

fn remote_write(
    row: ReceiverRow,
    setup: &ReceiverSetup,
    values: &OwnValues<'_>,
    before: &Before<'_>,
    at: Timestamp,
) -> ReceiverRow {
    let own = Own {
        values,
        label: "remote_name",
        of: &setup.name,
    };
    let sent = own.count("celeriac_remote_storage_samples_total");
    let pending = own.count("celeriac_remote_storage_samples_pending");
    let accepted = own.gauge("celeriac_remote_storage_queue_highest_sent_timestamp_seconds");
    let queue_bytes = own.count("celeriac_remote_storage_queue_bytes");
    // Everything up to the newest accepted sample has been sent, so the oldest pending one is newer.
    let age = accepted.map(|accepted| (at.seconds() - accepted).max(0.0));
    let growth = age.filter(|age| *age > 0.0 && queue_bytes > 0);
    let left = setup
        .queue_limit_bytes
        .map(|limit| limit.saturating_sub(queue_bytes));
    ReceiverRow {
        protocol: own
            .gauge("celeriac_remote_storage_protocol_version")
            .map(|version| format!("{version:.1}")),
        samples_per_second: before.own("celeriac_remote_storage_samples_total", &setup.name, sent),
        pending,
        pending_age_seconds: age.filter(|_| pending > 0),
        sent,
        failed: own.count("celeriac_remote_storage_samples_failed_total"),
        dropped: own.count("celeriac_remote_storage_samples_dropped_total"),
        last_push_timestamp_seconds: accepted,
        queue_bytes,
        queue_limit_bytes: setup.queue_limit_bytes,
        on_disk: setup.on_disk,
        disk_failing: own.gauge("celeriac_remote_storage_queue_disk_failing") == Some(1.0),
        lasts_seconds: growth
            .zip(left)
            .filter(|_| !row.working)
            .map(|(age, left)| float(left) * age / float(queue_bytes)),
        ..row
    }
}

/// What the stage of a broker or receiver last reported.
fn stage<'a>(stages: &'a [StageReport], kind: &str, name: &str) -> Option<&'a StageReport> {
    let mut stages = stages.iter();
    stages.find(|stage| {
        let own = stage.name.strip_prefix(kind);
        own.and_then(|own| own.strip_prefix(' ')) == Some(name)
    })
}
