"""An example shop with tasks that succeed, fail, are retried, wait, or run for a long time."""

import os
import random
import time

from celery import Celery

app = Celery("shop", broker=os.environ["BROKER_URL"])
app.conf.update(
    # celeriac needs these: events of workers, and of the clients that send tasks.
    worker_send_task_events=True,
    task_send_sent_event=True,
    task_ignore_result=True,
    task_routes={"shop.send_mail": "mails"},
    task_default_queue="orders",
    broker_connection_retry_on_startup=True,
    beat_schedule={"customers": {"task": "shop.customers", "schedule": 1.0}},
)


class OutOfStock(Exception):
    pass


@app.task(name="shop.customers")
def customers():
    """One or more customers arrive."""
    for _ in range(random.choice([1, 2, 3, 20])):
        place_order.delay()


@app.task(name="shop.place_order", autoretry_for=(ConnectionError,), retry_backoff=1, max_retries=3)
def place_order():
    time.sleep(random.expovariate(20))
    luck = random.random()
    if luck < 0.02:
        raise OutOfStock("nothing left")
    if luck < 0.07:
        raise ConnectionError("the bank does not answer")
    send_mail.apply_async(countdown=random.choice([0, 0, 5]))


@app.task(name="shop.send_mail")
def send_mail():
    time.sleep(random.expovariate(50))
