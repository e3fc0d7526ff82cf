"""Sends what clients and workers would have reported of a periodic task in the past DAYS, with Celery's own dispatcher.

The last one is sent on time."""

import os
import time
import uuid

from celery import Celery

app = Celery("history", broker=os.environ["BROKER"])
every = float(os.environ["EVERY"])
at = time.time() - float(os.environ["DAYS"]) * 86_400
is_last = False
with app.connection_for_write() as connection:
    dispatcher = app.events.Dispatcher(connection, hostname="gen1@host", buffer_group={"task"}, buffer_limit=500)
    while not is_last:
        at += every
        is_last = at > time.time()
        if is_last:
            dispatcher.flush()
            time.sleep(at - time.time())
        task = str(uuid.uuid4())
        fields = {"uuid": task, "name": "periodic.tick", "queue": "celery", "retries": 0}
        dispatcher.send("task-sent", timestamp=at, **fields)
        dispatcher.send("task-succeeded", uuid=task, runtime=0.01, result="None", timestamp=at + 0.1)
    dispatcher.flush()
