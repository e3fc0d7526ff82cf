"""The app with its queues named, for an exporter that reads them from there."""

from kombu import Queue

from proj import app

app.conf.task_queues = [Queue("celery"), Queue("high")]
