"""Parses a compose file with a library that implements the Compose Specification. Unknown keys are errors."""

import json
import sys

import yaml
from compose_spec import PyCompose


def unknown(written, understood, path=""):
    """The keys that the library has ignored."""
    if isinstance(written, dict) and isinstance(understood, dict):
        for key, value in written.items():
            if key in understood:
                yield from unknown(value, understood[key], f"{path}.{key}")
            else:
                yield f"{path}.{key}"


text = open(sys.argv[1]).read()
compose = PyCompose.from_yaml(text)
compose.validate()
written, understood = yaml.safe_load(text), yaml.safe_load(compose.to_yaml())
lost = list(unknown(written, understood))
if lost:
    sys.exit(f"not in the specification: {', '.join(lost)}")
print(json.dumps(written))
