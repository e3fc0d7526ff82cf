"""The Celery app of the tests: tasks that end in every way that a task can end."""

import os
import signal
import time

from celery import Celery
from celery.exceptions import Reject

app = Celery("proj", broker=os.environ["BROKER"], backend=os.environ["BACKEND"])
app.conf.update(
    event_serializer=os.environ.get("EVENT_SERIALIZER", "json"),
    task_send_sent_event=os.environ.get("SENT_EVENT", "on") == "on",
    worker_send_task_events=os.environ.get("TASK_EVENTS", "on") == "on",
    worker_hijack_root_logger=False,
    broker_connection_retry_on_startup=True,
    broker_transport_options=(
        {"visibility_timeout": int(os.environ.get("VISIBILITY_TIMEOUT", 3600))} if "redis" in os.environ["BROKER"] else {}
    ),
    task_routes={"proj.slow": "prefork", "proj.kill_child": "prefork", "proj.green": "green", "proj.hang": "hang"},
)


class Broken(Exception):
    pass


class ValidationError(ValueError):
    """Like pydantic's exceptions: its repr is its message, which has several lines."""

    def __str__(self):
        return "1 validation error for Model\nid\n  Field required [type=missing]\nSecret: hunter2"

    __repr__ = __str__


class Unshown(Exception):
    def __repr__(self):
        raise RuntimeError("no repr")


@app.task(name="proj.add")
def add(x, y):
    return x + y


@app.task(name="proj.xsum")
def xsum(numbers):
    return sum(numbers)


@app.task(name="proj.hang", time_limit=1)
def hang(seconds):
    time.sleep(seconds)


@app.task(name="проект.задача")
def unicode_name(text):
    return text


@app.task(name="proj.green")
def green(n):
    time.sleep(0.001)
    return n


@app.task(name="proj.fail")
def fail(kind):
    if kind == 0:
        raise ValueError("не вышло: \"boom\"\n(second line)")
    if kind == 1:
        raise KeyError("k")
    if kind == 3:
        raise ValidationError
    if kind == 4:
        raise Unshown("hunter2")
    if kind == 5:
        raise Unshown("Hunter2")
    raise Broken(1, "two")


@app.task(name="proj.retry_once", bind=True, max_retries=3)
def retry_once(self, n):
    if self.request.retries < 1:
        raise self.retry(exc=ConnectionError("again"), countdown=0 if n % 2 else 0.2)
    return n


@app.task(name="proj.retry_in_vain", bind=True, max_retries=2)
def retry_in_vain(self):
    raise self.retry(exc=ConnectionError("again"), countdown=0.1)


@app.task(name="proj.reject", bind=True, acks_late=True)
def reject(self):
    raise Reject("no", requeue=False)


@app.task(name="proj.slow")
def slow(seconds):
    time.sleep(seconds)


@app.task(name="proj.urgent")
def urgent(seconds):
    time.sleep(seconds)


@app.task(name="proj.kill_child")
def kill_child():
    os.kill(os.getpid(), signal.SIGKILL)


@app.task(name="proj.custom", bind=True)
def custom(self):
    self.send_event("task-progress", percent=float("nan"))
    self.send_event("billing-card-charged", cents=2**70)
