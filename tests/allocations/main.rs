//! Nothing is allocated for an event of a known kind, task name and worker. An executable of its own, because
//! the allocator that counts is one for the whole process.

#[path = "../it/support/events.rs"]
#[expect(unreachable_pub, reason = "shared with the integration tests")]
mod events;

use std::alloc::System;
use std::path::Path;
use std::sync::Arc;

use celeriac::config::Config;
use celeriac::event::{Batch, ContentType, Form, Payload};
use celeriac::pipeline::{ClusterConfig, Pipeline};
use celeriac::profile::ProfileName;
use celeriac::telemetry::metrics::Telemetry;
use celeriac::timestamp::Timestamp;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const NOW: Timestamp = Timestamp::from_millis(1_795_344_000_000);

fn batch(tasks: std::ops::Range<u64>, enveloped: bool) -> Batch {
    let body = |n| {
        let events = events::life(n, &format!("app.task_{}", n % 10), NOW.seconds());
        format!("[{}]", events.join(", "))
    };
    let payload = |body: String| {
        if enveloped {
            Payload {
                bytes: events::envelope(&body).into_bytes(),
                form: Form::Envelope,
            }
        } else {
            let form = Form::Body {
                content_type: ContentType::Json,
                compressed: false,
            };
            Payload {
                bytes: body.into_bytes(),
                form,
            }
        }
    };
    Batch {
        broker: 0,
        received: NOW,
        payloads: tasks.map(body).map(payload).collect(),
    }
}

#[test]
fn nothing_is_allocated_for_an_event_in_steady_state() {
    let file = "brokers: [{url: 'redis://h'}]\nhttp: {listen: ':0'}";
    let config = Config::parse(file, Path::new("x.yaml"), []).expect("a good configuration");
    let mut telemetry = Telemetry::new(NOW);
    let broker: Arc<str> = "main".into();
    let (_, metrics) = telemetry.broker(&broker);
    let cluster = ClusterConfig {
        broker,
        label: None,
        metrics,
    };
    let mut pipeline = Pipeline::new(
        &config.metrics,
        vec![cluster],
        &[ProfileName::Native],
        telemetry,
        NOW,
    );
    // Until the table of tasks that have ended is full, it grows.
    pipeline.take(&batch(0..40_000, false));
    pipeline.take(&batch(40_000..40_001, true));
    for enveloped in [false, true] {
        let from = 50_000 + 10_000 * u64::from(enveloped);
        let steady = batch(from..from + 10_000, enveloped);
        let region = Region::new(ALLOCATOR);
        pipeline.take(&steady);
        let change = region.change();

        assert_eq!(
            (change.allocations, change.reallocations),
            (0, 0),
            "enveloped: {enveloped}"
        );
    }
}
