"""Purges QUEUES, a comma-separated list, of the app in proj.py."""

import os

from proj import app

with app.connection_for_write() as connection:
    for queue in os.environ["QUEUES"].split(","):
        connection.default_channel.queue_purge(queue)
