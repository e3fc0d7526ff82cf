"""Sends what clients and workers would have reported of a periodic task in the past DAYS, with Celery's own dispatcher.

The last one is sent on time."""

import os
import time
import uuid

from celery import Celery

app = Celery("history", broker=os.environ["BROKER"])
every = float(os.environ["EVERY"])
at = time.time() - float(os.environ["DAYS"]) * 86_400
with app.events.default_dispatcher(hostname="gen1@host") as dispatcher:
    while at < time.time():
        at += every
        time.sleep(max(at - time.time(), 0))
        task = str(uuid.uuid4())
        dispatcher.send(
            "task-sent", uuid=task, name="periodic.tick", queue="celery", retries=0, timestamp=at
        )
        dispatcher.send("task-succeeded", uuid=task, runtime=0.01, result="None", timestamp=at + 0.1)
