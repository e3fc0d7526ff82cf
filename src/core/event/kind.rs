//! The event types that Celery defines.

/// The type of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventKind {
    Task(TaskKind),
    Worker(WorkerKind),
    /// A type that Celery does not define.
    Other,
}

/// The types of the group `task`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TaskKind {
    Sent,
    Received,
    Started,
    Succeeded,
    Failed,
    Retried,
    Rejected,
    Revoked,
    Cancelled,
}

/// The types of the group `worker`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WorkerKind {
    Online,
    Heartbeat,
    Offline,
    /// Only after the control command `election`.
    Elect,
    ElectAck,
}

impl EventKind {
    /// Every kind, in the order of [`EventKind::index`].
    pub const ALL: [Self; 15] = [
        Self::Task(TaskKind::Sent),
        Self::Task(TaskKind::Received),
        Self::Task(TaskKind::Started),
        Self::Task(TaskKind::Succeeded),
        Self::Task(TaskKind::Failed),
        Self::Task(TaskKind::Retried),
        Self::Task(TaskKind::Rejected),
        Self::Task(TaskKind::Revoked),
        Self::Task(TaskKind::Cancelled),
        Self::Worker(WorkerKind::Online),
        Self::Worker(WorkerKind::Heartbeat),
        Self::Worker(WorkerKind::Offline),
        Self::Worker(WorkerKind::Elect),
        Self::Worker(WorkerKind::ElectAck),
        Self::Other,
    ];

    /// The place of this kind in [`EventKind::ALL`].
    pub const fn index(self) -> usize {
        match self {
            Self::Task(task) => task as usize,
            Self::Worker(worker) => 9 + worker as usize,
            Self::Other => 14,
        }
    }

    /// Reads an event's `type`.
    pub fn of(text: &str) -> Self {
        match text {
            "task-sent" => Self::Task(TaskKind::Sent),
            "task-received" => Self::Task(TaskKind::Received),
            "task-started" => Self::Task(TaskKind::Started),
            "task-succeeded" => Self::Task(TaskKind::Succeeded),
            "task-failed" => Self::Task(TaskKind::Failed),
            "task-retried" => Self::Task(TaskKind::Retried),
            "task-rejected" => Self::Task(TaskKind::Rejected),
            "task-revoked" => Self::Task(TaskKind::Revoked),
            "task-cancelled" => Self::Task(TaskKind::Cancelled),
            "worker-online" => Self::Worker(WorkerKind::Online),
            "worker-heartbeat" => Self::Worker(WorkerKind::Heartbeat),
            "worker-offline" => Self::Worker(WorkerKind::Offline),
            "worker-elect" => Self::Worker(WorkerKind::Elect),
            "worker-elect-ack" => Self::Worker(WorkerKind::ElectAck),
            _ => Self::Other,
        }
    }

    /// The type's name as Celery writes it; `other` for one that Celery does not define.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Task(TaskKind::Sent) => "task-sent",
            Self::Task(TaskKind::Received) => "task-received",
            Self::Task(TaskKind::Started) => "task-started",
            Self::Task(TaskKind::Succeeded) => "task-succeeded",
            Self::Task(TaskKind::Failed) => "task-failed",
            Self::Task(TaskKind::Retried) => "task-retried",
            Self::Task(TaskKind::Rejected) => "task-rejected",
            Self::Task(TaskKind::Revoked) => "task-revoked",
            Self::Task(TaskKind::Cancelled) => "task-cancelled",
            Self::Worker(WorkerKind::Online) => "worker-online",
            Self::Worker(WorkerKind::Heartbeat) => "worker-heartbeat",
            Self::Worker(WorkerKind::Offline) => "worker-offline",
            Self::Worker(WorkerKind::Elect) => "worker-elect",
            Self::Worker(WorkerKind::ElectAck) => "worker-elect-ack",
            Self::Other => "other",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_stands_at_its_index_and_reads_back_from_its_name() {
        for (index, kind) in EventKind::ALL.into_iter().enumerate() {
            assert_eq!(kind.index(), index, "{kind:?}");
            assert_eq!(EventKind::of(kind.name()), kind);
        }
    }
}
