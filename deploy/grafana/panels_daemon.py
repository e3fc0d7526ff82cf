"""What celeriac says of itself."""

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
            stat("Brokers connected", "The least connected of those chosen.", "none",
                 f"min(celeriac_broker_connected{{{OF_BROKER}}})", thresholds=UP, text={"0": "no", "1": "yes"}),
            stat("Receivers are behind", "The one that is furthest.", "s", f"max({behind})",
                 thresholds=steps((60, AMBER), (120, RED))),
            stat("Events missing", "Within an hour: tasks that started unheard.", "short",
                 f"sum(increase(celeriac_events_missing_total{{{OF_BROKER}}}[1h]))", thresholds=NONE),
            stat("Messages lost", "Within an hour: dropped, or not readable.", "short",
                 f"sum(increase(celeriac_messages_dropped_total{{{OF_BROKER}}}[1h]))"
                 f" + sum(increase(celeriac_messages_undecodable_total{{{OF_BROKER}}}[1h]))", thresholds=NONE),
            stat("Samples lost", "Within an hour: refused for good, or given up.", "short",
                 f"sum(increase({remote('samples_failed_total')}[1h])) + sum(increase({remote('samples_dropped_total')}[1h]))",
                 thresholds=NONE),
            stat("Configuration", "Whether it was taken when it was read last.", "none",
                 f"min(celeriac_config_last_reload_successful{{{DAEMON}}})", thresholds=UP,
                 text={"0": "refused", "1": "taken"}),
        ]),
        ("What it hears", [
            graph("Messages", "Read from the broker, a second.", "ops",
                  (f"sum by (broker) ({rate(f'celeriac_messages_total{{{OF_BROKER}}}')})", "{{broker}}")),
            graph("Events by type", "A second. Those that tasks make up are `other`.", "ops",
                  (f"sum by (type) ({rate(f'celery_events_total{{{DAEMON}}}')})", "{{type}}"), stack=True),
            graph("Without a subscription", "Seconds within five minutes.", "s",
                  (grown("celeriac_broker_gap_seconds_total", "broker", OF_BROKER), "{{broker}}"), thresholds=steps((1, RED))),
            graph("Age of events", "Of the newest, by its sender's clock.", "s",
                  (f"max by (broker) (celeriac_event_lag_seconds{{{OF_BROKER}}})", "{{broker}}"), thresholds=steps((10, AMBER))),
            graph("Not counted", "Within five minutes: messages dropped or unreadable, for a reason that is the label `reason`; tasks that started unheard.", "short",
                  (grown("celeriac_messages_dropped_total", "broker", OF_BROKER), "{{broker}}: dropped"),
                  (grown("celeriac_messages_undecodable_total", "broker", OF_BROKER), "{{broker}}: unreadable"),
                  (grown("celeriac_events_missing_total", "broker", OF_BROKER), "{{broker}}: missing"),
                  thresholds=NONE, lines=False),
            table("Hints", "1: the set-up keeps events from coming.", "none",
                  f"max by (broker, reason) (celeriac_hint{{{OF_BROKER}}})", thresholds=steps((1, RED)),
                  rename={"broker": "Broker", "reason": "Reason"}),
        ]),
        ("What it asks", [
            graph("Rounds that failed", "Of asking for queues, or workers, within five minutes.", "short",
                  (grown("celeriac_poll_failures_total", "broker, kind", OF_BROKER), "{{broker}}: {{kind}}"),
                  thresholds=steps((1, AMBER)), lines=False),
            graph("Time of a round", "The newest.", "s",
                  (f"max by (broker, kind) (celeriac_poll_duration_seconds{{{OF_BROKER}}})", "{{broker}}: {{kind}}")),
        ]),
        ("Remote write", [
            graph("Samples", "Taken by the receiver, a second.", "cps",
                  (f"sum by (remote_name) ({rate(remote('samples_total'))})", "{{remote_name}}")),
            graph("Behind", "By how much the newest sample that was sent is older than the newest there is.", "s",
                  (f"max by (remote_name) ({behind})", "{{remote_name}}"), thresholds=steps((60, AMBER), (120, RED))),
            graph("Waiting", "Samples that wait to be sent.", "short",
                  (f"sum by (remote_name) ({remote('samples_pending')})", "{{remote_name}}")),
            graph("Queue", "Compressed, on disk or in memory.", "bytes",
                  (f"sum by (remote_name) ({remote('queue_bytes')})", "{{remote_name}}")),
            graph("Never arrives", "Samples within five minutes: refused for good, or given up for a reason that is the label `reason`.", "short",
                  (grown("celeriac_remote_storage_samples_failed_total", "remote_name"), "{{remote_name}}: refused"),
                  (grown("celeriac_remote_storage_samples_dropped_total", "remote_name"), "{{remote_name}}: given up"),
                  thresholds=NONE, lines=False),
            graph("Time of a request", "Answered or not.", "s",
                  *((quantile(q, "celeriac_remote_storage_sent_batch_duration_seconds", ["remote_name"], DAEMON),
                     f"{{{{remote_name}}}} p{round(q * 100)}") for q in (0.5, 0.99))),
            graph("Pushes to Pushgateways", "A second, by outcome. Empty where there is none.", "ops",
                  (f"sum by (pushgateway, outcome) ({rate(f'celeriac_pushes_total{{{DAEMON}}}')})",
                   "{{pushgateway}}: {{outcome}}")),
        ]),
        ("Size", [
            graph("Series", "Samples in a snapshot, by profile.", "short",
                  (f"max by (instance, profile) (celeriac_series{{{DAEMON}}})", "{{instance}}: {{profile}}")),
            graph("Tasks kept track of", "In flight.", "short",
                  (f"sum by (broker) (celeriac_tasks_tracked{{{OF_BROKER}}})", "{{broker}}")),
            graph("Memory", "Resident.", "bytes", (f"process_resident_memory_bytes{{{DAEMON}}}", "{{instance}}")),
            graph("CPU", "Of one core.", "percentunit", (rate(f"process_cpu_seconds_total{{{DAEMON}}}"), "{{instance}}")),
            graph("Checkpoint and snapshot", "How long the newest took to write, and to make.", "s",
                  (f"celeriac_checkpoint_duration_seconds{{{DAEMON}}}", "{{instance}} checkpoint"),
                  (f"celeriac_snapshot_duration_seconds{{{DAEMON}}}", "{{instance}} snapshot")),
            graph("Age of the checkpoint", "What a crash would find. Empty without a data_dir.", "s",
                  (age(f"celeriac_checkpoint_timestamp_seconds{{{DAEMON}}}"), "{{instance}}"),
                  thresholds=steps((60, AMBER))),
        ]),
    ]
