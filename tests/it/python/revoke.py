"""Revokes tasks of the app in proj.py, including running ones: REVOKED contains their ids."""

import os

from proj import app

app.control.revoke(os.environ["REVOKED"].split(), terminate=True, signal="SIGTERM")
