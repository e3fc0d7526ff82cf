"""Makes bodies as Kombu does, into bodies/: one batch by every serializer, and an event and 17 MiB of zeros by every
compression; zstd by its command.

    target/venvs/celery-5.7/bin/python tests/golden/bodies.py
"""

import bz2
import json
import lzma
import pickle
import subprocess
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
for name, body in COMPRESSED.items():
    for ending, compress in COMPRESSIONS.items():
        (FOLDER / f"{name}.{ending}").write_bytes(compress(body))
