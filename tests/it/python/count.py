"""Counts events independently: runs Celery's own EventReceiver until stopped, then prints a line of JSON.

The name of a task is that in its newest task-received, or else in its task-sent, or `unknown` before either arrived.
"""

import json
import os
import signal
import socket
import sys
from collections import Counter

from celery import Celery

app = Celery("count", broker=os.environ["BROKER"])
app.conf.event_queue_ttl = 600
types: Counter = Counter()
names: Counter = Counter()
name_of: dict[str, str] = {}
stopping = False


def stop(*_):
    global stopping
    stopping = True


def on_event(event):
    kind = event["type"]
    types[kind] += 1
    uuid = event.get("uuid")
    if not uuid or not kind.startswith("task-"):
        return
    if kind == "task-received" or (kind == "task-sent" and uuid not in name_of):
        name_of[uuid] = event["name"]
    names[f"{kind} {name_of.get(uuid, 'unknown')}"] += 1


signal.signal(signal.SIGTERM, stop)
with app.connection_for_read() as connection:
    receiver = app.events.Receiver(connection, handlers={"*": on_event})
    with receiver.consumer_context(wakeup=False):
        print("ready", flush=True)
        while not stopping:
            try:
                connection.drain_events(timeout=0.2)
            except (socket.timeout, TimeoutError):
                pass
        # Include events that have already arrived.
        try:
            while True:
                connection.drain_events(timeout=0.5)
        except (socket.timeout, TimeoutError):
            pass
json.dump({"types": types, "names": names}, sys.stdout)
