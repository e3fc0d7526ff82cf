"""Counts the recorded events of tests/golden/events independently of celeriac, and writes counts.json.

    target/venvs/celery-5.7/bin/python tests/golden/count.py

For each file: events by type; by type and task name; and unreadable messages, by reason. The rules are those
of the documentation: a task-sent has its own name, other events that of the newest task-received, else task-sent, else
`unknown`; an exact duplicate counts once by name, and so does a failure or revocation that a worker reports twice.
"""

import base64
import json
import pickle
from collections import Counter
from pathlib import Path

import msgpack
import yaml

FOLDER = Path(__file__).parent / "events"
DEFINED = {
    *(f"task-{kind}" for kind in "sent received started succeeded failed retried rejected revoked cancelled".split()),
    *(f"worker-{kind}" for kind in "online heartbeat offline elect elect-ack".split()),
}


# The recordings are ours, so their pickles are safe to load.
READ = {
    "application/json": json.loads,
    "application/x-msgpack": msgpack.unpackb,
    "application/x-yaml": yaml.safe_load,
    "application/x-python-serialize": pickle.loads,
}


def bodies(line):
    """Return the content type and the body of a message."""
    if "payload" in line:
        envelope = json.loads(line["payload"])
        body = envelope["body"]
        if (envelope.get("properties") or {}).get("body_encoding") == "base64":
            body = base64.b64decode(body).decode()
        return envelope["content-type"], body
    body = line["body"] if "body" in line else base64.b64decode(line["body_b64"])
    return line["properties"]["content_type"], body


def count(path):
    types, names, unread = Counter(), Counter(), Counter()
    name_of, ends, seen = {}, {}, set()
    for line in path.read_text(encoding="utf-8").splitlines():
        line = json.loads(line)
        if "pidbox" in line.get("channel", ""):
            continue
        content_type, body = bodies(line)
        if content_type not in READ:
            unread["content_type"] += 1
            continue
        events = READ[content_type](body)
        for event in events if isinstance(events, list) else [events]:
            kind = event["type"]
            types[kind if kind in DEFINED else "other"] += 1
            if kind not in DEFINED or not kind.startswith("task-"):
                continue
            uuid = event["uuid"]
            if kind == "task-received" or (kind == "task-sent" and uuid not in name_of):
                name_of[uuid] = event["name"]
            identity = (uuid, kind, event["hostname"], event["pid"], event["clock"], event["timestamp"])
            if identity in seen:
                continue
            seen.add(identity)
            if kind in ("task-received", "task-started"):
                ends.pop(uuid, None)
            elif kind != "task-sent":
                last, ends[uuid] = ends.get(uuid), (kind, event["hostname"], event["timestamp"])
                told = last and last[:2] == (kind, event["hostname"]) and event["timestamp"] - last[2] < 10
                if told and kind in ("task-failed", "task-revoked"):
                    continue
            # A task that replaces another one is sent under the same id.
            name = event["name"] if kind == "task-sent" else name_of.get(uuid, "unknown")
            names[f"{kind} {name}"] += 1
    return {"types": dict(sorted(types.items())), "names": dict(sorted(names.items())), "unread": dict(unread)}


counts = {path.name: count(path) for path in sorted(FOLDER.glob("*.jsonl"))}
(Path(__file__).parent / "counts.json").write_text(json.dumps(counts, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
