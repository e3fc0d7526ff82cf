"""Keeps workers busy for SECONDS with tasks that end in every way; with BACKLOG, publishes as many slow ones at once."""

import os
import time

from celery import chain
from proj import add, app, fail, green, hang, kill_child, reject, retry_in_vain, retry_once, slow

for _ in range(int(os.environ.get("BACKLOG", 0))):
    slow.delay(0.2)

end = time.monotonic() + float(os.environ.get("SECONDS", 0))
n = 0
while time.monotonic() < end:
    n += 1
    add.delay(n, n)
    green.delay(n)
    if n % 3 == 0:
        fail.delay(n % 2)
    if n % 4 == 0:
        retry_once.delay(n)
    if n % 10 == 0:
        reject.delay()
        slow.delay(0.5)
        chain(slow.s(0.1), green.s()).delay()
    if n == 1:
        hang.delay(30)
    if n % 40 == 0:
        retry_in_vain.delay()
        kill_child.delay()
        revoked = add.apply_async((1, 1), countdown=3)
        app.control.revoke([revoked.id])
    time.sleep(0.3)
print("done")
