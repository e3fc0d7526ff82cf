"""The ten questions that are asked most often, in the order in which they are asked."""

from panel import AMBER, RED, age, graph, stat, steps, table
from panels_celery import CLUSTER, EACH_QUEUE, OF_TASK, ON_BROKER, SHARE, ended, failure_ratio, waiting

EACH_TASK = "job, namespace, broker, name"
ANY = steps((1, AMBER))
LATE = steps((1, RED))
UP = {"mode": "absolute", "steps": [{"color": RED, "value": None}, {"color": "green", "value": 1}]}


def by_task(expression):
    return f"max by ({EACH_TASK}) ({expression})"


def since(family, more=""):
    return age(f"{family}{{{CLUSTER}{more}}}")


def questions():
    named = {"name": "Task", "Value": "Value", "namespace": "Namespace", "broker": "Broker"}
    return [
        ("1. Can I trust these numbers?", [
            stat("Not counted", "Events and messages lost, dropped or undecodable in the last hour.", "short",
                 'sum(increase(celeriac_events_missing_total{job=~"$job", namespace=~"$namespace"}[1h]))'
                 ' + sum(increase(celeriac_messages_dropped_total{job=~"$job", namespace=~"$namespace"}[1h]))'
                 ' + sum(increase(celeriac_messages_undecodable_total{job=~"$job", namespace=~"$namespace"}[1h]))',
                 thresholds=ANY, size=(6, 4)),
            stat("Brokers connected", "Share of brokers whose events are subscribed to.", "percentunit",
                 'avg(celeriac_broker_connected{job=~"$job", namespace=~"$namespace"})', thresholds=UP, size=(6, 4)),
        ]),
        ("2. Is everything running?", [
            stat("Workers online", "Workers online, by heartbeat.", "short",
                 f'sum(celery_workers{{{CLUSTER}, state="online"}})', thresholds=UP, size=(6, 4)),
            stat("Workers offline", "Workers that went offline and are still remembered.", "short",
                 f'sum(celery_workers{{{CLUSTER}, state="offline"}})', thresholds=ANY, size=(6, 4)),
            stat("Beats", "Schedulers that answer. Needs Celery 5.7 and beat_enable_remote_control.", "short",
                 f'sum(celery_beats{{{CLUSTER}, state="online"}})', thresholds=UP, size=(6, 4)),
        ]),
        ("3. Which queues do not drain?", [
            graph("Messages waiting", "Queue length by queue. Top ten.", "short",
                  (f"topk(10, max by ({EACH_QUEUE}) (celery_queue_length{{{CLUSTER}}}))", ON_BROKER)),
            graph("Age of the oldest task", "How long the oldest task that has not started has been waiting. Top ten.", "s",
                  (f"topk(10, max by ({EACH_QUEUE}) ({waiting(CLUSTER, 'sent|received')}))", ON_BROKER),
                  thresholds=steps((60, AMBER), (600, RED))),
            graph("Stalled workers",
                  "How long workers with free slots have accepted nothing from a queue with messages. Empty if there are none.", "s",
                  (f"max by (worker, queue) ({since('celery_worker_stalled_timestamp_seconds')})", "{{worker}}: {{queue}}"),
                  thresholds=steps((300, RED))),
        ]),
        ("4. What fails?", [
            graph("Failure ratio by task", "Share of failures among the tasks that ended. Top ten.", "percentunit",
                  (f"topk(10, {failure_ratio('name')} > 0)", "{{name}}"), thresholds=SHARE, top=1),
            graph("Failures by task and exception", "Failures per second, by exception class. Top ten.", "ops",
                  (f"topk(10, {ended('failed', 'name, exception')} > 0)", "{{name}}: {{exception}}"), exemplars=True),
        ]),
        ("5. What is retried, and what has given up?", [
            graph("Retried by task and exception", "Attempts per second that ended in a retry. Top ten.", "ops",
                  (f"topk(10, {ended('retried', 'name, exception')} > 0)", "{{name}}: {{exception}}")),
            graph("Retries exhausted", "Tasks that failed after their last retry, in an hour.", "short",
                  (f"sum by (name) (increase(celery_task_retries_exhausted_total{{{OF_TASK}}}[1h]))", "{{name}}"),
                  lines=False, thresholds=LATE),
        ]),
        ("6. Which periodic task is late?", [
            graph("Overdue", "By how much periodic tasks are overdue; 0 if they are not. Top ten.", "s",
                  (f"topk(10, {by_task(f'celery_periodic_task_overdue_seconds{{{CLUSTER}}}')})", "{{name}}"), thresholds=LATE),
            graph("Senders", "Number of processes that send a task at the same interval. Empty if no task has more than one.", "short",
                  (by_task(f"celery_periodic_task_senders{{{CLUSTER}}}"), "{{name}}"), thresholds=LATE),
            table("Periods", "Time between sends, as learned or configured.", "s",
                  by_task(f"celery_periodic_task_period_seconds{{{CLUSTER}}}"), rename=named, hide=("job",)),
        ]),
        ("7. What runs too long?", [
            graph("Tasks that run too long",
                  "Tasks beyond their time limit or, without one, much slower than usual. Empty if there are none.", "short",
                  (by_task(f"celery_tasks_running_long{{{CLUSTER}}}"), "{{name}}"), thresholds=LATE),
            graph("For how long", "How long the oldest of these tasks has been running.", "s",
                  (by_task(since("celery_tasks_running_long_oldest_timestamp_seconds")), "{{name}}")),
        ]),
        ("8. Which workflows are stuck?", [
            graph("Open workflows", "Workflows of which some task is in flight, by root task. Top ten.", "short",
                  (f"topk(10, {by_task(f'celery_workflows_open{{{CLUSTER}}}')})", "{{name}}")),
            graph("Age of the oldest workflow", "By root task. Top ten.", "s",
                  (f"topk(10, {by_task(since('celery_workflows_oldest_timestamp_seconds'))})", "{{name}}"),
                  thresholds=steps((21600, AMBER))),
        ]),
        ("9. What was lost?", [
            graph("Lost tasks", "Tasks presumed lost in five minutes. Empty if none was ever lost.", "short",
                  (f"sum by (name, reason) (increase(celery_task_lost_total{{{OF_TASK}}}[5m]))", "{{name}}: {{reason}}"),
                  lines=False, thresholds=LATE),
        ]),
        ("10. Did the deploy break something?", [
            graph("Failure ratio, now and an hour ago", "Share of failures among all tasks. Lines mark the start of workers.",
                  "percentunit", (failure_ratio(), "now"),
                  (f"avg_over_time(({failure_ratio()})[5m:] offset 1h) or {failure_ratio()}", "an hour ago"),
                  thresholds=SHARE, top=1),
            table("Versions", "Celery's version and the start of each worker.", "dateTimeFromNow",
                  f"max by (worker, sw_ver) (celery_worker_start_timestamp_seconds{{{CLUSTER}}} * 1000"
                  f" * on (job, namespace, instance, broker, worker) group_left (sw_ver)"
                  f" topk by (job, namespace, instance, broker, worker) (1, celery_worker_info{{{CLUSTER}}}))",
                  rename={"worker": "Worker", "sw_ver": "Celery", "Value": "Started"}),
        ]),
    ]
