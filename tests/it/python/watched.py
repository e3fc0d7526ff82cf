"""The app with its queues configured, for an exporter that reads them from the app."""

from kombu import Queue

from proj import app

app.conf.task_queues = [Queue("celery"), Queue("high")]
