"""The Celery app whose tasks reach their queues in every way. Run as a script it sends SEND, a list of [name, arguments,
options of apply_async], REPEAT times, at RATE tasks a second. Each task-sent follows its task by up to LATE seconds."""

import json
import os
import random
import time

from celery import Celery
from celery.signals import after_task_publish
from kombu import Exchange, Queue
from kombu.common import Broadcast

quorum = {"queue_arguments": {"x-queue-type": "quorum"}} if os.environ.get("QUORUM") else {}
topix = Exchange("topix", type="topic")
app = Celery("routes", broker=os.environ["BROKER"])
app.conf.update(
    task_ignore_result=True,
    task_send_sent_event=os.environ.get("SENT_EVENT", "on") == "on",
    worker_send_task_events=True,
    worker_hijack_root_logger=False,
    broker_connection_retry_on_startup=True,
    task_default_queue="default",
    task_queues=[
        Queue("default"),
        Queue("one"),
        Queue("two"),
        Queue("topics", topix, routing_key="t.x", **quorum),
        Queue("others", topix, routing_key="o.#", **quorum),
        Queue("direct", Exchange("direx", type="direct"), routing_key="d"),
        Broadcast("bcast"),
    ],
    task_routes={"routes.reload": {"queue": "bcast", "exchange": "bcast"}},
)


@app.task(name="routes.add")
def add(x, y):
    return x + y


@app.task(name="routes.retry", bind=True, max_retries=1)
def retry(self):
    if self.request.retries < 1:
        raise self.retry(countdown=0)


@app.task(name="routes.reload")
def reload():
    pass


if __name__ == "__main__":
    # Imported as a module, so that its tasks belong to the app that sends them.
    import routes

    if late := float(os.environ.get("LATE", 0)):
        after_task_publish.connect(lambda **_: time.sleep(random.uniform(0, late)), weak=False)
    pause = 1 / float(os.environ["RATE"]) if "RATE" in os.environ else 0
    for _ in range(int(os.environ.get("REPEAT", 1))):
        for name, arguments, options in json.loads(os.environ["SEND"]):
            routes.app.tasks[name].apply_async(arguments, **options)
            time.sleep(pause)
