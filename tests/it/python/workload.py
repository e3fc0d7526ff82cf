"""Publishes the workload, and waits until it has run: about 2,100 tasks that end in every way."""

import sys
import time

from celery import chain, chord, group
from celery.result import AsyncResult

from proj import (add, app, custom, fail, green, kill_child, reject, retry_in_vain, retry_once, slow, unicode_name,
                  xsum)

results: list[AsyncResult] = []
started: list[str] = []

for n in range(1100):
    results.append(add.delay(n, n))
for n in range(300):
    results.append(green.delay(n))
for n in range(100):
    results.append(unicode_name.delay("текст"))
for n in range(150):
    results.append(fail.delay(n % 3))
for n in range(40):
    results.append(retry_once.delay(n))
for n in range(10):
    results.append(retry_in_vain.delay())
for n in range(20):
    results.append(chain(add.s(1, 2), add.s(3), add.s(4))())
for n in range(10):
    results.append(group(add.s(i, i) for i in range(10))())
for n in range(10):
    results.append(chord((add.s(i, i) for i in range(10)), xsum.s())())
for n in range(20):
    results.append(add.apply_async((n, n), countdown=1))
for n in range(10):
    custom.delay()
for n in range(5):
    reject.delay()
for n in range(3):
    results.append(kill_child.delay())

revoked = [add.apply_async((1, 1), countdown=3) for n in range(5)]
app.control.revoke([result.id for result in revoked])
# On AMQP, the broker itself drops a message that expires in its queue, and no more events follow.
expiring = 5 if app.conf.broker_url.startswith("redis") else 0
expired = [add.apply_async((1, 1), countdown=3, expires=1) for n in range(expiring)]

deadline = time.monotonic() + 60
for result in results:
    while not result.ready():
        if time.monotonic() > deadline:
            sys.exit(f"not ready in time: {result}")
        time.sleep(0.02)

# Nothing else is in their queue now: they run at once, in a pool whose children have all been replaced.
running = [slow.delay(60) for n in range(2)]
while len(started) < len(running) and time.monotonic() < deadline:
    active = app.control.inspect(timeout=1).active() or {}
    started = [task["id"] for tasks in active.values() for task in tasks if task["name"] == "proj.slow"]
app.control.revoke([result.id for result in running], terminate=True, signal="SIGTERM")
for kind, waiting in ("running", running), ("revoked", revoked), ("expired", expired):
    while not all(result.ready() for result in waiting):
        if time.monotonic() > deadline:
            sys.exit(f"not revoked in time: {kind} {[result.state for result in waiting]} {started=}")
        time.sleep(0.05)
print("done")
