"""Sends three events with Celery's own dispatcher, with the transport options and the compression of the environment."""

import json
import os

from celery import Celery

app = Celery("emit", broker=os.environ["BROKER"])
app.conf.broker_transport_options = json.loads(os.environ["OPTIONS"])
app.conf.event_exchange = os.environ.get("EVENT_EXCHANGE", "celeryev")
with app.events.default_dispatcher(hostname="w1@host") as dispatcher:
    dispatcher.producer.compression = os.environ.get("COMPRESSION")
    dispatcher.send("task-received", uuid="u", name="t", retries=0)
    dispatcher.send("task-started", uuid="u")
    dispatcher.send("worker-online", freq=2.0, active=0, processed=0)
