"""Publishes tasks of the app in proj.py: TASKS is a list of [name, arguments, options of apply_async]. Prints their ids."""

import json
import os

from proj import app

for name, arguments, options in json.loads(os.environ["TASKS"]):
    print(app.tasks[name].apply_async(arguments, **options).id)
