"""Panels about celeriac itself."""

from panel import AMBER, RED, age, graph, quantile, rate, stat, steps, table

DAEMON = 'job=~"$job", namespace=~"$namespace", instance=~"$instance"'
OF_BROKER = f'{DAEMON}, broker=~"$broker"'
NONE = steps((0.000001, RED))
UP = {"mode": "absolute", "steps": [{"color": RED, "value": None}, {"color": "green", "value": 1}]}


def remote(name):
    return f"celeriac_remote_storage_{name}{{{DAEMON}}}"


def grown(name, by, where=DAEMON):
    return f"sum by ({by}) (increase({name}{{{where}}}[5m]))"


def celeriac():
    behind = f"{remote('highest_timestamp_in_seconds')} - {remote('queue_highest_sent_timestamp_seconds')}"
    return [
        ("Now", [
            stat("Brokers connected", "Whether all selected brokers are connected.", "none",
                 f"min(celeriac_broker_connected{{{OF_BROKER}}})", thresholds=UP, text={"0": "no", "1": "yes"}),
            stat("Receiver lag", "Lag of the receiver that is furthest behind.", "s", f"max({behind})",
                 thresholds=steps((60, AMBER), (120, RED))),
            stat("Events missing", "Tasks started in the last hour whose events did not arrive.", "short",
                 f"sum(increase(celeriac_events_missing_total{{{OF_BROKER}}}[1h]))", thresholds=NONE),
            stat("Messages lost", "Messages dropped or undecodable in the last hour.", "short",
                 f"sum(increase(celeriac_messages_dropped_total{{{OF_BROKER}}}[1h]))"
                 f" + sum(increase(celeriac_messages_undecodable_total{{{OF_BROKER}}}[1h]))", thresholds=NONE),
            stat("Samples lost", "Samples failed or dropped in the last hour.", "short",
                 f"sum(increase({remote('samples_failed_total')}[1h])) + sum(increase({remote('samples_dropped_total')}[1h]))",
                 thresholds=NONE),
            stat("Last reload", "Whether the last configuration reload succeeded.", "none",
                 f"min(celeriac_config_last_reload_successful{{{DAEMON}}})", thresholds=UP,
                 text={"0": "failed", "1": "succeeded"}),
        ]),
        ("Events", [
            graph("Messages received", "Messages per second, by broker.", "ops",
                  (f"sum by (broker) ({rate(f'celeriac_messages_total{{{OF_BROKER}}}')})", "{{broker}}")),
            graph("Events by type", "Events per second. Custom event types are counted as `other`.", "ops",
                  (f"sum by (type) ({rate(f'celery_events_total{{{DAEMON}}}')})", "{{type}}"), stack=True),
            graph("Broker disconnected time", "Seconds without a subscription to events, in five minutes.", "s",
                  (grown("celeriac_broker_gap_seconds_total", "broker", OF_BROKER), "{{broker}}"), thresholds=steps((1, RED))),
            graph("Event age", "Age of the newest event, by its sender's clock.", "s",
                  (f"max by (broker) (celeriac_event_lag_seconds{{{OF_BROKER}}})", "{{broker}}"), thresholds=steps((10, AMBER))),
            graph("Events not counted",
                  "Messages dropped or undecodable, and tasks whose events did not arrive, in five minutes. "
                  "The metrics' label `reason` says why a message was dropped or undecodable.", "short",
                  (grown("celeriac_messages_dropped_total", "broker", OF_BROKER), "{{broker}}: dropped"),
                  (grown("celeriac_messages_undecodable_total", "broker", OF_BROKER), "{{broker}}: undecodable"),
                  (grown("celeriac_events_missing_total", "broker", OF_BROKER), "{{broker}}: missing"),
                  thresholds=NONE, lines=False),
            table("Setup problems", "1: a setup problem keeps events from arriving.", "none",
                  f"max by (broker, reason) (celeriac_setup_problem{{{OF_BROKER}}})", thresholds=steps((1, RED)),
                  rename={"broker": "Broker", "reason": "Reason"}),
        ]),
        ("Polling", [
            graph("Failed polls", "Polls of queues or workers that failed in five minutes.", "short",
                  (grown("celeriac_poll_failures_total", "broker, kind", OF_BROKER), "{{broker}}: {{kind}}"),
                  thresholds=steps((1, AMBER)), lines=False),
            graph("Poll duration", "Duration of the last poll.", "s",
                  (f"max by (broker, kind) (celeriac_poll_duration_seconds{{{OF_BROKER}}})", "{{broker}}: {{kind}}")),
        ]),
        ("Remote write", [
            graph("Samples sent", "Samples per second that the receiver accepted.", "cps",
                  (f"sum by (remote_name) ({rate(remote('samples_total'))})", "{{remote_name}}")),
            graph("Lag", "Time between the newest queued sample and the newest sample sent.", "s",
                  (f"max by (remote_name) ({behind})", "{{remote_name}}"), thresholds=steps((60, AMBER), (120, RED))),
            graph("Samples pending", "Samples waiting to be sent.", "short",
                  (f"sum by (remote_name) ({remote('samples_pending')})", "{{remote_name}}")),
            graph("Queue size", "Compressed size of the samples waiting to be sent, on disk or in memory.", "bytes",
                  (f"sum by (remote_name) ({remote('queue_bytes')})", "{{remote_name}}")),
            graph("Samples failed or dropped",
                  "Samples in five minutes that the receiver rejected for good, or that celeriac dropped. "
                  "The metric's label `reason` says why they were dropped.", "short",
                  (grown("celeriac_remote_storage_samples_failed_total", "remote_name"), "{{remote_name}}: failed"),
                  (grown("celeriac_remote_storage_samples_dropped_total", "remote_name"), "{{remote_name}}: dropped"),
                  thresholds=NONE, lines=False),
            graph("Request duration", "Duration of requests, including those that failed.", "s",
                  *((quantile(q, "celeriac_remote_storage_sent_batch_duration_seconds", ["remote_name"], DAEMON),
                     f"{{{{remote_name}}}} p{round(q * 100)}") for q in (0.5, 0.99))),
            graph("Pushgateway pushes", "Pushes per second, by outcome. Empty without a Pushgateway.", "ops",
                  (f"sum by (pushgateway, outcome) ({rate(f'celeriac_pushes_total{{{DAEMON}}}')})",
                   "{{pushgateway}}: {{outcome}}")),
        ]),
        ("Resources", [
            graph("Series", "Number of samples in a snapshot, by profile.", "short",
                  (f"max by (instance, profile) (celeriac_samples{{{DAEMON}}})", "{{instance}}: {{profile}}")),
            graph("Tasks tracked", "Number of tasks in flight that celeriac keeps track of.", "short",
                  (f"sum by (broker) (celeriac_tasks_tracked{{{OF_BROKER}}})", "{{broker}}")),
            graph("Memory", "Resident memory.", "bytes", (f"process_resident_memory_bytes{{{DAEMON}}}", "{{instance}}")),
            graph("CPU",
                  "CPU usage; 100 % is one core.",
                  "percentunit", (rate(f"process_cpu_seconds_total{{{DAEMON}}}"), "{{instance}}")),
            graph("Checkpoint and snapshot duration",
                  "Time taken to write the last checkpoint and to create the last snapshot.", "s",
                  (f"celeriac_checkpoint_duration_seconds{{{DAEMON}}}", "{{instance}} checkpoint"),
                  (f"celeriac_snapshot_duration_seconds{{{DAEMON}}}", "{{instance}} snapshot")),
            graph("Checkpoint age",
                  "Age of the checkpoint that celeriac would recover from after a crash. Empty without a data_dir.", "s",
                  (age(f"celeriac_checkpoint_timestamp_seconds{{{DAEMON}}}"), "{{instance}}"),
                  thresholds=steps((60, AMBER))),
        ]),
    ]
