"""Revokes the first task of `gentle.py`, which waits in the worker, and waits until all tasks have ended."""

import sys
import time

from celery.result import AsyncResult

from proj import app

# A rejected task has no result.
REJECTED = 39

published = 40 if app.conf.broker_url.startswith("redis") else 39
tasks = [AsyncResult(f"00000000-0000-4000-8000-{n:012}", app=app) for n in range(1, published + 1) if n != REJECTED]
tasks[0].revoke()
deadline = time.monotonic() + 30
for task in tasks:
    while not task.ready():
        if time.monotonic() > deadline:
            sys.exit(f"not ready in time: {task} {task.state}")
        time.sleep(0.02)
print("done")
