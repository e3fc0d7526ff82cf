"""Creates bodies as Kombu does, in bodies/: one batch with every serializer, a batch of objects with pickle and the values
read from it as JSON, and an event and 17 MiB of zeros with every compression (zstd with its command).

    target/venvs/celery-5.7/bin/python tests/golden/bodies.py
"""

import bz2
import collections
import datetime
import decimal
import enum
import http
import json
import lzma
import pickle
import signal
import subprocess
import uuid
import zlib
from pathlib import Path

import msgpack
import yaml

FOLDER = Path(__file__).parent / "bodies"
SHARED = [1, [2, {"three": None}]]
BATCH = [
    {"type": "task-received", "hostname": "w1@host", "timestamp": 1795344000.25, "pid": 4242, "clock": 2**63,
     "uuid": "00000000e0", "name": "проект.задача😀", "retries": 2, "args": "('it''s',)", "x": SHARED, "y": SHARED},
    {"type": "task-failed", "hostname": "w1@host", "timestamp": 1795344001, "pid": 4242, "clock": -7, "uuid": "17",
     "exception": "Broken('\"no\":\\n\x00')", "traceback": "Traceback:\n  File \"x\"\napp.Broken: no\n", "x": SHARED},
    {"type": "task-revoked", "hostname": "w1@host", "timestamp": 1795344002.5, "pid": None, "uuid": "true",
     "terminated": True, "expired": False, "signum": "SIGKILL"},
    {"type": "worker-heartbeat", "hostname": "w1@host", "timestamp": 1795344003.5, "pid": 70000, "freq": 2.0,
     "active": 0, "processed": 300, "loadavg": (0.1, 1e-05, float("inf"))},
    {"type": "billing-card-charged", "timestamp": float("nan"), "cents": -(2**40), "card": {"1": [True, ""]}},
]


class Route(str, enum.Enum):
    URGENT = "urgent"


class Priority(enum.IntEnum):
    HIGH = 2


class Text(str):
    pass


# An event as written by pickle, and the values read from it.
OBJECTS = [
    ({"signum": signal.SIGKILL, "status": http.HTTPStatus.OK, "x": decimal.Decimal("1.5")}, {}),
    ({"queue": Route.URGENT, "retries": Priority.HIGH, Text("name"): Text("proj.add")}, {"queue": "urgent", "retries": 2, "name": "proj.add"}),
    ({"eta": datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc), "pid": decimal.Decimal(5), "name": decimal.Decimal}, {}),
    ({"x": [collections.OrderedDict(a=1), {Priority.HIGH}, ValueError("no"), uuid.UUID(int=5), range(3)], "retries": 1}, {"retries": 1}),
]
EVENT = {"type": "task-sent", "hostname": "gen1@host", "timestamp": 1795344000.5}


def zstd(body):
    return subprocess.run(["zstd", "-q", "--no-check", "-c"], input=body, capture_output=True, check=True).stdout


SERIALIZERS = {
    "json": lambda batch: json.dumps(batch).encode(),
    "msgpack": lambda batch: msgpack.packb(batch, use_bin_type=True),
    "yaml": lambda batch: yaml.safe_dump([{**event, "loadavg": [0.1]} if "loadavg" in event else event for event in batch]).encode(),
    **{f"pickle{protocol}": lambda batch, protocol=protocol: pickle.dumps(batch, protocol) for protocol in range(6)},
}
COMPRESSIONS = {"zlib": zlib.compress, "bz2": bz2.compress, "zst": zstd, "xz": lzma.compress}
COMPRESSED = {
    "event": b'{"type": "worker-online", "hostname": "w1@host", "timestamp": 1795344000.5}',
    "zeros": bytes(17 << 20),
}

FOLDER.mkdir(exist_ok=True)
for ending, dump in SERIALIZERS.items():
    (FOLDER / f"batch.{ending}").write_bytes(dump(BATCH))
for protocol in range(6):
    objects = [{**EVENT, "uuid": str(n), **written, "args": "()"} for n, (written, _) in enumerate(OBJECTS)]
    (FOLDER / f"objects.pickle{protocol}").write_bytes(pickle.dumps(objects, protocol))
read = [{**EVENT, "uuid": str(n), **read} for n, (_, read) in enumerate(OBJECTS)]
(FOLDER / "objects.json").write_text(json.dumps(read))
for name, body in COMPRESSED.items():
    for ending, compress in COMPRESSIONS.items():
        (FOLDER / f"{name}.{ending}").write_bytes(compress(body))
