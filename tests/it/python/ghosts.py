"""The Celery app with tasks that end without an event. Run as a script it sends them: SEND is a list of [name, arguments,
options of apply_async], PURGE a queue to purge after that."""

import json
import os
import time

from celery import Celery
from celery.exceptions import Ignore

app = Celery("ghosts", broker=os.environ["BROKER"])
app.conf.update(
    task_ignore_result=True,
    task_send_sent_event=True,
    worker_send_task_events=True,
    worker_hijack_root_logger=False,
    broker_connection_retry_on_startup=True,
)


@app.task(name="ghosts.ignore")
def ignore():
    raise Ignore()


@app.task(name="ghosts.quiet", send_events=False)
def quiet():
    pass


@app.task(name="ghosts.limited", rate_limit="1/h")
def limited():
    pass


@app.task(name="ghosts.sleep")
def sleep(seconds):
    time.sleep(seconds)


@app.task(name="ghosts.add")
def add(x, y):
    return x + y


@app.task(name="ghosts.replace", bind=True)
def replace(self):
    raise self.replace(add.si(1, 2))


if __name__ == "__main__":
    # Imported as a module, so that its tasks belong to the app that sends them.
    import ghosts

    for name, arguments, options in json.loads(os.environ["SEND"]):
        ghosts.app.tasks[name].apply_async(arguments, **options)
    if queue := os.environ.get("PURGE"):
        with ghosts.app.connection() as connection:
            connection.default_channel.queue_purge(queue)
