"""The Celery app with a scheduler: a task every second, and with CRONTAB another one when that says. While the file HANG
exists, the schedule does not advance."""

import os
import time

from celery import Celery
from celery.beat import PersistentScheduler
from celery.schedules import crontab

app = Celery("periodic", broker=os.environ["BROKER"])
app.conf.update(
    task_ignore_result=True,
    task_send_sent_event=True,
    worker_hijack_root_logger=False,
    broker_connection_retry_on_startup=True,
    beat_enable_remote_control=os.environ.get("REMOTE_CONTROL", "on") == "on",
    beat_remote_control_max_tick_age=2.0,
    beat_max_loop_interval=1,
    beat_scheduler="periodic:Scheduler",
    beat_schedule={"tick": {"task": "periodic.tick", "schedule": float(os.environ.get("EVERY", "1"))}},
)
if "CRONTAB" in os.environ:
    schedule = crontab(*os.environ["CRONTAB"].split())
    app.conf.beat_schedule["other"] = {"task": "periodic.other", "schedule": schedule}


class Scheduler(PersistentScheduler):
    def tick(self, *args, **kwargs):
        while os.path.exists(os.environ.get("HANG", "")):
            time.sleep(0.1)
        return super().tick(*args, **kwargs)


@app.task(name="periodic.tick")
def tick():
    pass


@app.task(name="periodic.other")
def other():
    pass
