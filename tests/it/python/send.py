"""Sends tasks of the app in polled.py: SEND is a list of [count, seconds, options of apply_async]."""

import json
import os

from polled import app, sleep

with app.producer_pool.acquire(block=True) as producer:
    for count, seconds, options in json.loads(os.environ["SEND"]):
        for _ in range(count):
            sleep.apply_async((seconds,), producer=producer, **options)
