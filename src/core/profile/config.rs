//! The settings of the native profile: names, labels, buckets and limits of its series.

use std::sync::Arc;

use regex::Regex;

use crate::series::Buckets;

/// Configuration of the native profile.
#[derive(Clone, Debug)]
pub struct NativeConfig {
    /// The prefix of metric names: `celery_`.
    pub prefix: Arc<str>,
    pub labels: TaskLabels,
    /// Whether the label `worker` is the host instead of the full node name.
    pub hostnames: bool,
    /// The queue label of a task whose queue is unknown.
    pub default_queue: Arc<str>,
    pub runtime_buckets: Arc<Buckets>,
    pub wait_buckets: Arc<Buckets>,
    /// Buckets for specific tasks; the first match applies.
    pub overrides: Vec<BucketOverride>,
    /// Maximum number of exception classes per group. Further ones count as `(other)`.
    pub exceptions_max: usize,
    /// Maximum number of queues per task name. Further ones count as `(other)`.
    pub queues_max: usize,
}

/// Buckets for tasks with matching names.
#[derive(Clone, Debug)]
pub struct BucketOverride {
    pub matches: Regex,
    pub runtime: Option<Arc<Buckets>>,
    pub wait: Option<Arc<Buckets>>,
}

/// The labels of task series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskLabels {
    pub name: bool,
    pub queue: bool,
    pub worker: bool,
}
