"""Sends the command COMMAND of the app in polled.py to the worker DESTINATION, and waits for its answer."""

import os

from polled import app

answers = app.control.broadcast(os.environ["COMMAND"], destination=[os.environ["DESTINATION"]], reply=True, timeout=10, limit=1)
assert answers and "ok" in next(iter(answers[0].values())), answers
