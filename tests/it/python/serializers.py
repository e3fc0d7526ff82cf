"""Runs some tasks, waits until they have ended, and prints the events that workers should have sent."""

import json
import time

from proj import add, fail, unicode_name

results = [add.delay(n, n) for n in range(40)]
results += [unicode_name.delay("текст") for n in range(20)]
results += [fail.delay(n % 3) for n in range(15)]
deadline = time.monotonic() + 60
while not all(result.ready() for result in results):
    assert time.monotonic() < deadline, "not ready in time"
    time.sleep(0.02)
names = {
    f"task-{kind} {name}": count
    for name, count, end in (("proj.add", 40, "succeeded"), ("проект.задача", 20, "succeeded"), ("proj.fail", 15, "failed"))
    for kind in ("sent", "received", "started", end)
}
print(json.dumps(names))
