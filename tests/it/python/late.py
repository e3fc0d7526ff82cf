"""The Celery app with tasks that retry, hang, and lead to other tasks."""

import os
import time

from celery import Celery, chain, chord

app = Celery("late", broker=os.environ["BROKER"], backend=os.environ["BACKEND"] or None)
app.conf.update(
    task_send_sent_event=True,
    worker_send_task_events=True,
    worker_hijack_root_logger=False,
    broker_connection_retry_on_startup=True,
    task_routes={"late.hang": "hang"},
)


@app.task(name="late.flaky", bind=True, max_retries=2, default_retry_delay=0)
def flaky(self):
    try:
        raise OSError("away")
    except OSError as error:
        raise self.retry(exc=error, countdown=0)


@app.task(name="late.broken", max_retries=2)
def broken():
    raise OSError("away")


@app.task(name="late.hang", time_limit=1)
def hang(seconds):
    time.sleep(seconds)


@app.task(name="late.step")
def step(*_, seconds=0, fails=False):
    time.sleep(seconds)
    if fails:
        raise ValueError("no")


@app.task(name="late.flow")
def flow(seconds, fails):
    chain(step.s(seconds=seconds), step.s(fails=fails)).delay()


@app.task(name="late.fan")
def fan(seconds):
    chord([step.s(seconds=seconds), step.s()], step.s()).delay()


if __name__ == "__main__":
    import json

    for name, arguments in json.loads(os.environ["SEND"]):
        app.send_task(name, arguments)
