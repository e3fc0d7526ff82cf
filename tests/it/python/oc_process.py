"""Does what `oc process` does, and `oc new-app --template` before it creates the objects.

Usage: oc_process.py TEMPLATE [--param-file FILE] [--param NAME=VALUE]…; prints the objects as YAML.

Source: openshift/library-go, pkg/template/templateprocessing: values are replaced in every string; ${{NAME}} alone makes
a value that is not a string; a namespace that is not a parameter is dropped; the template's labels override those of each
object, and of the pods of a DeploymentConfig. As in the client, an unknown parameter is an error, and --param overrides
the file. `generate` is not supported, because no template here uses it.
"""

import argparse
import json
import re
import sys

import yaml

STRING = re.compile(r"\$\{([a-zA-Z0-9_]+?)\}")
NOT_A_STRING = re.compile(r"^\$\{\{([a-zA-Z0-9_]+)\}\}$")


def given(arguments, known):
    pairs = []
    for path in arguments.param_file:
        with open(path) as file:
            lines = [line.strip() for line in file]
        pairs += [line for line in lines if line and not line.startswith("#")]
    values = {}
    for pair in pairs + arguments.param:
        name, equals, value = pair.partition("=")
        if not equals:
            sys.exit(f"error: invalid parameter assignment: {pair!r}")
        if name not in known:
            sys.exit(f"error: unknown parameter name {name!r}")
        values[name] = value
    return values


def substituted(value, values):
    if isinstance(value, dict):
        return {substituted(key, values): substituted(inner, values) for key, inner in value.items()}
    if isinstance(value, list):
        return [substituted(inner, values) for inner in value]
    if not isinstance(value, str):
        return value
    alone = NOT_A_STRING.match(value)
    if alone and alone[1] in values:
        return json.loads(values[alone[1]])
    for name in STRING.findall(value):
        if name in values:
            value = value.replace("${%s}" % name, values[name], 1)
    return value


def processed(template, values):
    labels = substituted(template.get("labels", {}), values)
    for item in template["objects"]:
        metadata = item["metadata"]
        if "namespace" in metadata and not STRING.search(metadata["namespace"]):
            del metadata["namespace"]
        item = substituted(item, values)
        item["metadata"].setdefault("labels", {}).update(labels)
        if item["kind"] == "DeploymentConfig":
            item["spec"]["template"]["metadata"]["labels"].update(labels)
        yield item


class NoAliases(yaml.SafeDumper):
    def ignore_aliases(self, _):
        return True


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("template")
    parser.add_argument("--param-file", action="append", default=[])
    parser.add_argument("--param", action="append", default=[])
    arguments = parser.parse_args()
    with open(arguments.template) as file:
        # Converted through JSON like in oc, so that values repeated by an anchor are not shared.
        template = json.loads(json.dumps(yaml.safe_load(file)))
    parameters = template["parameters"]
    assert not any("generate" in parameter for parameter in parameters)
    values = {parameter["name"]: parameter.get("value", "") for parameter in parameters}
    values.update(given(arguments, values))
    missing = [parameter["name"] for parameter in parameters if parameter.get("required") and not values[parameter["name"]]]
    if missing:
        sys.exit("\n".join(f"error: parameter {name} is required and must be specified" for name in missing))
    yaml.dump_all(processed(template, values), sys.stdout, NoAliases, sort_keys=False)


main()
