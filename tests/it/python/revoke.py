"""Revokes tasks of the app of proj.py, those that run too: REVOKED holds their ids."""

import os

from proj import app

app.control.revoke(os.environ["REVOKED"].split(), terminate=True, signal="SIGTERM")
