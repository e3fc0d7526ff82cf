"""Grows the pool of WORKER by GROW processes, or shrinks it if that is negative."""

import os

from proj import app

grow = int(os.environ["GROW"])
inspect = app.control.inspect(timeout=10)
name = next(name for name in inspect.ping() if name.startswith(os.environ["WORKER"] + "@"))
if grow > 0:
    app.control.pool_grow(grow, destination=[name])
else:
    app.control.pool_shrink(-grow, destination=[name])
