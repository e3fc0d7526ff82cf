"""Sends tasks of the app in polled.py: SEND is a list of [count, seconds, options of apply_async], with the name of a task
without arguments if it is not polled.sleep."""

import json
import os

from polled import app, sleep

with app.producer_pool.acquire(block=True) as producer:
    for count, seconds, options, *name in json.loads(os.environ["SEND"]):
        for _ in range(count):
            if name:
                app.tasks[name[0]].apply_async(producer=producer, **options)
            else:
                sleep.apply_async((seconds,), producer=producer, **options)
