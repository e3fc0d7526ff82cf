"""What is known of Celery: tasks, queues, workers."""

from panel import AMBER, RED, age, graph, quantile, rate, stat, steps, table

CLUSTER = 'job=~"$job", namespace=~"$namespace", broker=~"$broker"'
OF_QUEUE = f'{CLUSTER}, queue=~"$queue"'
OF_TASK = f'{OF_QUEUE}, name=~"$task"'
LAST_SUCCESS = f'celery_task_last_timestamp_seconds{{{CLUSTER}, name=~"$task", outcome="succeeded"}}'
OF_WORKER = f'{CLUSTER}, worker=~"$worker"'
# Two namespaces, or brokers, may have queues of one name. Where these have no names, nothing stands ahead.
EACH_QUEUE = "job, namespace, broker, queue"
ON_BROKER = "{{namespace}} {{broker}} {{queue}}"
SHARE = steps((0.01, AMBER), (0.05, RED))
BUSY = steps((0.8, AMBER), (0.95, RED))


def ended(kind, by="", where=OF_TASK):
    return f"sum{f' by ({by})' if by else ''} ({rate(f'celery_task_{kind}_total{{{where}}}')})"


def failure_ratio(by=""):
    """Zero where nothing failed, and nothing where nothing ended."""
    failed, succeeded = ended("failed", by), ended("succeeded", by)
    return f"({failed} or {succeeded} * 0) / ((({failed} or {succeeded} * 0) + {succeeded}) > 0)"


def quantiles(family, where=OF_TASK):
    return [(quantile(q, family, [], where), f"p{round(q * 100)}") for q in (0.5, 0.95, 0.99)]


def waiting(where, state):
    """How long the oldest tasks have been waiting. A task that is not due yet does not wait: its age would be negative."""
    oldest = f'celery_tasks_oldest_timestamp_seconds{{{where}, state=~"{state}"}}'
    return f"clamp_min({age(oldest)}, 0)"


THROUGHPUT = graph("Throughput", "Tasks a second, by what became of them. Sent is absent where task_send_sent_event is off.",
                   "ops", *((ended(kind), kind) for kind in ("sent", "started", "succeeded", "failed", "retried")),
                   exemplars=True)
BURN = graph(
    "Burn rate of the error budget",
    "How many times faster than the objective allows tasks fail or are lost: at 14.4 a month's budget is gone in two days. "
    "From the recording rules.", "none",
    *((f'max(cluster:celery_task_unsuccessful:ratio_rate{window}{{{CLUSTER}}})'
       " / (1 - scalar(celery:slo_task_success:objective))", window) for window in ("5m", "1h", "6h")),
    thresholds=steps((1, AMBER), (14.4, RED)))


def overview():
    return [
        ("Now", [
            stat("Tasks ended", "Tasks that succeeded or failed, a second.", "ops",
                 f"{ended('succeeded')} + ({ended('failed')} or {ended('succeeded')} * 0)"),
            stat("Failures", "Share of the tasks that ended.", "percentunit", failure_ratio(), thresholds=SHARE),
            stat("Running", "Tasks that workers run now.", "short",
                 f'sum(celery_tasks_in_flight{{{OF_TASK}, state="started"}})'),
            stat("Waiting", "Messages in queues, as the broker counts them.", "short",
                 f"sum(max by ({EACH_QUEUE}) (celery_queue_length{{{OF_QUEUE}}}))", thresholds=steps((1000, AMBER))),
            stat("Oldest waiting", "How long the oldest task is there that no worker has begun.", "s",
                 f"max({waiting(OF_QUEUE, 'sent|received')}) or vector(0)",
                 thresholds=steps((60, AMBER), (600, RED))),
            stat("Workers online", "By their heartbeats.", "short",
                 f'sum(celery_workers{{{CLUSTER}, state="online"}})',
                 thresholds={"mode": "absolute", "steps": [{"color": RED, "value": None}, {"color": "green", "value": 1}]}),
        ]),
        ("Throughput and failures", [
            THROUGHPUT,
            graph("Failures by task", "Share of each task's ends. The ten highest.", "percentunit",
                  (f"topk(10, {failure_ratio('name')} > 0)", "{{name}}"), thresholds=SHARE, top=1),
            graph("Failures by exception", "A second, by task and the exception's class. The ten most frequent.", "ops",
                  (f"topk(10, {ended('failed', 'name, exception')} > 0)", "{{name}}: {{exception}}"), exemplars=True),
            BURN,
        ]),
        ("Waits and times", [
            graph("Wait in the queue", "From sent, or due, to the start.", "s", *quantiles("celery_task_queue_wait_seconds"),
                  exemplars=True),
            graph("Runtime", "Of one attempt.", "s", *quantiles("celery_task_runtime_seconds"), exemplars=True),
        ]),
        ("Saturation", [
            graph("Messages in queues", "What waits, as the broker counts it. The ten longest.", "short",
                  (f"topk(10, max by ({EACH_QUEUE}) (celery_queue_length{{{OF_QUEUE}}}))", ON_BROKER)),
            graph("Saturation of queues", "How busy the workers of a queue are, whatever they run.", "percentunit",
                  (f"max by ({EACH_QUEUE}) (celery_queue_saturation_ratio{{{OF_QUEUE}}})", ON_BROKER), thresholds=BUSY, top=1),
            graph("In flight", "Tasks by where they are: published, in a worker's prefetch, running.", "short",
                  (f"sum by (state) (celery_tasks_in_flight{{{OF_TASK}}})", "{{state}}"), stack=True),
            graph("Workers", "By whether they are online. Those gone for long are forgotten.", "short",
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
            graph("Succeeded", "Tasks a second. The ten most frequent.", "ops", top(ended("succeeded", "name"))),
            graph("Failure ratio", "Share of each task's ends.", "percentunit", top(failure_ratio("name")),
                  thresholds=SHARE, top=1),
            graph("Failures by exception", "A second. Exemplars name a task.", "ops",
                  top(f"{ended('failed', 'name, exception')} > 0", "{{name}}: {{exception}}"), exemplars=True),
            graph("Retries by exception", "Attempts a second that ended in a retry.", "ops",
                  top(f"{ended('retried', 'name, exception')} > 0", "{{name}}: {{exception}}")),
            graph("Revoked and rejected", "Within five minutes, by reason; requeue says whether a message goes back.", "short",
                  (f"sum by (reason) (increase(celery_task_revoked_total{{{OF_TASK}}}[5m]))", "revoked: {{reason}}"),
                  (f"sum by (requeue) (increase(celery_task_rejected_total{{{OF_TASK}}}[5m]))",
                   "rejected, requeue={{requeue}}"), lines=False),
            graph("Lost", "Tasks within five minutes that will not be heard of again. Empty where none ever was.", "short",
                  (f"sum by (name, reason) (increase(celery_task_lost_total{{{OF_TASK}}}[5m]))", "{{name}}: {{reason}}"),
                  lines=False, thresholds=steps((1, RED))),
        ]),
        ("Times", [
            graph("Runtime, p95", "Of one attempt, by task. The ten slowest.", "s", p95("celery_task_runtime_seconds"),
                  exemplars=True),
            graph("Runtime of the tasks chosen", "All together.", "s", *quantiles("celery_task_runtime_seconds"),
                  exemplars=True),
            graph("Wait in the queue, p95", "From sent, or due, to the start.", "s", p95("celery_task_queue_wait_seconds"),
                  exemplars=True),
            graph("Wait in the prefetch, p95", "From received to the start: high where workers take more than they run.", "s",
                  p95("celery_task_prefetch_wait_seconds"), exemplars=True),
            graph("Turnaround, p95", "From first sent, or due, to the end, with retries.", "s",
                  p95("celery_task_turnaround_seconds"), exemplars=True),
            graph("Attempts", "How many a task took, on average.", "none",
                  top(f"sum by (name) ({rate(f'celery_task_attempts_sum{{{OF_TASK}}}')})"
                      f" / (sum by (name) ({rate(f'celery_task_attempts_count{{{OF_TASK}}}')}) > 0)")),
        ]),
        ("Load", [
            graph("Worker time", "Seconds of work a second: how many processes a task keeps busy.", "short",
                  top(f"sum by (name) ({rate(f'celery_task_runtime_seconds_sum{{{OF_TASK}}}')})"), stack=True),
            graph("Running now", "By task.", "short",
                  top(f'sum by (name) (celery_tasks_in_flight{{{OF_TASK}, state="started"}})'), stack=True),
            table("Since the last success", "By task: a periodic one that stays away is on top.", "s",
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
            graph("Length", "Messages that wait.", "short", (level("celery_queue_length"), ON_BROKER),
                  thresholds=steps((1000, AMBER))),
            graph("Time to drain", "Length by what goes more than comes, over five minutes. Nothing while it is empty, or as "
                  "much comes as goes: see the length then. From the recording rules.", "s",
                  (f"cluster_queue:celery_queue_drain_seconds:estimate5m{{{OF_QUEUE}}} < Inf", ON_BROKER),
                  thresholds=steps((1800, AMBER))),
            graph("In and out", "Tasks a second: published, and taken by workers.", "ops",
                  (ended("sent", "queue", OF_QUEUE), "{{queue}} in"), (ended("received", "queue", OF_QUEUE), "{{queue}} out")),
            graph("Age of the oldest task", "By queue and where it is.", "s",
                  (f"max by (queue, state) ({waiting(OF_QUEUE, '.*')})", "{{queue}}: {{state}}"), thresholds=steps((600, AMBER))),
        ]),
        ("Waits", [
            graph("Wait in the queue", "From sent, or due, to the start.", "s", p(0.5), p(0.95), exemplars=True),
            graph("Late starts", "Share of attempts that waited longer than 30 s, over an hour. From the recording rules.",
                  "percentunit", (f"cluster_queue:celery_task_queue_wait_late:ratio_rate1h{{{OF_QUEUE}}}", ON_BROKER),
                  thresholds=SHARE, top=1),
        ]),
        ("Who works on it", [
            graph("Saturation", "How busy the workers of a queue are, whatever they run.", "percentunit",
                  (level("celery_queue_saturation_ratio"), ON_BROKER), thresholds=BUSY, top=1),
            graph("Slots", "Tasks that its workers can run at once.", "short", (level("celery_queue_slots"), ON_BROKER)),
            graph("Workers and consumers", "By workers' answers, and by RabbitMQ.", "short",
                  (level("celery_queue_workers"), f"{ON_BROKER} workers"),
                  (level("celery_queue_consumers"), f"{ON_BROKER} consumers")),
            graph("Running", "Tasks of the queue.", "short",
                  (f'sum by (queue) (celery_tasks_in_flight{{{OF_QUEUE}, state="started"}})', "{{queue}}"), stack=True),
            graph("Not acknowledged", "Messages that workers have (Redis).", "short",
                  (level("celery_queue_unacked"), ON_BROKER)),
        ]),
    ]


def by_worker():
    def of(name, by="worker"):
        return f"max by ({by}) ({name}{{{OF_WORKER}}})"

    return [
        ("Presence", [
            graph("Up", "By heartbeats: 1 or 0.", "none", (of("celery_worker_up"), "{{worker}}"), top=1),
            graph("Last heard of", "Seconds since anything came.", "s",
                  (f"min by (worker) ({age(f'celery_worker_last_seen_timestamp_seconds{{{OF_WORKER}}}')})", "{{worker}}"),
                  thresholds=steps((60, AMBER))),
            table("What they run on", "Versions and systems.", "none",
                  f"max by (worker, hostname, sw_ident, sw_ver, sw_sys) (celery_worker_info{{{OF_WORKER}}})", size=(24, 6),
                  rename={"worker": "Worker", "hostname": "Host", "sw_ident": "Software", "sw_ver": "Version",
                          "sw_sys": "System"}, hide=("Value",)),
        ]),
        ("Work", [
            graph("Tasks started", "A second, by heartbeats.", "ops",
                  (f"sum by (worker) ({rate(f'celery_worker_tasks_processed_total{{{OF_WORKER}}}')})", "{{worker}}")),
            graph("Busy", "Tasks that run, by what the pool can run at once.", "percentunit",
                  (f"{of('celery_worker_tasks_active')} / ({of('celery_worker_pool_size')} > 0)", "{{worker}}"),
                  thresholds=BUSY),
            graph("Pool and prefetch", "How many tasks it runs at once, and how many it takes ahead.", "short",
                  (of("celery_worker_pool_size"), "{{worker}} pool"), (of("celery_worker_prefetch_count"), "{{worker}} prefetch")),
            graph("Running", "Tasks, by the newest heartbeat.", "short", (of("celery_worker_tasks_active"), "{{worker}}")),
        ]),
        ("Machines", [
            graph("Load", "Of a worker's machine, over a minute.", "short",
                  (f'max by (worker) (celery_worker_load_average{{{OF_WORKER}, window="1m"}})', "{{worker}}")),
            graph("Clock", "How far it is behind ours; below zero, ahead. Waits between two clocks are wrong by as much.", "s",
                  (of("celery_worker_clock_skew_seconds"), "{{worker}}"), bottom=None),
            graph("Task events", "0: it runs tasks, and only heartbeats come.", "none",
                  (of("celery_worker_events_enabled"), "{{worker}}"), top=1),
        ]),
    ]
