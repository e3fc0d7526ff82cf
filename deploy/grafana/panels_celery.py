"""Panels about Celery: tasks, queues and workers."""

from panel import AMBER, RED, age, graph, quantile, rate, stat, steps, table

CLUSTER = 'job=~"$job", namespace=~"$namespace", broker=~"$broker"'
OF_QUEUE = f'{CLUSTER}, queue=~"$queue"'
OF_TASK = f'{OF_QUEUE}, name=~"$task"'
LAST_SUCCESS = f'celery_task_last_timestamp_seconds{{{CLUSTER}, name=~"$task", outcome="succeeded"}}'
OF_WORKER = f'{CLUSTER}, worker=~"$worker"'
# Namespaces or brokers may have queues of the same name. Labels that are absent leave no prefix in the legend.
EACH_QUEUE = "job, namespace, broker, queue"
ON_BROKER = "{{namespace}} {{broker}} {{queue}}"
SHARE = steps((0.01, AMBER), (0.05, RED))
BUSY = steps((0.8, AMBER), (0.95, RED))


def ended(kind, by="", where=OF_TASK):
    return f"sum{f' by ({by})' if by else ''} ({rate(f'celery_task_{kind}_total{{{where}}}')})"


def failure_ratio(by=""):
    """Zero if no task failed, empty if no task ended."""
    failed, succeeded = ended("failed", by), ended("succeeded", by)
    return f"({failed} or {succeeded} * 0) / ((({failed} or {succeeded} * 0) + {succeeded}) > 0)"


def quantiles(family, where=OF_TASK):
    return [(quantile(q, family, [], where), f"p{round(q * 100)}") for q in (0.5, 0.95, 0.99)]


def waiting(where, state):
    """How long the oldest tasks have been waiting. A task that is not due yet would have a negative age."""
    oldest = f'celery_tasks_oldest_timestamp_seconds{{{where}, state=~"{state}"}}'
    return f"clamp_min({age(oldest)}, 0)"


THROUGHPUT = graph("Throughput", "Tasks per second, by event. `sent` is absent if task_send_sent_event is off.",
                   "ops", *((ended(kind), kind) for kind in ("sent", "started", "succeeded", "failed", "retried")),
                   exemplars=True)
BURN = graph(
    "Burn rate of the error budget",
    "Ratio of failed and lost tasks to what the objective allows. At 14.4, a month's budget lasts two days. "
    "Needs the recording rules.", "none",
    *((f'max(cluster:celery_task_unsuccessful:ratio_rate{window}{{{CLUSTER}}})'
       " / (1 - scalar(celery:slo_task_success:objective))", window) for window in ("5m", "1h", "6h")),
    thresholds=steps((1, AMBER), (14.4, RED)))


def overview():
    return [
        ("Now", [
            stat("Tasks ended", "Tasks that succeeded or failed, per second.", "ops",
                 f"{ended('succeeded')} + ({ended('failed')} or {ended('succeeded')} * 0)"),
            stat("Failures",
                 "Share of failures among the tasks that ended.", "percentunit", failure_ratio(), thresholds=SHARE),
            stat("Running", "Tasks that are running now.", "short",
                 f'sum(celery_tasks_in_flight{{{OF_TASK}, state="started"}})'),
            stat("Waiting", "Messages in queues, as counted by the broker.", "short",
                 f"sum(max by ({EACH_QUEUE}) (celery_queue_length{{{OF_QUEUE}}}))", thresholds=steps((1000, AMBER))),
            stat("Oldest waiting", "Age of the oldest task that has not started.", "s",
                 f"max({waiting(OF_QUEUE, 'sent|received')}) or vector(0)",
                 thresholds=steps((60, AMBER), (600, RED))),
            stat("Workers online", "Workers online, by heartbeat.", "short",
                 f'sum(celery_workers{{{CLUSTER}, state="online"}})',
                 thresholds={"mode": "absolute", "steps": [{"color": RED, "value": None}, {"color": "green", "value": 1}]}),
        ]),
        ("Throughput and failures", [
            THROUGHPUT,
            graph("Failures by task",
                  "Share of failures among the tasks of each name that ended. Top ten.", "percentunit",
                  (f"topk(10, {failure_ratio('name')} > 0)", "{{name}}"), thresholds=SHARE, top=1),
            graph("Failures by exception", "Failures per second, by task name and exception class. Top ten.", "ops",
                  (f"topk(10, {ended('failed', 'name, exception')} > 0)", "{{name}}: {{exception}}"), exemplars=True),
            BURN,
        ]),
        ("Latency", [
            graph("Queue wait",
                  "Time from being sent (or from its ETA) to the start.",
                  "s", *quantiles("celery_task_queue_wait_seconds"),
                  exemplars=True),
            graph("Runtime", "Runtime of one attempt.", "s", *quantiles("celery_task_runtime_seconds"), exemplars=True),
        ]),
        ("Saturation", [
            graph("Queue length", "Messages waiting, as counted by the broker. Top ten.", "short",
                  (f"topk(10, max by ({EACH_QUEUE}) (celery_queue_length{{{OF_QUEUE}}}))", ON_BROKER)),
            graph("Queue saturation",
                  "Share of slots in use among the workers of each queue, including tasks of other queues.",
                  "percentunit",
                  (f"max by ({EACH_QUEUE}) (celery_queue_saturation_ratio{{{OF_QUEUE}}})", ON_BROKER), thresholds=BUSY, top=1),
            graph("Tasks in flight", "Tasks by state: published, in a worker's prefetch buffer, or running.", "short",
                  (f"sum by (state) (celery_tasks_in_flight{{{OF_TASK}}})", "{{state}}"), stack=True),
            graph("Workers",
                  "Workers online and offline. Offline workers disappear after metrics.worker_retention.", "short",
                  (f"sum by (state) (celery_workers{{{CLUSTER}}})", "{{state}}"),
                  stack=True),
        ]),
    ]


def by_task():
    def top(expression, legend="{{name}}"):
        return (f"topk(10, {expression})", legend)

    def p95(family):
        return top(f"{quantile(0.95, family, ['name'], OF_TASK)} >= 0")

    return [
        ("Outcomes", [
            graph("Succeeded", "Tasks that succeeded per second. Top ten.", "ops", top(ended("succeeded", "name"))),
            graph("Failure ratio",
                  "Share of failures among the tasks of each name that ended. Top ten.",
                  "percentunit", top(failure_ratio("name")),
                  thresholds=SHARE, top=1),
            graph("Failures by exception", "Failures per second. Top ten. Exemplars carry a task id.", "ops",
                  top(f"{ended('failed', 'name, exception')} > 0", "{{name}}: {{exception}}"), exemplars=True),
            graph("Retries by exception", "Attempts per second that ended in a retry. Top ten.", "ops",
                  top(f"{ended('retried', 'name, exception')} > 0", "{{name}}: {{exception}}")),
            graph("Revoked and rejected",
                  "Tasks revoked or rejected in five minutes, by reason. `requeue` says whether the message returns to "
                  "the queue.", "short",
                  (f"sum by (reason) (increase(celery_task_revoked_total{{{OF_TASK}}}[5m]))", "revoked: {{reason}}"),
                  (f"sum by (requeue) (increase(celery_task_rejected_total{{{OF_TASK}}}[5m]))",
                   "rejected, requeue={{requeue}}"), lines=False),
            graph("Lost", "Tasks presumed lost in five minutes. Empty if none was ever lost.", "short",
                  (f"sum by (name, reason) (increase(celery_task_lost_total{{{OF_TASK}}}[5m]))", "{{name}}: {{reason}}"),
                  lines=False, thresholds=steps((1, RED))),
        ]),
        ("Latency", [
            graph("Runtime, p95",
                  "Runtime of one attempt, by task name. Top ten.", "s", p95("celery_task_runtime_seconds"),
                  exemplars=True),
            graph("Runtime of the selected tasks",
                  "Runtime of one attempt, across all selected tasks.",
                  "s", *quantiles("celery_task_runtime_seconds"),
                  exemplars=True),
            graph("Queue wait, p95",
                  "Time from being sent (or from its ETA) to the start. Top ten.",
                  "s", p95("celery_task_queue_wait_seconds"),
                  exemplars=True),
            graph("Prefetch wait, p95",
                  "Time from being received to the start. High if workers prefetch more than they run. Top ten.", "s",
                  p95("celery_task_prefetch_wait_seconds"), exemplars=True),
            graph("Turnaround, p95",
                  "Time from being sent (or from its ETA) to the end, including retries. Top ten.", "s",
                  p95("celery_task_turnaround_seconds"), exemplars=True),
            graph("Attempts", "Average number of attempts per task. Top ten.", "none",
                  top(f"sum by (name) ({rate(f'celery_task_attempts_sum{{{OF_TASK}}}')})"
                      f" / (sum by (name) ({rate(f'celery_task_attempts_count{{{OF_TASK}}}')}) > 0)")),
        ]),
        ("Load", [
            graph("Worker time",
                  "Number of processes that each task name keeps busy: seconds of runtime per second. Top ten.", "short",
                  top(f"sum by (name) ({rate(f'celery_task_runtime_seconds_sum{{{OF_TASK}}}')})"), stack=True),
            graph("Running now", "Tasks running, by name. Top ten.", "short",
                  top(f'sum by (name) (celery_tasks_in_flight{{{OF_TASK}, state="started"}})'), stack=True),
            table("Time since the last success",
                  "By task name, longest first. A periodic task that stopped is at the top.", "s",
                  f"min by (name) ({age(LAST_SUCCESS)})",
                  size=(24, 8), rename={"name": "Task", "Value": "Age"}),
        ]),
    ]


def by_queue():
    def level(name):
        return f"max by ({EACH_QUEUE}) ({name}{{{OF_QUEUE}}})"

    def p(q):
        return (f"{quantile(q, 'celery_task_queue_wait_seconds', ['queue'], OF_QUEUE)} >= 0", f"{{{{queue}}}} p{round(q * 100)}")

    return [
        ("Backlog", [
            graph("Queue length",
                  "Messages waiting, as counted by the broker.", "short", (level("celery_queue_length"), ON_BROKER),
                  thresholds=steps((1000, AMBER))),
            graph("Time to drain", "Estimated from the rates of the last five minutes. Empty if the queue is empty or not "
                  "shrinking; see its length then. Needs the recording rules.", "s",
                  (f"cluster_queue:celery_queue_drain_seconds:estimate5m{{{OF_QUEUE}}} < Inf", ON_BROKER),
                  thresholds=steps((1800, AMBER))),
            graph("Arrival and processing", "Tasks per second, sent by clients and received by workers.", "ops",
                  (ended("sent", "queue", OF_QUEUE), "{{queue}} sent"),
                  (ended("received", "queue", OF_QUEUE), "{{queue}} received")),
            graph("Age of the oldest task", "By queue and state.", "s",
                  (f"max by (queue, state) ({waiting(OF_QUEUE, '.*')})", "{{queue}}: {{state}}"), thresholds=steps((600, AMBER))),
        ]),
        ("Latency", [
            graph("Queue wait",
                  "Time from being sent (or from its ETA) to the start.", "s", p(0.5), p(0.95), exemplars=True),
            graph("Late starts",
                  "Share of attempts that waited longer than 30 s, over one hour. Needs the recording rules.", "percentunit",
                  (f"cluster_queue:celery_task_queue_wait_late:ratio_rate1h{{{OF_QUEUE}}}", ON_BROKER),
                  thresholds=SHARE, top=1),
        ]),
        ("Workers", [
            graph("Saturation",
                  "Share of slots in use among the workers of each queue, including tasks of other queues.",
                  "percentunit",
                  (level("celery_queue_saturation_ratio"), ON_BROKER), thresholds=BUSY, top=1),
            graph("Slots",
                  "Number of tasks that the workers of each queue can run at once.",
                  "short", (level("celery_queue_slots"), ON_BROKER)),
            graph("Workers and consumers",
                  "Workers as reported by remote control; consumers as counted by RabbitMQ.", "short",
                  (level("celery_queue_workers"), f"{ON_BROKER} workers"),
                  (level("celery_queue_consumers"), f"{ON_BROKER} consumers")),
            graph("Running", "Tasks running, by queue.", "short",
                  (f'sum by (queue) (celery_tasks_in_flight{{{OF_QUEUE}, state="started"}})', "{{queue}}"), stack=True),
            graph("Unacknowledged messages",
                  "Messages that workers hold and have not acknowledged (Redis only).", "short",
                  (level("celery_queue_unacked"), ON_BROKER)),
        ]),
    ]


def by_worker():
    def of(name, by="worker"):
        return f"max by ({by}) ({name}{{{OF_WORKER}}})"

    return [
        ("Status", [
            graph("Online",
                  "Whether the worker is online, by heartbeat: 1 or 0.",
                  "none", (of("celery_worker_up"), "{{worker}}"), top=1),
            graph("Time since the last event", "Time since the last event of any type, heartbeats included.", "s",
                  (f"min by (worker) ({age(f'celery_worker_last_seen_timestamp_seconds{{{OF_WORKER}}}')})", "{{worker}}"),
                  thresholds=steps((60, AMBER))),
            table("Versions", "Host, software version and operating system of each worker.", "none",
                  f"max by (worker, hostname, sw_ident, sw_ver, sw_sys) (celery_worker_info{{{OF_WORKER}}})", size=(24, 6),
                  rename={"worker": "Worker", "hostname": "Host", "sw_ident": "Software", "sw_ver": "Version",
                          "sw_sys": "System"}, hide=("Value",)),
        ]),
        ("Tasks", [
            graph("Tasks started", "Tasks per second, as reported in heartbeats.", "ops",
                  (f"sum by (worker) ({rate(f'celery_worker_tasks_processed_total{{{OF_WORKER}}}')})", "{{worker}}")),
            graph("Pool utilization", "Running tasks divided by the pool size.", "percentunit",
                  (f"{of('celery_worker_tasks_active')} / ({of('celery_worker_pool_size')} > 0)", "{{worker}}"),
                  thresholds=BUSY),
            graph("Pool size and prefetch count",
                  "Number of tasks that a worker can run at once, and number that it prefetches.",
                  "short",
                  (of("celery_worker_pool_size"), "{{worker}} pool"), (of("celery_worker_prefetch_count"), "{{worker}} prefetch")),
            graph("Running",
                  "Tasks running, as reported in the last heartbeat.",
                  "short", (of("celery_worker_tasks_active"), "{{worker}}")),
        ]),
        ("Machine and clock", [
            graph("Load", "Load average of the worker's machine over one minute.", "short",
                  (f'max by (worker) (celery_worker_load_average{{{OF_WORKER}, window="1m"}})', "{{worker}}")),
            graph("Clock skew",
                  "How far the worker's clock is behind celeriac's (negative: ahead). Durations measured across both clocks "
                  "are off by this much.", "s",
                  (of("celery_worker_clock_skew_seconds"), "{{worker}}"), bottom=None),
            graph("Task events", "0: the worker runs tasks but sends only heartbeats.", "none",
                  (of("celery_worker_events_enabled"), "{{worker}}"), top=1),
        ]),
    ]
