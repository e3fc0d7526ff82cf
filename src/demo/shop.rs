//! The simulated shop: its tasks, its workers, and what goes wrong.

use std::time::Duration;

/// A task of the shop.
#[derive(Debug)]
pub(super) struct Task {
    pub(super) name: &'static str,
    pub(super) queue: &'static str,
    /// How many are sent on average.
    pub(super) per_second: f64,
    /// Typical runtime in seconds. Most runs are shorter, a few much longer.
    pub(super) runtime: f64,
    /// The exception that fails it, and how many percent of the runs do.
    pub(super) failure: (&'static str, f64),
    /// The exception after which it is retried, and how many percent of the runs are.
    pub(super) retry: (&'static str, f64),
}

const NONE: (&str, f64) = ("", 0.0);

pub(super) const TASKS: [Task; 6] = [
    Task {
        name: "shop.orders.confirm_order",
        queue: "default",
        per_second: 6.0,
        runtime: 0.08,
        failure: NONE,
        retry: ("OperationalError('deadlock detected')", 0.5),
    },
    Task {
        name: "shop.emails.send_receipt",
        queue: "default",
        per_second: 6.0,
        runtime: 0.25,
        failure: ("SMTPRecipientsRefused('550 no such user')", 0.5),
        retry: (
            "SMTPServerDisconnected('Connection unexpectedly closed')",
            3.0,
        ),
    },
    Task {
        name: "shop.payments.charge_card",
        queue: "payments",
        per_second: 3.0,
        runtime: 0.6,
        failure: (
            "shop.payments.errors.CardDeclined('insufficient funds')",
            4.0,
        ),
        retry: ("requests.exceptions.ReadTimeout('read timed out')", 2.0),
    },
    Task {
        name: "shop.search.index_product",
        queue: "default",
        per_second: 8.0,
        runtime: 0.04,
        failure: NONE,
        retry: NONE,
    },
    Task {
        name: "shop.suppliers.sync_stock",
        queue: "default",
        per_second: 0.5,
        runtime: 1.5,
        failure: ("KeyError('sku')", 2.0),
        retry: ("ConnectionError('Connection refused')", 8.0),
    },
    Task {
        name: "shop.media.resize_image",
        queue: "media",
        per_second: 2.0,
        runtime: 0.9,
        failure: (
            "PIL.UnidentifiedImageError('cannot identify image file')",
            2.0,
        ),
        retry: NONE,
    },
];

/// The task that suppliers send [`UPLOAD`] of at once, so that its queue backs up.
pub(super) const UPLOADED: usize = TASKS.len() - 1;
pub(super) const UPLOAD: usize = 150;
/// When the first upload comes, and how often.
pub(super) const UPLOAD_FIRST: Duration = Duration::from_secs(20);
pub(super) const UPLOAD_INTERVAL: Duration = Duration::from_secs(150);

/// The task that runs once a night.
pub(super) const NIGHTLY: Task = Task {
    name: "shop.reports.nightly_sales",
    queue: "reports",
    per_second: 0.0,
    runtime: 190.0,
    failure: NONE,
    retry: NONE,
};
/// When it is sent, after midnight in UTC.
pub(super) const NIGHTLY_AT: Duration = Duration::from_secs(2 * 3600);

/// A worker of the shop.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) name: &'static str,
    /// How many tasks it runs at once.
    pub(super) slots: usize,
    pub(super) queues: &'static [&'static str],
}

pub(super) const WORKERS: [Worker; 4] = [
    Worker {
        name: "celery@web-1",
        slots: 8,
        queues: &["default", "payments"],
    },
    Worker {
        name: "celery@web-2",
        slots: 8,
        queues: &["default", "payments", "reports"],
    },
    Worker {
        name: "media@images-1",
        slots: 2,
        queues: &["media"],
    },
    Worker {
        name: "media@images-2",
        slots: 2,
        queues: &["media"],
    },
];

pub(super) const QUEUES: [&str; 4] = ["default", "media", "payments", "reports"];

/// The worker that is killed again and again.
pub(super) const MORTAL: usize = WORKERS.len() - 1;
/// When it is first killed, how often, and for how long it is gone.
pub(super) const KILLED_FIRST: Duration = Duration::from_secs(60);
pub(super) const KILLED_INTERVAL: Duration = Duration::from_secs(180);
pub(super) const KILLED_FOR: Duration = Duration::from_secs(45);
